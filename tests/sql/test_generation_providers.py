"""Caps, waiting jobs, webhooks and their secrets, in SQL."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import threading
import time
from typing import Any, ClassVar
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.conftest import FreshDatabase
from tests.sql.generations import begin, finish, generation, input_of, lease, submit, write
from tests.sql.scene import Conn, Scene, call, one, rows
from tests.support.roles import as_anon, as_role, as_service, new_user
from tests.worker.toys import wait_for

SECRET = "whsec_" + base64.b64encode(b"a key of some length 0123").decode()
OTHER = "whsec_" + base64.b64encode(b"another key, another day").decode()


def allow(conn: Conn) -> None:
    with as_service(conn):
        conn.execute("update public.site_policies set generation_providers = '{local,replicate}'")


def begin_call(conn: Conn, job: Any, held: tuple[int, UUID]) -> dict[str, Any]:
    with as_role(conn, "service_role"):
        answer: dict[str, Any] = one(conn, "select private.begin_provider_call(%s, %s, %s)", job, *held)
    return answer


def park(conn: Conn, job: Any, held: tuple[int, UUID], seconds: float = 60, **facts: Any) -> str:
    named = "".join(f", {name} => %({name})s" for name in facts)
    values = {"job": job, "id": held[0], "token": held[1], "seconds": seconds, **facts}
    with as_role(conn, "service_role"):
        row = conn.execute(
            "select private.park_generation(%(job)s, %(id)s, %(token)s, make_interval(secs => %(seconds)s)"
            + named
            + ")",
            values,
        ).fetchone()
    assert row is not None
    return str(row[0])


def queue_job(conn: Conn, job: Any) -> list[tuple[str, int, bool]]:
    """State, attempts, and whether it is due, of the generation's jobs that have not ended."""
    return conn.execute(
        "select state, attempts, run_at <= clock_timestamp() from queue.jobs"
        " where args ->> 'generation_id' = %s and finished_at is null order by id",
        [str(job)],
    ).fetchall()


def paid(conn: Conn, owner: UUID, prediction: str = "p1") -> tuple[Any, tuple[int, UUID]]:
    """A generation that waits for Replicate."""
    job = submit(conn, owner, provider="replicate")["id"]
    held = lease(conn, job)
    assert begin(conn, job, held) is not None
    assert begin_call(conn, job, held) == {"answer": "go"}
    assert park(conn, job, held, prediction_id=prediction, progress=10) == "parked"
    return job, held


def signed(body: str, secret: str = SECRET, message: str = "m1", at: float | None = None) -> dict[str, str]:
    sent_at = str(int(time.time() if at is None else at))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{message}.{sent_at}.{body}".encode(), hashlib.sha256).digest()
    return {
        "webhook-id": message,
        "webhook-timestamp": sent_at,
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }


def deliver(conn: Conn, body: str, headers: dict[str, str] | None) -> str:
    """As PostgREST would call it for anon: the reply, or the error's code."""
    try:
        with conn.transaction(), as_anon(conn):
            text = "" if headers is None else json.dumps(headers)
            conn.execute("select set_config('request.headers', %s, true)", [text])
            return str(conn.execute("select public.webhook_replicate(%s::json)", [body]).fetchone()[0])  # type: ignore[index]
    except psycopg.Error as error:
        return str(error.diag.message_detail)


def add_secret(conn: Conn, secret: str) -> int:
    with as_role(conn, "service_role"):
        return int(one(conn, "select private.add_webhook_secret('replicate', %s)", secret))


def event(prediction: str = "p1", status: str = "succeeded") -> str:
    return json.dumps({"id": prediction, "status": status, "output": ["https://x"]}, indent=1) + "\n"


@pytest.fixture
def owner(scene: Scene) -> UUID:
    allow(scene.conn)
    add_secret(scene.conn, SECRET)
    return scene.owner


class TestWaiting:
    def test_it_waits_in_the_queue_and_no_attempt_is_counted(self, scene: Scene, owner: UUID) -> None:
        conn = scene.conn
        job, held = paid(conn, owner)
        assert queue_job(conn, job) == [("scheduled", 0, False)]
        row = generation(conn, job)
        assert (row["status"], row["progress"], row["prediction_id"]) == ("processing", 10, "p1")
        with pytest.raises(psycopg.Error) as info, conn.transaction():
            park(conn, job, held)
        assert info.value.sqlstate == "IL001"

    def test_cancel_wakes_it(self, scene: Scene, owner: UUID) -> None:
        conn = scene.conn
        job, _ = paid(conn, owner)
        call(conn, owner, "cancel_generation", job)
        assert queue_job(conn, job) == [("scheduled", 0, True)]
        work = begin(conn, job, lease_scheduled(conn, job))
        assert work is not None
        assert (work["is_canceled"], work["prediction_id"]) == (True, "p1")

    def test_a_deleted_one_is_told_to_the_provider_too(self, scene: Scene, owner: UUID) -> None:
        conn = scene.conn
        job, _ = paid(conn, owner)
        call(conn, owner, "delete_branch", job)
        work = begin(conn, job, lease_scheduled(conn, job))
        assert work is not None
        assert (work["is_canceled"], work["prediction_id"], work["inputs"]) == (True, "p1", [])

    def test_a_paid_result_after_cancel_is_not_wanted_nor_counted(self, scene: Scene, owner: UUID) -> None:
        conn = scene.conn
        job, _ = paid(conn, owner)
        held = lease_scheduled(conn, job)
        work = begin(conn, job, held)
        assert work is not None
        outputs = write(conn, work["render_id"])
        call(conn, owner, "cancel_generation", job)
        assert finish(conn, job, held, outputs) == "canceled"
        assert one(conn, "select count(*) from public.usage_ledger") == 0
        assert one(conn, "select count(*) from public.renders") == 0
        removal = one(conn, "select args -> 'paths' from queue.jobs where actor = 'remove_objects'")
        assert set(removal) == {outputs[0]["image_path"], outputs[0]["thumb_path"]}

    def test_one_that_ran_out_of_time_may_come_for_a_day(self, scene: Scene, owner: UUID) -> None:
        conn = scene.conn
        job, _ = paid(conn, owner)
        age(conn, job, "11 minutes")
        assert one(conn, "select private.expire_generations()") == 1
        assert generation(conn, job)["error_code"] == "timed_out"
        held = lease_scheduled(conn, job)
        work = begin(conn, job, held)
        assert work is not None
        assert (work["is_late"], work["prediction_id"]) == (True, "p1")
        # It still counts as failed while the provider works on.
        assert park(conn, job, held, progress=50) == "parked"
        assert generation(conn, job)["status"] == "failed"
        held = lease_scheduled(conn, job)
        assert finish(conn, job, held, write(conn, work["render_id"])) == "succeeded"
        assert one(conn, "select count(*) from public.usage_ledger") == 1

    def test_after_a_day_it_is_over(self, scene: Scene, owner: UUID) -> None:
        conn = scene.conn
        job, _ = paid(conn, owner)
        age(conn, job, "25 hours")
        conn.execute("select private.expire_generations()")
        assert begin(conn, job, lease_scheduled(conn, job)) is None
        assert generation(conn, job)["error_code"] == "generation_gave_up"


def lease_scheduled(conn: Conn, job: Any) -> tuple[int, UUID]:
    conn.execute(
        "update queue.jobs set state = 'ready', tag = coalesce(tag, 0)"
        " where state = 'scheduled' and args ->> 'generation_id' = %s",
        [str(job)],
    )
    return lease(conn, job)


def age(conn: Conn, job: Any, interval: str) -> None:
    conn.execute(
        "update public.generation_jobs set created_at = created_at - %(i)s::interval,"
        " submitted_at = submitted_at - %(i)s::interval where id = %(j)s",
        {"i": interval, "j": job},
    )


class TestCaps:
    def test_concurrency(self, scene: Scene, owner: UUID) -> None:
        conn = scene.conn
        with as_service(conn):
            conn.execute(
                "update public.generation_providers set concurrency_max = 1 where name = 'replicate'"
            )
        job, _ = paid(conn, owner)
        second = submit(conn, (other := new_user(conn)), provider="replicate")["id"]
        held = lease(conn, second)
        begin(conn, second, held)
        answer = begin_call(conn, second, held)
        assert answer["answer"] == "wait"
        assert generation(conn, second)["submitted_at"] is None
        call(conn, owner, "cancel_generation", job)
        held_first = lease_scheduled(conn, job)
        with as_role(conn, "service_role"):
            conn.execute("select private.fail_generation(%s, %s, %s, 'x', 'x', false)", [job, *held_first])
        assert begin_call(conn, second, held) == {"answer": "go"}
        call(conn, other, "cancel_generation", second)
        assert begin_call(conn, second, held) == {"answer": "canceled"}

    def test_calls_a_minute(self, scene: Scene, owner: UUID) -> None:
        conn = scene.conn
        with as_service(conn):
            conn.execute(
                "update public.generation_providers set calls_per_minute_max = 1, concurrency_max = null"
                " where name = 'replicate'"
            )
        paid(conn, owner)
        second = submit(conn, new_user(conn), provider="replicate")["id"]
        held = lease(conn, second)
        begin(conn, second, held)
        answer = begin_call(conn, second, held)
        assert answer["answer"] == "wait"
        assert 50 < answer["seconds"] <= 61
        conn.execute("update private.provider_calls set called_at = called_at - interval '61 seconds'")
        assert begin_call(conn, second, held) == {"answer": "go"}
        with as_service(conn):
            conn.execute(
                "update public.generation_providers set calls_per_minute_max = 0 where name = 'replicate'"
            )
        conn.execute("delete from private.provider_calls")
        assert begin_call(conn, second, held)["seconds"] == 60

    def test_a_busy_provider_is_left_alone_by_everybody(self, scene: Scene, owner: UUID) -> None:
        conn = scene.conn
        first = submit(conn, owner, provider="replicate")["id"]
        held = lease(conn, first)
        begin(conn, first, held)
        assert begin_call(conn, first, held) == {"answer": "go"}
        assert park(conn, first, held, 30, is_withdrawn=True) == "parked"
        # It was not taken: it may be asked again, and nothing is in doubt.
        assert generation(conn, first)["submitted_at"] is None
        second = submit(conn, new_user(conn), provider="replicate")["id"]
        held = lease(conn, second)
        begin(conn, second, held)
        answer = begin_call(conn, second, held)
        assert answer["answer"] == "wait"
        assert 25 < answer["seconds"] <= 30

    def test_gone(self, scene: Scene, owner: UUID) -> None:
        conn = scene.conn
        job = submit(conn, owner, provider="replicate")["id"]
        held = lease(conn, job)
        begin(conn, job, held)
        call(conn, owner, "delete_branch", job)
        assert begin_call(conn, job, held) == {"answer": "gone"}
        assert park(conn, job, held) == "gone"


class TestWhosePrediction:
    """Of lost calls with the same prompt and the same seed, of several people."""

    RECIPE: ClassVar[dict[str, Any]] = {"provider": "replicate", "params": {"seed": 7}}

    def called(self, conn: Conn, owner: UUID, **recipe: Any) -> Any:
        """A generation whose call was made and not answered."""
        job = submit(conn, owner, **{**self.RECIPE, **recipe})["id"]
        held = lease(conn, job)
        assert begin(conn, job, held) is not None
        assert begin_call(conn, job, held) == {"answer": "go"}
        return job

    def told(self, conn: Conn, job: Any, *predictions: str) -> Any:
        with as_role(conn, "service_role"):
            return one(conn, "select private.tell_prediction(%s, %s)", job, [*predictions])

    def test_what_others_have_is_theirs(self, scene: Scene, owner: UUID) -> None:
        job = self.called(scene.conn, owner)
        paid(scene.conn, new_user(scene.conn), "p2")
        assert self.told(scene.conn, job, "p1", "p2") == {"answer": "found", "prediction_id": "p1"}
        assert self.told(scene.conn, job, "p2") == {"answer": "none"}
        assert self.told(scene.conn, job) == {"answer": "none"}
        assert self.told(scene.conn, job, "p1", "p3") == {"answer": "unclear"}

    def test_as_long_as_anothers_is_lost_too_it_may_be_theirs(self, scene: Scene, owner: UUID) -> None:
        conn = scene.conn
        mine, theirs = self.called(conn, owner), self.called(conn, new_user(conn))
        for job in (mine, theirs):
            assert self.told(conn, job, "p1") == {"answer": "unclear"}
        # Also when it has ended without being found.
        conn.execute(
            "update public.generation_jobs set status = 'failed', error_code = 'outcome_unknown', error = 'x',"
            " completed_at = now() where id = %s",
            [theirs],
        )
        assert self.told(conn, mine, "p1") == {"answer": "unclear"}
        conn.execute("update public.generation_jobs set prediction_id = 'p2' where id = %s", [theirs])
        assert self.told(conn, mine, "p1", "p2") == {"answer": "found", "prediction_id": "p1"}

    def test_not_of_another_seed_nor_of_another_hour(self, scene: Scene, owner: UUID) -> None:
        conn = scene.conn
        mine, other = self.called(conn, owner), new_user(conn)
        self.called(conn, new_user(conn), params={"seed": 8})
        old = self.called(conn, other)
        assert self.told(conn, mine, "p1") == {"answer": "unclear"}
        conn.execute(
            "update public.generation_jobs set submitted_at = now() - interval '1 hour' where id = %s", [old]
        )
        assert self.told(conn, mine, "p1") == {"answer": "found", "prediction_id": "p1"}

    @pytest.mark.parametrize(
        ("mode", "answer"),
        [("imagine", {"answer": "found", "prediction_id": "p1"}), ("redesign", {"answer": "unclear"})],
    )
    def test_an_own_earlier_attempt(self, scene: Scene, owner: UUID, mode: str, answer: Any) -> None:
        """At the same picture it is better used than wasted; of other inputs it would be the wrong one."""
        conn = scene.conn
        recipe: dict[str, Any] = {"prompt": "A lamp"}
        first = self.called(conn, owner, **recipe)
        conn.execute(
            "update public.generation_jobs set status = 'failed', error_code = 'outcome_unknown', error = 'x',"
            " is_retryable = true, completed_at = now() where id = %s",
            [first],
        )
        if mode == "redesign":
            recipe |= {"mode": mode, "input1_path": input_of(conn, owner)}
        assert self.told(conn, self.called(conn, owner, **recipe), "p1") == answer

    def test_of_a_user_who_is_gone(self, scene: Scene, owner: UUID) -> None:
        conn = scene.conn
        mine, other = self.called(conn, owner), new_user(conn)
        self.called(conn, other)
        conn.execute("delete from auth.users where id = %s", [other])
        assert self.told(conn, mine, "p1") == {"answer": "unclear"}


def test_nobody_takes_over_what_is_about_to_be_paid(fresh_db: FreshDatabase) -> None:
    """A call waits for the provider's row, and its lease runs out meanwhile: else two would be told to go."""
    with fresh_db.connect(autocommit=True) as conn, fresh_db.connect() as other:
        allow(conn)
        job = submit(conn, new_user(conn), provider="replicate")["id"]
        held = lease(conn, job)
        assert begin(conn, job, held) is not None
        conn.execute("update queue.jobs set leased_until = now() - interval '1 second'")
        other.execute("select 1 from public.generation_providers where name = 'replicate' for update")
        answers: list[Any] = []

        def ask() -> None:
            with fresh_db.connect(autocommit=True) as own:
                answers.append(begin_call(own, job, held))

        thread = threading.Thread(target=ask)
        thread.start()
        waits = (
            "select 1 from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
        )
        wait_for(lambda: conn.execute(waits).fetchone(), 10)
        assert rows(conn, "select id from queue.reap()") == []
        other.rollback()
        thread.join(30)
        assert answers == [{"answer": "go"}]


class TestWebhook:
    def test_it_wakes_the_generation_once(self, scene: Scene, owner: UUID) -> None:
        conn = scene.conn
        job, _ = paid(conn, owner)
        reply = deliver(conn, event(), signed(event()))
        assert reply == "{'received': True}"
        assert queue_job(conn, job) == [("scheduled", 0, True)]
        conn.execute("update queue.jobs set run_at = now() + interval '1 hour'")
        assert deliver(conn, event(), signed(event())) == reply
        assert queue_job(conn, job) == [("scheduled", 0, False)]
        assert one(conn, "select count(*) from private.webhook_events") == 1

    def test_an_old_event_after_a_newer_one_changes_nothing(self, scene: Scene, owner: UUID) -> None:
        conn = scene.conn
        job, _ = paid(conn, owner)
        deliver(conn, event(), signed(event()))
        before = generation(conn, job), queue_job(conn, job)
        late = event(status="processing")
        assert deliver(conn, late, signed(late, message="m0")) == "{'received': True}"
        assert (generation(conn, job), queue_job(conn, job)) == before

    def test_it_comes_before_the_create_call_returned(self, scene: Scene, owner: UUID) -> None:
        conn = scene.conn
        assert deliver(conn, event(), signed(event())) == "{'received': True}"
        job, _ = paid(conn, owner)
        assert queue_job(conn, job) == [("scheduled", 0, True)]
        held = lease_scheduled(conn, job)
        begin(conn, job, held)
        park(conn, job, held)
        # Used once: from now on it waits its time.
        assert queue_job(conn, job) == [("scheduled", 0, False)]

    def test_after_the_end_it_changes_nothing(self, scene: Scene, owner: UUID) -> None:
        conn = scene.conn
        job, _ = paid(conn, owner)
        held = lease_scheduled(conn, job)
        work = begin(conn, job, held)
        assert work is not None
        finish(conn, job, held, write(conn, work["render_id"]))
        before = generation(conn, job)
        assert deliver(conn, event(), signed(event())) == "{'received': True}"
        assert (generation(conn, job), queue_job(conn, job)) == (before, [])

    def test_while_a_worker_looks_another_look_follows(self, scene: Scene, owner: UUID) -> None:
        conn = scene.conn
        job, _ = paid(conn, owner)
        held = lease_scheduled(conn, job)
        begin(conn, job, held)
        deliver(conn, event(), signed(event()))
        assert [state for state, *_ in queue_job(conn, job)] == ["running", "ready"]
        assert park(conn, job, held) == "parked"
        assert queue_job(conn, job) == [("ready", 0, True)]

    @pytest.mark.parametrize(
        "change",
        [
            None,
            {},
            {"webhook-id": ""},
            {"webhook-id": "m2"},
            {"webhook-id": "x" * 201},
            {"webhook-timestamp": "now"},
            {"webhook-timestamp": "-1"},
            {"webhook-timestamp": "9" * 30},
            {"webhook-signature": ""},
            {"webhook-signature": "v1,"},
            {"webhook-signature": "v1,AAAA"},
            {"webhook-signature": "v2,"},
        ],
        ids=str,
    )
    def test_not_signed(self, scene: Scene, owner: UUID, change: dict[str, str] | None) -> None:
        headers = {} if not change else signed(event()) | change
        if change == {"webhook-signature": "v2,"}:
            headers = signed(event())
            headers["webhook-signature"] = "v2" + headers["webhook-signature"][2:]
        assert deliver(scene.conn, event(), None if change is None else headers) == "webhook_not_signed"
        assert one(scene.conn, "select count(*) from private.webhook_events") == 0

    @pytest.mark.parametrize("seconds", [-301, 302])
    def test_too_old_or_from_the_future(self, scene: Scene, owner: UUID, seconds: int) -> None:
        headers = signed(event(), at=time.time() + seconds)
        assert deliver(scene.conn, event(), headers) == "webhook_not_signed"
        assert (
            deliver(scene.conn, event(), signed(event(), at=time.time() + seconds * 0.9))
            != "webhook_not_signed"
        )

    def test_every_byte_counts(self, scene: Scene, owner: UUID) -> None:
        headers = signed(event())
        for other in (event().replace("p1", "p2"), event() + " ", json.dumps(json.loads(event()))):
            assert deliver(scene.conn, other, headers) == "webhook_not_signed"
        truncated = headers | {"webhook-signature": headers["webhook-signature"][:-1]}
        assert deliver(scene.conn, event(), truncated) == "webhook_not_signed"
        several = headers | {"webhook-signature": f"v1,AAAA {headers['webhook-signature']} v1a,xx"}
        assert deliver(scene.conn, event(), several) == "{'received': True}"

    @pytest.mark.parametrize(
        "body", ["[]", "3", "null", "{}", '{"id": "a b", "status": "x"}', '{"id": "p", "status": null}',
                 '{"id": "\\u0000", "status": "succeeded"}', '{"id": {"a": 1}, "status": "succeeded"}'],
    )  # fmt: skip
    def test_signed_and_malformed(self, scene: Scene, owner: UUID, body: str) -> None:
        assert deliver(scene.conn, body, signed(body)) == "webhook_malformed"

    def test_signatures_are_compared_in_constant_time(self, scene: Scene) -> None:
        """Never themselves: two digests of them, under a key that is drawn for the one comparison."""
        (body,) = rows(scene.conn, "select prosrc from pg_proc where oid = 'private.is_signed'::regproc")
        compared = [
            line.strip() for line in body.splitlines() if re.search(r"\b[ge]\.\w+.* = |= .*\b[ge]\.\w+", line)
        ]
        assert len(compared) == 1
        assert "hmac(g.given, v_key, 'sha256') = extensions.hmac(e.expected, v_key, 'sha256')" in compared[0]
        assert "v_key constant bytea := extensions.gen_random_bytes(32)" in body

    def test_too_large(self, scene: Scene, owner: UUID) -> None:
        body = json.dumps({"id": "p1", "status": "succeeded", "logs": "x" * 2**20})
        assert deliver(scene.conn, body, signed(body)) == "webhook_too_large"

    def test_parallel(self, fresh_db: FreshDatabase) -> None:
        """The same delivery twenty times at once: one event, one job."""
        with fresh_db.connect(autocommit=True) as conn:
            allow(conn)
            add_secret(conn, SECRET)
            job, _ = paid(conn, new_user(conn))
            lease_scheduled(conn, job)
            headers = json.dumps(signed(event()))
            replies: list[str] = []

            def send() -> None:
                with fresh_db.connect(autocommit=True) as own:
                    replies.append(deliver(own, event(), json.loads(headers)))

            threads = [threading.Thread(target=send) for _ in range(20)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(30)
            assert replies == ["{'received': True}"] * 20
            assert one(conn, "select count(*) from private.webhook_events") == 1
            assert [state for state, *_ in queue_job(conn, job)] == ["running", "ready"]


class TestSecrets:
    def test_rotation(self, scene: Scene, owner: UUID) -> None:
        conn = scene.conn

        def accepted(secret: str) -> bool:
            return deliver(conn, event(), signed(event(), secret, uuid4().hex)) == "{'received': True}"

        first = add_secret(conn, SECRET)
        assert (accepted(SECRET), accepted(OTHER)) == (True, False)
        add_secret(conn, OTHER)
        assert (accepted(SECRET), accepted(OTHER)) == (True, True)
        with pytest.raises(psycopg.Error) as info, conn.transaction():
            add_secret(conn, "whsec_" + "A" * 32)
        assert info.value.diag.message_detail == "two_webhook_secrets"
        with as_role(conn, "service_role"):
            assert one(conn, "select private.retire_webhook_secret(%s)", first) == 1
        assert (accepted(SECRET), accepted(OTHER)) == (False, True)

    @pytest.mark.parametrize(
        "secret", ["", "secret", "whsec_", "whsec_short", "whsec_" + "A" * 33, "whsec_" + "!" * 32]
    )
    def test_malformed(self, scene: Scene, secret: str) -> None:
        with pytest.raises(psycopg.Error) as info, scene.conn.transaction():
            add_secret(scene.conn, secret)
        assert info.value.diag.message_detail == "webhook_secret_malformed"

    def test_without_any_secret_nothing_is_signed(self, scene: Scene) -> None:
        assert deliver(scene.conn, event(), signed(event())) == "webhook_not_signed"


def test_pruned(scene: Scene, owner: UUID) -> None:
    conn = scene.conn
    paid(conn, owner)
    deliver(conn, event(), signed(event()))
    with as_role(conn, "service_role"):
        assert one(conn, "select private.prune_provider_records()") == 0
    conn.execute("update private.provider_calls set called_at = now() - interval '61 minutes'")
    conn.execute("update private.webhook_events set received_at = now() - interval '8 days'")
    with as_role(conn, "service_role"):
        assert one(conn, "select private.prune_provider_records()") == 1
    assert (
        rows(conn, "select 1 from private.webhook_events union all select 1 from private.provider_calls")
        == []
    )


def test_generations_of_many_owners_take_turns(fresh_db: FreshDatabase) -> None:
    """Who is served and comes again stands behind everybody who waits."""
    with fresh_db.connect(autocommit=True) as conn:
        owners = [new_user(conn) for _ in range(5)]
        for owner in owners:
            submit(conn, owner)
        served: list[UUID] = []
        for _ in range(15):
            row = conn.execute(
                "select id, args ->> 'generation_id', owner_id, lease_token from queue.claim('default', 'w', 1)"
            ).fetchone()
            assert row is not None
            job_id, job, owner, token = row
            served.append(owner)
            held = (job_id, token)
            work = begin(conn, job, held)
            assert work is not None
            assert finish(conn, job, held, write(conn, work["render_id"])) == "succeeded"
            submit(conn, owner)
        assert served == owners * 3
