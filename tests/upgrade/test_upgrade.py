"""Databases of every released version, with data in them, become what a fresh one is, and lose nothing."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from cli.migrate import apply
from tests.conftest import FreshDatabase
from tests.sql.test_migrate import EmptyDatabase
from tests.support.roles import as_user
from tests.support.schema_dump import schema_dump
from tests.support.stack import Stack
from tests.upgrade.release import FOLDER, ROWS

RELEASES = sorted(path.name.removesuffix(".sql.gz") for path in FOLDER.glob("*.sql.gz"))
#: What migrating may add to: seeds, and what is written about the schema itself.
SEEDED = {
    "public.presets",
    "public.generation_providers",
    "public.site_policy_events",
    "public.site_policies",
}


@pytest.fixture(scope="module", params=RELEASES)
def released(stack: Stack, request: pytest.FixtureRequest) -> Iterator[EmptyDatabase]:
    database = EmptyDatabase(stack, bootstrapped=True)
    load(database, FOLDER / f"{request.param}.sql.gz")
    yield database
    database.drop()


def load(database: EmptyDatabase, path: Path) -> None:
    """The release as it was: schema by `postgres`, rows without triggers."""
    schema, rows = gzip.decompress(path.read_bytes()).decode().split(ROWS)
    with psycopg.connect(database.url) as conn:
        conn.execute(schema.encode())
        # What `imageledger migrate` wrote then.
        conn.execute(apply._RECORD)
        for path_, sha256 in re.findall(r"^-- (\S+\.sql) ([0-9a-f]{64})$", schema, re.M):
            conn.execute("insert into private.schema_files (path, sha256) values (%s, %s)", [path_, sha256])
    with psycopg.connect(database.admin_url) as conn:
        conn.execute("set session_replication_role = replica")
        # Append-only tables refuse the delete of their first row for everybody.
        conn.execute("alter table public.site_policy_events disable trigger all")
        conn.execute(rows.encode())
        conn.execute("alter table public.site_policy_events enable trigger all")
        conn.execute(
            "alter table public.site_policy_events enable always trigger tg_site_policy_events__stay"
        )
        owners = conn.execute(
            "select format('%I.%I', schemaname, sequencename) from pg_sequences"
            " where schemaname in ('public', 'private', 'queue')"
        ).fetchall()
        for (sequence,) in owners:
            conn.execute("select setval(%s, 100000)", [sequence])


def content(database: EmptyDatabase) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table, as text that can be sorted."""
    found = {}
    with psycopg.connect(database.admin_url) as conn:
        names = conn.execute(
            "select schemaname || '.' || tablename from pg_tables"
            " where schemaname in ('public', 'private', 'queue', 'auth', 'storage') and tablename <> 'schema_files'"
        ).fetchall()
        for (name,) in names:
            rows = conn.execute(
                sql.SQL("select to_jsonb(t) from {} as t").format(sql.Identifier(*name.split(".")))
            ).fetchall()
            found[name] = sorted((row[0] for row in rows), key=lambda row: json.dumps(row, sort_keys=True))
    return found


def test_a_release_becomes_the_present_schema(released: EmptyDatabase, shared_db: FreshDatabase) -> None:
    before = content(released)
    assert sum(map(len, before.values())) > 100
    first = released.cli("--json")
    assert first.returncode == 0, first.stderr
    with psycopg.connect(shared_db.admin_url) as conn:
        fresh = schema_dump(conn)
    upgraded = released.dump()
    assert sorted(set(upgraded) - set(fresh)) == [], "left over, or other than in a fresh database"
    assert sorted(set(fresh) - set(upgraded)) == [], "missing"

    after = content(released)
    for table, rows in before.items():
        # A new column's first value counts as a change of the row.
        columns = set(rows[0]) - {"updated_at"} if rows else set()
        kept = [{key: row.get(key) for key in columns} for row in after[table]]
        lost = [row for row in rows if {key: row[key] for key in columns} not in kept]
        assert lost == [], f"{table} lost or changed rows"
        assert len(after[table]) == len(rows) or table in SEEDED, table

    again = released.cli("--force", "--json")
    assert again.returncode == 0, again.stderr
    assert released.dump() == upgraded
    assert content(released) == after


def test_the_data_is_as_valid_as_new_data(released: EmptyDatabase) -> None:
    assert released.cli().returncode == 0
    with psycopg.connect(released.url) as conn:
        constraints = conn.execute(
            "select conrelid::regclass::text, conname, pg_get_expr(conbin, conrelid) from pg_constraint"
            " where contype = 'c' and conrelid <> 0"
            " and connamespace::regnamespace::text in ('public', 'private', 'queue')"
        ).fetchall()
        assert len(constraints) > 100
        for table, name, expression in constraints:
            row = conn.execute(f"select count(*) from {table} where not ({expression})").fetchone()
            assert row == (0,), name
        # Positions have no gaps; nobody's label is in the gallery; published listings show their photos.
        gaps = conn.execute(
            "select listing_id from public.listing_images where position is not null group by listing_id"
            " having count(*) <> max(position) + 1"
        ).fetchall()
        assert gaps == []
        owner = conn.execute("select owner_id from public.listing_images where is_label limit 1").fetchone()
        assert owner
        with as_user(conn, owner[0]):
            shown = {row[0] for row in conn.execute("select id from public.gallery").fetchall()}
        labels = {
            row[0] for row in conn.execute("select id from public.listing_images where is_label").fetchall()
        }
        assert shown
        assert labels
        assert not shown & labels
        kept = conn.execute("select count(*) from public.collection_items").fetchone()
        assert kept
        assert kept[0] > 0
    # The two books agree, as the sweep sees them.
    with psycopg.connect(released.url) as conn:
        lowest, highest = "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"
        findings = conn.execute(
            "select kind from private.sweep_images(%(a)s, %(b)s, '0s') union all"
            " select kind from private.sweep_renders(%(a)s, %(b)s, '0s')",
            {"a": lowest, "b": highest},
        ).fetchall()
    assert findings == []
