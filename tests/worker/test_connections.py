"""No connection is to be had, then too few: what a login's limit does, max_connections does to all."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from tests.conftest import FreshDatabase
from tests.worker.test_worker_process import hasten, process
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


@pytest.fixture
def rotated(fresh_db: FreshDatabase) -> Iterator[tuple[psycopg.Connection[Any], str, str, sql.Identifier]]:
    """A superuser, and a login like media_worker's with its old and its new password."""
    create_effects(fresh_db.url)
    name = f"rotated_{uuid4().hex[:8]}"
    role = sql.Identifier(name)
    with psycopg.connect(fresh_db.admin_url, autocommit=True) as admin:
        admin.execute(sql.SQL("create role {} login password 'old' in role media_worker").format(role))
        old, new = (make_conninfo(fresh_db.worker_url, user=name, password=word) for word in ("old", "new"))
        yield admin, old, new, role
        wait_for(
            lambda: not admin.execute("select 1 from pg_stat_activity where usename = %s", [name]).fetchone()
        )
        admin.execute(sql.SQL("drop role {}").format(role))


def test_a_new_password_under_load(
    fresh_db: FreshDatabase, rotated: tuple[psycopg.Connection[Any], str, str, sql.Identifier]
) -> None:
    """The runbook's order: change it, then restart the workers with it, one after another. One of the old ones loses
    its connections in between and cannot log in any more; what it held goes to others, and nothing is lost."""
    admin, old, new, role = rotated
    jobs = 300

    def states() -> dict[str, int]:
        return dict(admin.execute("select state, count(*)::int from queue.jobs group by state").fetchall())

    def worker(url: str) -> AbstractContextManager[subprocess.Popen[bytes]]:
        settings = {"WORKER_LEASE_SECONDS": "2", "WORKER_GRACE_SECONDS": "0.5", "LOG_LEVEL": "CRITICAL"}
        return process(fresh_db, WORKER_DB_URL=url, **settings)

    with worker(old) as lucky, worker(old) as unlucky, ExitStack() as fresh:
        beating = "select count(*) from queue.heartbeats"
        wait_for(lambda: admin.execute(beating).fetchone() == (2,))
        admin.execute(
            "select queue.enqueue('effect', '{\"seconds\": 0.02}', max_attempts => 3) from generate_series(1, %s)",
            [jobs],
        )
        wait_for(lambda: states().get("succeeded", 0) > 20)
        admin.execute(sql.SQL("alter role {} password 'new'").format(role))
        so_far = states().get("succeeded", 0)
        wait_for(lambda: states().get("succeeded", 0) > so_far + 20)
        ended = admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and client_port = any(%s)",
            [ports_of(unlucky.pid)],
        ).fetchall()
        assert ended
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(old)
        fresh.enter_context(worker(new))
        for one in (unlucky, lucky):
            one.terminate()
        assert [one.wait(15) for one in (unlucky, lucky)] == [0, 0]
        wait_for(lambda: hasten(admin) or states() == {"succeeded": jobs}, 20)
    assert admin.execute("select count(*), count(distinct job_id) from public.effects").fetchone() == (
        jobs,
        jobs,
    )


def ports_of(pid: int) -> list[int]:
    """The local ports of a process's TCP connections."""
    inodes = {str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [int(line[1].split(":")[1], 16) for line in lines if f"socket:[{line[9]}]" in inodes]


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
