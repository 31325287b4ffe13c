"""The ledger's tables, as text out of a database and into one, by what its owner may do: no superuser is needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from cli.doctor.catalog import expected

Connection = psycopg.Connection[Any]

#: Users are Supabase's: what of them is needed to sign in again. Sessions are not: everybody signs in anew.
AUTH = ("auth.users", "auth.identities", "auth.mfa_factors")
#: About the tools and the machines, not about anybody's media.
_LEFT_OUT = {"private.schema_files", "private.restored_objects", "queue.heartbeats"}
#: What credentials are encrypted with: only by --with-keys.
KEYS = "private.credential_keys"

_COLUMNS = """
select a.attname, format_type(a.atttypid, a.atttypmod)
from pg_catalog.pg_attribute as a
where a.attrelid = to_regclass(%s) and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
order by a.attnum
"""
_SEQUENCES = """
select a.attname, pg_catalog.pg_get_serial_sequence(%(table)s, a.attname)
from pg_catalog.pg_attribute as a
where a.attrelid = %(table)s::regclass and a.attnum > 0 and not a.attisdropped
  and pg_catalog.pg_get_serial_sequence(%(table)s, a.attname) is not null
"""


def plain(session: Any) -> Connection:
    """The operator's session, with rows as tuples."""
    session.row_factory = tuple_row
    conn: Connection = session
    return conn


def identifier(name: str) -> sql.Identifier:
    """Of `schema.table`."""
    return sql.Identifier(*name.split(".", 1))


def ledger_tables(conn: Connection) -> list[str]:
    """Our tables that this database has; other tables of the project are not ours to copy."""
    catalog, _ = expected()
    ours = {name for (kind, name), detail in catalog.items() if kind == "relation" and detail == "table"}
    there = conn.execute(
        "select schemaname || '.' || tablename from pg_catalog.pg_tables"
        " where schemaname || '.' || tablename = any(%s) order by 1",
        [sorted(ours - _LEFT_OUT)],
    )
    return [row[0] for row in there.fetchall()]


def readable_auth_tables(conn: Connection) -> list[str]:
    """Those of AUTH that are there and may be read."""
    rows = conn.execute(
        "select name from unnest(%s::text[]) with ordinality as t (name, place)"
        " where to_regclass(name) is not null and has_table_privilege(to_regclass(name), 'select')"
        " order by place",
        [list(AUTH)],
    ).fetchall()
    return [row[0] for row in rows]


def columns_of(conn: Connection, table: str) -> dict[str, str]:
    """Column → type; without generated ones, which nobody can write."""
    return dict(conn.execute(_COLUMNS, [table]).fetchall())


def sequences_of(conn: Connection, table: str) -> dict[str, int]:
    """Column → the sequence's last value; without those that were never used."""
    found = {}
    for column, sequence in conn.execute(_SEQUENCES, {"table": table}).fetchall():
        row = conn.execute(
            "select last_value from pg_catalog.pg_sequences"
            " where format('%%I.%%I', schemaname, sequencename)::regclass = %s::regclass",
            [sequence],
        ).fetchone()
        if row and row[0] is not None:
            found[column] = int(row[0])
    return found


def copy_out(conn: Connection, table: str, columns: dict[str, str]) -> Iterator[bytes]:
    """The rows as COPY text."""
    statement = sql.SQL("copy {} ({}) to stdout").format(
        identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    with conn.cursor() as cursor, cursor.copy(statement) as copy:
        for piece in copy:
            yield bytes(piece)


def copy_in(conn: Connection, table: str, columns: dict[str, str], pieces: Iterator[bytes]) -> None:
    """The rows of COPY text, with the ids that they had."""
    statement = sql.SQL("copy {} ({}) from stdin").format(
        identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    with conn.cursor() as cursor, cursor.copy(statement) as copy:
        for piece in pieces:
            copy.write(piece)


def insert_new(conn: Connection, table: str, columns: dict[str, str], pieces: Iterator[bytes]) -> int:
    """Rows for a table of the platform's, which may have other columns here: what is there already stays."""
    here = columns_of(conn, table)
    shared = [column for column in columns if column in here]
    conn.execute("drop table if exists pg_temp.arrivals")
    conn.execute(
        sql.SQL("create temporary table arrivals ({}) on commit drop").format(
            sql.SQL(", ").join(sql.SQL("{} text").format(sql.Identifier(column)) for column in columns)
        )
    )
    copy_in(conn, "pg_temp.arrivals", columns, pieces)
    done = conn.execute(
        sql.SQL("insert into {} ({}) select {} from pg_temp.arrivals on conflict (id) do nothing").format(
            identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, shared)),
            sql.SQL(", ").join(
                sql.SQL("{}::{}").format(sql.Identifier(column), sql.SQL(here[column])) for column in shared
            ),
        )
    )
    return done.rowcount


def set_sequence(conn: Connection, table: str, column: str, value: int) -> None:
    """The next id comes after `value`, and after what is there."""
    conn.execute(
        sql.SQL(
            "select setval(pg_get_serial_sequence(%s, %s), greatest(%s, (select max({}) from {})))"
        ).format(sql.Identifier(column), identifier(table)),
        [table, column, value],
    )


@dataclass(frozen=True)
class _Trigger:
    table: str
    name: str
    #: O, D, R or A, as in pg_trigger.tgenabled.
    state: str


_BACK = {"O": "enable trigger", "R": "enable replica trigger", "A": "enable always trigger"}


@contextmanager
def without_rules(conn: Connection, tables: list[str]) -> Iterator[None]:
    """Rows go in as they were: no trigger fires and no foreign key is asked until the end of the block.

    All in the caller's transaction. The triggers' states come back as they were (those of append-only tables fire
    always); the foreign keys are made again, which checks every row. A tables' owner may do both, while
    session_replication_role is for superusers.
    """
    triggers = [
        _Trigger(*row)
        for row in conn.execute(
            "select format('%%s.%%s', n.nspname, c.relname), t.tgname, t.tgenabled::text"
            " from pg_catalog.pg_trigger as t join pg_catalog.pg_class as c on c.oid = t.tgrelid"
            " join pg_catalog.pg_namespace as n on n.oid = c.relnamespace"
            " where not t.tgisinternal and t.tgenabled <> 'D' and n.nspname || '.' || c.relname = any(%s)",
            [tables],
        ).fetchall()
    ]
    keys = conn.execute(
        "select format('%%s.%%s', n.nspname, c.relname), k.conname, pg_get_constraintdef(k.oid),"
        "  obj_description(k.oid, 'pg_constraint')"
        " from pg_catalog.pg_constraint as k join pg_catalog.pg_class as c on c.oid = k.conrelid"
        " join pg_catalog.pg_namespace as n on n.oid = c.relnamespace"
        " where k.contype = 'f' and k.conparentid = 0 and n.nspname || '.' || c.relname = any(%s)",
        [tables],
    ).fetchall()
    for table in sorted({trigger.table for trigger in triggers}):
        conn.execute(sql.SQL("alter table {} disable trigger user").format(identifier(table)))
    for table, name, _, _ in keys:
        conn.execute(
            sql.SQL("alter table {} drop constraint {}").format(identifier(table), sql.Identifier(name))
        )
    yield
    for table, name, definition, comment in keys:
        conn.execute(
            sql.SQL("alter table {} add constraint {} {}").format(
                identifier(table),
                sql.Identifier(name),
                sql.SQL(definition),
            )
        )
        if comment:
            conn.execute(
                sql.SQL("comment on constraint {} on {} is {}").format(
                    sql.Identifier(name), identifier(table), sql.Literal(comment)
                )
            )
    for trigger in triggers:
        conn.execute(
            sql.SQL("alter table {} {} {}").format(
                identifier(trigger.table), sql.SQL(_BACK[trigger.state]), sql.Identifier(trigger.name)
            )
        )
