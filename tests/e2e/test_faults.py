"""kill -9 of each part at each step: every acknowledged upload is `ready` once, and bucket and rows agree."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.support.audit import assert_ledger_is_storage
from tests.support.images import make_jpeg
from tests.support.own_stack import stack_of_its_own
from tests.support.people import Person
from tests.support.stack import Stack, run_cli
from tests.support.worker import WorkerProcess

ONE = ("--processes", "1", "--threads", "1")
PHOTO = ("lamp.jpg", "image/jpeg", make_jpeg())
STEPS = [
    "claimed",
    "downloaded",
    "decoding",
    *(f"uploaded:{role}" for role in ("detail_max", "detail", "preview", "card", "thumb")),
    "rows_written",
    "committed",
]


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of its own: other tests must not lose theirs to a kill."""
    home = tmp_path_factory.mktemp("faults") / "home"
    with stack_of_its_own(home) as stack:
        yield stack


def expire_leases(stack: Stack) -> None:
    """What the clock would do: the dead worker's leases run out now."""
    with psycopg.connect(stack.admin_db_url, autocommit=True) as conn:
        conn.execute(
            "update queue.jobs set leased_until = now() - interval '1 second' where state = 'running'"
        )


def hold_leases(stack: Stack) -> None:
    """The next worker to be killed must take its own photo, however slow this machine is."""
    with psycopg.connect(stack.admin_db_url, autocommit=True) as conn:
        conn.execute("update queue.jobs set leased_until = now() + interval '1 hour' where state = 'running'")


def upload_one(stack: Stack) -> tuple[Person, str]:
    person = Person.sign_up(stack)
    listing = person.new_listing(title="Lamp")
    person.upload(listing, PHOTO)
    return person, listing


def assert_ready_once(stack: Stack, person: Person, listing: str) -> None:
    images = person.wait_until_settled(listing)
    assert [image["state"] for image in images] == ["ready"] * len(images), [i["error"] for i in images]
    for image in images:
        assert len(image["image_variants"]) == 5
        with psycopg.connect(stack.db_url) as conn:
            processed = conn.execute(
                "select count(*) from public.image_events where image_id = %s and event = 'processed'",
                [image["id"]],
            ).fetchone()
        assert processed == (1,)
    assert_ledger_is_storage(stack)


@pytest.fixture(scope="module")
def killed(own_stack: Stack) -> dict[str, tuple[Person, str]]:
    """By step: who uploaded the photo that a worker was killed with. One worker after them finds them all."""
    left = {}
    for step in STEPS:
        left[step] = upload_one(own_stack)
        with WorkerProcess(own_stack, *ONE, FAULT_AT=step) as doomed:
            assert doomed.wait(timeout=60) == -signal.SIGKILL
        hold_leases(own_stack)
    return left


@pytest.fixture(scope="module")
def successor(own_stack: Stack, killed: dict[str, tuple[Person, str]]) -> None:
    expire_leases(own_stack)
    with WorkerProcess(own_stack, *ONE):
        for person, listing in killed.values():
            person.wait_until_settled(listing)
        assert_ledger_is_storage(own_stack)


@pytest.mark.usefixtures("successor")
@pytest.mark.parametrize("step", STEPS)
def test_worker_is_killed(own_stack: Stack, killed: dict[str, tuple[Person, str]], step: str) -> None:
    assert_ready_once(own_stack, *killed[step])


def pid_of(stack: Stack, part: str) -> int:
    status = json.loads(run_cli(stack.home, "status", "--json").stdout)
    return int(next(p["pid"] for p in status["parts"] if p["name"] == part))


@pytest.mark.parametrize("part", ["postgres", "gateway", "postgrest"])
def test_part_of_the_stack_is_killed(own_stack: Stack, part: str) -> None:
    """Uploads go on while the part dies; what was acknowledged before is there afterwards."""
    people = [upload_one(own_stack) for _ in range(2)]
    with WorkerProcess(own_stack, "--processes", "1", "--threads", "2"):
        time.sleep(0.3)
        victim = pid_of(own_stack, part)
        os.kill(victim, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while (
            run_cli(own_stack.home, "status", "--json", check=False).returncode
            or pid_of(own_stack, part) == victim
        ):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        for person, listing in people:
            assert_ready_once(own_stack, person, listing)


def test_interrupted_upload_leaves_nothing(own_stack: Stack, tmp_path: Path) -> None:
    """A client that goes away in mid-upload: neither row nor bytes, and the reservation stays."""
    person = Person.sign_up(own_stack)
    listing = person.new_listing(title="Lamp")
    name, mime_type, data = PHOTO
    (row,) = person.reserve(listing, (name, mime_type, len(data)))
    host, port = own_stack.api_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as wire:
        head = (
            f"POST /storage/v1/object/private/{row['path']} HTTP/1.1\r\nHost: {host}\r\n"
            f"apikey: {own_stack.anon_key}\r\nAuthorization: Bearer {person.access_token}\r\n"
            f"Content-Type: {mime_type}\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        wire.sendall(head.encode() + data[: len(data) // 2])
    time.sleep(0.5)
    assert person.images(listing)[0]["state"] == "awaiting_upload"
    assert_ledger_is_storage(own_stack)
    person.client.storage.from_("private").upload(row["path"], data, {"content-type": mime_type})
    with WorkerProcess(own_stack, *ONE):
        assert_ready_once(own_stack, person, listing)
