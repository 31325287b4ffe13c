"""A session of the operator (SUPABASE_DB_URL), whose errors are the ledger's own: code, message, remedy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from cli.errors import CliError

Row = dict[str, Any]
Connection = psycopg.Connection[Row]


@contextmanager
def desk(db_url: str, *, dry_run: bool = False) -> Iterator[Connection]:
    """One transaction, undone at the end when it is a dry run.

    Raises CliError with the code, message and remedy that the database refuses with.
    """
    try:
        conn = psycopg.connect(
            db_url, application_name="imageledger", row_factory=dict_row, prepare_threshold=None
        )
    except psycopg.OperationalError as error:
        raise CliError(
            str(error).strip(), remedy="check SUPABASE_DB_URL", code="database_unreachable"
        ) from error
    try:
        with conn, conn.transaction(force_rollback=dry_run):
            yield conn
    except psycopg.Error as error:
        raise refusal(error) from error


def refusal(error: psycopg.Error) -> CliError:
    """What the database said, as the CLI says it."""
    told = error.diag
    if error.sqlstate and error.sqlstate.startswith("PT") and told.message_detail:
        return CliError(told.message_primary or "", remedy=told.message_hint or "", code=told.message_detail)
    if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedFunction):
        return CliError(
            told.message_primary or str(error), remedy="run `imageledger migrate`", code="not_migrated"
        )
    if isinstance(error, psycopg.errors.IntegrityError):
        return CliError(
            told.message_primary or str(error),
            remedy=f"the constraint {told.constraint_name} must hold",
            code="constraint",
        )
    return CliError(str(error).strip(), remedy="see the database's log", code="database_error")


def one(conn: Connection, query: LiteralString, parameters: Row | None = None) -> Row | None:
    """The first row, or None."""
    return conn.execute(query, parameters).fetchone()


def find_user(conn: Connection, who: str) -> Row:
    """{"id", "email"} of the user with this id or e-mail address; raises CliError user_not_found."""
    try:
        wanted: dict[str, Any] = {"id": UUID(who), "email": None}
    except ValueError:
        wanted = {"id": None, "email": who.strip().lower()}
    found = one(
        conn,
        "select u.id, u.email from auth.users as u inner join public.profiles as p on p.id = u.id"
        " where u.id = %(id)s or (%(email)s::text is not null and lower(u.email) = %(email)s)",
        wanted,
    )
    if found is None:
        raise CliError(f"no user {who}", remedy="give an id or an e-mail address", code="user_not_found")
    return found
