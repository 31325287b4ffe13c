"""The Storage client against a server that misbehaves."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from tests.support.storage_server import StorageServer, drip, lose_reply, reset_after, status
from worker.errors import ObjectChangedError, ObjectMissingError, StorageError
from worker.objects import ObjectStore

DATA = bytes(range(256)) * 300
MD5 = hashlib.md5(DATA, usedforsecurity=False).hexdigest()


@pytest.fixture
def server() -> Iterator[StorageServer]:
    with StorageServer() as server:
        server.objects["private", "a/b c.jpg"] = DATA
        yield server


@pytest.fixture
def store(server: StorageServer) -> Iterator[ObjectStore]:
    with ObjectStore(server.url, "key", timeout=0.5) as store:
        yield store


def test_download(store: ObjectStore, tmp_path: Path) -> None:
    target = tmp_path / "x"
    done = store.download("private", "a/b c.jpg", target, byte_size=len(DATA), etag=f'"{MD5}"')
    assert (done.byte_size, done.md5) == (len(DATA), MD5)
    assert target.read_bytes() == DATA


@pytest.mark.parametrize("count", [0, 1, 1000, len(DATA) - 1])
def test_truncated_download(server: StorageServer, store: ObjectStore, tmp_path: Path, count: int) -> None:
    server.on("GET", "b%20c", reset_after(count))
    with pytest.raises(StorageError, match="download"):
        store.download("private", "a/b c.jpg", tmp_path / "x", byte_size=len(DATA))


def test_slow_download_is_bounded(server: StorageServer, store: ObjectStore, tmp_path: Path) -> None:
    server.on("GET", "b%20c", drip(0.02))
    started = time.monotonic()
    with pytest.raises(StorageError, match="longer than"):
        store.download("private", "a/b c.jpg", tmp_path / "x", byte_size=len(DATA))
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(("size", "etag"), [(len(DATA) - 1, None), (len(DATA) + 1, None), (None, "0" * 32)])
def test_another_object_is_noticed(
    store: ObjectStore, tmp_path: Path, size: int | None, etag: str | None
) -> None:
    with pytest.raises(ObjectChangedError):
        store.download("private", "a/b c.jpg", tmp_path / "x", byte_size=size, etag=etag)


def test_missing_object(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(ObjectMissingError):
        store.download("private", "nothing.jpg", tmp_path / "x")


@pytest.mark.parametrize(("code", "pause"), [(429, 7), (503, 2), (500, None), (403, None)])
def test_refusals_carry_status_and_pause(
    server: StorageServer, store: ObjectStore, tmp_path: Path, code: int, pause: float | None
) -> None:
    source = tmp_path / "s"
    source.write_bytes(DATA)
    headers = {"Retry_After": str(pause)} if pause else {}
    server.on("GET", ".", status(code, **headers))
    server.on("POST", ".", status(code, **headers))
    for call in (
        lambda: store.download("private", "a/b c.jpg", tmp_path / "x"),
        lambda: store.upload("media", "o/l/i/card.webp", source, "image/webp"),
    ):
        with pytest.raises(StorageError) as caught:
            call()
        assert (caught.value.status, caught.value.retry_after) == (code, pause)
        assert caught.value.retryable


def test_a_date_to_come_back_at_is_measured_by_the_servers_clock(
    server: StorageServer, store: ObjectStore, tmp_path: Path
) -> None:
    """Whose clock is an hour ahead: seven seconds are seven seconds."""
    theirs = time.time() + 3600

    def busy(handler: Any) -> bool:
        handler.send_response_only(503)
        handler.send_header("Date", formatdate(theirs, usegmt=True))
        handler.send_header("Retry-After", formatdate(theirs + 7, usegmt=True))
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    server.on("GET", ".", busy)
    with pytest.raises(StorageError) as caught:
        store.download("private", "a/b c.jpg", tmp_path / "x")
    assert caught.value.retry_after == 7


def test_upload_overwrites_and_may_be_cached_for_ever(
    server: StorageServer, store: ObjectStore, tmp_path: Path
) -> None:
    source = tmp_path / "s"
    for data in (b"first", b"second"):
        source.write_bytes(data)
        store.upload("media", "o/l/i/card.webp", source, "image/webp")
    key = ("media", "o/l/i/card.webp")
    assert server.objects[key] == b"second"
    assert server.headers[key] == {"content-type": "image/webp", "cache-control": "31536000, immutable"}


def test_upload_whose_reply_is_lost_can_be_repeated(
    server: StorageServer, store: ObjectStore, tmp_path: Path
) -> None:
    source = tmp_path / "s"
    source.write_bytes(DATA)
    server.on("POST", ".", lose_reply)
    with pytest.raises(StorageError):
        store.upload("media", "x.webp", source, "image/webp")
    store.upload("media", "x.webp", source, "image/webp")
    assert server.objects["media", "x.webp"] == DATA


def test_removal_is_made_sure_of(server: StorageServer, store: ObjectStore) -> None:
    store.remove("private", ["a/b c.jpg", "never/was.jpg"])
    assert server.objects == {}
    server.objects["private", "stays.jpg"] = DATA

    def forgets(handler: object) -> bool:
        handler.answer(b"[]")  # type: ignore[attr-defined]
        return True

    server.on("DELETE", ".", forgets)
    with pytest.raises(StorageError, match="still there"):
        store.remove("private", ["stays.jpg"])


def test_nothing_listens() -> None:
    with ObjectStore("http://127.0.0.1:1", "key") as store, pytest.raises(StorageError):
        store.names_below("media", "a/b")
