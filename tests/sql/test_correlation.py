"""Correlation ids in SQL: where they come from, what is not taken, and how jobs hand them on."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.sql.scene import Scene, file, finish, one, reserve, store
from tests.support.roles import as_user

Connection = psycopg.Connection[Any]

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def request(db: Connection, headers: dict[str, str] | str | None = None) -> None:
    """As at the beginning of a transaction that serves an API request with these headers."""
    text = headers if isinstance(headers, str) else json.dumps(headers) if headers is not None else ""
    db.execute(
        "select set_config('request.headers', %s, true), set_config('imageledger.correlation_id', '', true),"
        " set_config('imageledger.trace_parent', '', true)",
        [text],
    )


def enqueued(db: Connection, **options: Any) -> tuple[str, str | None]:
    """Both ids of a new job."""
    names = "".join(f", {name} => %({name})s" for name in options)
    job = db.execute(f"select queue.enqueue('noop', '{{}}'{names})", options).fetchone()
    assert job
    row = db.execute("select correlation_id, trace_parent from queue.jobs where id = %s", job).fetchone()
    assert row
    return row[0], row[1]


def ids_of(db: Connection, actor: str) -> tuple[str, str | None]:
    """Of the newest job of an actor."""
    row = db.execute(
        "select correlation_id, trace_parent from queue.jobs where actor = %s order by id desc limit 1",
        [actor],
    ).fetchone()
    assert row
    return row[0], row[1]


def is_new(word: str) -> bool:
    return str(UUID(word)) == word


@pytest.mark.parametrize(
    ("headers", "correlation", "trace"),
    [
        ({"x-correlation-id": "checkout-4711"}, "checkout-4711", None),
        ({"x-request-id": "a.b_c:d-e"}, "a.b_c:d-e", None),
        ({"x-request-id": "proxy", "x-correlation-id": "client"}, "client", None),
        ({"x-request-id": "proxy", "x-correlation-id": "no good"}, "proxy", None),
        ({"traceparent": TRACE}, "4bf92f3577b34da6a3ce929d0e0e4736", TRACE),
        ({"traceparent": TRACE, "x-correlation-id": "client"}, "client", TRACE),
        ({"x-correlation-id": "x" * 128}, "x" * 128, None),
    ],
)
def test_a_job_belongs_to_the_request(
    db: Connection, headers: dict[str, str], correlation: str, trace: str | None
) -> None:
    request(db, headers)
    assert enqueued(db) == (correlation, trace)
    assert enqueued(db) == (correlation, trace)


@pytest.mark.parametrize(
    "word",
    [
        *("a\nb", "a\n", "a\r\nX-Admin: 1", "\t", " ", "", "x" * 129, "x" * 10_000, '{"a": 1}', "a'b", 'a"b'),
        *(
            "a;b",
            "a b",
            "ä",
            "\u202e",
            "<script>",
            "%0a",
            "${jndi:ldap://x}",
            "\x1b[31m",
            "me@example.com",
            "\\",
        ),
        "a\x00b",
    ],
)
def test_what_is_no_plain_word_is_as_if_it_was_not_there(db: Connection, word: str) -> None:
    request(db, {"x-correlation-id": word, "x-request-id": word, "traceparent": word})
    correlation, trace = enqueued(db)
    assert is_new(correlation)
    assert trace is None
    assert enqueued(db)[0] == correlation, "one transaction, one id"
    # Nor by the other ways in.
    db.execute(
        "select set_config('imageledger.correlation_id', %s, true)", [word.replace("\x00", "")[:5000] + " "]
    )
    assert is_new(enqueued(db)[0])
    if "\x00" not in word:
        assert is_new(enqueued(db, correlation_id=word, trace_parent=word)[0])


@pytest.mark.parametrize(
    "headers", ["", "no json", "[1]", '"x"', "null", "{", '{"x-correlation-id": {"a": 1}}']
)
def test_headers_that_make_no_sense_are_no_error(db: Connection, headers: str) -> None:
    request(db, headers)
    assert is_new(enqueued(db)[0])


@pytest.mark.parametrize(
    "trace",
    [
        TRACE.upper(),
        "ff" + TRACE[2:],
        "00-" + "0" * 32 + TRACE[35:],
        TRACE[:36] + "0" * 16 + TRACE[52:],
        TRACE + "-more",
        TRACE[:-1],
        " " + TRACE,
    ],
)
def test_only_a_whole_traceparent_is_one(db: Connection, trace: str) -> None:
    request(db, {"traceparent": trace})
    correlation, parent = enqueued(db)
    assert (is_new(correlation), parent) == (True, None)


def test_two_transactions_without_headers_have_two_ids(db: Connection) -> None:
    request(db)
    first = enqueued(db)
    request(db)
    assert enqueued(db) != first


def test_given_ids_win_and_a_waiting_job_keeps_its_own(db: Connection) -> None:
    request(db, {"x-correlation-id": "request"})
    assert enqueued(db, correlation_id="given", trace_parent=TRACE, dedupe_key="k") == ("given", TRACE)
    assert enqueued(db, dedupe_key="k") == ("given", TRACE)
    job = one(db, "select queue.send('noop', '{}', correlation_id => 'sent', trace_parent => %s)", TRACE)
    assert one(db, "select correlation_id from queue.jobs where id = %s", job) == "sent"


def test_processing_belongs_to_the_reservation_not_to_the_upload(scene: Scene) -> None:
    db = scene.conn
    request(db, {"x-correlation-id": "reservation", "traceparent": TRACE})
    (reserved,) = reserve(db, scene.owner, scene.listing, file())
    request(db, {"x-correlation-id": "upload"})
    store(db, reserved["path"], scene.owner)
    assert ids_of(db, "process_image") == ("reservation", TRACE)
    # A later wish of the owner is another request.
    db.execute(
        "update public.listing_images set state = 'failed', error = 'x', error_code = 'x', is_retryable = true"
    )
    request(db, {"x-correlation-id": "again"})
    with as_user(db, scene.owner):
        db.execute("select public.retry_image(%s)", [reserved["image_id"]])
    assert ids_of(db, "process_image") == ("again", None)


def test_without_headers_the_reservation_is_numbered(scene: Scene) -> None:
    db = scene.conn
    request(db)
    reserved = reserve(db, scene.owner, scene.listing, file("a.jpg"), file("b.jpg"))
    request(db)
    store(db, reserved[0]["path"], scene.owner)
    request(db)
    store(db, reserved[1]["path"], scene.owner)
    found = db.execute(
        "select distinct correlation_id from queue.jobs where actor = 'process_image'"
    ).fetchall()
    assert len(found) == 1
    assert is_new(found[0][0])


def test_what_a_job_leads_to_is_of_the_same_request(scene: Scene) -> None:
    db = scene.conn
    request(db, {"x-correlation-id": "reservation", "traceparent": TRACE})
    db.execute(
        "update public.site_policies set photo_review_enabled = true, photo_review_provider = 'gemini'"
    )
    (reserved,) = reserve(db, scene.owner, scene.listing, file())
    store(db, reserved["path"], scene.owner)
    request(db)
    assert finish(db, reserved["image_id"]) == "ready"
    assert ids_of(db, "review_image") == ("reservation", TRACE)


def test_what_a_worker_traces_hangs_below_its_span(db: Connection) -> None:
    request(db, {"x-correlation-id": "client"})
    job = one(db, "select queue.enqueue('noop', '{}')")
    request(db)
    token = one(db, "select lease_token from queue.take('default', 'w', 1) where id = %s", job)
    db.execute("select set_config('imageledger.span', %s, true)", [TRACE])
    db.execute("select queue.complete(%s, %s)", [job, token])
    assert enqueued(db) == ("client", TRACE)


def test_a_lost_jobs_removal_is_of_its_request(scene: Scene) -> None:
    db = scene.conn
    request(db, {"x-correlation-id": "reservation"})
    (reserved,) = reserve(db, scene.owner, scene.listing, file())
    store(db, reserved["path"], scene.owner)
    request(db)
    enqueued(db)
    db.execute("update queue.jobs set max_attempts = 1 where actor = 'process_image'")
    db.execute("select * from queue.take('default', 'w', 10)")
    db.execute("update queue.jobs set leased_until = now() - interval '1 s' where state = 'running'")
    db.execute("select * from queue.reap()")
    assert ids_of(db, "remove_objects")[0] == "reservation"
    # And so is what an operator makes of it.
    dead = one(db, "select id from queue.jobs where actor = 'process_image' and state = 'dead'")
    request(db)
    db.execute("select * from queue.retry(%s)", [[dead]])
    assert one(db, "select correlation_id from queue.jobs where id = %s", dead) == "reservation"


def test_a_worker_that_looks_for_a_fetch_must_hold_its_lease(scene: Scene) -> None:
    db = scene.conn
    request(db, {"x-correlation-id": "import"})
    job = one(db, "select queue.enqueue('fetch_image', '{}')")
    token = one(db, "select lease_token from queue.take('default', 'w', 1)")
    assert one(db, "select private.begin_fetch(gen_random_uuid(), %s, %s)", job, token) is None
    with pytest.raises(psycopg.Error) as lost, db.transaction():
        db.execute("select private.begin_fetch(gen_random_uuid(), %s, gen_random_uuid())", [job])
    assert lost.value.sqlstate == "IL001"


def test_how_long_a_job_was_due(db: Connection) -> None:
    enqueued(db)
    db.execute("update queue.jobs set run_at = now() - interval '90 s'")
    assert one(db, "select wait_seconds from queue.take('default', 'w', 1)") == 90
    lost = one(db, "select queue.enqueue('noop', '{}')")
    rows = db.execute(
        "select id, actor from queue.take('default', 'w', 0, '30 s', array[%s::bigint], array[gen_random_uuid()])",
        [lost],
    ).fetchall()
    assert rows == [(lost, None)]


# Jobs that a worker's code does not know.


def test_a_declined_job_loses_no_attempt_for_a_day(db: Connection) -> None:
    job = one(db, "select queue.enqueue('of_tomorrow', '{}', max_attempts => 2)")
    for _ in range(5):
        token = one(db, "select lease_token from queue.take('default', 'w', 1)")
        state = one(db, "select queue.decline(%s, %s, 'ActorNotFound: x', '15 s')", job, token)
        row = db.execute("select state, attempts, error, run_at > now() from queue.jobs where id = %s", [job])
        assert (state, row.fetchone()) == ("scheduled", ("scheduled", 0, "ActorNotFound: x", True))
        db.execute("update queue.jobs set run_at = now()")
    db.execute("update queue.jobs set created_at = now() - interval '25 h'")
    for expected in ("scheduled", "dead"):
        token = one(db, "select lease_token from queue.take('default', 'w', 1)")
        assert one(db, "select queue.decline(%s, %s, 'ActorNotFound: x', '15 s')", job, token) == expected
        db.execute("update queue.jobs set run_at = now() where state = 'scheduled'")


def test_declining_takes_the_lease(db: Connection) -> None:
    job = one(db, "select queue.enqueue('noop', '{}')")
    with refused_lease():
        db.execute("select queue.decline(%s, gen_random_uuid(), 'x', '15 s')", [job])


def refused_lease() -> Any:
    return pytest.raises(psycopg.Error, match="does not hold the lease")
