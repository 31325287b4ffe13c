"""The broker with dramatiq's real Worker on a real database."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import dramatiq
import psycopg
import pytest
from dramatiq.errors import ConnectionFailed
from psycopg import sql

from tests.conftest import FreshDatabase
from tests.support.tcp import Proxy
from tests.worker.toys import Recorder, create_effects, declare_toys, make_broker, wait_for, working
from worker.jobs import current_job


@pytest.fixture
def db(fresh_db: FreshDatabase) -> Iterator[psycopg.Connection[Any]]:
    with fresh_db.connect(autocommit=True) as connection:
        yield connection


def states(db: psycopg.Connection[Any]) -> dict[str, int]:
    return dict(db.execute("select state, count(*)::int from queue.jobs group by state").fetchall())


def test_send_and_work(fresh_db: FreshDatabase, db: psycopg.Connection[Any]) -> None:
    broker, seen = make_broker(fresh_db.worker_url), Recorder()

    @dramatiq.actor(broker=broker)
    def add(a: int, b: int = 0) -> None:
        seen((current_job().id, a + b))

    sent = [add.send(n, b=1) for n in range(20)]
    db.execute("select queue.enqueue('add', '{\"a\": 100}')")
    with working(broker):
        wait_for(lambda: states(db) == {"succeeded": 21})
    assert Counter(total for _, total in seen.calls) == Counter([*range(1, 21), 100])
    assert {m.options["job_id"] for m in sent} <= {job for job, _ in seen.calls}


def test_send_options_reach_the_row(fresh_db: FreshDatabase, db: psycopg.Connection[Any]) -> None:
    broker = make_broker(fresh_db.worker_url)
    actor = dramatiq.actor(broker=broker, actor_name="noop", queue_name="side", max_attempts=3)(lambda: None)
    owner = "11111111-1111-1111-1111-111111111111"
    actor.send_with_options(owner_id=owner, dedupe_key="k", priority=4, delay=60_000)
    row = db.execute(
        "select queue, owner_id::text, dedupe_key, priority, max_attempts, state, run_at > now() + '59 s'"
        " from queue.jobs"
    ).fetchone()
    assert row == ("side", owner, "k", 4, 3, "scheduled", True)
    broker.close()


def test_failures_are_retried_or_end_dead(fresh_db: FreshDatabase, db: psycopg.Connection[Any]) -> None:
    broker = make_broker(fresh_db.worker_url, poll_seconds=0.1)
    declare_toys(broker)
    for actor, args in (("flaky", {"times": 1}), ("hopeless", {}), ("not_declared_here", {})):
        broker.enqueue(dramatiq.Message("default", actor, (), args, {}))
    with working(broker):
        wait_for(lambda: states(db) == {"succeeded": 1, "dead": 1, "scheduled": 1})
    rows = dict(db.execute("select actor, (attempts, error) from queue.jobs").fetchall())
    assert rows["flaky"] == ("2", None)
    assert rows["hopeless"] == ("1", "PermanentError: never")
    pause = db.execute(
        "select run_at - started_at > '10 s' from queue.jobs where actor = 'not_declared_here'"
    ).fetchone()
    assert pause == (True,)


def test_time_limit_ends_an_attempt(fresh_db: FreshDatabase, db: psycopg.Connection[Any]) -> None:
    broker = make_broker(fresh_db.worker_url)

    @dramatiq.actor(broker=broker, time_limit=100)
    def endless() -> None:
        while True:
            time.sleep(0.01)

    endless.send()
    with working(broker):
        wait_for(lambda: states(db) == {"scheduled": 1})
    assert db.execute("select error from queue.jobs").fetchone() == ("TimeLimitExceeded: ",)


def test_idle_pick_up_by_notification(fresh_db: FreshDatabase, db: psycopg.Connection[Any]) -> None:
    broker, seen = make_broker(fresh_db.worker_url, poll_seconds=30.0), Recorder()
    dramatiq.actor(broker=broker, actor_name="noop")(lambda: seen(time.monotonic()))
    with working(broker):
        time.sleep(0.3)
        started = time.monotonic()
        db.execute("select queue.enqueue('noop', '{}')")
        wait_for(lambda: seen.calls)
    assert seen.calls[0] - started < 1


def test_a_listener_that_was_cut_off_finds_what_it_missed(
    fresh_db: FreshDatabase, db: psycopg.Connection[Any]
) -> None:
    """Its connection alone is ended, and a job comes before the next one: without a poll for half a minute."""
    broker = make_broker(fresh_db.worker_url, poll_seconds=30.0)
    declare_toys(broker)
    listener = (
        "select pid from pg_stat_activity where datname = current_database() and state = 'idle'"
        " and application_name = 'imageledger listener' and query = 'listen queue_jobs'"
    )
    with working(broker), psycopg.connect(fresh_db.admin_url, autocommit=True) as admin:
        wait_for(lambda: db.execute(listener).fetchone())
        time.sleep(0.1)
        row = db.execute(listener).fetchone()
        assert row
        admin.execute("select pg_terminate_backend(%s, 5000)", row)
        db.execute("select queue.enqueue('nap', '{}')")
        wait_for(lambda: states(db) == {"succeeded": 1}, 5)


def test_polling_finds_what_no_notification_tells(
    fresh_db: FreshDatabase, db: psycopg.Connection[Any]
) -> None:
    broker = make_broker(fresh_db.worker_url, listen_url=None, poll_seconds=0.2)
    declare_toys(broker)
    with working(broker):
        time.sleep(0.3)
        db.execute("select queue.enqueue('nap', '{}')")
        wait_for(lambda: states(db) == {"succeeded": 1}, 2)


def test_every_connection_is_terminated_again_and_again(
    fresh_db: FreshDatabase, db: psycopg.Connection[Any]
) -> None:
    """The listener, the heartbeat, the consumer, the pool: all come back, and each effect is there once."""
    create_effects(fresh_db.url)
    broker = make_broker(fresh_db.worker_url, lease_seconds=1.5, poll_seconds=0.1)
    declare_toys(broker)
    db.execute(
        "select queue.enqueue('effect', '{\"seconds\": 0.01}', max_attempts => 50)"
        " from generate_series(1, 300)"
    )
    with working(broker), psycopg.connect(fresh_db.admin_url, autocommit=True) as admin:
        for _ in range(5):
            time.sleep(0.2)
            admin.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where usename = 'media_worker' and datname = current_database()"
            )

        def settled() -> bool:
            # What was claimed by an answer that never arrived waits for its lease; a retry for its pause.
            db.execute("select queue.reap()")
            db.execute("update queue.jobs set run_at = now() where state = 'scheduled'")
            return states(db) == {"succeeded": 300}

        wait_for(settled, 20)
    assert db.execute("select count(*), count(distinct job_id) from public.effects").fetchone() == (300, 300)


@pytest.mark.parametrize("mode", ["cut", "pause"])
def test_network_between_worker_and_database_fails(
    fresh_db: FreshDatabase, db: psycopg.Connection[Any], mode: str
) -> None:
    """The lease runs out, another worker takes over, and the first one's result is refused."""
    create_effects(fresh_db.url)
    with Proxy(fresh_db.worker_url) as proxy:
        cut_off = make_broker(proxy.url, listen_url=None, lease_seconds=1.0, poll_seconds=0.1)
        other = make_broker(fresh_db.worker_url, lease_seconds=5.0, poll_seconds=0.1)
        declare_toys(cut_off)
        declare_toys(other)
        db.execute("select queue.enqueue('effect', '{\"seconds\": 1.5}')")
        with working(cut_off):
            wait_for(lambda: states(db) == {"running": 1})
            getattr(proxy, mode)()
            wait_for(lambda: db.execute("select * from queue.reap()").fetchall())
            with working(other):
                wait_for(lambda: states(db) == {"succeeded": 1})
            proxy.heal()
            wait_for(lambda: not len(cut_off.leases))
    assert db.execute("select attempt from public.effects").fetchall() == [(2,)]


def test_a_heartbeat_that_hangs_costs_an_attempt_and_no_effect(
    fresh_db: FreshDatabase, db: psycopg.Connection[Any]
) -> None:
    """The server process of the heartbeat's connection is stopped; the job runs on, and another worker gets it."""
    create_effects(fresh_db.url)
    slow = make_broker(fresh_db.worker_url, listen_url=None, lease_seconds=0.6, poll_seconds=0.1)
    other = make_broker(fresh_db.worker_url, lease_seconds=5.0, poll_seconds=0.1)
    declare_toys(slow)
    declare_toys(other)
    db.execute("select queue.enqueue('effect', '{\"seconds\": 1.5}')")
    heart = (
        "select pid from pg_stat_activity where datname = current_database() and state = 'idle'"
        " and application_name = 'imageledger heartbeat'"
    )
    with working(slow):
        wait_for(lambda: states(db) == {"running": 1} and db.execute(heart).fetchone())
        row = db.execute(heart).fetchone()
        assert row
        os.kill(row[0], signal.SIGSTOP)
        try:
            wait_for(lambda: db.execute("select * from queue.reap()").fetchall())
            db.execute("update queue.jobs set run_at = now(), args = '{\"seconds\": 0}'")
            with working(other):
                wait_for(lambda: states(db) == {"succeeded": 1})
            wait_for(lambda: not len(slow.leases))
        finally:
            os.kill(row[0], signal.SIGCONT)
    assert db.execute("select attempt from public.effects").fetchall() == [(2,)]


def test_a_sign_of_life_that_waits_costs_no_lease(
    fresh_db: FreshDatabase, db: psycopg.Connection[Any]
) -> None:
    """Somebody locks the operators' table of workers: the heartbeat that writes there renews leases all the same."""
    create_effects(fresh_db.url)
    broker = make_broker(fresh_db.worker_url, lease_seconds=1.2, poll_seconds=0.1)
    declare_toys(broker)
    with fresh_db.connect() as blocker:
        blocker.execute("lock table queue.heartbeats in access exclusive mode")
        db.execute("select queue.enqueue('effect', '{\"seconds\": 1.8}')")
        with working(broker):
            wait_for(lambda: db.execute("select queue.reap()").fetchall() or states(db) == {"succeeded": 1})
            blocker.rollback()
    assert db.execute("select attempt from public.effects").fetchall() == [(1,)]


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_serialization_failures_are_tried_again(
    fresh_db: FreshDatabase, db: psycopg.Connection[Any], isolation: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An operator gives the login another isolation: two workers get in each other's way, and nothing is lost."""
    create_effects(fresh_db.url)
    of_database = sql.SQL("alter role media_worker in database {} set default_transaction_isolation = {}")
    with psycopg.connect(fresh_db.admin_url, autocommit=True) as admin:
        admin.execute(of_database.format(sql.Identifier(fresh_db.name), sql.Literal(isolation)))
    brokers = [make_broker(fresh_db.worker_url, lease_seconds=1.0, poll_seconds=0.1) for _ in range(2)]
    for broker in brokers:
        declare_toys(broker)
    said, rounds = "could not serialize access", 0
    with working(brokers[0]), working(brokers[1]):
        # When they meet is chance.
        while said not in caplog.text and rounds < 20:
            rounds += 1
            db.execute(
                "select queue.enqueue('effect', '{\"seconds\": 0.01}', max_attempts => 100)"
                " from generate_series(1, 60)"
            )

            def settled(count: int = 60 * rounds) -> bool:
                # A commit that was refused is the toy's lost lease; a retry waits for its pause.
                db.execute("select queue.reap()")
                db.execute("update queue.jobs set run_at = now() where state = 'scheduled'")
                return states(db) == {"succeeded": count}

            wait_for(settled, 20)
    assert said in caplog.text
    effects = "select count(*), count(distinct job_id) from public.effects"
    assert db.execute(effects).fetchone() == (60 * rounds, 60 * rounds)


def test_workers_read_what_is_committed_whatever_the_database_says(
    fresh_db: FreshDatabase, db: psycopg.Connection[Any]
) -> None:
    db.execute(
        sql.SQL("alter database {} set default_transaction_isolation = 'serializable'").format(
            sql.Identifier(fresh_db.name)
        )
    )
    with fresh_db.connect_worker() as worker, fresh_db.connect() as owner:
        levels = [c.execute("show transaction_isolation").fetchone() for c in (worker, owner)]
    assert levels == [("read committed",), ("serializable",)]


def test_slow_jobs_are_not_hoarded(fresh_db: FreshDatabase, db: psycopg.Connection[Any]) -> None:
    broker = make_broker(fresh_db.worker_url, threads=2)
    declare_toys(broker)
    db.execute("select queue.enqueue('nap', '{\"seconds\": 0.15}') from generate_series(1, 12)")
    most = 0
    with working(broker):
        while states(db) != {"succeeded": 12}:
            most = max(most, states(db).get("running", 0))
    assert most <= 2


def test_prefetched_jobs_go_back_when_work_turns_slow(
    fresh_db: FreshDatabase, db: psycopg.Connection[Any]
) -> None:
    """Quick jobs teach it to fetch ahead; then slow ones come: others may have those it cannot begin."""
    first = make_broker(fresh_db.worker_url, threads=2)
    declare_toys(first)
    db.execute("select queue.enqueue('nap', '{}') from generate_series(1, 300)")
    db.execute("select queue.enqueue('nap', '{\"seconds\": 3}') from generate_series(1, 8)")
    with working(first):
        wait_for(lambda: states(db) == {"succeeded": 300, "running": 2, "ready": 6}, 2.9)


def test_shutdown_gives_back_at_once_what_was_not_begun(
    fresh_db: FreshDatabase, db: psycopg.Connection[Any]
) -> None:
    broker = make_broker(fresh_db.worker_url, threads=2)
    begun, release = threading.Semaphore(0), threading.Event()

    def hold() -> None:
        begun.release()
        release.wait(10)

    dramatiq.actor(broker=broker, actor_name="hold")(hold)
    db.execute("select queue.enqueue('hold', '{}') from generate_series(1, 10)")
    with working(broker) as worker:
        assert begun.acquire(timeout=10)
        assert begun.acquire(timeout=10)
        stopper = threading.Thread(target=worker.stop, kwargs={"timeout": 5000})
        stopper.start()
        time.sleep(0.3)
        assert states(db) == {"running": 2, "ready": 8}
        release.set()
        stopper.join()
        assert states(db) == {"succeeded": 2, "ready": 8}
    assert db.execute("select max(attempts) from queue.jobs where state = 'ready'").fetchone() == (0,)


def test_enqueue_says_when_the_database_is_away(fresh_db: FreshDatabase) -> None:
    broker = make_broker("postgresql://media_worker@127.0.0.1:1/nowhere")
    broker.pool.timeout = 0.3
    actor = dramatiq.actor(broker=broker, actor_name="noop")(lambda: None)
    with pytest.raises(ConnectionFailed):
        actor.send()
    broker.close()
