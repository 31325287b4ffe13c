"""The proof of an erasure: from the catalog, with times, and without personal data."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.conftest import FreshDatabase
from tests.sql.scene import Scene, one, ready, removals, rows, store
from tests.support.roles import as_role

# Uuid columns that say nothing of a person. A new one belongs here, or is named so that the report finds it.
IMPERSONAL = {
    "id",
    "listing_id",
    "image_id",
    "replaces_id",
    "duplicate_of",
    "session_id",
    "list_id",
    "generation_id",
    "job_id",
    "parent_job_id",
    "retry_of_id",
    "render_id",
    "snapshot_id",
    "asset_id",
    "source_asset_id",
    "mask_asset_id",
    "collection_id",
    "vault_id",
}


@pytest.fixture
def scene(db: psycopg.Connection[Any]) -> Scene:
    return Scene(db)


def report(conn: psycopg.Connection[Any], user: UUID) -> dict[str, Any]:
    with as_role(conn, "service_role"):
        answer: dict[str, Any] = one(conn, "select private.erasure_report(%s)", user)
    return answer


def erase(conn: psycopg.Connection[Any], user: UUID) -> None:
    conn.execute("delete from auth.users where id = %s", [user])
    conn.execute("set constraints all immediate")


def test_every_column_of_a_person_is_counted(scene: Scene) -> None:
    scene.conn.execute("set local search_path = ''")  # names with their schema
    counted = set(rows(scene.conn, "select relation::text, column_name::text from private.person_columns()"))
    uuids = rows(
        scene.conn,
        "select c.oid::regclass::text, a.attname::text from pg_class as c join pg_attribute as a on a.attrelid = c.oid"
        " where c.relnamespace::regnamespace::text in ('public', 'private', 'analytics') and c.relkind in ('r', 'p')"
        " and a.atttypid = 'uuid'::regtype and a.attnum > 0 and not a.attisdropped",
    )
    uncounted = {(t, c) for t, c in uuids if (t, c) not in counted and c not in IMPERSONAL}
    assert uncounted == {("private.erasures", "user_id")}
    assert {("public.profiles", "id"), ("public.listings", "owner_id"), ("auth.users", "id")} <= counted


def test_a_new_table_is_covered(scene: Scene) -> None:
    scene.conn.execute(
        "create table public.notes (owner_id uuid);"
        "create table public.visits (who uuid references public.profiles (id))"
    )
    scene.conn.execute("insert into public.notes values (%s), (%s)", [scene.owner, scene.other])
    scene.conn.execute("insert into public.visits values (%s)", [scene.owner])
    counts = report(scene.conn, scene.owner)["rows"]
    assert (counts["public.notes"], counts["public.visits"]) == (1, 1)


def test_from_user_to_nothing(scene: Scene) -> None:
    ready(scene.conn, scene.owner, scene.listing, 2)
    store(scene.conn, f"{scene.owner}/logo.png", scene.owner, bucket="public")
    before = report(scene.conn, scene.owner)
    assert before["rows"]["auth.users"] == 1
    assert before["rows"]["public.listing_images"] == 2
    assert before["objects"] == {"private": 2, "media": 10, "public": 1}
    assert (before["erased_at"], before["is_complete"]) == (None, False)

    erase(scene.conn, scene.owner)
    during = report(scene.conn, scene.owner)
    assert set(during["rows"].values()) == {0}
    assert during["erased_at"]
    assert (during["object_count"], during["byte_count"]) == (13, 2 * 1000 + 10 * 100 + 1000)
    assert during["removals"]["waiting"] == 3
    assert (during["completed_at"], during["is_complete"]) == (None, False)

    doomed = sorted(removals(scene.conn))
    for n, (bucket, path) in enumerate(doomed):
        scene.conn.execute("set local storage.allow_delete_query = 'true'")
        scene.conn.execute("delete from storage.objects where bucket_id = %s and name = %s", [bucket, path])
        with as_role(scene.conn, "service_role"):
            scene.conn.execute("select private.record_removal(%s)", [[path]])
        now = report(scene.conn, scene.owner)
        assert now["last_removal_at"]
        assert bool(now["completed_at"]) == (n == len(doomed) - 1)
        assert not now["is_complete"]
    scene.conn.execute(
        "update queue.jobs set state = 'succeeded', finished_at = now() where actor = 'remove_objects'"
    )
    after = report(scene.conn, scene.owner)
    assert after["is_complete"]
    assert after["erased_at"] <= after["completed_at"] <= after["checked_at"]
    assert set(after["objects"].values()) == {0}
    assert report(scene.conn, scene.other)["rows"]["public.listings"] == 1


def test_user_without_media_is_complete_at_once(scene: Scene) -> None:
    erase(scene.conn, scene.other)
    done = report(scene.conn, scene.other)
    assert (done["object_count"], done["is_complete"]) == (0, True)
    assert done["completed_at"]


def test_record_holds_counts_only(scene: Scene) -> None:
    columns = rows(
        scene.conn,
        "select attname::text from pg_attribute where attrelid = 'private.erasures'::regclass and attnum > 0",
    )
    assert columns == [
        "user_id",
        "erased_at",
        "object_count",
        "byte_count",
        "last_removal_at",
        "completed_at",
    ]


def test_a_rolled_back_deletion_leaves_no_record(fresh_db: FreshDatabase) -> None:
    with fresh_db.connect() as conn:
        scene = Scene(conn)
        conn.commit()
        conn.execute("delete from auth.users where id = %s", [scene.owner])
        conn.rollback()
        assert report(conn, scene.owner)["erased_at"] is None
