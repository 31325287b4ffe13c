"""A worker through PgBouncer in transaction mode, with far fewer connections to the server than it has threads."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

from tests.conftest import FreshDatabase
from tests.support.pgbouncer import PgBouncer
from tests.support.storage_server import StorageServer
from tests.worker.test_actors import Shop, renderer
from tests.worker.toys import create_effects, declare_toys, make_broker, wait_for, working

__all__ = ["renderer"]

SERVERS = 2


@pytest.fixture
def bouncer(fresh_db: FreshDatabase) -> Iterator[PgBouncer]:
    if reason := PgBouncer.missing():
        pytest.skip(reason)
    with PgBouncer(fresh_db.worker_url, servers=SERVERS) as bouncer:
        yield bouncer


@pytest.fixture
def db(fresh_db: FreshDatabase) -> Iterator[psycopg.Connection[Any]]:
    create_effects(fresh_db.url)
    with fresh_db.connect(autocommit=True) as connection:
        yield connection


def states(db: psycopg.Connection[Any]) -> dict[str, int]:
    return dict(db.execute("select state, count(*)::int from queue.jobs group by state").fetchall())


def assert_nothing_is_left_behind(fresh_db: FreshDatabase, bouncer: PgBouncer) -> None:
    """Each connection to the server is as it was made: the next client of the pooler may be anybody."""
    with ExitStack() as stack:
        # Transactions at the same time have connections of their own.
        at_once = [
            stack.enter_context(psycopg.connect(bouncer.url, prepare_threshold=None)) for _ in range(SERVERS)
        ]
        pids = set()
        for connection in at_once:
            left = connection.execute(
                "select pg_backend_pid(),"
                " (select count(*) from pg_prepared_statements), (select count(*) from pg_cursors),"
                " (select array_agg(name::text) from pg_settings where source = 'session'"
                "   and name not in ('application_name', 'client_encoding', 'DateStyle', 'TimeZone',"
                "     'standard_conforming_strings')),"
                # A setting of ours is empty again after its transaction, not unset.
                " (select array_agg(s) from unnest(array['correlation_id', 'trace_parent', 'span', 'actor_id']) as s"
                "   where nullif(current_setting('imageledger.' || s, true), '') is not null)"
            ).fetchone()
            assert left is not None
            pids.add(left[0])
            assert left[1:] == (0, 0, None, None)
        assert len(pids) == SERVERS
        with psycopg.connect(fresh_db.admin_url) as admin:
            locks = "select count(*) from pg_locks where locktype = 'advisory' and pid = any(%s)"
            assert admin.execute(locks, (list(pids),)).fetchone() == (0,)


def test_work_goes_on_over_few_connections(
    fresh_db: FreshDatabase, db: psycopg.Connection[Any], bouncer: PgBouncer
) -> None:
    """Two workers of eight threads, one hears notifications directly, one polls; the pooler is killed on the way."""
    db.execute(
        "select queue.enqueue('effect', '{\"seconds\": 0.01}', max_attempts => 50) from generate_series(1, 200)"
    )
    brokers = [
        make_broker(bouncer.url, listen_url=listen, threads=8, lease_seconds=1.5, poll_seconds=pause)
        for listen, pause in ((fresh_db.worker_url, 30.0), (None, 0.1))
    ]
    for broker in brokers:
        declare_toys(broker)
    with working(brokers[0]), working(brokers[1]):
        wait_for(lambda: states(db).get("succeeded", 0) > 40)
        bouncer.kill()
        time.sleep(0.2)
        bouncer.start()

        def settled() -> bool:
            db.execute("select queue.reap()")
            db.execute("update queue.jobs set run_at = now() where state = 'scheduled'")
            return states(db) == {"succeeded": 200}

        wait_for(settled, 20)
        # A job longer than its lease: renewed by whichever connection is free.
        db.execute("select queue.enqueue('effect', '{\"seconds\": 2}')")
        wait_for(lambda: states(db) == {"succeeded": 201}, 5)
        servers = (
            "select count(*) from pg_stat_activity"
            " where datname = current_database() and usename = 'media_worker' and query not like 'listen%'"
        )
        assert db.execute(servers).fetchone() == (SERVERS,)
    assert db.execute("select count(*), count(distinct job_id) from public.effects").fetchone() == (201, 201)
    assert db.execute("select attempts from queue.jobs order by id desc limit 1").fetchone() == (1,)
    assert_nothing_is_left_behind(fresh_db, bouncer)


def test_photos_are_processed(fresh_db: FreshDatabase, bouncer: PgBouncer, renderer: Any) -> None:
    """The real actors; and LISTEN through the pooler, which is a mistake that costs the hint and nothing else."""
    fresh_db.worker_url = bouncer.url
    with StorageServer() as storage:
        shop = Shop(fresh_db, storage, renderer)
        images = [shop.upload() for _ in range(3)]
        shop.process()
        assert {shop.image(image) for image in images} == {("ready", None, None)}
        shop.assert_ledger_is_storage()
        shop.db.close()
    assert_nothing_is_left_behind(fresh_db, bouncer)
