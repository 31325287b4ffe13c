"""One id from the client's call to the log of the storage write; and what hostile ids come to."""

from __future__ import annotations

import json
import re
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from tests.support.images import make_jpeg
from tests.support.people import Person
from tests.support.stack import Stack
from tests.support.worker import WorkerProcess
from tests.worker.toys import wait_for

PHOTO = make_jpeg()


@dataclass
class Journey:
    """A photo that was uploaded, processed and removed again, each by a request with an id."""

    person: Person
    image: str
    reserving: str
    uploading: str
    removing: str
    answered: str | None


def lines(stack: Stack, part: str, text: str) -> list[str]:
    """Of a log, those that contain the text."""
    log = stack.home / ("worker-under-test.log" if part == "worker" else f"logs/{part}.log")
    return [line for line in log.read_text(errors="replace").splitlines() if text in line]


def ids(stack: Stack, name: str) -> list[dict[str, Any]]:
    return list(json.loads(stack.cli("queue", "ls", "--correlation", name, "--json").stdout)["jobs"])


@pytest.fixture(scope="module")
def journey(stack: Stack, worker: WorkerProcess) -> Journey:
    person = Person.sign_up(stack)
    listing = person.new_listing()
    reserving, uploading, removing = (f"{what}-{uuid4()}" for what in ("reserve", "upload", "remove"))
    body = {
        "listing_id": listing,
        "files": [{"file_name": "a.jpg", "mime_type": "image/jpeg", "byte_size": len(PHOTO)}],
    }
    answer = person.rest(
        "POST", "rpc/reserve_uploads", json=body, headers={"X-Correlation-Id": reserving}
    ).raise_for_status()
    (reserved,) = answer.json()
    person.storage(
        "POST",
        f"object/{reserved['bucket']}/{reserved['path']}",
        content=PHOTO,
        headers={"Content-Type": "image/jpeg", "X-Correlation-Id": uploading},
    ).raise_for_status()
    person.wait_until_settled(listing)
    person.rest(
        "DELETE",
        f"listing_images?id=eq.{reserved['image_id']}",
        headers={"X-Request-Id": removing},
    ).raise_for_status()
    wait_for(lambda: len(lines(stack, "worker", f"correlation_id={removing}")) >= 2)
    return Journey(
        person,
        reserved["image_id"],
        reserving,
        uploading,
        removing,
        answer.headers.get("X-Correlation-Id"),
    )


def test_the_workers_lines_carry_the_reservations_id(stack: Stack, journey: Journey) -> None:
    (done,) = [line for line in lines(stack, "worker", journey.image) if "action=process_image" in line]
    assert f"correlation_id={journey.reserving}" in done
    job = re.search(r"job_id=(\d+)", done)
    assert job
    about = lines(stack, "worker", f"job_id={job[1]} ")
    assert about
    assert all(f"correlation_id={journey.reserving}" in line for line in about)
    assert not lines(stack, "worker", journey.uploading)


def test_storage_writes_are_logged_with_the_same_id(stack: Stack, journey: Journey) -> None:
    told = lines(stack, "gateway", f"correlation_id={journey.reserving}")
    assert [line for line in told if "POST /rest/v1/rpc/reserve_uploads 200" in line]
    written = [line for line in told if f"/storage/v1/object/media/{journey.person.id}/" in line]
    assert len(written) == 5
    assert all(" 200 " in line and journey.image in line for line in written)
    assert [line for line in told if "GET /storage/v1/object/authenticated/private/" in line]
    # The upload was another request, and the removal too.
    uploads = lines(stack, "gateway", f"correlation_id={journey.uploading}")
    assert ["POST /storage/v1/object/private/" in line for line in uploads] == [True]
    removals = lines(stack, "gateway", f"correlation_id={journey.removing}")
    assert {re.findall(r"DELETE (\S+)", line)[0] for line in removals if "DELETE" in line} == {
        "/rest/v1/listing_images",
        "/storage/v1/object/private",
        "/storage/v1/object/media",
    }


def test_the_queue_is_asked_by_id(stack: Stack, journey: Journey) -> None:
    assert journey.answered == journey.reserving
    (job,) = ids(stack, journey.reserving)
    assert (job["actor"], job["state"]) == ("process_image", "succeeded")
    assert {job["actor"] for job in ids(stack, journey.removing)} == {"remove_objects"}
    assert ids(stack, journey.uploading) == []
    assert journey.reserving in stack.cli("queue", "show", str(job["id"])).stdout


def test_queries_with_tokens_are_not_logged(stack: Stack, journey: Journey) -> None:
    name = f"signed-{uuid4()}"
    httpx.get(
        f"{stack.api_url}/storage/v1/object/sign/private/x?token=a-secret-token",
        headers={"X-Correlation-Id": name},
    )
    wait_for(lambda: lines(stack, "gateway", name))
    assert not lines(stack, "gateway", "a-secret-token")


@pytest.mark.parametrize(
    "word",
    [
        *(b"", b" ", b"x" * 129, b"y" * 10_000, b'{"a": 1}', b"' or 1=1 --", b"a b", b"caf\xe9", b"\xff\xfe"),
        *(b"%0d%0aX-Admin: 1", b"\x1b[2J", b"<script>", b"\xe2\x80\xae", b"a,b"),
    ],
)
def test_hostile_ids_do_no_harm(stack: Stack, journey: Journey, word: bytes) -> None:
    """Byte for byte on the wire; the request is served, under another name."""
    address = urlsplit(stack.api_url)
    assert address.hostname
    assert address.port
    body = b"{}"
    head = (
        b"POST /rest/v1/rpc/media_rules HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        b"Content-Type: application/json\r\nContent-Length: 2\r\n"
        b"apikey: " + stack.anon_key.encode() + b"\r\nX-Correlation-Id: " + word + b"\r\n"
        b"traceparent: " + word + b"\r\n\r\n"
    )
    with socket.create_connection((address.hostname, address.port), 10) as connection:
        connection.sendall(head + body)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    status = int(answer.split(b" ", 2)[1])
    if status == 400:
        # What is no header at all (a control character) does not come through the door.
        assert b"\x1b" in word
        return
    assert status == 200, answer
    (given,) = re.findall(rb"(?im)^x-correlation-id: (.*)\r$", answer)
    assert str(UUID(given.decode())) == given.decode()
    wait_for(lambda: lines(stack, "gateway", f"correlation_id={given.decode()}"))
    for hostile in ("X-Admin", "y" * 200, "1=1", "\x1b", "<script>"):
        assert not lines(stack, "gateway", hostile)


def test_jobs_of_hostile_requests_have_ids_of_our_own(stack: Stack, journey: Journey) -> None:
    """Also past the gateway, as on a project whose proxy checks nothing: the database decides for itself."""
    with psycopg.connect(stack.db_url) as db:
        db.execute(
            "select set_config('request.headers', %s, true)",
            [json.dumps({"x-correlation-id": "a\nFATAL worker is done", "traceparent": "00-" + "0" * 49})],
        )
        db.execute("select queue.enqueue('noop', '{}', queue => 'unserved')")
        row = db.execute("select correlation_id, trace_parent from queue.jobs where queue = 'unserved'")
        ((name, trace),) = row.fetchall()
        assert (str(UUID(name)), trace) == (name, None)
        db.rollback()
