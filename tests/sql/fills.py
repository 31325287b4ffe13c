"""What the tests of fills do all the time: ask, and do what a worker would do."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from tests.sql.scene import Conn, one
from tests.support.roles import as_role, as_user

Row = dict[str, Any]


def ask(conn: Conn, owner: UUID, listing: Any, fields: list[str] | None = None, **arguments: Any) -> Row:
    """Calls request_fill as the owner; the row."""
    values = {"listing_id": listing, "fields": fields, **arguments}
    named = ", ".join(f"{name} => %({name})s" for name in values)
    with as_user(conn, owner), conn.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        row = cursor.execute(f"select * from public.request_fill({named})", values).fetchone()
    assert row is not None
    return row


def fill_of(conn: Conn, fill: Any) -> Row:
    with conn.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        row = cursor.execute("select * from public.listing_fills where id = %s", [fill]).fetchone()
    assert row is not None
    return row


def lease(conn: Conn, fill: Any) -> tuple[int, UUID]:
    """Claims the fill's job the short way."""
    row = conn.execute(
        "update queue.jobs set state = 'running', lease_token = gen_random_uuid(), attempts = attempts + 1,"
        " started_at = now(), leased_until = now() + interval '1 minute'"
        " where actor = 'fill_listing' and state in ('ready', 'running') and args ->> 'fill_id' = %s"
        " returning id, lease_token",
        [str(fill)],
    ).fetchone()
    assert row is not None, "no job waits for this fill"
    return row[0], row[1]


def begin(conn: Conn, fill: Any, held: tuple[int, UUID]) -> Row | None:
    with as_role(conn, "service_role"):
        work: Row | None = one(conn, "select private.begin_fill(%s, %s, %s)", fill, *held)
    return work


def submit(conn: Conn, fill: Any, held: tuple[int, UUID], *images: Any, is_submitting: bool = True) -> str:
    with as_role(conn, "service_role"):
        answer: str = one(
            conn,
            "select private.submit_fill(%s, %s, %s, %s::uuid[], %s)",
            fill,
            *held,
            list(images),
            is_submitting,
        )
    return answer


def finish(conn: Conn, fill: Any, held: tuple[int, UUID], values: Row) -> str:
    with as_role(conn, "service_role"):
        state: str = one(
            conn, "select private.finish_fill(%s, %s, %s, %s, 'm-1', '{}')", fill, *held, Jsonb(values)
        )
    return state


def answered(conn: Conn, fill: Any, values: Row) -> Row:
    """Works on a fill up to this answer; its row."""
    held = lease(conn, fill)
    assert begin(conn, fill, held) is not None
    assert submit(conn, fill, held) == "go"
    finish(conn, fill, held, values)
    return fill_of(conn, fill)
