"""Plan and apply: what changed since the last time, and all files again in one transaction if anything did.

The files state the desired end and can be applied again and again; the table private.schema_files only
remembers what was applied, so that an unchanged run is one query.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import psycopg
from psycopg import errors, sql

from cli.errors import CliError, LockedError
from cli.migrate import clashes, requirements
from cli.migrate.files import SqlFile
from cli.migrate.statements import Statement, failure, split

# hashtext('imageledger migrate') would do; a constant is easier to find in pg_locks.
LOCK_ID = 7_240_517_001
LOCK_SECONDS = 60.0
LOCK_TIMEOUT = "5s"
ATTEMPTS = 5

_RECORD = """
create table if not exists private.schema_files (
  path text primary key,
  sha256 text not null,
  applied_at timestamptz not null default now()
);
alter table private.schema_files enable row level security;
revoke all on private.schema_files from public, anon, authenticated, service_role;
comment on table private.schema_files is
  'Which SQL files were applied, by content; written by `imageledger migrate`.';
"""

State = Literal["new", "changed", "unchanged", "removed"]
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Planned:
    path: str
    state: State


@dataclass(frozen=True)
class Outcome:
    """`applied` is what ran (everything or nothing); `plan` why. `committed` is False for a dry run."""

    plan: list[Planned]
    applied: list[str] = field(default_factory=list)
    committed: bool = False
    milliseconds: int = 0

    @property
    def up_to_date(self) -> bool:
        return all(item.state == "unchanged" for item in self.plan)


@contextmanager
def connect(url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection that acts as `postgres`, as a Supabase project's owner does; also through a pooler."""
    try:
        conn = psycopg.connect(
            url,
            autocommit=True,
            connect_timeout=10,
            application_name="imageledger migrate",
            client_encoding="utf8",
            prepare_threshold=None,
        )
    except psycopg.Error as error:
        raise CliError(
            f"the database cannot be reached: {str(error).strip()}",
            remedy="check SUPABASE_DB_URL or --db-url, or start the stack with `imageledger up`",
            code="database_unreachable",
        ) from error
    with conn:
        yield conn


def plan(conn: psycopg.Connection[Any], files: Sequence[SqlFile]) -> list[Planned]:
    """Each file's state; and what was applied once and is no file any more (drop it by hand)."""
    known: dict[str, str] = {}
    # Not to_regclass: within a transaction it may still answer from before another migration's commit, since it locks
    # nothing and so hears of no change.
    there = "select from pg_catalog.pg_tables where schemaname = 'private' and tablename = 'schema_files'"
    if conn.execute(there).fetchone() is not None:
        known = dict(conn.execute("select path, sha256 from private.schema_files").fetchall())
    planned = [
        Planned(
            file.path,
            "new"
            if file.path not in known
            else "unchanged"
            if known[file.path] == file.sha256
            else "changed",
        )
        for file in files
    ]
    gone = sorted(known.keys() - {file.path for file in files})
    return planned + [Planned(path, "removed") for path in gone]


def migrate(
    url: str,
    files: Sequence[SqlFile],
    *,
    dry_run: bool = False,
    force: bool = False,
    adopt: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """Make the database's schema that of `files`; nothing happens when it is already.

    `adopt` takes what is there under our names for ours. Raises MissingSupabaseError, MigrationError (nothing was
    applied), LockedError when another migration or a lock on a table does not end, CliError `names_taken`, and when
    the database cannot be reached.
    """
    began = time.monotonic()
    with connect(url) as conn:
        requirements.check(conn)
        _act_as_owner(conn)
        if not adopt:
            clashes.check(conn, files)
        planned = plan(conn, files)
        outcome = Outcome(planned)
        if outcome.up_to_date and not force and not dry_run:
            return Outcome(planned, committed=True, milliseconds=_since(began))
        statements = [statement for file in files for statement in split(file)]
        for attempt in range(1, ATTEMPTS + 1):
            try:
                planned = _apply(conn, files, statements, dry_run=dry_run, force=force, progress=progress)
                break
            except (errors.LockNotAvailable, errors.DeadlockDetected) as error:
                if attempt == ATTEMPTS:
                    raise LockedError(
                        f"a table is in use: {str(error).strip()} (tried {ATTEMPTS} times)",
                        remedy="nothing was applied; end long transactions (pg_stat_activity) and try again",
                    ) from error
                time.sleep(0.2 * 2**attempt)
            except psycopg.OperationalError as error:
                raise CliError(
                    f"the connection was lost: {str(error).strip()}",
                    remedy="run it again; it applies all or nothing",
                    code="connection_lost",
                ) from error
    ran = not Outcome(planned).up_to_date or force or dry_run
    return Outcome(
        planned,
        applied=[file.path for file in files] if ran else [],
        committed=not dry_run,
        milliseconds=_since(began),
    )


def _apply(
    conn: psycopg.Connection[Any],
    files: Sequence[SqlFile],
    statements: Sequence[Statement],
    *,
    dry_run: bool,
    force: bool,
    progress: Progress | None,
) -> list[Planned]:
    """One attempt. Answers the plan as it was under the lock: another migration may have come first."""
    with conn.transaction(force_rollback=dry_run):
        conn.execute("set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0")
        _take_turn(conn)
        conn.execute(sql.SQL("set local lock_timeout = {}").format(LOCK_TIMEOUT))
        planned = plan(conn, files)
        if Outcome(planned).up_to_date and not force and not dry_run:
            return planned
        # "already exists, skipping" is what idempotent files say all the time.
        conn.execute("set local client_min_messages = warning")
        done = 0
        current = ""
        for statement in statements:
            if statement.file.path != current:
                current = statement.file.path
                done += 1
                if progress:
                    progress(done, len(files), current)
            _execute(conn, statement)
        _remember(conn, files)
        # Delivered at commit: PostgREST reads the schema again.
        conn.execute("notify pgrst, 'reload schema'")
    return planned


def _execute(conn: psycopg.Connection[Any], statement: Statement) -> None:
    try:
        conn.execute(statement.text.encode())
    except (errors.LockNotAvailable, errors.DeadlockDetected):
        raise
    except psycopg.Error as error:
        if conn.closed:
            raise
        said = error.diag
        offset = int(said.statement_position) - 1 if said.statement_position else 0
        raise failure(
            statement.file,
            statement.offset + offset,
            said.message_primary or str(error),
            sqlstate=error.sqlstate or "",
            statement=statement.text,
            detail=said.message_detail or "",
            hint=said.message_hint or "",
            context=said.context or "",
        ) from error


def _act_as_owner(conn: psycopg.Connection[Any]) -> None:
    """A superuser hands over to `postgres`, so that every object has the owner it has on Supabase."""
    row = conn.execute(
        "select rolsuper and rolname <> 'postgres'"
        " and exists (select from pg_roles where rolname = 'postgres')"
        " from pg_roles where rolname = current_user"
    ).fetchone()
    if row and row[0]:
        conn.execute("set role postgres")


def _take_turn(conn: psycopg.Connection[Any]) -> None:
    deadline = time.monotonic() + LOCK_SECONDS
    while conn.execute("select pg_try_advisory_xact_lock(%s)", [LOCK_ID]).fetchone() != (True,):
        if time.monotonic() > deadline:
            raise LockedError(
                f"another migration of this database has been under way for {LOCK_SECONDS:.0f} s",
                remedy="wait, or end it (pg_stat_activity: application_name 'imageledger migrate')",
            )
        time.sleep(0.1)


def _remember(conn: psycopg.Connection[Any], files: Sequence[SqlFile]) -> None:
    conn.execute(_RECORD)
    conn.execute("delete from private.schema_files where path <> all(%s)", [[file.path for file in files]])
    conn.execute(
        "insert into private.schema_files (path, sha256)"
        " select * from unnest(%s::text[], %s::text[])"
        " on conflict (path) do update set sha256 = excluded.sha256, applied_at = excluded.applied_at"
        " where schema_files.sha256 <> excluded.sha256",
        [[file.path for file in files], [file.sha256 for file in files]],
    )


def _since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
