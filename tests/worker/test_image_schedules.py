"""Random schedules of everything that can happen to photos; in the end ledger, Storage and gate agree.

Sellers upload, remove, restore, mark and replace while workers die, Storage fails, reviews are switched on and off and
time passes. Every photo that may come back comes back whole, and of a deleted user nothing stays.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any, ClassVar
from uuid import UUID

import psycopg
import pytest
from PIL import Image
from psycopg.types.json import Jsonb

from tests.conftest import FreshDatabase
from tests.sql.scene import ROLES, call, file, new_listing, one, order, reserve, rows, store
from tests.support.images import make_jpeg, make_webp
from tests.support.roles import as_service, as_user
from tests.support.storage_server import StorageServer, lose_reply
from tests.support.storage_server import status as answer_with
from tests.worker import schedules
from tests.worker.schedules import SCHEDULES, play, seeds, tools_of
from worker import faults
from worker.actors import process_image, queue_reviews, remove_objects, review_image
from worker.imaging import Renderer
from worker.objects import ObjectStore
from worker.review import ReviewError, Reviewers, Verdict
from worker.tools import Tools

PHOTOS = [make_jpeg((n, 64)) for n in (64, 72, 80, 88)] + [make_webp((96, 64)), b"no photo at all"]
#: Widths of photos that a reviewer refuses.
REFUSED = (64, 88)
IMAGES = "public.listing_images"
ACTORS = [process_image, queue_reviews, remove_objects, review_image]


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    with Renderer(2) as renderer:
        yield renderer


class Schedule(schedules.Schedule):
    """Two sellers with two listings each."""

    steps = 80
    fragile: ClassVar[dict[str, str]] = {
        "process_image": "image_id",
        "review_image": "image_id",
        "remove_objects": "bucket",
    }
    atomic: ClassVar[set[str]] = {"rows_written", "removed"}

    def __init__(self, db: psycopg.Connection[Any], storage: StorageServer, tools: Tools, seed: int) -> None:
        super().__init__(db, tools, seed)
        self.storage = storage
        self.listings = [(owner, new_listing(db, owner)) for owner in self.owners for _ in range(2)]
        self.policy(
            duplicate_images=self.random.choice(["allow", "flag", "refuse"]),
            photo_review_enabled=self.random.random() < 0.5,
        )
        self.ends: Counter[str] = Counter()

    def policy(self, **columns: Any) -> None:
        for name, value in columns.items():
            with as_service(self.db):
                self.db.execute(f"update public.site_policies set {name} = %s", [value])  # type: ignore[arg-type]

    # Sellers.

    def upload(self) -> None:
        owner, listing = self.random.choice(self.listings)
        self._send(owner, lambda data: reserve(self.db, owner, listing, self._describe(data))[0])

    def replace(self) -> None:
        self._with_one(
            "position is not null",
            lambda owner, image: self._send(
                owner, lambda data: self._reserve_replacement(owner, image, data)
            ),
        )

    def remove(self) -> None:
        self._with_one("deleted_at is null", lambda owner, image: call(self.db, owner, "remove_image", image))

    def restore(self) -> None:
        self._with_one(
            "deleted_at is not null", lambda owner, image: call(self.db, owner, "restore_image", image)
        )

    def mark(self) -> None:
        to = self.random.random() < 0.6
        self._with_one(
            f"position is not null and is_label = {not to}",
            lambda owner, image: call(self.db, owner, "set_label", image, to),
        )

    def retry(self) -> None:
        self._with_one(
            "state = 'failed' or review_state = 'error'",
            lambda owner, image: call(self.db, owner, "retry_image", image),
        )

    def delete(self) -> None:
        def gone(owner: UUID, image: UUID) -> None:
            with as_user(self.db, owner):
                self.db.execute("delete from public.listing_images where id = %s", [image])

        self._with_one("true", gone)

    def _reserve_replacement(self, owner: UUID, image: UUID, data: bytes) -> Any:
        with as_user(self.db, owner):
            return one(
                self.db,
                "select public.reserve_replacement(%s, %s)",
                image,
                Jsonb(file(byte_size=len(data))),
            )

    def _describe(self, data: bytes) -> dict[str, Any]:
        return file(byte_size=len(data), is_label=self.random.random() < 0.1)

    def _send(self, owner: UUID, ask: Callable[[bytes], dict[str, str]]) -> None:
        data = self.random.choice(PHOTOS)
        path = ""

        def act() -> None:
            nonlocal path
            path = ask(data)["path"]
            # Now and then somebody closes the browser.
            if self.random.random() < 0.9:
                etag = hashlib.md5(data, usedforsecurity=False).hexdigest()
                store(self.db, path, owner, len(data), etag=etag)
                self.storage.objects["private", path] = data

        self.refusable(act)

    def _with_one(self, where: str, act: Callable[[UUID, UUID], Any]) -> None:
        found = self.db.execute(
            f"select owner_id, id from public.listing_images where ({where}) and owner_id = any(%s)"
            " order by created_at, id",  # type: ignore[arg-type]
            [self.owners],
        ).fetchall()
        if found:
            # What a worker is busy with changes more often than the rest.
            busy = [row for row in found if str(row[1]) in self.asleep]
            owner, image = self.random.choice(busy if busy and self.random.random() < 0.6 else found[-6:])
            self.note(str(image))
            self.refusable(lambda: act(owner, image))

    # Operators, the clock and Storage.

    def switch(self) -> None:
        self.policy(photo_review_enabled=self.random.random() < 0.6)

    def age(self) -> None:
        """Undo times and reservations end."""
        gone = rows(self.db, f"select id from {IMAGES} where deleted_at is not null order by created_at, id")
        self.db.execute(
            f"update {IMAGES} set deleted_at = deleted_at - interval '1 year' where id = any(%s)",
            [[image for image in gone if self.random.random() < 0.5]],
        )
        self.db.execute(
            f"update {IMAGES} set upload_expires_at = now() - interval '1 second' where state = 'awaiting_upload'"
        )
        self.keep_house()

    def keep_house(self) -> None:
        for function in ("expire_reservations", "purge_removed", "settle_replacements"):
            self.db.execute(f"select private.{function}(10)")  # type: ignore[arg-type]

    def mishap(self) -> None:
        self.storage.on(
            self.random.choice(["GET", "POST", "DELETE"]),
            self.random.choice(["/private", "/media", "card.webp", "detail.webp"]),
            self.random.choice([answer_with(500), answer_with(503), lose_reply]),
        )

    def actions(self) -> dict[schedules.Action, int]:
        often = {
            self.work: 12,
            self.upload: 4,
            self.remove: 2,
            self.restore: 2,
            self.reap: 2,
            self.mishap: 2,
            self.mark: 3,
        }
        seldom = (self.replace, self.retry, self.delete, self.switch, self.age, self.wait)
        return often | dict.fromkeys(seldom, 1)

    def calm_down(self) -> None:
        self.storage.forget_faults()
        self.keep_house()

    def review(self, photo: bytes) -> Verdict:
        """In place of a reviewer: by the picture, so that it does not change its mind."""
        self.reach("reviewing")
        if not self.calm and self.random.random() < 0.2:
            raise ReviewError("out of order", retryable=self.random.random() < 0.7)
        with Image.open(BytesIO(photo)) as image:
            allowed = image.width not in REFUSED
        return Verdict(allowed, "" if allowed else "The photo shows a phone number.")

    # What has to be true.

    def check(self) -> None:
        self.agree()
        # Whatever can come back does, and is whole.
        for owner, image in self.db.execute(
            f"select owner_id, id from {IMAGES} where deleted_at is not null"
        ).fetchall():
            self.refusable(lambda o=owner, i=image: call(self.db, o, "restore_image", i))  # type: ignore[misc]
        self.settle()
        self.agree()
        self.ends = Counter(rows(self.db, f"select state || ' ' || review_state from {IMAGES}"))
        self.db.execute("delete from auth.users where id = any(%s)", [self.owners])
        self.settle()
        assert dict(self.storage.objects) == {}

    def agree(self) -> None:
        dead = rows(self.db, "select distinct actor from queue.jobs where state = 'dead'")
        assert set(dead) <= self.fragile.keys(), self.rows("queue.jobs", "state = 'dead'")
        required = rows(self.db, "select photo_review_enabled from public.site_policies") == [True]
        for _, listing in self.listings:
            order(self.db, listing)
        expected = set()
        for i in self.db.execute(
            "select id::text, owner_id::text, listing_id::text, state, is_label, review_state, deleted_at,"
            " original_path, error_code, withdrawn_at,"
            " array(select v.path from public.image_variants as v where v.image_id = i.id) as variants"
            f" from {IMAGES} as i"
        ):
            image, user, listing, state, is_label, review, deleted, original, code, withdrawn, variants = i
            if state != "awaiting_upload":
                expected.add(("private", original))
            expected |= {("media", path) for path in variants}
            whole = {f"{user}/{listing}/{image}/{role}.webp" for role in ROLES}
            hidden = is_label or (required and review == "rejected")
            story = str(i)
            assert set(variants) in (set(), whole), story
            assert not (hidden and variants), story
            if deleted is None:
                assert state in {"ready", "failed", "awaiting_upload"}, story
                assert state != "ready" or hidden or variants, story
                assert not required or state != "ready" or is_label or review != "pending", story
            assert code != "original_missing", story
            assert state != "ready" or variants or withdrawn is not None or is_label, story
        assert expected == set(self.storage.objects)
        kept = self.db.execute("select bucket_id, name from storage.objects where bucket_id <> 'public'")
        assert expected == set(kept.fetchall())
        shown = []
        for owner in self.owners:
            with as_user(self.db, owner):
                shown += rows(self.db, "select id::text from public.gallery")
        passing = rows(
            self.db,
            f"select id::text from {IMAGES} where state = 'ready' and position is not null and not is_label"
            " and (not %s or review_state = 'allowed')",
            required,
        )
        assert sorted(shown) == sorted(passing)


def keep_books(storage: StorageServer, db: psycopg.Connection[Any]) -> None:
    """Storage's rows come and go with its objects."""

    def forget(bucket: str, path: str) -> None:
        with db.transaction():
            db.execute("set local storage.allow_delete_query = 'true'")
            db.execute("delete from storage.objects where bucket_id = %s and name = %s", [bucket, path])

    def accepts(bucket: str, path: str) -> bool:
        try:
            store(db, path, bucket=bucket)
        except psycopg.errors.InsufficientPrivilege:
            return False
        return True

    storage.accepts = accepts
    storage.on_remove = forget


def removes_and_dies(remove: Callable[..., None]) -> Callable[..., None]:
    """A removal after which the worker may be gone before it says so."""

    def act(self: ObjectStore, bucket: str, paths: list[str]) -> None:
        remove(self, bucket, paths)
        faults.reach("removed")

    return act


class Eyes:
    """The reviewer of whichever schedule is played."""

    schedule: Schedule

    def review(self, photo: bytes, mime_type: str) -> Verdict:
        return self.schedule.review(photo)


def test_schedules(fresh_db: FreshDatabase, renderer: Renderer, monkeypatch: pytest.MonkeyPatch) -> None:
    eyes = Eyes()
    ends: Counter[str] = Counter()
    with (
        StorageServer() as storage,
        fresh_db.connect(autocommit=True) as db,
        fresh_db.connect(autocommit=True) as books,
        tools_of(fresh_db.worker_url, storage.url, renderer, Reviewers({"gemini": lambda: eyes})) as tools,
    ):
        keep_books(storage, books)
        monkeypatch.setattr(ObjectStore, "remove", removes_and_dies(ObjectStore.remove))
        db.execute("update public.site_policies set photo_review_provider = 'gemini'")
        for seed in seeds():
            schedule = eyes.schedule = Schedule(db, storage, tools, seed)
            play(schedule, seed, ACTORS, monkeypatch)
            ends += schedule.ends
            print(seed, schedule.ends)
    if len(seeds()) > 1:
        assert ends["ready allowed"] >= SCHEDULES, ends
