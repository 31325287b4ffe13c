"""Objects and rows: an object of ours comes to a row that waits for it, or not at all."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.sql.scene import (
    Scene,
    call,
    events,
    file,
    finish,
    one,
    ready,
    refused,
    reserve,
    rows,
    state,
    store,
    upload,
)
from tests.support.roles import as_anon, as_service, as_user

FORBIDDEN = "42501"


def probe(scene: Scene, owner: Any, path: str, bucket: str = "private") -> None:
    """Storage's question for permission: an insert as the caller that is rolled back."""
    with as_user(scene.conn, owner), scene.conn.transaction(force_rollback=True):
        scene.conn.execute(
            "insert into storage.objects (bucket_id, name, owner_id) values (%s, %s, %s)",
            [bucket, path, str(owner)],
        )


class TestReservedPath:
    @pytest.fixture
    def row(self, scene: Scene) -> dict[str, str]:
        return reserve(scene.conn, scene.owner, scene.listing, file())[0]

    def test_probe_then_real_write(self, scene: Scene, row: dict[str, str]) -> None:
        probe(scene, scene.owner, row["path"])
        assert state(scene.conn, row["image_id"]) == "awaiting_upload"
        assert one(scene.conn, "select count(*) from queue.jobs") == 0

        store(scene.conn, row["path"], scene.owner, size=900)
        assert rows(
            scene.conn,
            "select state, byte_size, etag is not null, uploaded_at is not null from public.listing_images",
        ) == [("uploaded", 900, True, True)]
        assert rows(scene.conn, "select actor, args, owner_id from queue.jobs") == [
            (
                "process_image",
                {
                    "image_id": row["image_id"],
                    "owner_id": str(scene.owner),
                    "listing_id": str(scene.listing),
                },
                scene.owner,
            )
        ]
        assert rows(scene.conn, "select event, actor, actor_id from public.image_events order by id") == [
            ("reserved", "user", scene.owner),
            ("uploaded", "user", scene.owner),
        ]

    def test_with_the_service_key(self, scene: Scene, row: dict[str, str]) -> None:
        store(scene.conn, row["path"], None)
        assert rows(
            scene.conn, "select actor, actor_id from public.image_events order by id desc limit 1"
        ) == [("service_role", None)]

    def test_any_other_path(self, scene: Scene, row: dict[str, str]) -> None:
        folder = row["path"].rsplit("/", 1)[0]
        paths = [
            f"{folder}/{uuid4()}.jpg",
            row["path"].replace(".jpg", ".png"),
            row["path"].upper(),
            f"{row['path']}/x.jpg",
            f"{folder}/.emptyFolderPlaceholder",
            "x.jpg",
        ]
        for path in paths:
            with refused("not_reserved", sqlstate=FORBIDDEN):
                probe(scene, scene.owner, path)
            # A signed URL is redeemed as service_role, without row security.
            with refused("not_reserved", sqlstate=FORBIDDEN):
                store(scene.conn, path, scene.owner)
            with refused("not_reserved", sqlstate=FORBIDDEN):
                store(scene.conn, path, None)

    def test_by_another_user(self, scene: Scene, row: dict[str, str]) -> None:
        with refused("not_reserved", sqlstate=FORBIDDEN):
            probe(scene, scene.other, row["path"])
        with refused("not_reserved", sqlstate=FORBIDDEN):
            store(scene.conn, row["path"], scene.other)

    def test_by_nobody(self, scene: Scene, row: dict[str, str]) -> None:
        with pytest.raises(psycopg.errors.InsufficientPrivilege), as_anon(scene.conn):
            scene.conn.execute(
                "insert into storage.objects (bucket_id, name) values ('private', %s)", [row["path"]]
            )

    def test_twice(self, scene: Scene, row: dict[str, str]) -> None:
        store(scene.conn, row["path"], scene.owner)
        # Storage answers the message alone, so the remedy and the code are in it.
        told = r"uploaded already\. Reserve another upload, .*\(already_uploaded\)\n"
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match=told):
            probe(scene, scene.owner, row["path"])
        with refused("not_reserved", sqlstate=FORBIDDEN):
            probe(scene, scene.other, row["path"])
        with refused("already_uploaded", sqlstate=FORBIDDEN):
            store(scene.conn, row["path"], scene.owner)
        assert one(scene.conn, "select count(*) from queue.jobs") == 1

    def test_more_bytes_than_reserved(self, scene: Scene, row: dict[str, str]) -> None:
        with refused("more_bytes_than_reserved", sqlstate=FORBIDDEN):
            store(scene.conn, row["path"], scene.owner, size=1001)
        assert state(scene.conn, row["image_id"]) == "awaiting_upload"
        assert one(scene.conn, "select count(*) from storage.objects") == 0

    def test_after_it_expired(self, scene: Scene, row: dict[str, str]) -> None:
        scene.conn.execute("update public.listing_images set upload_expires_at = now()")
        with refused("reservation_expired", sqlstate=FORBIDDEN):
            probe(scene, scene.owner, row["path"])
        with refused("reservation_expired", sqlstate=FORBIDDEN):
            store(scene.conn, row["path"], scene.owner)

    def test_after_the_row_is_gone_or_removed(self, scene: Scene, row: dict[str, str]) -> None:
        call(scene.conn, scene.owner, "remove_image", row["image_id"])
        with refused("not_reserved", sqlstate=FORBIDDEN):
            store(scene.conn, row["path"], scene.owner)
        with as_user(scene.conn, scene.owner):
            scene.conn.execute("delete from public.listing_images")
        with refused("not_reserved", sqlstate=FORBIDDEN):
            store(scene.conn, row["path"], scene.owner)

    def test_move_copy_and_overwrite_in_sql(self, scene: Scene, row: dict[str, str]) -> None:
        store(scene.conn, row["path"], scene.owner)
        for change in (
            f"name = '{scene.owner}/x.jpg'",
            "bucket_id = 'public'",
            "bucket_id = 'media'",
            "version = 'x'",
            "metadata = metadata || '{\"size\": 5}'",
            f"owner_id = '{scene.other}'",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), as_service(scene.conn):
                scene.conn.execute(f"update storage.objects set {change}")  # type: ignore[arg-type]
        with as_user(scene.conn, scene.owner):
            assert scene.conn.execute("update storage.objects set name = 'x'").rowcount == 0
            assert scene.conn.execute("select name from storage.objects").fetchall() == [(row["path"],)]
        # What Storage itself stamps is no new content.
        with as_service(scene.conn):
            scene.conn.execute("update storage.objects set last_accessed_at = now()")


class TestOtherFolders:
    def test_inputs(self, scene: Scene) -> None:
        good = f"{scene.owner}/inputs/{uuid4()}.png"
        probe(scene, scene.owner, good)
        store(scene.conn, good, scene.owner)
        for path in (f"{scene.owner}/inputs/a.png", f"{good}/x.png", good.replace(".png", ".svg")):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                probe(scene, scene.owner, path)
        for owner in (scene.other, uuid4()):
            with refused("not_your_folder", sqlstate=FORBIDDEN):
                store(scene.conn, f"{owner}/inputs/{uuid4()}.png", scene.owner)
        with refused("not_your_folder", sqlstate=FORBIDDEN):
            store(scene.conn, f"{uuid4()}/inputs/{uuid4()}.png", None)

    @pytest.mark.parametrize(
        "name",
        [
            "../x.jpg",
            "a//b.jpg",
            "a/../b.jpg",
            "ü.jpg",
            "x" * 256,
            "a\\b.jpg",
            ".hidden",
            "a/.b",
            "",
            "a/",
            "a b.jpg",
        ],
    )
    def test_unclean_names_in_public(self, scene: Scene, name: str) -> None:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            probe(scene, scene.owner, f"{scene.owner}/{name}", "public")

    def test_public_below_ones_own_folder(self, scene: Scene) -> None:
        for name in ("logo.png", "a/b/c-1.webp", "A_b.c.jpg"):
            probe(scene, scene.owner, f"{scene.owner}/{name}", "public")
        store(scene.conn, f"{scene.owner}/logo.png", scene.owner, bucket="public")
        for path in (f"{scene.other}/logo.png", "logo.png", f"renders/{uuid4()}/0.png"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                probe(scene, scene.owner, path, "public")
            code = "no_such_render" if path.startswith("renders/") else "not_your_folder"
            with refused(code, sqlstate=FORBIDDEN):
                store(scene.conn, path, scene.owner, bucket="public")
        with as_user(scene.conn, scene.other):
            assert scene.conn.execute("select from storage.objects").fetchall() == []
        with as_anon(scene.conn):
            assert scene.conn.execute("select from storage.objects").fetchall() == []
        with as_user(scene.conn, scene.owner):
            assert rows(scene.conn, "select name from storage.objects") == [f"{scene.owner}/logo.png"]

    def test_media_is_the_workers(self, scene: Scene) -> None:
        (image,) = upload(scene.conn, scene.owner, scene.listing)
        path = f"{scene.owner}/{scene.listing}/{image}/card.webp"
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            probe(scene, scene.owner, path, "media")
        with refused("no_such_image", sqlstate=FORBIDDEN):
            store(scene.conn, path, scene.owner, bucket="media")
        store(scene.conn, path, bucket="media")
        store(scene.conn, path, bucket="media", size=7)  # a second attempt overwrites
        for bad in (
            path.replace("card", "huge"),
            path.replace(".webp", ".svg"),
            path.replace(str(scene.listing), str(scene.theirs)),
            path.replace(str(scene.owner), str(scene.other)),
            path.replace(image, str(uuid4())),
            "card.webp",
        ):
            with refused("no_such_image", sqlstate=FORBIDDEN):
                store(scene.conn, bad, bucket="media")
        with as_user(scene.conn, scene.owner):
            scene.conn.execute("delete from public.listing_images")
        with refused("no_such_image", sqlstate=FORBIDDEN):
            store(scene.conn, path, bucket="media", size=8)

    def test_media_only_while_it_is_rendered(self, scene: Scene) -> None:
        """A worker that lost its lease and does not know it yet: what it writes, nobody would remove."""
        (image,) = upload(scene.conn, scene.owner, scene.listing)
        path = f"{scene.owner}/{scene.listing}/{image}/card.webp"

        def written() -> bool:
            try:
                with scene.conn.transaction():
                    store(scene.conn, path, bucket="media")
            except psycopg.errors.InsufficientPrivilege:
                return False
            return True

        assert written(), "it is about to be"
        call(scene.conn, scene.owner, "remove_image", image)
        assert not written()
        call(scene.conn, scene.owner, "restore_image", image)
        finish(scene.conn, image)
        assert written(), "the same again"
        scene.conn.execute("delete from public.image_variants where image_id = %s", [image])
        assert not written(), "withdrawn"

    def test_other_buckets_are_not_ours(self, scene: Scene) -> None:
        scene.conn.execute("insert into storage.buckets (id, name) values ('shop', 'shop')")
        store(scene.conn, "anything/at all.txt", scene.owner, bucket="shop")
        with as_user(scene.conn, scene.owner):
            assert scene.conn.execute("select from storage.objects").fetchall() == []


class TestBuckets:
    def test_as_designed(self, scene: Scene) -> None:
        found = rows(scene.conn, "select id, public, file_size_limit from storage.buckets order by id")
        assert found == [("media", False, 52428800), ("private", False, 52428800), ("public", True, 52428800)]

    def test_follow_the_policy(self, scene: Scene) -> None:
        scene.policy(image_bytes_max=7000, image_mime_types=["image/png"])
        assert rows(scene.conn, "select distinct file_size_limit from storage.buckets") == [7000]
        assert one(scene.conn, "select allowed_mime_types from storage.buckets where id = 'private'") == [
            "image/png"
        ]

    def test_sql_does_not_delete_objects(self, scene: Scene) -> None:
        (image,) = ready(scene.conn, scene.owner, scene.listing)
        for role in (as_user(scene.conn, scene.owner), as_service(scene.conn)):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), role:
                scene.conn.execute("delete from storage.objects")
        assert events(scene.conn, image) == ["reserved", "uploaded", "processed"]


def test_enqueue_fails_upload_fails(scene: Scene) -> None:
    """Pairing and job are one transaction: no half state when the queue refuses."""
    (row,) = reserve(scene.conn, scene.owner, scene.listing, file())
    scene.conn.execute("alter table queue.jobs add constraint boom check (actor <> 'process_image')")
    with pytest.raises(psycopg.errors.CheckViolation):
        store(scene.conn, row["path"], scene.owner)
    assert state(scene.conn, row["image_id"]) == "awaiting_upload"
    assert one(scene.conn, "select count(*) from storage.objects") == 0


def test_reserved_size_is_a_number_in_the_metadata(scene: Scene) -> None:
    """Storage without metadata (its probe) is not refused for its size."""
    (row,) = reserve(scene.conn, scene.owner, scene.listing, file())
    with as_service(scene.conn):
        scene.conn.execute(
            "insert into storage.objects (bucket_id, name, owner_id, metadata) values ('private', %s, %s, %s)",
            [row["path"], str(scene.owner), Jsonb({})],
        )
    assert one(scene.conn, "select byte_size from public.listing_images") == 1000
