"""Outbox mode on a real Redis and a real RabbitMQ: what a message says is a hint, and the table is the truth."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import dramatiq
import httpx
import psycopg
import pytest

from tests.conftest import FreshDatabase
from tests.support.brokers import RabbitMq, Redis, Server, free_port, running
from tests.support.stack import ROOT, clean_environment
from tests.worker.test_worker_process import process
from tests.worker.toys import Recorder, create_effects, declare_toys, make_broker, wait_for, working
from worker import metrics
from worker.config import Settings
from worker.errors import ConfigError
from worker.identity import worker_identity
from worker.main import run
from worker.outbox import consumer as outbox_consumer
from worker.outbox import wire as wires
from worker.outbox.relay import Relay
from worker.outbox.wire import Wire


@pytest.fixture
def db(fresh_db: FreshDatabase) -> Iterator[psycopg.Connection[Any]]:
    create_effects(fresh_db.url)
    with fresh_db.connect(autocommit=True) as connection:
        yield connection


def start(kind: type[Server], folder: Path) -> Iterator[Server]:
    missing = kind.missing()
    if missing:
        pytest.skip(missing)
    with running(kind, folder) as server:
        yield server


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from start(Redis, tmp_path_factory.mktemp("redis") / "data")


@pytest.fixture(scope="module")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from start(RabbitMq, tmp_path_factory.mktemp("rabbitmq") / "data")


@pytest.fixture
def options(redis: Server) -> dict[str, Any]:
    return options_for(redis)


def options_for(server: Server) -> dict[str, Any]:
    """Settings of a test: its own queues on the server."""
    return {
        "broker_url": server.url,
        "broker_namespace": f"t{uuid4().hex[:12]}",
        "broker_republish_seconds": 1.0,
        "poll_seconds": 0.1,
        "lease_seconds": 3.0,
    }


@contextmanager
def relaying(fresh_db: FreshDatabase, options: dict[str, Any]) -> Iterator[Relay]:
    url = fresh_db.worker_url
    relay = Relay(Settings(db_url=url, listen_url=url, **options), worker_identity())
    relay.start()
    try:
        yield relay
    finally:
        relay.stop()


def states(db: psycopg.Connection[Any]) -> dict[str, int]:
    return dict(db.execute("select state, count(*)::int from queue.jobs group by state").fetchall())


def count(db: psycopg.Connection[Any], query: str) -> int:
    row = db.execute(query).fetchone()  # type: ignore[arg-type]
    assert row is not None
    return int(row[0])


def assert_once(db: psycopg.Connection[Any], jobs: int) -> None:
    assert states(db) == {"succeeded": jobs}
    assert db.execute("select count(*), count(distinct job_id) from public.effects").fetchone() == (
        jobs,
        jobs,
    )


def settle(db: psycopg.Connection[Any], jobs: int) -> bool:
    """Whether all is done; what waits for its retry need not wait."""
    db.execute("update queue.jobs set run_at = now() where state = 'scheduled' and run_at < 'infinity'")
    return states(db) == {"succeeded": jobs}


@pytest.mark.parametrize("kind", ["redis", "rabbitmq"])
def test_each_effect_is_there_once_whatever_dies(
    request: pytest.FixtureRequest, fresh_db: FreshDatabase, db: psycopg.Connection[Any], kind: str
) -> None:
    """Doubled and foreign messages, kill -9 of the worker that leads, a broker that comes back empty."""
    server: Server = request.getfixturevalue(kind)
    options = options_for(server)
    jobs = 200
    db.execute(
        "select queue.enqueue('effect', '{\"seconds\": 0.01}', max_attempts => 50)"
        " from generate_series(1, %s)",
        (jobs,),
    )
    wire = Wire(server.url, options["broker_namespace"])
    wire.send("default", [(number, "effect") for number in (1, 2, 3, 1, 2, 3, 2**62)])
    environment = {
        "BROKER_URL": server.url,
        "BROKER_NAMESPACE": options["broker_namespace"],
        "BROKER_REPUBLISH_SECONDS": "1",
        "WORKER_LEASE_SECONDS": "2",
    }
    leader = "select worker from queue.relays where leased_until > now()"
    with process(fresh_db, **environment) as first:
        wait_for(lambda: states(db).get("succeeded", 0) > 20)
        with process(fresh_db, **environment):
            wait_for(lambda: count(db, "select count(*) from queue.heartbeats") == 2)
            assert f"/{first.pid}/" in str(db.execute(leader).fetchone())
            db.execute(
                "select queue.enqueue('effect', '{\"seconds\": 0.01}', max_attempts => 50)"
                " from generate_series(1, %s)",
                (jobs,),
            )
            first.kill()
            first.wait()
            server.kill()
            server.lose_data()
            server.start()
            wait_for(lambda: settle(db, 2 * jobs))
            assert f"/{first.pid}/" not in str(db.execute(leader).fetchone())
            # It goes on with what comes later, by the wire.
            db.execute("select queue.enqueue('effect', '{\"seconds\": 0}') from generate_series(1, 20)")
            wait_for(lambda: settle(db, 2 * jobs + 20))
            wait_for(lambda: count(db, "select count(*) from queue.publications") == 0)
    assert_once(db, 2 * jobs + 20)
    wire.reset()


def test_messages_come_in_the_order_of_claims_and_few_at_a_time(
    fresh_db: FreshDatabase, db: psycopg.Connection[Any], options: dict[str, Any]
) -> None:
    """One owner's 300 jobs do not hold up another's one: it is behind a window, not behind a backlog."""
    db.execute(
        "select queue.enqueue('note', jsonb_build_object('name', 'many'), %s) from generate_series(1, 300)",
        (uuid4(),),
    )
    seen = Recorder()
    broker = make_broker(fresh_db.worker_url, threads=2, **options)

    @dramatiq.actor(broker=broker)
    def note(name: str) -> None:
        time.sleep(0.005)
        seen(name)

    came = metrics.WIRE_MESSAGES.labels("default", "claimed")
    before = came._value.get()
    with relaying(fresh_db, options):
        wait_for(lambda: count(db, "select count(*) from queue.publications") == 8)
        db.execute("select queue.enqueue('note', jsonb_build_object('name', 'one'), %s)", (uuid4(),))
        with working(broker):
            wait_for(lambda: states(db) == {"succeeded": 301})
    assert seen.calls.index("one") < 60
    assert came._value.get() - before == 301


def test_a_delayed_job_and_a_retry_come_back_through_the_table(
    fresh_db: FreshDatabase, db: psycopg.Connection[Any], options: dict[str, Any]
) -> None:
    broker = make_broker(fresh_db.worker_url, **options)
    declare_toys(broker)
    db.execute("select queue.enqueue('nap', '{}', run_at => now() + interval '0.7 s')")
    db.execute("select queue.enqueue('flaky', '{\"times\": 1}')")
    db.execute("select queue.enqueue('hopeless', '{}')")
    with relaying(fresh_db, options), working(broker):
        wait_for(lambda: states(db) == {"succeeded": 2, "dead": 1})
    rows = dict(db.execute("select actor, (attempts, started_at >= run_at) from queue.jobs").fetchall())
    assert rows == {"nap": ("1", "t"), "flaky": ("2", "t"), "hopeless": ("1", "t")}


@pytest.mark.parametrize("kind", ["queue", "actor"])
def test_pause_and_resume(
    fresh_db: FreshDatabase, db: psycopg.Connection[Any], options: dict[str, Any], kind: str
) -> None:
    """Also of jobs that are on the wire already."""
    name = {"queue": "default", "actor": "nap"}[kind]
    broker = make_broker(fresh_db.worker_url, **options)
    declare_toys(broker)
    db.execute("select queue.enqueue('nap', '{}') from generate_series(1, 30)")
    with relaying(fresh_db, options):
        wait_for(lambda: count(db, "select count(*) from queue.publications") == 8)
        db.execute("select queue.pause(%s, %s)", (kind, name))
        with working(broker):
            wait_for(lambda: count(db, "select count(*) from queue.publications") == 0)
            time.sleep(0.3)
            assert "succeeded" not in states(db)
            db.execute("select queue.resume(%s, %s)", (kind, name))
            wait_for(lambda: states(db) == {"succeeded": 30})


def test_what_the_broker_loses_is_sent_again(
    fresh_db: FreshDatabase, db: psycopg.Connection[Any], options: dict[str, Any]
) -> None:
    """Purged, with nobody there to notice."""
    broker = make_broker(fresh_db.worker_url, **options)
    declare_toys(broker)
    wire = Wire(options["broker_url"], options["broker_namespace"])
    db.execute("select queue.enqueue('nap', '{}') from generate_series(1, 5)")
    with relaying(fresh_db, options):
        wait_for(lambda: wire.depth("default") == 5)
        first = db.execute("select max(published_until) from queue.publications").fetchone()
        # What waits for a worker stays on the wire, however long.
        wait_for(lambda: db.execute("select min(published_until) from queue.publications").fetchone() > first)
        assert wire.depth("default") == 5
        wire._open().flush(f"{options['broker_namespace']}.default")
        with working(broker):
            wait_for(lambda: states(db) == {"succeeded": 5})
    wire.reset()


def test_a_busy_worker_gives_back_what_it_cannot_begin(
    fresh_db: FreshDatabase, db: psycopg.Connection[Any], options: dict[str, Any]
) -> None:
    options["broker_republish_seconds"] = 60.0
    busy = make_broker(fresh_db.worker_url, threads=1, **options)
    free = make_broker(fresh_db.worker_url, threads=1, **options)
    declare_toys(busy)
    declare_toys(free)
    with relaying(fresh_db, options), working(busy):
        db.execute("select queue.enqueue('nap', '{\"seconds\": 4}')")
        wait_for(lambda: states(db) == {"running": 1})
        db.execute("select queue.enqueue('nap', '{}') from generate_series(1, 3)")
        time.sleep(0.3)
        with working(free):
            wait_for(lambda: states(db) == {"running": 1, "succeeded": 3}, 3)


def test_the_broker_is_away_and_the_work_goes_on(
    fresh_db: FreshDatabase,
    db: psycopg.Connection[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """From the table, once it has been away for long enough; over the wire again when it is back."""
    if Redis.missing():
        pytest.skip(str(Redis.missing()))
    monkeypatch.setattr(outbox_consumer, "FALL_BACK_SECONDS", 0.5)
    with running(Redis, tmp_path / "redis") as server:
        options = options_for(server)
        broker = make_broker(fresh_db.worker_url, **options)
        declare_toys(broker)
        with relaying(fresh_db, options) as relay, working(broker):
            db.execute("select queue.enqueue('nap', '{}') from generate_series(1, 10)")
            wait_for(lambda: states(db) == {"succeeded": 10})
            assert broker.is_wired()
            assert relay.has_wire()
            server.kill()
            wait_for(lambda: not broker.is_wired())
            db.execute("select queue.enqueue('nap', '{}') from generate_series(1, 10)")
            wait_for(lambda: states(db) == {"succeeded": 20})
            assert "message broker is away" in caplog.text
            assert not relay.has_wire()
            server.start()
            wait_for(lambda: broker.is_wired() and relay.has_wire())
            db.execute("select queue.enqueue('nap', '{}') from generate_series(1, 10)")
            wait_for(lambda: states(db) == {"succeeded": 30})
            assert relay.is_turning()
            wait_for(lambda: count(db, "select count(*) from queue.heartbeats where has_broker") == 1)


def test_table_and_wire_beside_each_other(
    fresh_db: FreshDatabase, db: psycopg.Connection[Any], options: dict[str, Any]
) -> None:
    """A deploy that changes the mode: workers of both at once."""
    over_wire = make_broker(fresh_db.worker_url, **options)
    from_table = make_broker(fresh_db.worker_url)
    declare_toys(over_wire)
    declare_toys(from_table)
    with relaying(fresh_db, options), working(over_wire), working(from_table):
        db.execute("select queue.enqueue('effect', '{\"seconds\": 0.002}') from generate_series(1, 400)")
        wait_for(lambda: states(db) == {"succeeded": 400})
    assert_once(db, 400)


def test_a_relay_alone_and_its_successor(
    fresh_db: FreshDatabase, db: psycopg.Connection[Any], options: dict[str, Any], tmp_path: Path
) -> None:
    """`imageledger relay` twice; the one that leads is killed, and the other takes over."""
    broker = make_broker(fresh_db.worker_url, **options)
    declare_toys(broker)
    environment = clean_environment(
        WORKER_DB_URL=fresh_db.worker_url,
        WORKER_LEASE_SECONDS="1",
        SUPABASE_URL="http://127.0.0.1:1",
        BROKER_URL=options["broker_url"],
        BROKER_NAMESPACE=options["broker_namespace"],
    )
    leader = "select worker from queue.relays where leased_until > now()"
    ports = [free_port(), free_port()]
    relays = [
        subprocess.Popen(
            [sys.executable, "-m", "cli.main", "relay"],
            cwd=ROOT,
            env=environment | {"WORKER_HTTP_PORT": str(port)},
        )
        for port in ports
    ]
    try:
        with working(broker):
            for _ in range(2):
                db.execute("select queue.enqueue('nap', '{}') from generate_series(1, 5)")
                wait_for(lambda: set(states(db)) == {"succeeded"})
                wait_for(lambda: db.execute(leader).fetchone())
                leads = int(str(db.execute(leader).fetchone()).split("/")[3])
                one = next((relay for relay in relays if relay.pid == leads), None)
                if one is not None and len([r for r in relays if r.poll() is None]) == 2:
                    one.send_signal(signal.SIGKILL)
                    one.wait()
            port = ports[next(n for n, relay in enumerate(relays) if relay.poll() is None)]
            for path in ("healthz", "readyz"):
                assert httpx.get(f"http://127.0.0.1:{port}/{path}").status_code == 200
            assert (
                'imageledger_published_total{queue="default"} 5.0'
                in httpx.get(f"http://127.0.0.1:{port}/metrics").text
            )
            left = next(relay for relay in relays if relay.poll() is None)
            assert left.pid == leads
            left.terminate()
            assert left.wait(10) == 0
            assert db.execute(leader).fetchone() is None
    finally:
        for relay in relays:
            relay.kill()
            relay.wait()


def test_settings_that_cannot_work() -> None:
    base = {"WORKER_DB_URL": "postgresql://x", "SUPABASE_URL": "http://x", "SUPABASE_SERVICE_ROLE_KEY": "k"}
    with pytest.raises(ConfigError, match="BROKER_URL must be"):
        run(Settings.from_env(base | {"BROKER_URL": "kafka://somewhere"}))
    with pytest.raises(ConfigError, match="BROKER_NAMESPACE"):
        Settings.from_env(base | {"BROKER_NAMESPACE": "a b"})
    assert "secret" not in repr(Settings.from_env(base | {"BROKER_URL": "amqp://me:secret@host"}))


def test_packages_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(is_redis: bool) -> Any:
        raise ImportError("No module named 'pika'")

    monkeypatch.setattr(wires, "_errors", absent)
    with pytest.raises(ConfigError, match=r"imageledger\[outbox\]"):
        wires.check("amqp://host")
