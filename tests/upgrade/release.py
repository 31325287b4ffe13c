"""Keeps a release for ever: its SQL files, and the rows that `imageledger demo` left, as one file of SQL.

    make release-schema VERSION=1.2.0

writes tests/upgrade/1.2.0.sql.gz. A file that is there is never written again: what was released does not change.
`--root` and `--db-url` write one of another checkout and its database.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from cli import project
from cli.migrate.files import SqlFile, schema_files

FOLDER = Path(__file__).parent
#: Between the schema, applied as postgres, and the rows, which a superuser inserts without triggers.
ROWS = "-- rows\n"
_SCHEMAS = ["public", "private", "queue", "legacy"]
_PLATFORM = ["auth.users", "auth.identities", "storage.objects"]
_LEFT_OUT = ["private.schema_files", "queue.heartbeats"]


def write(version: str, files: list[SqlFile], conn: psycopg.Connection[Any]) -> Path:
    """Writes the release; answers its file. Raises FileExistsError."""
    path = FOLDER / f"{version}.sql.gz"
    with path.open("xb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as packed:
        for file in files:
            packed.write(f"-- {file.path} {file.sha256}\n{file.text}\n".encode())
        packed.write(ROWS.encode())
        for statement in _rows(conn):
            packed.write(statement.encode())
    return path


def _use(conn: psycopg.Connection[Any]) -> None:
    """What the demo leaves out, by its users: a label, and every render in a collection."""
    listings = conn.execute(
        "select l.owner_id::text, (array_agg(i.id order by i.position desc))[1] from public.listings as l"
        " join public.listing_images as i on i.listing_id = l.id where i.state = 'ready' and i.position is not null"
        " group by l.owner_id, l.id having count(*) > 1 and not bool_or(i.is_label)"
    ).fetchall()
    for owner, image in listings:
        claims = json.dumps({"sub": owner, "role": "authenticated"})
        conn.execute(
            "select set_config('request.jwt.claims', %s, true), set_config('role', 'authenticated', true)",
            [claims],
        )
        conn.execute("select public.set_label(%s, true)", [image])
        conn.execute("select set_config('role', 'none', true), set_config('request.jwt.claims', '', true)")
    conn.execute(
        "insert into public.collection_items (owner_id, collection_id, render_id)"
        " select r.owner_id, c.id, r.id from public.renders as r join public.collections as c"
        " on c.owner_id = r.owner_id on conflict do nothing"
    )


def _rows(conn: psycopg.Connection[Any]) -> Iterator[str]:
    _use(conn)
    conn.execute("set search_path = ''")
    tables = conn.execute(
        "select format('%%I.%%I', schemaname, tablename) from pg_catalog.pg_tables"
        " where (schemaname = any(%(ours)s) and schemaname || '.' || tablename <> all(%(left_out)s))"
        " or schemaname || '.' || tablename = any(%(platform)s)"
        " order by schemaname || '.' || tablename <> 'auth.users', 1",
        {"ours": _SCHEMAS, "left_out": _LEFT_OUT, "platform": _PLATFORM},
    ).fetchall()
    for (table,) in tables:
        columns = conn.execute(
            "select string_agg(quote_ident(attname), ', ' order by attnum) from pg_catalog.pg_attribute"
            " where attrelid = %s::regclass and attnum > 0 and not attisdropped and attgenerated = ''",
            [table],
        ).fetchone()
        assert columns
        listed = columns[0]
        found = conn.execute(
            sql.SQL("select jsonb_agg(to_jsonb(t)) from {} as t").format(sql.SQL(table))
        ).fetchone()
        if found is None or found[0] is None:
            continue
        literal = sql.Literal(json.dumps(found[0], ensure_ascii=False)).as_string(conn)
        yield (
            f"delete from {table};\n"
            f"insert into {table} ({listed}) overriding system value select {listed}"
            f" from jsonb_populate_recordset(null::{table}, {literal});\n"
        )


def main() -> None:
    """Called by `make release-schema`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("version", help="such as 1.2.0")
    parser.add_argument("--root", type=Path, help="another checkout's files")
    parser.add_argument("--db-url", help="the database that has them")
    given = parser.parse_args()
    files = schema_files(given.root) if given.root else schema_files()
    url = given.db_url or project.current(need=("db_url",)).db_url
    with psycopg.connect(url) as conn:
        try:
            path = write(given.version, files, conn)
        except FileExistsError:
            sys.exit(f"{given.version} is released already: a release is never written again")
        finally:
            conn.rollback()
    print(f"{path} ({path.stat().st_size} bytes)")


if __name__ == "__main__":
    main()
