"""No connection is to be had, then too few: what a login's limit does, max_connections does to all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from tests.conftest import FreshDatabase
from tests.worker.toys import create_effects, declare_toys, make_broker, wait_for, working
from worker.database import TRANSIENT

LIMIT = 8


@pytest.fixture
def crowded(fresh_db: FreshDatabase) -> Iterator[str]:
    """A login like media_worker's with few connections; other tests' workers keep theirs."""
    create_effects(fresh_db.url)
    name = f"crowded_{uuid4().hex[:8]}"
    role = sql.Identifier(name)
    with psycopg.connect(fresh_db.admin_url, autocommit=True) as admin:
        admin.execute(
            sql.SQL("create role {} login password 'x' connection limit {} in role media_worker").format(
                role, sql.Literal(LIMIT)
            )
        )
        yield make_conninfo(fresh_db.worker_url, user=name, password="x")
        wait_for(
            lambda: (
                admin.execute("select 1 from pg_stat_activity where usename = %s", (name,)).fetchone() is None
            )
        )
        admin.execute(sql.SQL("drop role {}").format(role))


def test_workers_wait_for_connections_and_go_on(
    fresh_db: FreshDatabase, crowded: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Three workers of four threads want twice what there is; somebody else holds it all at first."""
    jobs = 150
    brokers = [make_broker(crowded, lease_seconds=2.0, poll_seconds=0.1) for _ in range(3)]
    for broker in brokers:
        declare_toys(broker)
        # An attempt that gets no connection is given up sooner than in earnest.
        broker.pool.timeout = 1.0
        assert broker.pool.reconnect_timeout < 15, "the next attempt comes later than a waiter gives up"
    with fresh_db.connect(autocommit=True) as db, ExitStack() as others:
        hogs = [others.enter_context(psycopg.connect(crowded)) for _ in range(LIMIT)]
        db.execute(
            "select queue.enqueue('effect', '{\"seconds\": 0.01}') from generate_series(1, %s)", (jobs,)
        )

        def states() -> dict[str, int]:
            return dict(db.execute("select state, count(*)::int from queue.jobs group by state").fetchall())

        for broker in brokers:
            others.enter_context(working(broker))
        wait_for(lambda: "database is away: " in caplog.text and "too many connections" in caplog.text)
        assert states() == {"ready": jobs}
        for hog in hogs:
            hog.close()

        def settled() -> bool:
            # What was claimed by a process that lost its connection waits for its lease, a retry for its pause.
            db.execute("select queue.reap()")
            db.execute("update queue.jobs set run_at = now() where state = 'scheduled'")
            return states() == {"succeeded": jobs}

        wait_for(settled, 25)
        assert db.execute("select count(*), count(distinct job_id) from public.effects").fetchone() == (
            jobs,
            jobs,
        )
        held = "select count(*) from pg_stat_activity where usename like 'crowded%'"
        assert db.execute(held).fetchone() == (LIMIT,), "there were enough for all"
        assert db.execute("select max(attempts) < 10 from queue.jobs").fetchone() == (True,)


def test_a_transaction_that_falls_silent_lets_go_of_its_job(fresh_db: FreshDatabase) -> None:
    """A machine that is cut off between a statement and its commit: TCP alone would keep the job's lock for hours."""
    with (
        fresh_db.connect(autocommit=True) as db,
        psycopg.connect(fresh_db.admin_url, autocommit=True) as admin,
    ):
        assert "idle_in_transaction_session_timeout=10s" in [
            entry
            for (entry,) in admin.execute(
                "select unnest(rolconfig) from pg_roles where rolname = 'media_worker'"
            ).fetchall()
        ]
        admin.execute(
            sql.SQL(
                "alter role media_worker in database {} set idle_in_transaction_session_timeout = '400ms'"
            ).format(sql.Identifier(fresh_db.name))
        )
        db.execute("select queue.enqueue('effect', '{}')")
        with fresh_db.connect_worker(autocommit=True) as silent:
            job = silent.execute(
                "select id, lease_token from queue.take('default', 'silent', 1, '10 milliseconds')"
            ).fetchone()
            assert job is not None
            silent.execute("begin")
            silent.execute("select queue.complete(%s, %s)", job)
            assert db.execute("select queue.reap()").fetchall() == [], "the lock holds"
            wait_for(lambda: len(db.execute("select queue.reap()").fetchall()) == 1, 5)
            with pytest.raises(TRANSIENT):
                silent.execute("commit")
        assert db.execute("select count(*) from queue.jobs where state = 'succeeded'").fetchone() == (0,)
