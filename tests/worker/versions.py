"""A worker of the version before, or of this one: VERSION=old or new, with the toy actors of that version.

python -m tests.worker.versions   (settings from the environment, as the real worker)

The old one asks the database as it did before jobs had correlation ids, does not know the actor `effect_v2`, and its
actor `noted` has no argument `note`.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import dramatiq

from tests.worker.toys import declare_toys
from worker import broker as broker_module
from worker import consumer, logs
from worker.broker import LedgerBroker
from worker.config import Settings
from worker.jobs import current_job
from worker.main import StopSignals, serve


def become_old() -> None:
    """The statements of the version before."""
    consumer._CLAIM = (
        "select c.*, 0.0, null, null from queue.claim(%s, %s, %s, %s, %s::bigint[], %s::uuid[]) as c"
    )
    broker_module._SEND = "select queue.send(%s, %s, %s, %s, %s::smallint, %s, %s, %s)"
    broker_module.origin = lambda: ()  # type: ignore[assignment,attr-defined,return-value]


def declare_versions(broker: LedgerBroker, *, is_old: bool) -> None:
    def effect(seconds: float, **_: Any) -> None:
        job = current_job()
        time.sleep(seconds)
        with broker.pool.connection() as connection, connection.transaction():
            connection.execute("insert into public.effects values (%s, %s)", (job.id, job.attempt))
            connection.execute("select queue.complete(%s, %s)", (job.id, job.token))
            job.settled = True

    def noted(seconds: float) -> None:
        effect(seconds)

    def noted_new(seconds: float, note: str = "") -> None:
        assert note == "something new"
        effect(seconds)

    def held(started: str, release: str) -> None:
        Path(started).touch()
        while not Path(release).exists():
            time.sleep(0.02)
        effect(0)

    dramatiq.actor(broker=broker)(held)
    dramatiq.actor(broker=broker, actor_name="noted")(noted if is_old else noted_new)
    if not is_old:
        dramatiq.actor(broker=broker, actor_name="effect_v2")(effect)


def main() -> None:
    is_old = os.environ["VERSION"] == "old"
    settings = Settings.from_env()
    logs.set_up(settings.log_format, settings.log_level)
    stop = StopSignals()
    if is_old:
        become_old()
    broker = LedgerBroker(settings)
    declare_toys(broker)
    declare_versions(broker, is_old=is_old)
    serve(broker, stop)


if __name__ == "__main__":
    main()
