"""PostgreSQL refuses in the middle of work: deadlocks, locks that are not to be had, triggers that raise."""

from __future__ import annotations

import time
from typing import Any

import dramatiq
import psycopg
import pytest
from psycopg import sql

from tests.conftest import FreshDatabase
from tests.support.storage_server import StorageServer
from tests.worker.test_actors import Shop, renderer
from tests.worker.toys import create_effects, declare_toys, make_broker, wait_for, working
from worker.jobs import current_job

__all__ = ["renderer"]


def states(db: psycopg.Connection[Any]) -> dict[str, int]:
    return dict(db.execute("select state, count(*)::int from queue.jobs group by state").fetchall())


def settled(db: psycopg.Connection[Any], jobs: int) -> bool:
    """Whether all is done; what waits for its retry need not wait."""
    db.execute("update queue.jobs set run_at = now() where state = 'scheduled'")
    return states(db) == {"succeeded": jobs}


def test_deadlocks_are_tried_again(fresh_db: FreshDatabase, caplog: pytest.LogCaptureFixture) -> None:
    """Two rows, locked in opposite orders by jobs at the same time."""
    create_effects(fresh_db.url)
    broker = make_broker(fresh_db.worker_url, poll_seconds=0.1)
    with psycopg.connect(fresh_db.admin_url, autocommit=True) as db:
        name = sql.Identifier(fresh_db.name)
        db.execute(sql.SQL("alter database {} set deadlock_timeout = '30ms'").format(name))
        db.execute("create table public.pair as select n as id, 0 as count from generate_series(1, 2) as n")
        db.execute("grant select, update on public.pair to media_worker")

        @dramatiq.actor(broker=broker)
        def move(first: int, second: int) -> None:
            job = current_job()
            with broker.pool.connection() as connection, connection.transaction():
                connection.execute("update public.pair set count = count + 1 where id = %s", (first,))
                time.sleep(0.05)
                connection.execute("update public.pair set count = count - 1 where id = %s", (second,))
                connection.execute("select queue.complete(%s, %s)", (job.id, job.token))
                job.settled = True

        for first, second in ((1, 2), (2, 1)):
            db.execute(
                "select queue.enqueue('move', jsonb_build_object('first', %s::int, 'second', %s::int),"
                " max_attempts => 50) from generate_series(1, 6)",
                (first, second),
            )
        with working(broker):
            wait_for(lambda: settled(db, 12))
        assert "DeadlockDetected" in caplog.text
        # Each moved once: as many there as back.
        assert db.execute("select count from public.pair order by id").fetchall() == [(0,), (0,)]


@pytest.mark.parametrize("timeout", ["lock_timeout", "statement_timeout"])
def test_a_lock_that_is_not_to_be_had(
    fresh_db: FreshDatabase, caplog: pytest.LogCaptureFixture, timeout: str
) -> None:
    """Somebody locks the queue's table; claims, heartbeats and acknowledgements end by a timeout."""
    create_effects(fresh_db.url)
    with psycopg.connect(fresh_db.admin_url, autocommit=True) as db:
        name = sql.Identifier(fresh_db.name)
        db.execute(sql.SQL("alter database {} set {} = '100ms'").format(name, sql.Identifier(timeout)))
        broker = make_broker(fresh_db.worker_url, poll_seconds=0.1, lease_seconds=3.0)
        declare_toys(broker)
        db.execute(
            "select queue.enqueue('effect', '{\"seconds\": 0.02}', max_attempts => 50) from generate_series(1, 60)"
        )
        with working(broker):
            wait_for(lambda: states(db).get("succeeded", 0) > 5)
            with db.transaction():
                db.execute("lock table queue.jobs in access exclusive mode")
                time.sleep(0.6)
            wait_for(lambda: settled(db, 60))
        assert timeout.replace("_", " ") in caplog.text
        assert db.execute("select count(*), count(distinct job_id) from public.effects").fetchone() == (
            60,
            60,
        )


def test_a_trigger_that_raises_costs_one_photo(fresh_db: FreshDatabase, renderer: Any) -> None:
    """Somebody's own trigger, at the last step: that photo fails with a reason and leaves no rendering behind."""
    with StorageServer() as storage:
        shop = Shop(fresh_db, storage, renderer)
        boom, good = shop.upload(), shop.upload()
        with psycopg.connect(fresh_db.admin_url, autocommit=True) as admin:
            admin.execute("create schema theirs; grant usage on schema theirs to public")
            admin.execute(
                "create function theirs.boom() returns trigger language plpgsql"
                " as $$begin raise exception 'boom'; end$$"
            )
            admin.execute(
                "create trigger boom before insert on public.image_variants for each row"
                f" when (new.image_id = '{boom}' and new.role = 'card') execute function theirs.boom()"  # type: ignore[arg-type]
            )
            # The last of its attempts come sooner.
            admin.execute("update queue.jobs set max_attempts = 2")
        shop.process()
        assert shop.image(good) == ("ready", None, None)
        assert shop.image(boom)[:2] == ("failed", "processing_gave_up")
        shop.assert_ledger_is_storage()
        shop.db.close()
