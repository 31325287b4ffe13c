"""kill -9 of the worker at each step of a generation: one render, one debit, and no picture that no row knows."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest

from tests.api.test_generation import settled, submit, upload_input
from tests.support.images import make_jpeg
from tests.support.own_stack import stack_of_its_own
from tests.support.people import Person
from tests.support.stack import Stack
from tests.support.worker import WorkerProcess

STEPS = [
    "claimed",
    "downloaded",
    "submitting",
    "submitted",
    "accepted",
    "collected",
    "uploaded:0",
    "uploaded:0_thumb",
    "rows_written",
    "committed",
]
ONE = ("--processes", "1", "--threads", "1")


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of its own: other tests' workers must not take the jobs."""
    home = tmp_path_factory.mktemp("generation") / "home"
    with stack_of_its_own(home) as stack:
        yield stack


def expire_leases(stack: Stack) -> None:
    """What the clock would do: the dead worker's leases run out now."""
    with psycopg.connect(stack.admin_db_url, autocommit=True) as conn:
        conn.execute(
            "update queue.jobs set leased_until = now() - interval '1 second' where state = 'running'"
        )


def assert_pictures_have_rows(stack: Stack, timeout: float = 20) -> None:
    """Objects below renders/ are exactly those that rows tell of, once removals have run."""
    expected = (
        "select p from public.render_variants as v, lateral (values (image_path), (thumb_path)) as x (p)"
    )
    found = "select name from storage.objects where bucket_id = 'public' and name like 'renders/%'"
    deadline = time.monotonic() + timeout
    with psycopg.connect(stack.db_url, autocommit=True) as conn:
        while (rows := set(conn.execute(expected))) != (objects := set(conn.execute(found))):  # type: ignore[arg-type]
            assert time.monotonic() < deadline, rows ^ objects
            time.sleep(0.1)


def paid(stack: Stack, job: str) -> tuple[int, int, int]:
    """Debits, renders and successes of a generation."""
    with psycopg.connect(stack.db_url) as conn:
        row = conn.execute(
            "select (select count(*) from public.usage_ledger where job_id = %(job)s),"
            " (select count(*) from public.renders where job_id = %(job)s),"
            " (select count(*) from public.image_generation_events"
            "   where job_id = %(job)s and event = 'succeeded')",
            {"job": job},
        ).fetchone()
    assert row is not None
    return row[0], row[1], row[2]


def hold_leases(stack: Stack) -> None:
    """What dead workers held is nobody's until `expire_leases`, however slow this machine is.

    Nor the next doomed worker's, who sees at once that a neighbour is dead, and would die at another's job.
    """
    with psycopg.connect(stack.admin_db_url, autocommit=True) as conn:
        conn.execute(
            "update queue.jobs set worker = null, leased_until = now() + interval '1 hour'"
            " where state = 'running'"
        )


def kill_one(stack: Stack, step: str) -> None:
    """A worker that dies there."""
    with WorkerProcess(stack, *ONE, FAULT_AT=step) as doomed:
        assert doomed.wait(timeout=60) == -signal.SIGKILL
    hold_leases(stack)


@pytest.fixture(scope="module")
def killed(own_stack: Stack) -> dict[str, tuple[Person, str]]:
    """By step: whose generation a worker was killed with. One worker after them finds them all."""
    left = {}
    for step in STEPS:
        user = Person.sign_up(own_stack)
        job = submit(user, "redesign", input1_path=upload_input(user, make_jpeg()))["id"]
        left[step] = user, job
        kill_one(own_stack, step)
    expire_leases(own_stack)
    with WorkerProcess(own_stack, *ONE):
        for user, job in left.values():
            settled(user, job)
        assert_pictures_have_rows(own_stack)
    return left


@pytest.mark.parametrize("step", STEPS)
def test_killed(own_stack: Stack, killed: dict[str, tuple[Person, str]], step: str) -> None:
    user, job = killed[step]
    done = settled(user, job)
    assert (done["status"], done["error"]) == ("succeeded", None)
    assert_pictures_have_rows(own_stack)
    assert paid(own_stack, job) == (1, 1, 1)


@pytest.fixture(scope="module")
def unwanted(own_stack: Stack) -> dict[str, tuple[Person, str]]:
    """Killed with a picture stored; then nobody wants it any more."""
    left = {}
    for what in ("cancel", "branch", "user"):
        user = Person.sign_up(own_stack)
        job = submit(user, idempotency_key=uuid4().hex)["id"]
        left[what] = user, job
        kill_one(own_stack, "uploaded:0")
        match what:
            case "cancel":
                user.client.rpc("cancel_generation", {"job_id": job}).execute()
            case "branch":
                user.client.rpc("delete_branch", {"job_id": job}).execute()
            case _:
                with psycopg.connect(own_stack.admin_db_url, autocommit=True) as conn:
                    conn.execute("delete from auth.users where id = %s", [user.id])
    expire_leases(own_stack)
    with WorkerProcess(own_stack, *ONE):
        settled(*left["cancel"])
        assert_pictures_have_rows(own_stack)
    return left


@pytest.mark.parametrize("what", ["cancel", "branch", "user"])
def test_unwanted_after_the_kill(
    own_stack: Stack, unwanted: dict[str, tuple[Person, str]], what: str
) -> None:
    user, job = unwanted[what]
    if what == "cancel":
        assert settled(user, job)["status"] == "canceled"
    assert_pictures_have_rows(own_stack)
    assert paid(own_stack, job) == (0, 0, 0)
