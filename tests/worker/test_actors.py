"""process_image and remove_objects with the real renderer and database, and a Storage that misbehaves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.conftest import FreshDatabase
from tests.sql.scene import call, one
from tests.support.images import make_jpeg, make_webp
from tests.support.storage_server import StorageServer, lose_reply, reset_after, status
from tests.worker.toys import make_broker, wait_for, working
from worker.actors import ALL
from worker.imaging import Renderer
from worker.imaging.samples import sample_photos
from worker.ledger import ImageLedger
from worker.objects import ObjectStore
from worker.tools import Tools

Connection = psycopg.Connection[Any]
ROLES = {"thumb", "card", "preview", "detail", "detail_max"}
PHOTO = make_jpeg()


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    with Renderer(2) as renderer:
        yield renderer


class Shop:
    """A database, a Storage and a worker between them."""

    def __init__(self, fresh_db: FreshDatabase, storage: StorageServer, renderer: Renderer) -> None:
        self.fresh_db, self.storage, self._renderer = fresh_db, storage, renderer
        self.db: Connection = fresh_db.connect(autocommit=True)

    @contextmanager
    def working(self) -> Iterator[None]:
        broker = make_broker(self.fresh_db.worker_url, threads=2, poll_seconds=0.05)
        with ObjectStore(self.storage.url, "key", timeout=5) as objects:
            tools = Tools(broker, ImageLedger(broker.pool), objects, self._renderer)
            for actor in ALL:
                actor.declare(broker, tools)
            with working(broker):
                yield

    def upload(self, data: bytes = PHOTO, etag: str | None = None) -> str:
        """A row as reservation and upload leave it, its object, and its job; the image's id."""
        owner, listing, image = uuid4(), uuid4(), uuid4()
        path = f"{owner}/listings/{listing}/{image}.jpg"
        self.db.execute(
            "insert into auth.users (id, aud, role, email) values (%s, 'authenticated', 'authenticated', %s)",
            (owner, f"{owner}@example.test"),
        )
        self.db.execute("insert into public.listings (id, owner_id) values (%s, %s)", (listing, owner))
        self.db.execute(
            "insert into public.listing_images (id, listing_id, owner_id, position, original_path, file_name,"
            "  mime_type, byte_size, etag, state, upload_expires_at)"
            " values (%s, %s, %s, 0, %s, 'a.jpg', 'image/jpeg', %s, %s, 'uploaded', now() + '1 hour')",
            (image, listing, owner, path, len(data), etag),
        )
        self.storage.objects["private", path] = data
        self.db.execute(
            "select queue.enqueue('process_image', jsonb_build_object("
            "  'image_id', %s::uuid, 'owner_id', %s::uuid, 'listing_id', %s::uuid), %s)",
            (image, owner, listing, owner),
        )
        return str(image)

    def image(self, image: str) -> Any:
        return self.db.execute(
            "select state, error_code, error from public.listing_images where id = %s", (image,)
        ).fetchone()

    def settle(self, *, hasten: bool = True) -> None:
        """Until the queue is empty; retries need not wait."""

        def is_empty() -> bool:
            if hasten:
                self.db.execute("update queue.jobs set run_at = now() where state = 'scheduled'")
            live = "select 1 from queue.jobs where state in ('ready', 'running', 'scheduled')"
            return self.db.execute(live).fetchone() is None

        wait_for(is_empty, 20)

    def process(self) -> None:
        with self.working():
            self.settle()

    def variants(self) -> set[str]:
        """Roles of the objects in bucket media."""
        return {p.rsplit("/", 1)[1].removesuffix(".webp") for b, p in self.storage.objects if b == "media"}

    def assert_ledger_is_storage(self) -> None:
        rows = self.db.execute(
            "select 'private', original_path from public.listing_images"
            " union all select 'media', path from public.image_variants"
        ).fetchall()
        assert set(rows) == set(self.storage.objects)


@pytest.fixture
def shop(fresh_db: FreshDatabase, renderer: Renderer) -> Iterator[Shop]:
    with StorageServer() as storage:
        shop = Shop(fresh_db, storage, renderer)
        yield shop
        shop.db.close()


def test_image_becomes_ready(shop: Shop) -> None:
    """One as large as a phone takes it; the other tests do with a small one."""
    image = shop.upload(sample_photos()[0][2])
    shop.process()
    assert shop.image(image) == ("ready", None, None)
    assert shop.variants() == ROLES
    shop.assert_ledger_is_storage()
    sizes = dict(shop.db.execute("select path, byte_size from public.image_variants").fetchall())
    assert sizes == {p: len(data) for (b, p), data in shop.storage.objects.items() if b == "media"}


def test_second_delivery_changes_nothing(shop: Shop) -> None:
    image = shop.upload()
    shop.process()
    before = dict(shop.storage.objects)
    events = "select count(*) from public.image_events"
    count = shop.db.execute(events).fetchone()
    shop.db.execute(
        "select queue.enqueue(actor, args, owner_id) from queue.jobs where actor = 'process_image'"
    )
    shop.process()
    assert shop.image(image)[0] == "ready"
    assert shop.storage.objects == before
    assert shop.db.execute(events).fetchone() == count


@pytest.mark.parametrize(
    ("method", "path", "fault"),
    [
        ("GET", "/private/", status(503, Retry_After="1")),
        ("GET", "/private/", status(404)),
        ("GET", "/private/", reset_after(100)),
        ("POST", "card.webp", status(500)),
        ("POST", "card.webp", status(403)),
        ("POST", "detail.webp", lose_reply),
    ],
    ids=["read-503", "read-404-once", "read-reset", "write-500", "write-403-once", "write-reply-lost"],
)
def test_passing_faults_of_storage_are_retried(shop: Shop, method: str, path: str, fault: Any) -> None:
    image = shop.upload()
    shop.storage.on(method, path, fault)
    shop.process()
    assert shop.image(image)[0] == "ready"
    shop.assert_ledger_is_storage()


def test_bad_file_fails_with_a_reason_and_at_once(shop: Shop) -> None:
    image = shop.upload(b"<svg xmlns='http://www.w3.org/2000/svg'/>")
    shop.process()
    state, code, error = shop.image(image)
    assert (state, bool(code), bool(error)) == ("failed", True, True)
    assert shop.db.execute("select attempts from queue.jobs").fetchone() == (1,)


def test_missing_original_is_believed_in_the_end(shop: Shop) -> None:
    image = shop.upload()
    shop.storage.objects.clear()
    shop.process()
    assert shop.image(image)[:2] == ("failed", "original_missing")


def test_upload_that_never_works_fails_the_image_and_leaves_nothing(shop: Shop) -> None:
    """Three of five variants, then no more: none is shown, and their bytes go."""
    image = shop.upload()
    shop.db.execute("update queue.jobs set max_attempts = 3")
    shop.storage.on("POST", "card.webp", status(500), times=1000)
    shop.process()
    assert shop.image(image)[:2] == ("failed", "processing_gave_up")
    assert shop.variants() == set()


def test_object_replaced_before_the_read(shop: Shop) -> None:
    """The row's facts do not fit the new bytes: it is read again, and the new bytes are what is shown."""
    image = shop.upload(PHOTO)
    other = make_webp((500, 300))
    (key,) = shop.storage.objects

    def replace(_: Any) -> bool:
        shop.storage.objects[key] = other
        shop.db.execute("update public.listing_images set byte_size = %s where id = %s", (len(other), image))
        return False

    shop.storage.on("GET", "/private/", replace)
    shop.process()
    assert shop.image(image)[0] == "ready"
    size = shop.db.execute("select byte_size from public.listing_images").fetchone()
    assert size == (len(other),)


def test_image_deleted_while_it_is_processed(shop: Shop) -> None:
    """Its own removal ran before the last uploads: another one follows, nothing stays."""
    shop.upload()

    def delete(_: Any) -> bool:
        shop.db.execute("delete from public.listing_images")
        return False

    shop.storage.on("POST", "card.webp", delete)
    shop.process()
    assert shop.storage.objects == {}


def test_killed_after_uploads_and_then_deleted(shop: Shop) -> None:
    """An attempt stored variants and died; the image was deleted meanwhile; the next attempt cleans up."""
    shop.upload()
    row = shop.db.execute("select owner_id, listing_id, id from public.listing_images").fetchone()
    assert row
    shop.db.execute("delete from public.listing_images")
    shop.db.execute(
        "update queue.jobs set state = 'canceled', finished_at = now() where actor = 'remove_objects'"
    )
    shop.storage.objects.clear()
    shop.storage.objects["media", f"{row[0]}/{row[1]}/{row[2]}/card.webp"] = b"left over"
    shop.process()
    assert shop.storage.objects == {}


def removed(shop: Shop, image: str, *, restored: bool = False) -> None:
    function = "restore_image" if restored else "remove_image"
    with shop.fresh_db.connect() as conn:
        owner = one(conn, "select owner_id from public.listing_images where id = %s", image)
        call(conn, owner, function, image)


def test_killed_after_uploads_and_then_removed(shop: Shop) -> None:
    """Its first variants lie in no waste until the undo time is over, and it is whole when it comes back."""
    image = shop.upload()
    row = shop.db.execute(
        "select c.id, c.lease_token, i.owner_id, i.listing_id"
        " from queue.claim('default', 'killed', 1, '-1 s') as c, public.listing_images as i"
    ).fetchone()
    assert row
    shop.db.execute("select private.begin_image(%s, %s, %s)", (image, row[0], row[1]))
    for role in ("detail_max", "detail", "preview"):
        shop.storage.objects["media", f"{row[2]}/{row[3]}/{image}/{role}.webp"] = b"left over"
    removed(shop, image)
    shop.db.execute("select queue.reap()")
    shop.process()
    assert shop.variants() == set()
    shop.assert_ledger_is_storage()
    removed(shop, image, restored=True)
    shop.process()
    assert (shop.image(image)[0], shop.variants()) == ("ready", ROLES)


def test_late_uploads_of_a_removed_image(shop: Shop) -> None:
    """A worker sleeps until its lease is over and all is cleaned up, and then goes on."""
    image = shop.upload()

    def sleep(_: Any) -> bool:
        removed(shop, image)
        shop.db.execute("update queue.jobs set leased_until = now() - interval '1 second'")
        shop.db.execute("select queue.reap()")
        shop.db.execute("update queue.jobs set run_at = now(), max_attempts = 2")
        cleaned = "select 1 from queue.jobs where actor = 'remove_objects' and state = 'succeeded'"
        wait_for(lambda: shop.db.execute(cleaned).fetchone())
        return False

    shop.storage.on("POST", "preview.webp", sleep)
    with shop.working():
        removals = "select count(*) from queue.jobs where actor = 'remove_objects' and state = 'succeeded'"
        wait_for(lambda: shop.db.execute(removals).fetchone() == (2,))
        shop.settle()
    assert shop.variants() == set()
    shop.assert_ledger_is_storage()


def test_removal_spares_what_lives(shop: Shop) -> None:
    shop.upload()
    shop.process()
    paths = [p for b, p in shop.storage.objects if b == "media"]
    shop.storage.objects["media", "gone/a/b/card.webp"] = b"x"
    shop.db.execute(
        "select queue.enqueue('remove_objects', jsonb_build_object('bucket', 'media', 'paths', %s::text[]))",
        ([*paths, "gone/a/b/card.webp"],),
    )
    shop.storage.on("DELETE", ".", status(503))
    shop.process()
    shop.assert_ledger_is_storage()


def test_job_that_dies_with_its_worker_fails_the_image(shop: Shop) -> None:
    image = shop.upload()
    shop.db.execute("update queue.jobs set max_attempts = 1")
    shop.db.execute(
        "select private.begin_image(%s, c.id, c.lease_token) from queue.claim('default', 'w', 1, '-1 s') as c",
        (image,),
    )
    shop.db.execute("select queue.reap()")
    assert shop.image(image)[:2] == ("failed", "processing_gave_up")
