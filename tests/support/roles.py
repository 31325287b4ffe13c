"""Act as one of Supabase's roles on a psycopg connection, with the claims that PostgREST would set."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg import sql


@contextmanager
def as_role(conn: psycopg.Connection[Any], role: str, claims: dict[str, Any] | None = None) -> Iterator[None]:
    """Switch to `role` with `claims` inside a savepoint; what is written stays, the role does not.

    Raises whatever the body raises, after the savepoint was rolled back, so that a refused
    statement leaves the surrounding transaction usable.
    """
    payload = {"role": role, **(claims or {})}
    with conn.transaction():
        # Read from the server: the body may be nested in another as_role.
        previous = conn.execute(
            "select current_setting('role'), coalesce(current_setting('request.jwt.claims', true), '')"
        ).fetchone()
        assert previous is not None
        conn.execute("select set_config('request.jwt.claims', %s, true)", [json.dumps(payload)])
        conn.execute(sql.SQL("set local role {}").format(sql.Identifier(role)))
        yield
        conn.execute("select set_config('role', %s, true)", [previous[0]])
        conn.execute("select set_config('request.jwt.claims', %s, true)", [previous[1]])


def as_user(conn: psycopg.Connection[Any], user_id: UUID | str, **claims: Any) -> Any:
    """A signed-in user."""
    return as_role(conn, "authenticated", {"sub": str(user_id), "aud": "authenticated", **claims})


def as_anon(conn: psycopg.Connection[Any]) -> Any:
    """A visitor with the anon key."""
    return as_role(conn, "anon")


def as_service(conn: psycopg.Connection[Any]) -> Any:
    """A server with the service key."""
    return as_role(conn, "service_role")


def new_user(conn: psycopg.Connection[Any], email: str | None = None) -> UUID:
    """Insert a user as Auth would; answers the id. `conn` must be allowed to write auth.users."""
    user_id = uuid4()
    conn.execute(
        "insert into auth.users (id, aud, role, email) values (%s, 'authenticated', 'authenticated', %s)",
        [user_id, email or f"{user_id}@example.test"],
    )
    return user_id
