"""Outbox mode when the broker answers, and no message comes: it takes nothing more, or nobody sends."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
import redis as redis_client

from tests.conftest import FreshDatabase
from tests.support.brokers import Server
from tests.worker.test_outbox import assert_once, db, options_for, redis, relaying, states
from tests.worker.toys import declare_toys, make_broker, wait_for, working
from worker.outbox import consumer as outbox_consumer

__all__ = ["db", "redis"]


def test_the_table_is_asked_when_nothing_comes(
    fresh_db: FreshDatabase,
    db: psycopg.Connection[Any],
    redis: Server,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Redis without memory (noeviction) refuses every write; then there is no relay at all, as where RabbitMQ's
    alarm blocks who publishes: receivers are connected and hear nothing."""
    monkeypatch.setattr(outbox_consumer, "FALL_BACK_SECONDS", 0.5)
    options = options_for(redis)
    broker = make_broker(fresh_db.worker_url, **options)
    declare_toys(broker)
    done = 0

    def ten_more(seconds: float = 0) -> None:
        nonlocal done
        done += 10
        db.execute(
            "select queue.enqueue('effect', jsonb_build_object('seconds', %s::float)) from generate_series(1, 10)",
            (seconds,),
        )
        wait_for(lambda: states(db) == {"succeeded": done}, 10)

    with redis_client.Redis.from_url(redis.url) as server, working(broker):
        with relaying(fresh_db, options) as relay:
            ten_more()
            try:
                server.config_set("maxmemory", 1)
                # So slow that the relay comes to publish some of them, before the worker asks for them by itself.
                for _ in range(10):
                    ten_more(seconds=0.1)
                    if not relay.has_wire():
                        break
                assert not relay.has_wire()
                assert "maxmemory" in caplog.text
            finally:
                server.config_set("maxmemory", 0)
            wait_for(lambda: relay.has_wire() and broker.is_wired(), 10)
            ten_more()
        ten_more()
        assert broker.is_wired()
        # A new relay, and its messages are heard again.
        with relaying(fresh_db, options):
            ten_more()
    assert_once(db, done)
