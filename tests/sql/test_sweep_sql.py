"""What the sweep's functions find, what they leave alone, and what a repair does."""

from __future__ import annotations

from itertools import pairwise
from typing import Any
from uuid import UUID

import psycopg
import pytest

from cli.sweep.findings import slices
from tests.conftest import FreshDatabase
from tests.sql.scene import (
    ROLES,
    Scene,
    call,
    events,
    file,
    finish,
    one,
    ready,
    reserve,
    rows,
    state,
    store,
    upload,
)
from tests.support.roles import as_role, as_user

FIRST, LAST = UUID(int=0), UUID(int=2**128 - 1)


@pytest.fixture
def scene(db: psycopg.Connection[Any]) -> Scene:
    db.execute("set local storage.allow_delete_query = 'true'")
    return Scene(db)


def found(conn: psycopg.Connection[Any], older_than: str = "-1 s") -> set[tuple[str, Any]]:
    """Kind and path or image of every finding about the two users' things."""
    images = rows(
        conn, "select kind, image_id::text from private.sweep_images(%s, %s, %s)", FIRST, LAST, older_than
    )
    objects = rows(
        conn,
        "select kind, path from private.sweep_objects('', null, %s, %s, %s)",
        FIRST,
        LAST,
        older_than,
    )
    return set(images) | set(objects)


def lose(conn: psycopg.Connection[Any], bucket: str, path: str) -> None:
    assert conn.execute(
        "delete from storage.objects where bucket_id = %s and name = %s", [bucket, path]
    ).rowcount


def forget(conn: psycopg.Connection[Any], image: str) -> str:
    """Deletes rows without what follows from it, as a restored backup does; answers the variants' folder."""
    path = one(conn, "select original_path from public.listing_images where id = %s", image)
    conn.execute("delete from public.listing_images where id = %s", [image])
    conn.execute("delete from queue.jobs where actor = 'remove_objects'")
    owner, _, listing, _ = path.split("/")
    return f"{owner}/{listing}/{image}"


def path_of(conn: psycopg.Connection[Any], image: str) -> str:
    return str(one(conn, "select original_path from public.listing_images where id = %s", image))


def variant(conn: psycopg.Connection[Any], image: str, role: str = "card") -> str:
    return str(
        one(conn, "select path from public.image_variants where image_id = %s and role = %s", image, role)
    )


def repair(conn: psycopg.Connection[Any], image: str, kind: str) -> str:
    return str(one(conn, "select private.repair_image(%s, %s)", image, kind))


def test_nothing_is_wrong_with_what_is_under_way(scene: Scene) -> None:
    ready(scene.conn, scene.owner, scene.listing, 2)
    upload(scene.conn, scene.owner, scene.listing)
    reserve(scene.conn, scene.owner, scene.listing, file())
    removed, deleted = ready(scene.conn, scene.other, scene.theirs, 2)
    call(scene.conn, scene.other, "remove_image", removed)
    with as_user(scene.conn, scene.other):
        scene.conn.execute("delete from public.listing_images where id = %s", [deleted])
    for bucket, path in (
        ("public", f"{scene.owner}/logo.png"),
        ("private", f"{scene.owner}/inputs/{FIRST}.png"),
    ):
        store(scene.conn, path, scene.owner, bucket=bucket)
    assert found(scene.conn) == set()


def test_objects_without_rows(scene: Scene) -> None:
    (image,) = ready(scene.conn, scene.owner, scene.listing)
    original = path_of(scene.conn, image)
    folder = forget(scene.conn, image)
    expected = {("orphan_object", original)} | {("orphan_object", f"{folder}/{role}.webp") for role in ROLES}
    assert found(scene.conn) == expected
    assert found(scene.conn, "1 hour") == set()
    # Once their removal is ordered they are none.
    scene.conn.execute("select private.enqueue_removal(%s, 'private', %s)", [scene.owner, [original]])
    assert found(scene.conn) == expected - {("orphan_object", original)}
    scene.conn.execute("update queue.jobs set state = 'dead', finished_at = now()")
    assert found(scene.conn) == expected


def test_no_name_falls_between_the_slices(fresh_db: FreshDatabase) -> None:
    names = [
        "stray.jpg",
        "zzz/a/b.webp",
        "0/x.webp",
        "ff/y.webp",
        "!.webp",
        "é/z.webp",
        f"{FIRST}",
        f"{LAST}/a",
    ]
    with psycopg.connect(fresh_db.admin_url, autocommit=True) as conn:
        conn.execute("set session_replication_role = replica")
        for name in names:
            conn.execute("insert into storage.objects (bucket_id, name) values ('media', %s)", [name])
        for objects in (0, 100_000, 1_000_000):
            seen = [
                path
                for part in slices(objects)
                for path in rows(
                    conn,
                    "select path from private.sweep_objects(%s, %s, %s, %s, '-1 s')",
                    part.name_from,
                    part.name_to,
                    part.owner_from,
                    part.owner_to,
                )
            ]
            assert sorted(seen) == sorted(names)


def test_slices_join_without_gap() -> None:
    for objects in (0, 100_000, 1_000_000):
        parts = list(slices(objects))
        assert (parts[0].owner_from, parts[-1].owner_to) == (FIRST, LAST)
        assert (parts[0].name_from, parts[-1].name_to) == ("", None)
        for before, after in pairwise(parts):
            assert before.owner_to.int + 1 == after.owner_from.int
            assert before.name_to == after.name_from
            assert str(before.owner_to) < str(before.name_to) <= str(after.owner_from)


def test_one_owner_only(scene: Scene) -> None:
    for owner, listing in ((scene.owner, scene.listing), (scene.other, scene.theirs)):
        (image,) = ready(scene.conn, owner, listing)
        forget(scene.conn, image)
    (part,) = slices(10**9, scene.other)
    owners = rows(
        scene.conn,
        "select owner_id from private.sweep_objects(%s, %s, %s, %s, '-1 s')",
        part.name_from,
        part.name_to,
        part.owner_from,
        part.owner_to,
    )
    assert owners == [scene.other] * 6


@pytest.mark.parametrize("kind", ["original_missing", "original_differs"])
def test_lost_original(scene: Scene, kind: str) -> None:
    lost, whole = ready(scene.conn, scene.owner, scene.listing, 2)
    if kind == "original_missing":
        lose(scene.conn, "private", path_of(scene.conn, lost))
    else:
        scene.conn.execute("update public.listing_images set byte_size = 77 where id = %s", [lost])
    lose(scene.conn, "media", variant(scene.conn, lost))
    assert found(scene.conn) == {(kind, lost)}
    assert repair(scene.conn, lost, kind) == "failed"
    with as_user(scene.conn, scene.owner):
        assert rows(
            scene.conn, "select id::text, reason_code, can_retry from public.media_tray where reason <> ''"
        ) == [(lost, kind, False)]
        assert rows(scene.conn, "select id::text from public.gallery") == [whole]
    assert events(scene.conn, lost)[-1] == "failed"
    assert found(scene.conn) == set()
    # Once known it is not found again, and the variants that are there are kept.
    assert one(scene.conn, "select count(*) from public.image_variants where image_id = %s", lost) == 4
    assert repair(scene.conn, lost, kind) == "nothing"


@pytest.mark.parametrize("harm", ["no object", "no row", "another size"])
def test_variant_is_rendered_again(scene: Scene, harm: str) -> None:
    (image,) = ready(scene.conn, scene.owner, scene.listing)
    path = variant(scene.conn, image)
    if harm == "no object":
        lose(scene.conn, "media", path)
    elif harm == "no row":
        scene.conn.execute("delete from public.image_variants where path = %s", [path])
    else:
        scene.conn.execute("update public.image_variants set byte_size = 77 where path = %s", [path])
    kind = "variant_differs" if harm == "another size" else "variant_missing"
    assert (kind, image) in found(scene.conn)
    assert repair(scene.conn, image, kind) == "processing"
    with as_user(scene.conn, scene.owner):
        assert rows(scene.conn, "select id from public.gallery") == []
    assert found(scene.conn) == set()
    # Twice is once.
    assert repair(scene.conn, image, kind) == "nothing"
    assert repair(scene.conn, image, "stuck") == "processing"
    assert (
        one(scene.conn, "select count(*) from queue.jobs where actor = 'process_image' and state = 'ready'")
        == 1
    )
    assert finish(scene.conn, image) == "ready"
    assert found(scene.conn) == set()
    assert events(scene.conn, image)[-2:] == ["retried", "processed"]


def test_variants_of_a_removed_image_come_with_its_restoration(scene: Scene) -> None:
    (image,) = ready(scene.conn, scene.owner, scene.listing)
    lose(scene.conn, "media", variant(scene.conn, image))
    call(scene.conn, scene.owner, "remove_image", image)
    assert found(scene.conn) == {("variant_missing", image)}
    assert repair(scene.conn, image, "variant_missing") == "processing"
    assert found(scene.conn) == set()
    assert rows(scene.conn, "select id from queue.jobs where state = 'ready'") == []
    call(scene.conn, scene.owner, "restore_image", image)
    assert finish(scene.conn, image) == "ready"


def test_rows_of_a_failed_image_that_point_nowhere(scene: Scene) -> None:
    (image,) = ready(scene.conn, scene.owner, scene.listing)
    scene.conn.execute(
        "update public.listing_images set state = 'failed', error = 'x', error_code = 'x' where id = %s",
        [image],
    )
    lose(scene.conn, "media", variant(scene.conn, image))
    assert found(scene.conn) == {("variant_missing", image)}
    assert repair(scene.conn, image, "variant_missing") == "cleared"
    assert found(scene.conn) == set()
    assert state(scene.conn, image) == "failed"


def test_stuck_image(scene: Scene) -> None:
    (image,) = upload(scene.conn, scene.owner, scene.listing)
    scene.conn.execute("delete from queue.jobs")
    assert found(scene.conn) == {("stuck", image)}
    assert found(scene.conn, "1 hour") == set()
    assert repair(scene.conn, image, "stuck") == "processing"
    assert found(scene.conn) == set()
    assert finish(scene.conn, image) == "ready"


def test_upload_that_its_row_does_not_know_of(scene: Scene) -> None:
    (image,) = upload(scene.conn, scene.owner, scene.listing)
    scene.conn.execute("delete from queue.jobs")
    scene.conn.execute(
        "update public.listing_images set state = 'awaiting_upload', uploaded_at = null where id = %s",
        [image],
    )
    assert found(scene.conn) == {("upload_unnoticed", image)}
    assert repair(scene.conn, image, "upload_unnoticed") == "processing"
    assert finish(scene.conn, image) == "ready"
    assert found(scene.conn) == set()


def test_repair_of_what_is_gone_or_well_does_nothing(scene: Scene) -> None:
    (image,) = ready(scene.conn, scene.owner, scene.listing)
    for kind in ("stuck", "upload_unnoticed"):
        assert repair(scene.conn, image, kind) == "nothing"
    for kind in ("stuck", "upload_unnoticed", "variant_missing", "original_missing"):
        assert repair(scene.conn, str(FIRST), kind) == "nothing"
    assert state(scene.conn, image) == "ready"


def test_bytes_to_read(scene: Scene) -> None:
    (image,) = ready(scene.conn, scene.owner, scene.listing)
    upload(scene.conn, scene.owner, scene.listing)
    reserve(scene.conn, scene.owner, scene.listing, file())
    listed = rows(
        scene.conn,
        "select bucket, count(*)::int, count(sha256)::int, count(etag)::int"
        " from private.sweep_bytes(%s, %s, '-1 s') group by bucket order by bucket",
        scene.owner,
        scene.owner,
    )
    assert listed == [("media", 5, 0, 5), ("private", 2, 1, 0)]
    assert repair(scene.conn, image, "original_differs") == "failed"
    assert rows(scene.conn, "select image_id from private.sweep_bytes(%s, %s, '-1 s')", FIRST, LAST) != []
    assert (
        rows(
            scene.conn,
            "select image_id from private.sweep_bytes(%s, %s, '-1 s') where image_id = %s",
            FIRST,
            LAST,
            image,
        )
        == []
    )


class TestRemovalLock:
    """A removal of a failed image's leftovers and its retry take turns."""

    @pytest.fixture
    def failed(self, fresh_db: FreshDatabase) -> tuple[FreshDatabase, Scene, str, str]:
        with fresh_db.connect() as conn:
            scene = Scene(conn)
            (image,) = upload(conn, scene.owner, scene.listing)
            path = f"{scene.owner}/{scene.listing}/{image}/card.webp"
            conn.execute("select private.abandon_image(%s, 'x')", [image])
        return fresh_db, scene, image, path

    def test_retry_waits(self, failed: tuple[FreshDatabase, Scene, str, str]) -> None:
        fresh_db, scene, image, path = failed
        with fresh_db.connect_worker() as remover, fresh_db.connect() as owner:
            assert rows(remover, "select * from private.lock_removable('media', %s)", [path]) == [path]
            owner.execute("set lock_timeout = '200ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable), owner.transaction():
                call(owner, scene.owner, "retry_image", image)
            remover.commit()
            call(owner, scene.owner, "retry_image", image)
            owner.commit()
            assert rows(remover, "select * from private.lock_removable('media', %s)", [path]) == []

    def test_removal_does_not_wait(self, failed: tuple[FreshDatabase, Scene, str, str]) -> None:
        fresh_db, scene, image, path = failed
        with fresh_db.connect_worker() as remover, fresh_db.connect() as owner:
            owner.execute("select 1")
            call(owner, scene.owner, "retry_image", image)
            with pytest.raises(psycopg.errors.LockNotAvailable):
                remover.execute("select * from private.lock_removable('media', %s)", [[path]])

    def test_rows_keep_their_objects(self, scene: Scene) -> None:
        (image,) = ready(scene.conn, scene.owner, scene.listing)
        path = variant(scene.conn, image)
        with as_role(scene.conn, "service_role"):
            doomed = rows(
                scene.conn, "select * from private.lock_removable('media', %s)", [path, "a/b/c/card.webp"]
            )
        assert doomed == ["a/b/c/card.webp"]
