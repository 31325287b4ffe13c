"""Workers whose clock is wrong, or that are in another time zone: all times are the database's."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.conftest import FreshDatabase
from tests.worker.test_worker_process import process
from tests.worker.toys import create_effects, main, wait_for

HOUR = timedelta(hours=1)
#: Debian's package faketime. Without it the interpreter's clock is wrong, and that of C code right.
LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
ELSEWHERE = "elsewhere/boot/1/1/1"


@pytest.fixture
def db(fresh_db: FreshDatabase) -> Iterator[psycopg.Connection[Any]]:
    create_effects(fresh_db.url)
    with fresh_db.connect(autocommit=True) as connection:
        yield connection


def wrong(hours: int, zone: str) -> dict[str, str]:
    """Environment of a process whose clock is off by `hours`, C code included where libfaketime is installed."""
    # PGTZ is what libpq tells the server: the session's time zone.
    place = {"TZ": zone, "PGTZ": zone}
    if not LIBRARIES:
        return place | {"CLOCK_HOURS": str(hours)}
    return place | {
        "LD_PRELOAD": str(LIBRARIES[0]),
        "FAKETIME": f"{hours:+}h",
        # A wrong clock does not run at another speed.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


def times(child: subprocess.Popen[bytes]) -> list[datetime]:
    """What the process believed that the time was, by its log."""
    child.terminate()
    assert child.wait(10) == 0
    assert child.stderr is not None
    found = []
    for line in child.stderr.read().splitlines():
        with contextlib.suppress(ValueError):
            found.append(datetime.fromisoformat(json.loads(line)["time"]))
    return found


def test_an_hour_ahead_and_an_hour_behind(fresh_db: FreshDatabase, db: psycopg.Connection[Any]) -> None:
    """Two workers on one table, in places where it is another day: neither hurries what is not due, nor takes or
    loses a lease that lives."""
    db.execute("select queue.enqueue('effect', '{\"seconds\": 0.01}') from generate_series(1, 40)")
    db.execute("select queue.enqueue('effect', '{\"seconds\": 1.6}') from generate_series(1, 2)")
    db.execute(
        "select queue.enqueue('effect', '{\"seconds\": 0}', run_at => now() + interval '1 s', dedupe_key => 'soon')"
    )
    db.execute("select queue.enqueue('flaky', '{\"times\": 1}')")
    # Nobody's business within this hour: due later, leased to somebody far away, ended a while ago.
    for key, change in {
        "later": "state = 'scheduled', run_at = now() + interval '30 min'",
        "leased": f"state = 'running', attempts = 1, started_at = now(), worker = '{ELSEWHERE}',"
        " lease_token = gen_random_uuid(), leased_until = now() + interval '30 min'",
        "kept": "state = 'succeeded', finished_at = now() - interval '30 min'",
        "old": "state = 'succeeded', finished_at = now() - interval '90 min'",
    }.items():
        db.execute("select queue.enqueue('nap', '{}', dedupe_key => %s)", (key,))
        db.execute(f"update queue.jobs set {change} where dedupe_key = '{key}'")  # type: ignore[arg-type]

    settings = {
        "WORKER_LEASE_SECONDS": "1",
        "WORKER_KEEP_SUCCEEDED_HOURS": "1",
        "LOG_FORMAT": "json",
    }
    rest = (
        "select state, count(*) from queue.jobs where actor <> 'nap' and state <> 'succeeded' group by state"
    )
    program = "tests.worker.test_clock"
    with (
        process(fresh_db, program, **settings, **wrong(1, "Pacific/Kiritimati")) as ahead,
        process(fresh_db, program, **settings, **wrong(-1, "Pacific/Niue")) as behind,
    ):
        wait_for(lambda: not db.execute(rest).fetchall())
        seen = db.execute(
            "select now() - max(seen_at), now() - min(seen_at) from queue.heartbeats"
        ).fetchone()
        now = datetime.now(UTC)
        for child, off in ((ahead, HOUR), (behind, -HOUR)):
            believed = times(child)
            assert believed
            assert all(abs(moment - (now + off)) < HOUR / 6 for moment in believed), "the clock was not wrong"
    assert seen is not None
    assert all(timedelta(0) <= age < timedelta(minutes=1) for age in seen)

    effects = "select count(*), count(distinct job_id), max(attempt) from public.effects"
    assert db.execute(effects).fetchone() == (43, 43, 1), "a lease that was renewed was given away"
    early = "select count(*) from queue.jobs where started_at < run_at or finished_at not between created_at and now()"
    assert db.execute(early + " and dedupe_key is distinct from 'old'").fetchone() == (1,), "only `kept`"
    assert db.execute("select attempts from queue.jobs where actor = 'flaky'").fetchone() == (2,)
    left = db.execute("select dedupe_key, state from queue.jobs where actor = 'nap' order by 1").fetchall()
    assert left == [("kept", "succeeded"), ("later", "scheduled"), ("leased", "running")]


def set_up() -> None:
    """In the worker's process, before it begins."""
    if shift := int(os.environ.get("CLOCK_HOURS", "0")) * 3600:
        right, right_ns = time.time, time.time_ns
        time.time = lambda: right() + shift
        time.time_ns = lambda: right_ns() + shift * 10**9
    if "FAKETIME" in os.environ:
        # libfaketime 0.9.10 refuses the call that time.sleep makes (to a moment of the monotonic clock).
        time.sleep = lambda seconds: threading.Event().wait(seconds)  # type: ignore[assignment,return-value]


if __name__ == "__main__":
    set_up()
    main()
