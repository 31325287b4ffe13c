"""A deploy in the order of worker/README.md: migrate under running workers, new ones beside old ones, the old end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import dramatiq
import psycopg
import pytest

from tests.conftest import FreshDatabase
from tests.support.stack import Stack
from tests.worker.test_worker_process import hasten, process
from tests.worker.toys import create_effects, make_broker, wait_for, working

Connection = psycopg.Connection[Any]
BEFORE = Path(__file__).with_name("before_correlation.sql")
PROGRAM = "tests.worker.versions"
#: Nobody reads their pipes, and what is given back is told each time.
QUIET = {"LOG_LEVEL": "CRITICAL", "WORKER_GRACE_SECONDS": "15"}


@pytest.fixture
def before(fresh_db: FreshDatabase) -> Iterator[Connection]:
    """A database of the version before, with workers' rights as they were."""
    create_effects(fresh_db.url)
    with fresh_db.connect(autocommit=True) as db:
        db.execute(BEFORE.read_bytes())
        yield db


@contextmanager
def customers(fresh_db: FreshDatabase) -> Iterator[list[int]]:
    """Orders small jobs all the time; the ids of those that were committed."""
    ordered: list[int] = []
    stop = threading.Event()
    failures: list[BaseException] = []

    def order() -> None:
        with fresh_db.connect(autocommit=True) as db:
            while not stop.wait(0.02):
                row = db.execute("select queue.enqueue('effect', '{\"seconds\": 0.01}')").fetchone()
                assert row
                ordered.append(row[0])

    def guarded() -> None:
        try:
            order()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    try:
        yield ordered
    finally:
        stop.set()
        thread.join(20)
    assert not failures, failures


def open_jobs(db: Connection) -> int:
    row = db.execute("select count(*) from queue.jobs where finished_at is null").fetchone()
    assert row
    return int(row[0])


def test_nothing_is_lost_or_done_twice(
    stack: Stack, fresh_db: FreshDatabase, before: Connection, tmp_path: Path
) -> None:
    db, started, release = before, tmp_path / "started", tmp_path / "release"
    columns = "select count(*) from pg_attribute where attrelid = 'queue.jobs'::regclass and attname = %s"
    assert db.execute(columns, ["correlation_id"]).fetchone() == (0,)
    later = ExitStack()
    with (
        process(fresh_db, PROGRAM, VERSION="old", **QUIET) as old,
        customers(fresh_db) as ordered,
    ):
        wait_for(lambda: len(ordered) > 20)
        # 1. The schema, under a worker that is at it.
        stack.cli("migrate", "--db-url", fresh_db.url)
        assert db.execute(columns, ["correlation_id"]).fetchone() == (1,)
        so_far = len(ordered)
        wait_for(lambda: len(ordered) > so_far + 20)
        # The old worker goes on, and takes a long job.
        db.execute(
            "select queue.enqueue('held', jsonb_build_object('started', %s::text, 'release', %s::text),"
            " priority => (-1)::smallint)",
            [str(started), str(release)],
        )
        wait_for(started.exists)
        # 2. Jobs that only a new one knows: the old one gives them back. Then a new one beside it.
        db.execute("select queue.enqueue('effect_v2', '{\"seconds\": 0}') from generate_series(1, 20)")
        db.execute(
            'select queue.enqueue(\'noted\', \'{"seconds": 0, "note": "something new"}\')'
            " from generate_series(1, 20)"
        )
        given_back = "select count(distinct actor) from queue.jobs where state = 'scheduled' and attempts = 0"
        wait_for(lambda: db.execute(given_back).fetchone() == (2,))
        new = later.enter_context(process(fresh_db, PROGRAM, VERSION="new", **QUIET))
        done = "select count(distinct actor) from queue.jobs where actor <> 'effect' and state = 'succeeded'"
        wait_for(lambda: hasten(db) or db.execute(done).fetchone() == (2,))
        # 3. The old one is told to stop, in the middle of its long job.
        old.terminate()
        so_far = len(ordered)
        wait_for(lambda: len(ordered) > so_far + 20)
        assert old.poll() is None
        release.touch()
        assert old.wait(20) == 0
        so_far = len(ordered)
        wait_for(lambda: len(ordered) > so_far + 20)
    with later:
        wait_for(lambda: hasten(db) or open_jobs(db) == 0)
        new.terminate()
        assert new.wait(20) == 0
    # Every attempt was the first one: no error counted.
    jobs = db.execute("select state, attempts, count(*)::int from queue.jobs group by 1, 2").fetchall()
    assert jobs == [("succeeded", 1, len(ordered) + 41)]
    effects = "select count(*)::int, count(distinct job_id)::int from public.effects"
    assert db.execute(effects).fetchone() == (len(ordered) + 41, len(ordered) + 41)
    # The old worker's long job was its own to the end.
    row = db.execute("select worker from queue.jobs where args ? 'started'").fetchone()
    assert row
    assert f"/{old.pid}/" in row[0]


def test_an_error_of_the_code_itself_still_counts(fresh_db: FreshDatabase) -> None:
    """A TypeError inside an actor that does take the arguments is a failure like any other."""
    broker = make_broker(fresh_db.worker_url)

    def confused(seconds: float) -> None:
        len(seconds)  # type: ignore[arg-type]

    dramatiq.actor(broker=broker)(confused)
    with fresh_db.connect(autocommit=True) as db, working(broker):
        db.execute("select queue.enqueue('confused', '{\"seconds\": 1}', max_attempts => 1)")
        wait_for(lambda: open_jobs(db) == 0)
        row = db.execute("select state, attempts, error from queue.jobs").fetchone()
        assert row
        assert row[:2] == ("dead", 1)
        assert row[2].startswith("TypeError")
