"""Brokers and actors for the tests of the queue; as a program, a worker process with the toy actors.

python -m tests.worker.toys   (settings from the environment, as the real worker)
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dramatiq
import psycopg

from worker import logs
from worker.broker import LedgerBroker
from worker.config import Settings
from worker.errors import PermanentError
from worker.jobs import current_job
from worker.main import StopSignals, serve

# Threads that stop are waited for this long at each stop, of which a run has hundreds.
IDLE_MS = 20


def make_broker(url: str, **options: Any) -> LedgerBroker:
    settings: dict[str, Any] = {"db_url": url, "listen_url": url, "threads": 4, "lease_seconds": 5.0}
    return LedgerBroker(Settings(**(settings | options)))


@contextmanager
def working(broker: LedgerBroker) -> Iterator[dramatiq.Worker]:
    """dramatiq's own worker on a broker, in this process."""
    broker.emit_after("process_boot")
    worker = dramatiq.Worker(broker, worker_threads=broker.settings.threads, worker_timeout=IDLE_MS)
    worker.start()
    try:
        yield worker
    finally:
        worker.stop(timeout=5000)
        broker.close()


def wait_for(condition: Any, timeout: float = 30.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)


class Recorder:
    """Counts calls by their argument."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.calls: list[Any] = []

    def __call__(self, what: Any) -> None:
        with self._lock:
            self.calls.append(what)


def declare_toys(broker: LedgerBroker) -> None:
    """nap(seconds), effect(seconds), poison(), flaky(times), hopeless(), touch(path, seconds)."""

    @dramatiq.actor(broker=broker)
    def nap(seconds: float = 0) -> None:
        time.sleep(seconds)

    @dramatiq.actor(broker=broker)
    def poison() -> None:
        os._exit(13)

    @dramatiq.actor(broker=broker)
    def hopeless() -> None:
        raise PermanentError("never")

    @dramatiq.actor(broker=broker)
    def flaky(times: int) -> None:
        if current_job().attempt <= times:
            raise OSError(f"attempt {current_job().attempt}")

    @dramatiq.actor(broker=broker)
    def effect(seconds: float, started: str = "") -> None:
        """An effect and the end of the job in one transaction, as the real actors do."""
        job = current_job()
        if started:
            Path(started).touch()
        time.sleep(seconds)
        with broker.pool.connection() as connection, connection.transaction():
            connection.execute("insert into public.effects values (%s, %s)", (job.id, job.attempt))
            connection.execute("select queue.complete(%s, %s)", (job.id, job.token))
            job.settled = True


def create_effects(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("create table public.effects (job_id bigint, attempt int)")
        db.execute("grant insert on public.effects to media_worker")


def main() -> None:
    settings = Settings.from_env()
    logs.set_up(settings.log_format, settings.log_level)
    stop = StopSignals()
    broker = LedgerBroker(settings)
    declare_toys(broker)
    serve(broker, stop)


if __name__ == "__main__":
    main()
