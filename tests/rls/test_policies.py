"""Every policy by name: without it, somebody can do something else. One that changes nothing is dead or untested."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.rls.matrix import ACTORS, COMMANDS, RELATIONS
from tests.rls.test_matrix import Owned, outcome, statement
from tests.sql.scene import Conn, call, file, reserve, rows

Cells = dict[str, str]


def policies(conn: Conn) -> list[tuple[str, str]]:
    """Ours: (table, policy)."""
    return rows(
        conn,
        "select schemaname || '.' || tablename, policyname from pg_policies"
        " where schemaname in ('public', 'private', 'queue', 'analytics', 'legacy')"
        " or (schemaname = 'storage' and policyname ~ '^imageledger')"
        " order by 1, 2",
    )


def storage_statements(owned: Owned) -> dict[str, str]:
    """What RLS on storage.objects decides: each bucket's rows, and writes to the two paths a user may write to."""
    path = reserve(owned.conn, owned.owner, owned.listing, file())[0]["path"]
    read = {
        f"select {b}": f"select 1 from storage.objects where bucket_id = '{b}'"
        for b in ("private", "media", "public")
    }
    write = {
        f"insert {bucket}": "insert into storage.objects (bucket_id, name, owner_id, metadata)"
        f" values ('{bucket}', '{name}', '{owned.owner}', '{{\"size\": 1000, \"mimetype\": \"image/jpeg\"}}')"
        for bucket, name in (("private", path), ("public", f"{owned.owner}/{uuid4()}.jpg"))
    }
    return read | write


def cells(owned: Owned, table: str, storage: dict[str, str]) -> Cells:
    """What each actor can do to the table, and to the views that read it, or to the buckets."""
    if table == "storage.objects":
        statements = storage
    else:
        statements = {
            f"{relation} {command}": statement(owned, relation, command)
            for relation in (table, "public.gallery", "public.media_tray")
            for command in (COMMANDS if relation in RELATIONS and relation == table else ("select",))
        }
    return {
        f"{name} {actor}": outcome(owned, actor, text)
        for name, text in statements.items()
        for actor in (*ACTORS, "admin")
    }


@pytest.mark.parametrize("published", [False, True], ids=["draft", "published"])
def test_dropping_a_policy_changes_what_somebody_can_do(db: psycopg.Connection[Any], published: bool) -> None:
    owned = Owned(db)
    if published:
        call(db, owned.owner, "publish_listing", owned.listing)
    storage = storage_statements(owned)
    db.execute("grant usage on schema private to anon, service_role, media_worker, analyst")
    before = {table: cells(owned, table, storage) for table, _ in policies(db)}
    dead = set()
    for table, policy in policies(db):
        with db.transaction(force_rollback=True):
            db.execute(f'drop policy "{policy}" on {table}')  # type: ignore[arg-type]
            if cells(owned, table, storage) == before[table]:
                dead.add(f"{table}.{policy}")
    # A draft is nobody's but its owner's: what opens published listings shows only there.
    shown_by_publishing = {
        "public.listings.select_public",
        "public.listing_images.select_public",
        "public.image_variants.select_public",
        "storage.objects.imageledger_select_public",
    }
    assert dead - (set() if published else shown_by_publishing) == set()
