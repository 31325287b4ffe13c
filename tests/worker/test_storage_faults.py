"""The real worker, the real gateway, and a network between them that breaks: in the end Storage is the ledger."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.audit import assert_ledger_is_storage
from tests.support.images import make_jpeg
from tests.support.own_stack import stack_of_its_own
from tests.support.people import Person, new_client
from tests.support.processes import wait_until
from tests.support.stack import Stack
from tests.support.storage_proxy import (
    Fault,
    StorageProxy,
    after,
    drip,
    garbled,
    hang,
    lose_reply,
    no_json,
    other_bytes,
    reset_after,
    status,
)
from tests.support.worker import WorkerProcess

PHOTO = make_jpeg()
ROLES = {"thumb", "card", "preview", "detail", "detail_max"}
LIVE = "select 1 from queue.jobs where state in ('scheduled', 'ready', 'running')"


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    home = tmp_path_factory.mktemp("storage-faults") / "home"
    with stack_of_its_own(home) as stack:
        yield stack


@pytest.fixture(scope="module")
def proxy(own_stack: Stack) -> Iterator[StorageProxy]:
    with StorageProxy(own_stack.api_url) as proxy:
        yield proxy


def worker_behind(stack: Stack, proxy: StorageProxy, **environment: str) -> WorkerProcess:
    """A worker that reaches the database directly, and Storage through the proxy."""
    settings = {
        "SUPABASE_URL": proxy.url,
        "SUPABASE_ANON_KEY": stack.anon_key,
        "SUPABASE_SERVICE_ROLE_KEY": stack.service_role_key,
        "SUPABASE_DB_URL": stack.db_url,
        "WORKER_DB_URL": stack.worker_db_url,
        "STORAGE_TIMEOUT_SECONDS": "1",
        "WORKER_POLL_SECONDS": "0.05",
    }
    return WorkerProcess(stack, "--processes", "1", "--threads", "2", **(settings | environment))


@pytest.fixture(scope="module")
def worker_process(own_stack: Stack, proxy: StorageProxy) -> Iterator[WorkerProcess]:
    with worker_behind(own_stack, proxy) as process:
        yield process


class Shop:
    """A seller, and the proxy between the worker and Storage."""

    def __init__(self, stack: Stack, proxy: StorageProxy, worker: WorkerProcess) -> None:
        self.stack, self.proxy, self.worker = stack, proxy, worker
        self.person = Person.sign_up(stack)
        self.listing = self.person.new_listing(title="Lamp")
        self.db: psycopg.Connection[Any] = psycopg.connect(stack.db_url, autocommit=True)

    @contextmanager
    def worker_stopped(self) -> Iterator[None]:
        """It sees nothing of what happens meanwhile."""
        os.kill(self.worker.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.worker.pid, signal.SIGCONT)

    def upload(self, name: str = "a.jpg") -> dict[str, str]:
        (row,) = self.person.upload(self.listing, (name, "image/jpeg", PHOTO))
        return row

    def delete(self, row: dict[str, str]) -> None:
        self.person.client.table("listing_images").delete().eq("id", row["image_id"]).execute()

    def drain(self) -> None:
        """Until the queue is empty; pauses before retries are cut short."""

        def is_empty() -> bool:
            # Table rights are postgres's, the role that owns the ledger.
            self.db.execute("update queue.jobs set run_at = now() where state = 'scheduled'")
            return self.db.execute(LIVE).fetchone() is None

        wait_until(is_empty, 40, "an empty queue")

    def image(self, row: dict[str, str]) -> dict[str, Any]:
        (found,) = [i for i in self.person.images(self.listing) if i["id"] == row["image_id"]]
        return found

    def assert_ready(self, row: dict[str, str]) -> None:
        image = self.image(row)
        assert image["state"] == "ready", (image["error_code"], image["error"])
        assert {v["role"] for v in image["image_variants"]} == ROLES
        events = self.db.execute(
            "select count(*) from public.image_events where image_id = %s and event = 'processed'",
            (row["image_id"],),
        ).fetchone()
        assert events == (1,)
        assert_ledger_is_storage(self.stack)


@pytest.fixture
def shop(own_stack: Stack, proxy: StorageProxy, worker_process: WorkerProcess) -> Iterator[Shop]:
    proxy.heal()
    shop = Shop(own_stack, proxy, worker_process)
    yield shop
    shop.db.close()


READ, WRITE = ("GET", "/object/authenticated/private/"), ("POST", r"/object/media/.*/card\.webp")
REMOVE, LOOK = ("DELETE", "/object/"), ("GET", "/object/info/")
PASSING: dict[str, tuple[tuple[str, str], Fault, int]] = {
    "read-500": (READ, status(500), 2),
    "read-503": (READ, status(503, Retry_After="1"), 1),
    "read-429": (READ, status(429, Retry_After="1"), 2),
    "read-403": (READ, status(403), 1),
    "read-404": (READ, status(404), 1),
    "read-timeout": (READ, hang(3), 1),
    "read-byte-by-byte": (READ, drip(0.05), 1),
    "read-reset-at-0": (READ, reset_after(0), 1),
    "read-reset-at-1": (READ, reset_after(1), 1),
    "read-reset-before-the-end": (READ, reset_after(len(PHOTO) - 1), 1),
    "read-other-object": (READ, other_bytes, 1),
    "read-garbled": (READ, garbled, 1),
    "write-500": (WRITE, status(500), 2),
    "write-503": (WRITE, status(503, Retry_After="1"), 1),
    "write-429": (WRITE, status(429, Retry_After="1"), 1),
    "write-403": (WRITE, status(403), 1),
    "write-timeout": (WRITE, hang(3), 1),
    "write-reply-lost": (WRITE, lose_reply, 2),
    "write-reply-cut": (WRITE, reset_after(1), 1),
    "write-no-json": (WRITE, no_json, 1),
}


@pytest.mark.parametrize("name", PASSING)
def test_processing_survives(shop: Shop, name: str) -> None:
    (method, pattern), fault, times = PASSING[name]
    shop.proxy.on(method, pattern, fault, times)
    row = shop.upload()
    shop.drain()
    assert shop.proxy.hits == times
    shop.assert_ready(row)


REMOVALS: dict[str, tuple[tuple[str, str], Fault, int]] = {
    "500": (REMOVE, status(500), 3),
    "503": (REMOVE, status(503, Retry_After="1"), 1),
    "429": (REMOVE, status(429, Retry_After="1"), 1),
    "403": (REMOVE, status(403), 1),
    "404": (REMOVE, status(404), 1),
    "timeout": (REMOVE, hang(3), 1),
    "reply-lost": (REMOVE, lose_reply, 2),
    "reply-cut": (REMOVE, reset_after(3), 1),
    "no-json": (REMOVE, no_json, 1),
    # Storage says that nothing was there: it is asked again, and the answer does not come.
    "confirmation-500": (LOOK, status(500), 1),
}


@pytest.mark.parametrize("name", REMOVALS)
def test_removal_survives(shop: Shop, name: str) -> None:
    (method, pattern), fault, times = REMOVALS[name]
    row, stays = shop.upload(), shop.upload("b.jpg")
    shop.drain()
    if name == "confirmation-500":
        shop.proxy.on("DELETE", "/object/", lose_reply)
    shop.proxy.on(method, pattern, fault, times)
    shop.delete(row)
    shop.drain()
    assert shop.proxy.hits >= times
    assert shop.db.execute("select 1 from queue.jobs where state = 'dead'").fetchone() is None
    assert [i["id"] for i in shop.person.images(shop.listing)] == [stays["image_id"]]
    shop.assert_ready(stays)


def test_removal_that_is_claimed_but_not_done_is_not_believed(shop: Shop) -> None:
    """Storage answers 200 and an empty list while the objects are still there."""
    row = shop.upload()

    def pretend(exchange: Any) -> None:
        exchange.answer(200, [("Content-Type", "application/json")], b"[]")

    shop.drain()
    shop.proxy.on("DELETE", "/object/", pretend, 3)
    shop.delete(row)
    shop.drain()
    assert shop.proxy.hits == 3
    assert shop.person.images(shop.listing) == []
    assert_ledger_is_storage(shop.stack)


def test_partial_variants_then_never_again(shop: Shop) -> None:
    """Three of five are stored, the fourth is refused for ever: none is shown, and their bytes go."""
    shop.proxy.on(*WRITE, status(500), 1000)
    with shop.worker_stopped():
        row = shop.upload()
        shop.db.execute("update queue.jobs set max_attempts = 3 where finished_at is null")
    shop.drain()
    image = shop.image(row)
    assert (image["state"], image["error_code"], image["image_variants"]) == (
        "failed",
        "processing_gave_up",
        [],
    )
    assert_ledger_is_storage(shop.stack)
    shop.proxy.heal()
    shop.person.client.rpc("retry_image", {"image_id": row["image_id"]}).execute()
    shop.drain()
    shop.assert_ready(row)


def test_retry_while_its_leftovers_are_removed(shop: Shop) -> None:
    """The owner's retry waits until Storage has answered the removal, so the new variants are not taken with it."""
    waited: list[float] = []

    def retry() -> None:
        def call() -> None:
            started = time.monotonic()
            shop.person.client.rpc("retry_image", {"image_id": row["image_id"]}).execute()
            waited.append(time.monotonic() - started)

        threading.Thread(target=call, daemon=True).start()
        time.sleep(0.7)

    shop.proxy.on(*WRITE, status(500), 2)
    shop.proxy.on("DELETE", "/object/media", after(retry))
    with shop.worker_stopped():
        row = shop.upload()
        shop.db.execute("update queue.jobs set max_attempts = 2 where finished_at is null")
    shop.drain()
    wait_until(lambda: bool(waited), 5, "the retry's answer")
    shop.drain()
    assert waited[0] > 0.5
    shop.assert_ready(row)


def test_object_deleted_between_claim_and_read(shop: Shop) -> None:
    """Somebody with the service key removed the original: the image fails with the reason, and nothing is left over."""
    service = new_client(shop.stack, shop.stack.service_role_key)
    with shop.worker_stopped():
        row = shop.upload()
        shop.proxy.on(*READ, after(lambda: service.storage.from_("private").remove([row["path"]])))
    shop.drain()
    assert shop.image(row)["error_code"] == "original_missing"
    assert_ledger_is_storage(shop.stack)


@pytest.mark.parametrize("moment", ["before-read", "between-variants"])
def test_image_deleted_meanwhile(shop: Shop, moment: str) -> None:
    with shop.worker_stopped():
        row = shop.upload()
        fault = after(lambda: shop.delete(row))
        shop.proxy.on(*(READ if moment == "before-read" else WRITE), fault)
    shop.drain()
    assert shop.proxy.hits == 1
    assert shop.person.images(shop.listing) == []
    assert_ledger_is_storage(shop.stack)


def test_network_to_storage_is_cut(shop: Shop) -> None:
    """The database is there, Storage is not: jobs wait, nothing fails, and all is done once it is back."""
    first = shop.upload()
    shop.drain()
    shop.proxy.is_cut = True
    second = shop.upload("b.jpg")
    shop.delete(first)
    wait_until(lambda: shop.proxy.hits >= 4, 20, "attempts")
    assert shop.image(second)["state"] in {"uploaded", "processing"}
    shop.proxy.heal()
    shop.drain()
    assert [i["id"] for i in shop.person.images(shop.listing)] == [second["image_id"]]
    shop.assert_ready(second)


def test_erasure_is_confirmed_only_by_storage(shop: Shop) -> None:
    shop.upload()

    def report() -> Any:
        row = shop.db.execute("select private.erasure_report(%s)", (shop.person.id,)).fetchone()
        return row and row[0]

    shop.drain()
    shop.proxy.on("DELETE", "/object/", status(503), 4)
    new_client(shop.stack, shop.stack.service_role_key).auth.admin.delete_user(shop.person.id)
    wait_until(lambda: shop.proxy.hits >= 2, 10, "refused removals")
    during = report()
    assert (during["is_complete"], during["completed_at"]) == (False, None)
    shop.drain()
    done = report()
    assert done["is_complete"]
    assert done["completed_at"] > during["checked_at"]
    assert_ledger_is_storage(shop.stack)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
def test_disk_of_temporary_files_is_full(shop: Shop, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    size = len(PHOTO) // 2 // 4096 * 4096 or 4096
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("may not mount")
    shop.worker.terminate()
    try:
        row = shop.upload()
        with worker_behind(shop.stack, shop.proxy, TMPDIR=str(folder)):
            attempt = "select attempts, error from queue.jobs where state = 'scheduled'"
            wait_until(lambda: shop.db.execute(attempt).fetchone() is not None, 20, "a failed attempt")
            failed = shop.db.execute(attempt).fetchone()
            assert failed
            assert "No space left" in failed[1]
            assert list(folder.iterdir()) == []
            assert shop.image(row)["state"] == "processing"
            subprocess.run(["mount", "-o", "remount,size=64m", str(folder)], check=True)
            shop.drain()
            assert list(folder.iterdir()) == []
        shop.assert_ready(row)
    finally:
        with contextlib.suppress(OSError):
            subprocess.run(["umount", "-l", str(folder)], check=False)
        shop.worker.start()
