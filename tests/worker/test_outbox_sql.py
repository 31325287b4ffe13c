"""The outbox's SQL: what is published, to whom it belongs, what a message can claim. No broker takes part."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.conftest import FreshDatabase
from tests.worker.test_queue_sql import claim, enqueue, state, value

Connection = psycopg.Connection[Any]


def publish(db: Connection, most: int, life: str = "10 s", *, is_on_wire: bool = False) -> list[int]:
    rows = db.execute(
        "select id from queue.publish('default', %s, %s::interval, %s)", (most, life, is_on_wire)
    ).fetchall()
    return [row[0] for row in rows]


def take(db: Connection, ids: list[int], *, queue: str = "default", worker: str = "w") -> list[int]:
    rows = db.execute(
        "select id from queue.claim_published(%s, %s, %s::bigint[])", (queue, worker, ids)
    ).fetchall()
    return [row[0] for row in rows]


def outbox(db: Connection) -> dict[str, tuple[int, int]]:
    return {row[0]: row[1:] for row in db.execute("select * from queue.outbox()").fetchall()}


def test_published_in_the_order_of_claims_and_once(db: Connection) -> None:
    anna, bert = uuid4(), uuid4()
    many = [enqueue(db, owner_id=anna) for _ in range(10)]
    one, urgent = enqueue(db, owner_id=bert), enqueue(db, owner_id=anna, priority=-1)
    first = publish(db, 4)
    assert first == [urgent, many[0], one, many[1]]
    assert publish(db, 100) == many[2:]
    assert publish(db, 100) == []
    assert take(db, first) == first
    assert outbox(db) == {"default": (8, 0)}


def test_sent_again_when_its_time_is_over_unless_it_is_on_the_wire(db: Connection) -> None:
    job = enqueue(db)
    assert publish(db, 5, "0 s") == [job]
    assert publish(db, 5, "1 s") == [job]
    assert publish(db, 5, "10 s", is_on_wire=True) == []
    assert value(db, "select published_until > now() + '9 s' from queue.publications")
    db.execute("select queue.retract(%s)", ([job, 4711],))
    assert publish(db, 5) == [job]


def test_a_message_claims_its_job_and_nothing_else(db: Connection) -> None:
    job, other_queue = enqueue(db), enqueue(db, queue="side")
    later = value(db, "select queue.enqueue('noop', '{}', run_at => now() + interval '1 hour')")
    done = enqueue(db)
    db.execute("update queue.jobs set state = 'canceled', finished_at = now() where id = %s", (done,))
    assert take(db, [other_queue, later, done, 4711, -1]) == []
    # Unpublished, late, or published by another relay: the job waits, so it may be claimed.
    assert take(db, [job, job]) == [job]
    assert take(db, [job]) == []
    assert [state(db, j) for j in (job, other_queue, later)] == ["running", "ready", "scheduled"]
    assert value(db, "select attempts from queue.jobs where id = %s", job) == 1


def test_claims_and_acknowledges_in_one_trip(db: Connection) -> None:
    first, second = enqueue(db), enqueue(db)
    take(db, [first])
    token = value(db, "select lease_token from queue.jobs where id = %s", first)
    rows = db.execute(
        "select id, actor from queue.claim_published('default', 'w', %s, done_ids => %s, done_tokens => %s)",
        ([second], [first, 4711], [token, uuid4()]),
    ).fetchall()
    assert rows == [(4711, None), (second, "noop")]
    assert state(db, first) == "succeeded"


@pytest.mark.parametrize("kind", ["queue", "actor"])
def test_a_pause_holds_for_what_is_published_and_what_is_not(db: Connection, kind: str) -> None:
    jobs = [enqueue(db) for _ in range(3)]
    published = publish(db, 2)
    db.execute("select queue.pause(%s, %s)", (kind, {"queue": "default", "actor": "noop"}[kind]))
    assert take(db, published) == []
    assert value(db, "select count(*) from queue.publications") == 0
    assert publish(db, 5) == []
    db.execute("select queue.resume(%s, %s)", (kind, {"queue": "default", "actor": "noop"}[kind]))
    assert sorted(publish(db, 5)) == jobs


def test_a_key_that_runs_is_neither_published_nor_claimed(db: Connection) -> None:
    running = enqueue(db, dedupe_key="k")
    take(db, [running])
    waiting = enqueue(db, dedupe_key="k")
    assert publish(db, 5) == []
    assert take(db, [waiting]) == []
    db.execute("select queue.complete(id, lease_token) from queue.jobs where id = %s", (running,))
    assert publish(db, 5) == [waiting]


def test_what_others_claimed_from_the_table_is_forgotten(db: Connection) -> None:
    enqueue(db)
    publish(db, 1)
    claim(db, 1)
    assert outbox(db) == {"default": (0, 0)}
    assert publish(db, 1) == []
    assert outbox(db) == {}


def test_outbox_names_the_queues_with_work_and_their_threads(db: Connection) -> None:
    enqueue(db, queue="b")
    enqueue(db, queue="a")
    db.execute("select queue.enqueue('noop', '{}', queue => 'c', run_at => now() + interval '1 hour')")
    db.execute("select queue.enqueue('noop', '{}', queue => 'd', run_at => now())")
    db.execute("update queue.jobs set state = 'scheduled', run_at = now() - interval '1 s' where queue = 'd'")
    db.execute("select queue.beat('x', array['a', 'b'], 4, 0), queue.beat('y', array['a'], 3, 0)")
    assert outbox(db) == {"a": (0, 7), "b": (0, 4), "d": (0, 0)}


def test_one_relay_leads_and_hands_over(db: Connection) -> None:
    def lead(who: str, lease: str = "5 s") -> Any:
        return value(db, "select queue.lead_relay(%s, %s::interval)", who, lease)

    assert [lead("a"), lead("b"), lead("a")] == [True, False, True]
    assert lead("a", "0 s") is True
    assert [lead("b"), lead("a")] == [True, False]
    db.execute("update queue.relays set leased_until = now() - interval '1 s'")
    assert lead("a") is True


def test_the_worker_may_call_them_and_read_no_table(fresh_db: FreshDatabase) -> None:
    with fresh_db.connect_worker(autocommit=True) as worker, fresh_db.connect(autocommit=True) as db:
        job = enqueue(db)
        assert value(worker, "select queue.lead_relay('a', '5 s')") is True
        assert outbox(worker) == {"default": (0, 0)}
        assert publish(worker, 1) == [job]
        worker.execute("select queue.retract(%s)", ([job],))
        assert take(worker, [job]) == [job]
        for table in ("publications", "relays"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                worker.execute(f"select * from queue.{table}")


def test_doubled_messages_and_two_relays_at_once(fresh_db: FreshDatabase) -> None:
    """Four connections with the same ids in different orders: each job goes to one, and nobody waits in a circle."""
    with fresh_db.connect(autocommit=True) as db:
        db.execute("select queue.enqueue('noop', '{}') from generate_series(1, 300)")

    all_published = Barrier(4, timeout=60)

    def work(number: int) -> tuple[list[int], list[int]]:
        with fresh_db.connect_worker(autocommit=True) as connection:
            published = publish(connection, 200)
            # An id that two take at once is free to be published again: not while others still publish.
            all_published.wait()
            ids = list(range(1, 301))[:: 1 if number % 2 else -1]
            return published, [job for n in range(0, 300, 25) for job in take(connection, ids[n : n + 25])]

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(work, range(4)))
    published = [job for jobs, _ in results for job in jobs]
    claimed = [job for _, jobs in results for job in jobs]
    assert len(published) == len(set(published))
    assert len(claimed) == len(set(claimed))
    with fresh_db.connect(autocommit=True) as db:
        # What one was changing while another looked is published again.
        assert value(db, "select count(*) from queue.jobs where state = 'ready'") == 300 - len(claimed)
        left = publish(db, 300)
        assert len(take(db, left)) == 300 - len(claimed)
