"""Deletes are at once, cascade, and order the removal of exactly the objects of what went."""

from __future__ import annotations

from uuid import uuid4

import psycopg
import pytest

from tests.conftest import FreshDatabase
from tests.sql.scene import (
    Scene,
    call,
    file,
    new_listing,
    objects_of,
    one,
    ready,
    removals,
    reserve,
    rows,
    store,
    upload,
)
from tests.support.roles import as_service, as_user

TABLES = {
    "profiles": "id",
    "listings": "owner_id",
    "listing_images": "owner_id",
    "image_variants": "owner_id",
    "image_events": "owner_id",
}


def path_of(scene: Scene, image: str) -> str:
    return str(one(scene.conn, "select original_path from public.listing_images where id = %s", image))


@pytest.mark.parametrize("state", ["uploaded", "processing", "ready", "failed"])
def test_image(scene: Scene, state: str) -> None:
    gone, stays = ready(scene.conn, scene.owner, scene.listing, 2)
    reason = ", error = 'x', error_code = 'x'" if state == "failed" else ""
    scene.conn.execute(f"update public.listing_images set state = '{state}'{reason} where id = %s", [gone])  # type: ignore[arg-type]
    path = path_of(scene, gone)
    with as_user(scene.conn, scene.owner):
        scene.conn.execute("delete from public.listing_images where id = %s", [gone])
    assert removals(scene.conn) == objects_of(path)
    assert rows(scene.conn, "select distinct owner_id from queue.jobs where actor = 'remove_objects'") == [
        scene.owner
    ]
    assert rows(scene.conn, "select distinct image_id::text from public.image_variants") == [stays]


def test_reservation_has_no_objects(scene: Scene) -> None:
    reserve(scene.conn, scene.owner, scene.listing, file())
    with as_user(scene.conn, scene.owner):
        scene.conn.execute("delete from public.listing_images")
    assert removals(scene.conn) == set()


def test_purge(scene: Scene) -> None:
    gone, _ = ready(scene.conn, scene.owner, scene.listing, 2)
    path = path_of(scene, gone)
    call(scene.conn, scene.owner, "remove_image", gone)
    assert removals(scene.conn) == set()
    scene.policy(undo_seconds=0)
    scene.conn.execute("update public.listing_images set deleted_at = now() where id = %s", [gone])
    assert one(scene.conn, "select private.purge_removed(10)") == 1
    assert removals(scene.conn) == objects_of(path)


def test_listing(scene: Scene) -> None:
    images = ready(scene.conn, scene.owner, scene.listing, 2) + upload(scene.conn, scene.owner, scene.listing)
    reserve(scene.conn, scene.owner, scene.listing, file())
    second = new_listing(scene.conn, scene.owner)
    (stays,) = ready(scene.conn, scene.owner, second)
    expected = set().union(*(objects_of(path_of(scene, image)) for image in images))
    with as_user(scene.conn, scene.owner):
        scene.conn.execute("delete from public.listings where id = %s", [scene.listing])
    assert removals(scene.conn) == expected
    assert rows(scene.conn, "select id::text from public.listing_images") == [stays]
    with as_user(scene.conn, scene.owner):
        told = rows(scene.conn, "select event from public.listing_history(%s)", scene.listing)
    assert told.count("deleted") == 4
    assert "listing_deleted" in told


def test_many_images_are_few_jobs(scene: Scene) -> None:
    upload(scene.conn, scene.owner, scene.listing, 45)
    scene.conn.execute("delete from queue.jobs")
    with as_user(scene.conn, scene.owner):
        scene.conn.execute("delete from public.listing_images")
    sizes = rows(scene.conn, "select jsonb_array_length(args -> 'paths') from queue.jobs order by 1")
    assert sizes == [25, 45, 100, 100]
    assert len(removals(scene.conn)) == 270


class TestUser:
    def test_zero_rows_and_an_order_for_every_object(self, scene: Scene) -> None:
        images = ready(scene.conn, scene.owner, scene.listing, 2)
        call(scene.conn, scene.owner, "remove_image", images[0])
        ready(scene.conn, scene.other, scene.theirs)
        extra = [("private", f"{scene.owner}/inputs/{uuid4()}.png"), ("public", f"{scene.owner}/a/logo.png")]
        for bucket, path in extra:
            store(scene.conn, path, scene.owner, bucket=bucket)
        store(scene.conn, f"{scene.other}/logo.png", scene.other, bucket="public")
        expected = set(extra).union(*(objects_of(path_of(scene, image)) for image in images))
        assert expected == set(
            rows(
                scene.conn,
                "select bucket_id, name from storage.objects where name like %s",
                f"{scene.owner}/%",
            )
        )

        scene.conn.execute("delete from auth.users where id = %s", [scene.owner])
        scene.conn.execute("set constraints all immediate")
        assert removals(scene.conn) == expected
        for table, column in TABLES.items():
            assert rows(scene.conn, f"select from public.{table} where {column} = %s", scene.owner) == [], (
                table
            )
            assert rows(scene.conn, f"select from public.{table} where {column} = %s", scene.other) != [], (
                table
            )

    def test_an_upload_in_flight_is_found(self, fresh_db: FreshDatabase) -> None:
        """The deletion waits for a write that has begun, and orders its removal too."""
        with fresh_db.connect() as conn:
            scene = Scene(conn)
            (row,) = reserve(conn, scene.owner, scene.listing, file())
        logo = f"{scene.owner}/logo.png"
        with fresh_db.connect() as upload_conn, fresh_db.connect() as delete_conn:
            upload_conn.execute("select 1")  # opens the transaction that as_role's blocks are savepoints of
            store(upload_conn, row["path"], scene.owner)
            store(upload_conn, logo, scene.owner, bucket="public")
            delete_conn.execute("set lock_timeout = '300ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable), delete_conn.transaction():
                delete_conn.execute("delete from auth.users where id = %s", [scene.owner])
            upload_conn.commit()
            delete_conn.execute("delete from auth.users where id = %s", [scene.owner])
            delete_conn.commit()
            assert {("private", row["path"]), ("public", logo)} <= removals(delete_conn)
            assert rows(delete_conn, "select from public.image_events where owner_id = %s", scene.owner) == []

    def test_after_the_deletion_nothing_comes_in(self, scene: Scene) -> None:
        (row,) = reserve(scene.conn, scene.owner, scene.listing, file())
        scene.conn.execute("delete from auth.users where id = %s", [scene.owner])
        for bucket, path in (
            ("private", row["path"]),
            ("private", f"{scene.owner}/inputs/{uuid4()}.png"),
            ("public", f"{scene.owner}/logo.png"),
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                store(scene.conn, path, scene.owner, bucket=bucket)


class TestHistoryStays:
    @pytest.fixture
    def history(self, scene: Scene) -> Scene:
        ready(scene.conn, scene.owner, scene.listing)
        return scene

    @pytest.mark.parametrize(
        "statement",
        [
            "update public.image_events set event = 'reserved'",
            "update public.image_events set data = '{}' where false",
            "delete from public.image_events",
            "truncate public.image_events",
        ],
    )
    def test_for_everybody(self, history: Scene, statement: str) -> None:
        before = one(history.conn, "select count(*) from public.image_events")
        for who in (as_user(history.conn, history.owner), as_service(history.conn)):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), who:
                history.conn.execute(statement)  # type: ignore[arg-type]
        # The tables' own role has the privilege; the trigger refuses.
        with (
            pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"),
            history.conn.transaction(),
        ):
            history.conn.execute(statement)  # type: ignore[arg-type]
        assert one(history.conn, "select count(*) from public.image_events") == before

    def test_nobody_writes_it_but_the_ledger(self, history: Scene) -> None:
        for who in (as_user(history.conn, history.owner), as_service(history.conn)):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), who:
                history.conn.execute(
                    "insert into public.image_events (owner_id, listing_id, event, actor)"
                    " values (%s, %s, 'reserved', 'user')",
                    [history.owner, history.listing],
                )

    def test_a_profile_does_not_go_without_its_user(self, history: Scene) -> None:
        history.conn.execute("delete from public.profiles where id = %s", [history.owner])
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
            history.conn.execute("set constraints all immediate")

    def test_tells_of_a_deleted_image(self, history: Scene) -> None:
        with as_user(history.conn, history.owner):
            history.conn.execute("delete from public.listing_images")
            told = rows(
                history.conn, "select event, actor, summary from public.listing_history(%s)", history.listing
            )
        assert told == [
            ("reserved", "user", "Place 1 was reserved for 0.jpg."),
            ("uploaded", "user", "Uploaded, 1000 bytes."),
            ("processed", "service_role", "Ready, 4000 × 3000 pixels."),
            ("deleted", "user", "Deleted for good."),
        ]
        with as_user(history.conn, history.other):
            assert rows(history.conn, "select from public.listing_history(%s)", history.listing) == []

    def test_every_event_has_words(self, history: Scene) -> None:
        definition = one(
            history.conn,
            "select pg_get_constraintdef(oid) from pg_constraint where conname = 'event_is_known'",
        )
        known = [word for word in definition.split("'") if word.replace("_", "").isalpha() and word != "text"]
        assert len(known) == 23
        for event in known:
            told = one(
                history.conn,
                'select private.tell_event(%s, \'{"position": 1, "file_name": "a.jpg", "review_state": "allowed"}\')',
                event,
            )
            assert told.endswith(".") or event == "failed"
            assert told != event
