"""Turns a PostgreSQL that answers into a database that PostgREST, the gateway and the worker can use."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cli.errors import CliError, StartError
from cli.migrate import requirements
from cli.migrate.apply import Progress, migrate
from cli.migrate.files import schema_files
from cli.stack.binaries import LOCAL
from cli.stack.keys import Keys

BOOTSTRAP = LOCAL / "bootstrap.sql"
Say = Callable[[str], None]


def login(url: str, role: str, password: str) -> str:
    """The same database for another role, as a libpq URL."""
    parts = {k: v for k, v in conninfo_to_dict(url).items() if v is not None}
    host, port = parts.pop("host", "127.0.0.1"), parts.pop("port", "5432")
    database = parts.pop("dbname", "postgres")
    for name in ("user", "password"):
        parts.pop(name, None)
    query = f"?{urlencode(parts)}" if parts else ""
    netloc = f"{quote(role)}:{quote(password, safe='')}@{quote(str(host), safe=':[]')}:{port}"
    return f"postgresql://{netloc}/{quote(str(database))}{query}"


def bootstrap(admin_url: str, keys: Keys, *, foreign: bool, say: Say) -> None:
    """Roles, auth and storage schemas, then the logins' passwords. Idempotent.

    On a `foreign` server (not started by us) this needs a superuser and says what it does.
    """
    try:
        with psycopg.connect(admin_url, autocommit=True, connect_timeout=10) as conn:
            _bootstrap(conn, keys, foreign=foreign, say=say)
    except psycopg.Error as error:
        raise StartError(
            f"preparing the database failed: {str(error).strip()}",
            remedy="see the postgres log (`imageledger logs postgres`)",
            code="bootstrap_failed",
        ) from error


def _bootstrap(conn: psycopg.Connection[Any], keys: Keys, *, foreign: bool, say: Say) -> None:
    gaps = requirements.missing(conn)
    row = conn.execute("select rolsuper from pg_roles where rolname = current_user").fetchone()
    if foreign and not (row and row[0]):
        raise CliError(
            "SUPABASE_DB_URL logs in as a role that is no superuser: the logins of PostgREST and the gateway "
            "cannot be made" + (f" (missing: {', '.join(gaps)})" if gaps else ""),
            remedy="give a superuser's URL of a bare PostgreSQL; for a Supabase project set SUPABASE_URL, "
            "SUPABASE_ANON_KEY and SUPABASE_SERVICE_ROLE_KEY as well",
            code="not_superuser",
        )
    if foreign:
        say(
            f"using the PostgreSQL at {conn.info.host}:{conn.info.port}, database {conn.info.dbname}: making "
            "Supabase's roles and the schemas auth, storage and extensions where they are missing, and "
            "setting the passwords of supabase_admin, authenticator, media_worker and analyst"
        )
    if conn.execute("select from pg_roles where rolname = 'supabase_admin'").fetchone() is None:
        conn.execute("create role supabase_admin superuser createdb createrole replication bypassrls login")
    conn.execute("set role supabase_admin")
    conn.execute(BOOTSTRAP.read_bytes())
    conn.execute("reset role")
    logins = {"supabase_admin": keys.supabase_admin, "authenticator": keys.authenticator}
    if not foreign:
        logins["postgres"] = keys.postgres
    for role, password in logins.items():
        set_password(conn, role, password)


def set_password(conn: psycopg.Connection[Any], role: str, password: str) -> None:
    """Only the verifier travels, so no log can hold the password."""
    verifier = conn.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    conn.execute(sql.SQL("alter role {} password {}").format(sql.Identifier(role), sql.Literal(verifier)))


def apply_schema(owner_url: str, admin_url: str, keys: Keys, *, progress: Progress | None = None) -> None:
    """The migrations, then the passwords of the roles that they make."""
    migrate(owner_url, schema_files(), progress=progress)
    with psycopg.connect(admin_url, autocommit=True, connect_timeout=10) as conn:
        for role, password in {"media_worker": keys.media_worker, "analyst": keys.analyst}.items():
            if conn.execute("select from pg_roles where rolname = %s", [role]).fetchone() is not None:
                set_password(conn, role, password)


def wait_for_database(url: str, seconds: float) -> None:
    """Until a login works; raises StartError."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            psycopg.connect(make_conninfo(url, connect_timeout=3)).close()
        except psycopg.OperationalError as error:
            if time.monotonic() > deadline:
                raise StartError(
                    f"SUPABASE_DB_URL does not answer: {str(error).strip()}",
                    remedy="check the URL and that PostgreSQL runs",
                    code="database_unreachable",
                ) from error
            time.sleep(0.2)
        else:
            return
