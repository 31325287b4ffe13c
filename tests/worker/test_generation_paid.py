"""A paid provider and real workers: whatever breaks, one paid call, one debit, one render."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from tests.api.test_generation import settled, submit, upload_input
from tests.sql.test_generation_providers import SECRET, event, signed
from tests.support.images import make_jpeg
from tests.support.own_stack import stack_of_its_own
from tests.support.people import Person
from tests.support.provider_servers import BUSY, DROP_AFTER, ProviderServer
from tests.support.stack import Stack
from tests.support.worker import WorkerProcess
from tests.worker.test_generation_faults import (
    ONE,
    assert_pictures_have_rows,
    expire_leases,
    hold_leases,
    paid,
)
from tests.worker.toys import wait_for

PROVIDERS = ("replicate", "openai", "google", "stability")


def sql(stack: Stack, text: str, *values: Any) -> Any:
    """One value, as the superuser."""
    with psycopg.connect(stack.admin_db_url, autocommit=True) as conn:
        cursor = conn.execute(text, values)  # type: ignore[arg-type]
        row = cursor.fetchone() if cursor.description else None
    return row[0] if row else None


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of its own: other tests' workers must not take the jobs."""
    home = tmp_path_factory.mktemp("paid") / "home"
    with stack_of_its_own(home) as stack:
        sql(
            stack,
            "update public.site_policies set generation_providers = generation_providers || %s",
            [*PROVIDERS],
        )
        sql(stack, "select private.add_webhook_secret('replicate', %s)", SECRET)
        yield stack


@pytest.fixture(scope="module")
def server() -> Iterator[ProviderServer]:
    with ProviderServer() as server:
        yield server


@pytest.fixture
def wires(server: ProviderServer, own_stack: Stack) -> ProviderServer:
    server.reset()
    sql(own_stack, "delete from private.provider_calls")
    sql(
        own_stack,
        "update public.generation_providers"
        " set concurrency_max = null, calls_per_minute_max = null, paused_until = null",
    )
    return server


@pytest.fixture
def user(own_stack: Stack) -> Person:
    return Person.sign_up(own_stack)


def working(stack: Stack, wires: ProviderServer, *arguments: str, **environment: str) -> WorkerProcess:
    return WorkerProcess(
        stack, *(arguments or ONE), **{"WORKER_POLL_SECONDS": "0.1"} | wires.environment | environment
    )


@pytest.fixture(scope="module")
def shared_worker(own_stack: Stack, server: ProviderServer) -> Iterator[None]:
    with working(own_stack, server, "--processes", "1", "--threads", "3", OPENAI_SECONDS="1"):
        yield


def hook(stack: Stack, body: str, message: str | None = None, **change: str) -> httpx.Response:
    """As Replicate sends it, to the address that the README gives."""
    return httpx.post(
        f"{stack.api_url}/rest/v1/rpc/webhook_replicate?apikey={stack.anon_key}",
        content=body.encode(),
        headers={
            "content-type": "application/json",
            **signed(body, message=message or uuid4().hex),
            **change,
        },
        timeout=30,
    )


#: Where a worker dies, in `killed`.
STEPS = ["submitting", "submitted", "polling", "collected", "committed"]


@dataclass(frozen=True)
class Outcome:
    """What became of a generation whose worker died: its row, debits, renders and successes, and paid calls."""

    row: dict[str, Any]
    paid: tuple[int, int, int]
    calls: int


@pytest.fixture(scope="module")
def killed(own_stack: Stack, server: ProviderServer) -> dict[str, Outcome]:
    """By step. One worker after all of them finds what they left."""
    server.reset()
    left: dict[str, tuple[Person, dict[str, Any]]] = {}
    for step in STEPS:
        # At the first look it is done, or else the commit that it dies after is the one that has it wait.
        server.polls_needed = 0 if step == "committed" else 1
        user = Person.sign_up(own_stack)
        job = submit(user, "redesign", input1_path=upload_input(user, make_jpeg()), provider="replicate")
        left[step] = user, job
        with working(own_stack, server, FAULT_AT=step) as doomed:
            assert doomed.wait(timeout=60) == -signal.SIGKILL
        hold_leases(own_stack)
    # The call that was never made is looked for for a minute, and long enough by now.
    assert server.calls == {"replicate": len(STEPS) - 1}
    sql(
        own_stack,
        "update public.generation_jobs set submitted_at = now() - interval '2 minutes' where id = %s",
        left["submitting"][1]["id"],
    )
    expire_leases(own_stack)
    server.polls_needed = 1
    with working(own_stack, server):
        rows = {step: settled(user, job["id"]) for step, (user, job) in left.items()}
        assert_pictures_have_rows(own_stack)
    calls = Counter(prediction["input"]["seed"] for prediction in server.predictions.values())
    return {
        step: Outcome(row, paid(own_stack, row["id"]), calls[row["params"]["seed"]])
        for step, row in rows.items()
    }


@pytest.mark.parametrize("step", STEPS[1:])
def test_killed(killed: dict[str, Outcome], step: str) -> None:
    done = killed[step]
    assert (done.row["status"], done.row["error"]) == ("succeeded", None)
    assert (done.paid, done.calls) == ((1, 1, 1), 1)


def test_killed_before_anybody_can_know(killed: dict[str, Outcome]) -> None:
    """Right before the call: nothing is found at the provider, and nothing is sent again."""
    done = killed["submitting"]
    assert (done.row["error_code"], done.row["is_retryable"]) == ("outcome_unknown", True)
    assert (done.paid, done.calls) == ((0, 0, 0), 0)


@pytest.mark.usefixtures("shared_worker")
class TestOneWorker:
    def wait_for_prediction(self, user: Person, wires: ProviderServer, job: str) -> dict[str, Any]:
        def row() -> Any:
            return user.client.table("generation_jobs").select("*").eq("id", job).execute().data

        wait_for(lambda: row()[0]["prediction_id"] is not None, 20)
        return wires.predictions[row()[0]["prediction_id"]]

    @pytest.mark.parametrize("name", PROVIDERS)
    def test_each_provider(self, own_stack: Stack, wires: ProviderServer, user: Person, name: str) -> None:
        job = submit(user, provider=name, params={})["id"]
        done = settled(user, job)
        assert (done["status"], done["error"], done["progress"]) == ("succeeded", None, 100)
        assert done["duration_ms"] >= 0
        assert paid(own_stack, job) == (1, 1, 1)
        assert wires.calls == {name: 1}

    def test_unsupported_is_told_and_unpaid(
        self, own_stack: Stack, wires: ProviderServer, user: Person
    ) -> None:
        job = submit(user, provider="openai", params={"steps": 5})["id"]
        done = settled(user, job)
        assert (done["error_code"], "params.steps" in done["error"]) == ("not_supported", True)
        assert wires.requests == []

    @pytest.mark.parametrize("name", ["replicate", "openai"])
    def test_the_reply_is_lost(
        self, own_stack: Stack, wires: ProviderServer, user: Person, name: str
    ) -> None:
        wires.script = [DROP_AFTER]
        job = submit(user, provider=name, params={})["id"]
        done = settled(user, job)
        found = name == "replicate"
        assert done["status"] == ("succeeded" if found else "failed")
        assert done["error_code"] == (None if found else "outcome_unknown")
        assert paid(own_stack, job) == ((1, 1, 1) if found else (0, 0, 0))
        assert wires.calls == {name: 1}

    def test_throttled(self, own_stack: Stack, wires: ProviderServer, user: Person) -> None:
        wires.script = [BUSY]
        began = time.time()
        job = submit(user, provider="replicate", params={})["id"]
        assert settled(user, job)["status"] == "succeeded"
        assert wires.calls == {"replicate": 1}
        assert wires.called_at[0] - began >= 2, "Retry-After"

    @pytest.mark.parametrize(
        ("output", "code"),
        [("gone", "output_gone"), ("foreign", "output_not_trusted"), ("text", "unsupported_type")],
    )
    def test_output_of_no_use(
        self, own_stack: Stack, wires: ProviderServer, user: Person, output: str, code: str
    ) -> None:
        wires.output = output
        job = submit(user, provider="replicate", params={})["id"]
        assert settled(user, job)["error_code"] == code
        assert paid(own_stack, job) == (0, 0, 0)
        assert wires.calls == {"replicate": 1}

    def test_webhooks_twice_late_and_out_of_order(
        self, own_stack: Stack, wires: ProviderServer, user: Person
    ) -> None:
        wires.held = True
        job = submit(user, provider="replicate", params={})["id"]
        prediction = self.wait_for_prediction(user, wires, job)
        sql(
            own_stack,
            "update queue.jobs set run_at = now() + interval '1 hour'"
            " where state = 'scheduled' and args ->> 'generation_id' = %s",
            job,
        )
        wires.finish(prediction)
        body = event(prediction["id"])
        replies: list[httpx.Response] = []
        threads = [
            threading.Thread(target=lambda: replies.append(hook(own_stack, body, "once"))) for _ in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert {(r.status_code, r.text.replace(" ", "")) for r in replies} == {(200, '{"received":true}')}
        assert settled(user, job)["status"] == "succeeded"
        for late in (
            event(prediction["id"], "processing"),
            event(prediction["id"], "failed"),
            event("nobodys"),
        ):
            assert hook(own_stack, late).json() == {"received": True}
        assert settled(user, job)["status"] == "succeeded"
        assert paid(own_stack, job) == (1, 1, 1)
        assert wires.calls == {"replicate": 1}

    def test_a_webhook_on_the_wire(self, own_stack: Stack, wires: ProviderServer) -> None:
        """What a stranger learns, and what the sender is told."""
        body = event("p-wire")
        assert hook(own_stack, body).status_code == 200
        stranger = [
            hook(own_stack, body, **{"webhook-signature": "v1,AAAA"}),
            hook(own_stack, event("other"), **{"webhook-signature": "v1,AAAA"}),
            hook(own_stack, body, **{"webhook-timestamp": "1"}),
            httpx.post(
                f"{own_stack.api_url}/rest/v1/rpc/webhook_replicate?apikey={own_stack.anon_key}",
                content=body,
                headers={"content-type": "application/json"},
                timeout=30,
            ),
        ]
        assert {r.status_code for r in stranger} == {401}
        assert len({r.text for r in stranger}) == 1
        assert hook(own_stack, "{}").status_code == 422
        assert hook(own_stack, '{"logs": "' + "x" * 2**20 + '"}').status_code == 413
        for table in ("webhook_secrets", "webhook_events", "provider_calls", "generation_providers"):
            for profile in ("public", "private"):
                answer = httpx.get(
                    f"{own_stack.api_url}/rest/v1/{table}",
                    headers={"apikey": own_stack.anon_key, "accept-profile": profile},
                    timeout=30,
                )
                assert answer.status_code in {401, 404, 406}

    def test_cancel_asks_the_provider(self, own_stack: Stack, wires: ProviderServer, user: Person) -> None:
        wires.held = True
        job = submit(user, provider="replicate", params={})["id"]
        prediction = self.wait_for_prediction(user, wires, job)
        user.client.rpc("cancel_generation", {"job_id": job}).execute()
        assert settled(user, job)["status"] == "canceled"
        assert wires.canceled == [prediction["id"]]
        # The provider was faster: its result is not wanted any more, and not counted.
        wires.finish(prediction)
        assert hook(own_stack, event(prediction["id"])).status_code == 200
        time.sleep(0.5)
        assert settled(user, job)["status"] == "canceled"
        assert paid(own_stack, job) == (0, 0, 0)

    def test_late_but_there(self, own_stack: Stack, wires: ProviderServer, user: Person) -> None:
        """No webhook for longer than the site waits: failed, the user goes on, and the picture comes after all."""
        wires.held = True
        job = submit(user, provider="replicate", params={})["id"]
        prediction = self.wait_for_prediction(user, wires, job)
        sql(
            own_stack,
            "update public.generation_jobs set created_at = now() - interval '11 minutes' where id = %s",
            job,
        )
        assert settled(user, job)["error_code"] == "timed_out"
        other = submit(user, provider="local")["id"]
        assert settled(user, other)["status"] == "succeeded"
        wires.finish(prediction)
        assert hook(own_stack, event(prediction["id"])).status_code == 200
        wait_for(lambda: settled(user, job)["status"] == "succeeded", 20)
        assert paid(own_stack, job) == (1, 1, 1)

    def test_nobody_calls_and_it_is_found_by_asking(
        self, own_stack: Stack, wires: ProviderServer, user: Person
    ) -> None:
        wires.polls_needed = 2
        job = submit(user, provider="replicate", params={})["id"]
        assert settled(user, job)["status"] == "succeeded"
        assert wires.calls == {"replicate": 1}

    def test_a_thread_is_not_held(self, own_stack: Stack, wires: ProviderServer) -> None:
        """More generations wait for their provider than there are threads, and other work goes on."""
        wires.held = True
        people = [Person.sign_up(own_stack) for _ in range(5)]
        jobs = [submit(person, provider="replicate", params={})["id"] for person in people]
        for person, job in zip(people, jobs, strict=True):
            self.wait_for_prediction(person, wires, job)
        free = Person.sign_up(own_stack)
        assert settled(free, submit(free, provider="local")["id"], timeout=10)["status"] == "succeeded"
        wires.held = False
        for person, job in zip(people, jobs, strict=True):
            assert settled(person, job)["status"] == "succeeded"
        assert wires.calls == {"replicate": 5}


def test_caps_hold_across_processes(own_stack: Stack, wires: ProviderServer) -> None:
    people = [Person.sign_up(own_stack) for _ in range(6)]
    sql(own_stack, "update public.generation_providers set concurrency_max = 2 where name = 'replicate'")
    wires.polls_needed = 1
    jobs = [submit(person, provider="replicate", params={})["id"] for person in people]
    with working(own_stack, wires, "--processes", "3", "--threads", "2"):
        for person, job in zip(people, jobs, strict=True):
            assert settled(person, job)["status"] == "succeeded"
        assert wires.most_at_once == 2
        assert wires.calls == {"replicate": 6}
        # Calls in a minute: one is left of seven.
        sql(
            own_stack,
            "update public.generation_providers set concurrency_max = null, calls_per_minute_max = 7"
            " where name = 'replicate'",
        )
        again = [submit(person, provider="replicate", params={})["id"] for person in people]
        wait_for(lambda: wires.calls["replicate"] == 7, 20)
        time.sleep(1.5)
        assert wires.calls == {"replicate": 7}
        sql(own_stack, "update private.provider_calls set called_at = called_at - interval '2 minutes'")
        sql(own_stack, "update queue.jobs set run_at = now() where state = 'scheduled'")
        for person, job in zip(people, again, strict=True):
            assert settled(person, job)["status"] == "succeeded"
    assert wires.calls == {"replicate": 12}


def test_no_secret_in_any_log_or_row(own_stack: Stack, server: ProviderServer) -> None:
    """After all that went wrong above."""
    log = (own_stack.home / "worker-under-test.log").read_text()
    assert "generation" in log
    told = sql(
        own_stack,
        "select string_agg(t, '') from (select j::text from public.generation_jobs as j"
        " union all select q::text from queue.jobs as q"
        " union all select e::text from public.image_generation_events as e) as x (t)",
    )
    for name, value in server.environment.items():
        if name.endswith(("_KEY", "_TOKEN")):
            assert value not in log
            assert value not in told
