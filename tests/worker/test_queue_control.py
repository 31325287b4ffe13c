"""What operators do to the queue: pauses that claims honour, retries, cancels, purges; and workers' signs of life."""

from __future__ import annotations

import json
import threading
import time
from typing import Any
from uuid import uuid4

import dramatiq
import psycopg
import pytest

from tests.conftest import FreshDatabase
from tests.sql.scene import Scene, one, ready, upload
from tests.worker.test_queue_sql import claim, enqueue, state, value
from tests.worker.toys import Recorder, make_broker, wait_for, working

Connection = psycopg.Connection[Any]


def uploaded(scene: Scene) -> Any:
    """An image whose processing waits."""
    (image,) = upload(scene.conn, scene.owner, scene.listing)
    return image


def job(db: Connection, job_id: int) -> dict[str, Any]:
    row = db.execute("select to_jsonb(j) from queue.jobs as j where id = %s", (job_id,)).fetchone()
    assert row
    return dict(row[0])


def outcomes(db: Connection, action: str, *ids: int, reason: str | None = None) -> dict[int, str]:
    return dict(db.execute(f"select id, outcome from queue.{action}(%s, %s)", (list(ids), reason)).fetchall())


def die(db: Connection, job_id: int, error: str = "boom") -> None:
    """One attempt that fails for good."""
    rows = db.execute("select id, lease_token from queue.claim('default', 'w', 100)").fetchall()
    (token,) = [token for claimed, token in rows if claimed == job_id]
    db.execute("select queue.fail(%s, %s, %s, false)", (job_id, token, error))


# Pauses.


def test_nothing_is_claimed_of_a_paused_queue(db: Connection) -> None:
    waiting, elsewhere = enqueue(db), enqueue(db, queue="other")
    assert value(db, "select queue.pause('queue', 'default', 'storage is full')") is True
    assert value(db, "select queue.pause('queue', 'default')") is False
    assert claim(db, 10) == []
    assert [row[0] for row in claim(db, 10, queue="other")] == [elsewhere]
    assert value(db, "select queue.resume('queue', 'default')") == 0
    assert value(db, "select queue.resume('queue', 'default')") is None
    assert [row[0] for row in claim(db, 10)] == [waiting]


def test_a_paused_queue_still_takes_acknowledgements(db: Connection) -> None:
    done = enqueue(db)
    ((_, token, *_),) = claim(db)
    db.execute("select queue.pause('queue', 'default')")
    db.execute("select * from queue.claim('default', 'w', 1, '30 s', %s, %s)", ([done], [token]))
    assert state(db, done) == "succeeded"


def test_jobs_of_a_paused_actor_wait_and_others_go_on(db: Connection) -> None:
    paused = [enqueue(db, "slow") for _ in range(3)]
    other = enqueue(db, "quick")
    db.execute("select queue.pause('actor', 'slow')")
    late = enqueue(db, "slow")
    assert [row[0] for row in claim(db, 10)] == [other]
    assert claim(db, 10) == []
    assert value(db, "select queue.resume('actor', 'slow')") == 4
    assert sorted(row[0] for row in claim(db, 10)) == [*paused, late]


def test_parked_jobs_are_stepped_over_once(db: Connection) -> None:
    """A hundred thousand of them must not be read by every claim."""
    db.execute("select queue.enqueue('slow', '{}') from generate_series(1, 1200)")
    db.execute("select queue.pause('actor', 'slow')")
    assert value(db, "select queue.park('slow', 1000)") == 1000
    assert value(db, "select queue.park('slow', 1000)") == 200
    assert value(db, "select queue.park('slow', 1000)") == 0
    other = enqueue(db, "quick")
    assert [row[0] for row in claim(db, 10)] == [other]
    assert value(db, "select count(*) from queue.jobs where state = 'ready'") == 0


def test_what_is_not_paused_is_not_parked(db: Connection) -> None:
    enqueue(db, "slow")
    assert value(db, "select queue.park('slow')") == 0


def test_a_key_of_a_parked_job_is_still_taken(db: Connection) -> None:
    first = enqueue(db, "slow", dedupe_key="k")
    db.execute("select queue.pause('actor', 'slow')")
    db.execute("select queue.park('slow')")
    assert enqueue(db, "slow", dedupe_key="k") == first
    assert claim(db, 10) == []
    db.execute("select queue.resume('actor', 'slow')")
    assert [row[0] for row in claim(db, 10)] == [first]


def test_a_resume_misses_no_job_that_a_claim_is_parking(fresh_db: FreshDatabase) -> None:
    with (
        fresh_db.connect(autocommit=True) as operator,
        fresh_db.connect() as worker,
        fresh_db.connect(autocommit=True) as resumer,
    ):
        enqueue(operator, "slow")
        operator.execute("select queue.pause('actor', 'slow')")
        assert claim(worker, 10) == []  # parked, and not committed
        resumed: list[Any] = []
        thread = threading.Thread(
            target=lambda: resumed.append(value(resumer, "select queue.resume('actor', 'slow')"))
        )
        thread.start()
        time.sleep(0.2)
        assert resumed == []
        # Meanwhile other claims do not wait.
        assert claim(operator, 10, queue="other") == []
        worker.commit()
        thread.join(5)
        assert resumed == [1]
        assert len(claim(operator, 10)) == 1


def test_workers_see_a_pause_and_a_resume_within_a_second(fresh_db: FreshDatabase) -> None:
    done = Recorder()
    broker = make_broker(fresh_db.worker_url)

    def note() -> None:
        done.calls.append(time.monotonic())

    broker.declare_actor(_actor(broker, note))
    with fresh_db.connect(autocommit=True) as db, working(broker):
        enqueue(db, "note")
        wait_for(lambda: len(done.calls) == 1)
        db.execute("select queue.pause('actor', 'note')")
        for _ in range(5):
            enqueue(db, "note")
        time.sleep(1)
        assert len(done.calls) == 1
        before = time.monotonic()
        db.execute("select queue.resume('actor', 'note')")
        wait_for(lambda: len(done.calls) == 6)
        assert time.monotonic() - before < 1


def _actor(broker: Any, function: Any) -> Any:
    return dramatiq.actor(function, actor_name="note", broker=broker)


# Retries.


def test_a_dead_job_that_is_retried_keeps_its_history(db: Connection) -> None:
    dead = enqueue(db, max_attempts=3)
    die(db, dead, "no such model")
    assert outcomes(db, "retry", dead, reason="fixed") == {dead: "retried"}
    assert job(db, dead)["state"] == "scheduled"
    assert (job(db, dead)["attempts"], job(db, dead)["error"]) == (0, "no such model")
    before = value(db, "select before from queue.interventions where job_id = %s and reason = 'fixed'", dead)
    assert (before["state"], before["attempts"], before["error"]) == ("dead", 1, "no such model")
    assert [row[0] for row in claim(db)] == [dead]


def test_only_what_can_be_retried_is(db: Connection) -> None:
    running, waiting, done = enqueue(db), enqueue(db), enqueue(db)
    claimed = {row[0]: row[1] for row in claim(db, 3)}
    db.execute("select queue.complete(%s, %s)", (done, claimed[done]))
    db.execute("select queue.release(%s, %s)", ([waiting], [claimed[waiting]]))
    assert outcomes(db, "retry", running, waiting, done, 0) == {
        running: "running",
        waiting: "ready already",
        done: "succeeded",
    }
    assert value(db, "select count(*) from queue.interventions") == 0


def test_a_retry_gives_way_to_a_job_with_its_key(db: Connection) -> None:
    dead = enqueue(db, dedupe_key="k")
    die(db, dead)
    successor = enqueue(db, dedupe_key="k")
    assert outcomes(db, "retry", dead) == {dead: "superseded"}
    assert (state(db, dead), state(db, successor)) == ("dead", "ready")


def test_of_two_dead_jobs_with_one_key_one_is_retried(db: Connection) -> None:
    first = enqueue(db, dedupe_key="k")
    die(db, first)
    second = enqueue(db, dedupe_key="k")
    die(db, second)
    assert outcomes(db, "retry", first, second) == {first: "retried", second: "superseded"}


def test_a_wait_for_the_next_attempt_can_be_cut_short(db: Connection) -> None:
    failing = enqueue(db)
    ((_, token, *_),) = claim(db)
    db.execute("select queue.fail(%s, %s, 'later', true, '1 hour')", (failing, token))
    assert claim(db) == []
    assert outcomes(db, "retry", failing) == {failing: "retried"}
    assert job(db, failing)["attempts"] == 1
    assert len(claim(db)) == 1


def test_a_dead_processing_job_brings_its_image_back(db: Connection) -> None:
    scene = Scene(db)
    image_id = uploaded(scene)
    processing = one(db, "select id from queue.jobs where actor = 'process_image' and state = 'ready'")
    die(db, processing)
    assert one(db, "select state from public.listing_images where id = %s", image_id) == "failed"
    assert outcomes(db, "retry", processing) == {processing: "retried"}
    assert one(db, "select state from public.listing_images where id = %s", image_id) == "uploaded"
    assert one(db, "select error from public.listing_images where id = %s", image_id) is None


def test_a_dead_review_brings_its_photo_back(db: Connection) -> None:
    scene = Scene(db)
    (image,) = ready(db, scene.owner, scene.listing, 1)
    db.execute(
        "update public.site_policies set photo_review_enabled = true, photo_review_provider = 'gemini'"
    )
    db.execute("update public.listing_images set review_state = 'pending' where id = %s", [image])
    review = one(db, "select id from queue.jobs where actor = 'review_image' and state = 'ready'")
    die(db, review)
    assert one(db, "select review_state from public.listing_images where id = %s", image) == "error"
    assert outcomes(db, "retry", review) == {review: "retried"}
    assert one(db, "select review_state from public.listing_images where id = %s", image) == "pending"
    waiting = one(
        db, "select count(*) from queue.jobs where actor = 'review_image' and state in ('scheduled', 'ready')"
    )
    assert waiting == 1


def test_a_dead_generation_is_its_owners_to_retry(db: Connection) -> None:
    dead = enqueue(db, "generate")
    die(db, dead)
    assert outcomes(db, "retry", dead) == {dead: "retry_generation instead"}


def test_a_dead_fill_is_its_owners_to_request_again(db: Connection) -> None:
    dead = enqueue(db, "fill_listing")
    die(db, dead)
    waiting = one(db, "select queue.enqueue('fill_listing', '{}', run_at => now() + interval '1 min')")
    # One that has attempts left has not failed for its owner.
    assert outcomes(db, "retry", dead, waiting) == {dead: "request_fill instead", waiting: "retried"}
    assert state(db, dead) == "dead"


# Cancels.


def test_a_canceled_running_job_refuses_its_workers_result(db: Connection) -> None:
    running = enqueue(db)
    ((_, token, *_),) = claim(db)
    assert outcomes(db, "cancel", running, reason="runaway") == {running: "canceled"}
    assert job(db, running)["error"] == "canceled by an operator: runaway"
    with pytest.raises(psycopg.Error) as refused, db.transaction():
        db.execute("select queue.complete(%s, %s)", (running, token))
    assert refused.value.sqlstate == "IL001"
    lost = db.execute("select * from queue.extend(%s, %s)", ([running], [token])).fetchall()
    assert lost == [(running,)]
    late = db.execute("select * from queue.acknowledge(%s, %s)", ([running], [token])).fetchall()
    assert late == [(running,)]
    assert state(db, running) == "canceled"


def test_waiting_jobs_are_canceled_and_finished_ones_are_not(db: Connection) -> None:
    done = enqueue(db)
    die(db, done)
    ready, future = enqueue(db), enqueue(db, run_at="2100-01-01")
    assert outcomes(db, "cancel", done, ready, future) == {
        done: "finished already",
        ready: "canceled",
        future: "canceled",
    }
    assert claim(db, 10) == []


def test_a_canceled_processing_job_leaves_a_reason(db: Connection) -> None:
    scene = Scene(db)
    image_id = uploaded(scene)
    processing = one(db, "select id from queue.jobs where actor = 'process_image'")
    outcomes(db, "cancel", processing)
    assert db.execute(
        "select state, is_retryable from public.listing_images where id = %s", [image_id]
    ).fetchone() == ("failed", True)


def test_a_cancel_beside_a_successor_changes_nothing_else(db: Connection) -> None:
    scene = Scene(db)
    (image,) = ready(db, scene.owner, scene.listing)
    db.execute(
        "update public.site_policies set photo_review_enabled = true, photo_review_provider = 'gemini'"
    )
    db.execute("update public.listing_images set review_state = 'pending' where id = %s", [image])
    review = one(db, "select id from queue.jobs where actor = 'review_image'")
    claim(db, 10)
    assert enqueue(db, "review_image", dedupe_key=job(db, review)["dedupe_key"]) != review
    assert outcomes(db, "cancel", review) == {review: "canceled"}
    assert one(db, "select review_state from public.listing_images where id = %s", image) == "pending"


def test_what_a_worker_is_ending_right_now_is_skipped(fresh_db: FreshDatabase) -> None:
    with fresh_db.connect(autocommit=True) as db, fresh_db.connect() as worker:
        ending = enqueue(db)
        ((_, token, *_),) = claim(db)
        worker.execute("select queue.complete(%s, %s)", (ending, token))
        assert outcomes(db, "cancel", ending) == {}
        assert outcomes(db, "retry", ending) == {}
        worker.commit()
        assert outcomes(db, "cancel", ending) == {ending: "finished already"}


# Purges.


def test_only_finished_jobs_are_purged(db: Connection) -> None:
    dead = enqueue(db, "gone")
    die(db, dead)
    ready = enqueue(db)
    running = enqueue(db, queue="other")
    claim(db, queue="other")
    assert value(db, "select queue.purge(%s, 'tidy')", [dead, ready, running]) == 1
    assert (state(db, dead), state(db, ready), state(db, running)) == (None, "ready", "running")
    assert value(db, "select before from queue.interventions where action = 'purge'") == {"gone dead": 1}


def test_old_interventions_are_pruned(db: Connection) -> None:
    db.execute(
        "insert into queue.interventions (action, done_at) values ('purge', now() - interval '2 years')"
    )
    db.execute("select queue.pause('queue', 'default')")
    db.execute("select queue.prune()")
    assert value(db, "select array_agg(action) from queue.interventions") == ["pause"]


# Rights.


@pytest.mark.parametrize(
    "call",
    [
        "queue.pause('queue', 'default')",
        "queue.resume('queue', 'default')",
        "queue.park('x')",
        "queue.park_head('default')",
        "queue.refresh_head('default')",
        "queue.retry('{1}')",
        "queue.cancel('{1}')",
        "queue.purge('{1}')",
    ],
)
def test_operators_only(fresh_db: FreshDatabase, call: str) -> None:
    with (
        fresh_db.connect_worker() as worker,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        worker.execute(f"select {call}")  # type: ignore[arg-type]


# Signs of life.


def test_a_worker_is_seen_while_it_is_idle_and_gone_when_it_stops(fresh_db: FreshDatabase) -> None:
    broker = make_broker(fresh_db.worker_url)
    broker.declare_actor(_actor(broker, lambda: None))
    with fresh_db.connect(autocommit=True) as db:
        with working(broker):
            wait_for(lambda: value(db, "select count(*) from queue.heartbeats") == 1)
            row = db.execute(
                "select worker, queues, thread_count, held_count, has_broker from queue.heartbeats"
            ).fetchone()
            assert row == (broker.worker_id, ["default"], 4, 0, False)
        assert value(db, "select count(*) from queue.heartbeats") == 0


def test_signs_of_life_of_yesterday_are_forgotten(db: Connection) -> None:
    db.execute(
        "insert into queue.heartbeats (worker, queues, thread_count, held_count, seen_at)"
        " values ('old', '{}', 1, 0, now() - interval '2 days')"
    )
    for held in (0, 3):
        db.execute("select queue.beat('new', '{default}', 2, %s)", (held,))
    assert db.execute("select worker, held_count from queue.heartbeats").fetchall() == [("new", 3)]
    db.execute("select queue.leave('new')")
    assert value(db, "select count(*) from queue.heartbeats") == 0


def test_args_of_any_shape_do_not_stop_an_operator(db: Connection) -> None:
    """A job whose args are not what its actor expects is still an operator's to cancel and retry."""
    odd = enqueue(db, "process_image")
    db.execute("update queue.jobs set args = %s where id = %s", (json.dumps({"image_id": "x"}), odd))
    assert outcomes(db, "cancel", odd) == {odd: "canceled"}
    assert outcomes(db, "retry", odd) == {odd: "retried"}
    assert outcomes(db, "cancel", enqueue(db, "review_image", owner_id=uuid4())) != {}
