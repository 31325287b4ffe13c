"""Puts a snapshot into a project: first the bytes, through Storage, then users and rows in one transaction.

In this order nobody ever sees a row without its bytes, and a restore that is stopped has changed no row: run again, it
goes on. The pairing trigger lets the objects in because private.restored_objects names them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from cli.database import operator
from cli.errors import CliError, LockedError, NotMigratedError
from cli.migrate import apply
from cli.migrate.files import schema_files
from cli.snapshot import tables
from cli.snapshot.folder import Folder, Manifest, Progress, Stored, refuse_damaged, verify
from cli.snapshot.take import ACTOR, BUCKETS, LOCK_ID, REASON
from cli.sweep import run as sweep
from cli.sweep.ledger import SweepLedger
from worker.errors import StorageError
from worker.objects import ObjectStore

WRITERS = 6
AHEAD = 200
BATCH = 500
#: What people make: empty in a new project, while other tables have their seeds.
_MADE_BY_PEOPLE = """
select table_name from unnest(%s::text[]) as t (table_name)
where table_name = any(array[
  'public.profiles', 'public.listings', 'public.listing_images', 'public.image_events', 'public.generation_jobs',
  'public.image_assets', 'public.collections', 'public.saved_lists', 'public.site_credentials', 'private.erasures',
  'legacy.sources'
])
"""


@dataclass
class Restored:
    """What a restore did, or would do."""

    committed: bool
    users: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    uploaded: int = 0
    already_there: int = 0
    without_bytes: int = 0
    credentials_lost: int = 0
    findings: dict[str, int] = field(default_factory=dict)


def restore(
    db_url: str,
    objects: ObjectStore,
    folder: Folder,
    progress: Progress,
    *,
    replace: bool = False,
    dry_run: bool = False,
) -> Restored:
    """Makes the project's ledger that of the snapshot.

    Raises CliError `no_snapshot`, `snapshot_damaged`, `schema_differs`, `workers_run`, `not_empty`, `users_clash`,
    `storage_refused`, `restore_failed`; NotMigratedError, LockedError. Nothing is changed unless all checks pass.
    """
    manifest = folder.read()
    refuse_damaged(verify(folder, manifest, progress))
    with operator(db_url, "restore") as session:
        conn = tables.plain(session)
        if conn.execute("select pg_try_advisory_lock(%s)", [LOCK_ID]).fetchone() != (True,):
            raise LockedError(
                "a snapshot or a restore of this database is under way", remedy="wait for its end"
            )
        _check(conn, folder, manifest, replace=replace)
        if dry_run:
            return _promise(conn, folder, manifest)
        outcome = Restored(committed=True)
        _let_in(conn, folder, manifest)
        _Sender(conn, objects, folder, manifest, outcome).send_all(progress)
        with _told():
            _load(conn, folder, manifest, outcome, progress)
        progress(0, 1, "settings")
        apply.migrate(db_url, schema_files(), force=True)
        conn.execute("analyze")
    _sweep(db_url, outcome, progress)
    return outcome


def _check(conn: tables.Connection, folder: Folder, manifest: Manifest, *, replace: bool) -> None:
    """Everything that can be known before anything is done."""
    if any(item.state != "unchanged" for item in apply.plan(conn, schema_files())):
        raise NotMigratedError(
            "the database's schema is not the one of this checkout", remedy="run `imageledger migrate` first"
        )
    gaps = list(_schema_gaps(conn, manifest))
    if gaps:
        raise _listed(
            "the snapshot has what this schema has not", gaps, "schema_differs",
            "restore with the version of imageledger that took it, then migrate",
        )  # fmt: skip
    alive = conn.execute(
        "select worker from queue.heartbeats where seen_at > now() - interval '30 seconds' order by 1"
    ).fetchall()
    if alive:
        raise _listed(
            "workers run on this database", [row[0] for row in alive], "workers_run",
            "stop them, and start them when the restore has ended",
        )  # fmt: skip
    if not replace and (found := _what_is_there(conn, manifest)):
        raise _listed(
            "the ledger of this project is not empty", found, "not_empty",
            "restore into a new project; or --replace, which deletes these rows first",
        )  # fmt: skip
    if clash := _user_clashes(conn, folder, manifest):
        raise _listed(
            "users of this project have the addresses of other users in the snapshot", clash, "users_clash",
            "delete these users here, or restore into a new project",
        )  # fmt: skip


def _listed(message: str, what: list[str], code: str, remedy: str) -> CliError:
    more = f"\n  … and {len(what) - 12} more" if len(what) > 12 else ""
    error = CliError(
        message + ":\n" + "\n".join(f"  - {line}" for line in what[:12]) + more, remedy=remedy, code=code
    )
    error.data = {"found": what}
    return error


def _schema_gaps(conn: tables.Connection, manifest: Manifest) -> Iterator[str]:
    for table in manifest.tables:
        if table.name in tables.AUTH:
            continue
        here = tables.columns_of(conn, table.name)
        if not here:
            yield f"table {table.name}"
            continue
        yield from (f"column {table.name}.{column}" for column in table.columns if column not in here)


def _what_is_there(conn: tables.Connection, manifest: Manifest) -> list[str]:
    found = []
    for (name,) in conn.execute(_MADE_BY_PEOPLE, [[table.name for table in manifest.tables]]).fetchall():
        row = conn.execute(sql.SQL("select count(*) from {}").format(tables.identifier(name))).fetchone()
        if row and row[0]:
            found.append(f"{name}: {row[0]} rows")
    row = conn.execute(
        "select count(*) from storage.objects as o where o.bucket_id = any(%s) and not exists ("
        " select from private.restored_objects as r where r.bucket_id = o.bucket_id and r.name = o.name"
        " and r.snapshot_id = %s)",
        [BUCKETS, manifest.id],
    ).fetchone()
    return [*found, f"storage.objects: {row[0]} objects"] if row and row[0] else found


def _user_clashes(conn: tables.Connection, folder: Folder, manifest: Manifest) -> list[str]:
    users = manifest.table("auth.users")
    if users is None:
        return []
    with conn.transaction(force_rollback=True):
        conn.execute(
            sql.SQL("create temporary table comers ({}) on commit drop").format(
                sql.SQL(", ").join(
                    sql.SQL("{} text").format(sql.Identifier(column)) for column in users.columns
                )
            )
        )
        tables.copy_in(conn, "pg_temp.comers", users.columns, folder.chunks(users.file))
        rows = conn.execute(
            "select u.id::text from auth.users as u join pg_temp.comers as c"
            " on u.id <> c.id::uuid and (lower(u.email) = lower(c.email) or u.phone = nullif(c.phone, ''))"
        ).fetchall()
    return [row[0] for row in rows]


def _promise(conn: tables.Connection, folder: Folder, manifest: Manifest) -> Restored:
    there = _whole_already(conn, folder, manifest)
    with_bytes = [item for item in folder.objects(manifest) if item.sha256]
    users = manifest.table("auth.users")
    return Restored(
        committed=False,
        users=users.row_count if users else 0,
        rows={table.name: table.row_count for table in manifest.tables if table.row_count},
        uploaded=len(with_bytes) - len(there),
        already_there=len(there),
        without_bytes=manifest.object_count - len(with_bytes),
    )


def _let_in(conn: tables.Connection, folder: Folder, manifest: Manifest) -> None:
    """The list of what may come, and the buckets' limits of then."""
    with conn.transaction():
        conn.execute("delete from private.restored_objects")
        statement = "copy private.restored_objects (bucket_id, name, owner_id, snapshot_id) from stdin"
        with conn.cursor() as cursor, cursor.copy(statement) as copy:
            for item in folder.objects(manifest):
                copy.write_row((item.bucket, item.name, item.owner_id, manifest.id))
        for bucket in manifest.buckets:
            conn.execute(
                "update storage.buckets set file_size_limit = %(file_size_limit)s,"
                " allowed_mime_types = %(allowed_mime_types)s where id = %(id)s",
                bucket,
            )


def _whole_already(conn: tables.Connection, folder: Folder, manifest: Manifest) -> set[tuple[str, str]]:
    """(bucket, name) of objects that Storage has with the snapshot's size and ETag: not sent again."""
    there: set[tuple[str, str]] = set()
    items = folder.objects(manifest)
    while page := list(islice(items, BATCH)):
        rows = conn.execute(
            "select o.bucket_id, o.name from storage.objects as o"
            " join unnest(%s::text[], %s::text[], %s::bigint[], %s::text[]) as w (bucket_id, name, size, etag)"
            " on o.bucket_id = w.bucket_id and o.name = w.name"
            " where w.etag <> '' and o.metadata ->> 'eTag' = w.etag and (o.metadata ->> 'size')::bigint = w.size",
            [
                [i.bucket for i in page],
                [i.name for i in page],
                [i.byte_size for i in page],
                [i.etag for i in page],
            ],
        ).fetchall()
        there.update((row[0], row[1]) for row in rows)
    return there


@dataclass
class _Sender:
    """Each object through Storage, so that its own books are right."""

    conn: tables.Connection
    objects: ObjectStore
    folder: Folder
    manifest: Manifest
    outcome: Restored

    def send_all(self, progress: Progress) -> None:
        """Several at a time; what is there already is not sent."""
        there = _whole_already(self.conn, self.folder, self.manifest)
        with ThreadPoolExecutor(WRITERS, "send") as pool:
            ahead: deque[Future[None]] = deque()
            try:
                for done, item in enumerate(self.folder.objects(self.manifest)):
                    progress(done, self.manifest.object_count, "sending objects")
                    if not item.sha256:
                        self.outcome.without_bytes += 1
                    elif (item.bucket, item.name) in there:
                        self.outcome.already_there += 1
                    else:
                        self.outcome.uploaded += 1
                        ahead.append(pool.submit(self._send, item))
                        if self.outcome.uploaded == 1:
                            ahead.popleft().result()
                            self._refuse_another_project(item)
                    if len(ahead) >= AHEAD:
                        ahead.popleft().result()
                while ahead:
                    ahead.popleft().result()
            finally:
                for waiting in ahead:
                    waiting.cancel()

    def _send(self, item: Stored) -> None:
        try:
            self.objects.upload(
                item.bucket,
                item.name,
                self.folder.blob(item.sha256 or ""),
                item.content_type or "application/octet-stream",
                # Storage writes `max-age=` itself.
                cache_control=item.cache_control.removeprefix("max-age=") or "3600",
            )
        except StorageError as error:
            raise CliError(
                f"Storage does not take {item.bucket}/{item.name}: {error}",
                remedy="SUPABASE_URL and SUPABASE_DB_URL must be of one project; mend it and run the same command "
                "again: what was uploaded stays",
                code="storage_refused",
            ) from error

    def _refuse_another_project(self, item: Stored) -> None:
        row = self.conn.execute(
            "select exists (select from storage.objects where bucket_id = %s and name = %s)",
            [item.bucket, item.name],
        ).fetchone()
        if row != (True,):
            raise CliError(
                f"{item.bucket}/{item.name} was sent to Storage and is not in the database",
                remedy="SUPABASE_URL and SUPABASE_DB_URL must be of one project",
                code="not_one_project",
            )


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (psycopg.errors.OperationalError, psycopg.errors.InsufficientPrivilege):
        raise
    except psycopg.Error as error:
        raise CliError(
            f"the rows did not go in: {str(error).strip()}",
            remedy="no row was changed; the objects that were sent stay for the next attempt",
            code="restore_failed",
        ) from error


def _load(
    conn: tables.Connection, folder: Folder, manifest: Manifest, outcome: Restored, progress: Progress
) -> None:
    """Users and rows, all or nothing."""
    ours = [table for table in manifest.tables if table.name not in tables.AUTH]
    names = [table.name for table in ours]
    with conn.transaction():
        conn.execute("set local lock_timeout = '30s'; set local search_path = ''")
        conn.execute("select set_config('imageledger.restoring', %s, true)", [manifest.id])
        for name in tables.AUTH:
            if (table := manifest.table(name)) and tables.columns_of(conn, name):
                count = tables.insert_new(conn, name, table.columns, folder.chunks(table.file))
                outcome.users += count if name == "auth.users" else 0
        with tables.without_rules(conn, names):
            conn.execute(sql.SQL("truncate {}").format(sql.SQL(", ").join(map(tables.identifier, names))))
            for done, table in enumerate(ours):
                progress(done, len(ours), f"rows of {table.name}")
                tables.copy_in(conn, table.name, table.columns, folder.chunks(table.file))
                for column, value in table.sequences.items():
                    tables.set_sequence(conn, table.name, column, value)
            outcome.credentials_lost = _drop_unreadable(conn, manifest)
            _own(conn, folder, manifest)
            # Users whom the project has and the snapshot has not.
            conn.execute(
                "insert into public.profiles (id) select id from auth.users on conflict (id) do nothing"
            )
            _count(conn, ours, outcome)
        conn.execute("delete from private.restored_objects")
        # The snapshot saw its own pause.
        conn.execute(
            "select queue.resume(p.kind, p.name) from queue.pauses as p"
            " where p.kind = 'actor' and p.name = %s and p.reason = %s",
            [ACTOR, REASON],
        )


def _drop_unreadable(conn: tables.Connection, manifest: Manifest) -> int:
    """Credentials whose key is not here cannot be read by anybody: their owners set them again."""
    conn.execute(
        "delete from private.credential_secrets as s where s.vault_id is null and not exists ("
        " select from private.credential_keys as k join jsonb_each_text(%s) as w on w.key = k.id::text"
        " where k.id = s.key_id and w.value = encode(sha256(k.key), 'hex'))",
        [Jsonb(manifest.credentials["keys"])],
    )
    # Vault encrypts with a key of the project: what is sealed there can be read in that project only.
    if conn.execute("select private.has_vault()").fetchone() == (True,):
        conn.execute(
            "delete from private.credential_secrets as s where s.vault_id is not null"
            " and not exists (select from vault.secrets as v where v.id = s.vault_id)"
        )
    else:
        conn.execute("delete from private.credential_secrets where vault_id is not null")
    return conn.execute(
        "delete from public.site_credentials as c where not exists ("
        " select from private.credential_secrets as s where s.owner_id = c.owner_id and s.site = c.site)"
    ).rowcount


def _own(conn: tables.Connection, folder: Folder, manifest: Manifest) -> None:
    """Who uploaded what and when, which an upload with the service key cannot tell; and the ETags that Storage gave."""
    items = (item for item in folder.objects(manifest) if item.sha256)
    while page := list(islice(items, BATCH)):
        conn.execute(
            "update storage.objects as o set owner = w.owner, owner_id = w.owner_id, created_at = w.created_at,"
            "  user_metadata = w.user_metadata"
            " from jsonb_to_recordset(%s) as w (bucket text, name text, owner uuid, owner_id text,"
            "  created_at timestamptz, user_metadata jsonb)"
            " where o.bucket_id = w.bucket and o.name = w.name",
            [
                Jsonb(
                    [
                        {
                            "bucket": i.bucket,
                            "name": i.name,
                            "owner": i.owner,
                            "owner_id": i.owner_id,
                            "created_at": i.created_at,
                            "user_metadata": i.user_metadata,
                        }
                        for i in page
                    ]
                )
            ],
        )
    conn.execute(
        "update public.listing_images as i set etag = o.metadata ->> 'eTag' from storage.objects as o"
        " where o.bucket_id = 'private' and o.name = i.original_path and i.etag <> o.metadata ->> 'eTag'"
    )


def _count(conn: tables.Connection, ours: list[Any], outcome: Restored) -> None:
    """That every table has as many rows as the snapshot; nobody else writes until the commit."""
    wrong = []
    free = {"public.site_credentials", "private.credential_secrets", "public.profiles"}
    for table in ours:
        row = conn.execute(
            sql.SQL("select count(*) from {}").format(tables.identifier(table.name))
        ).fetchone()
        count = row[0] if row else 0
        if count:
            outcome.rows[table.name] = count
        if count != table.row_count and table.name not in free:
            wrong.append(f"{table.name}: {count} rows instead of {table.row_count}")
    if wrong:
        raise _listed("rows are missing", wrong, "restore_failed", "nothing was changed; verify the snapshot")


def _sweep(db_url: str, outcome: Restored, progress: Progress) -> None:
    """The two books compared at the end, of things of any age."""
    with SweepLedger(db_url, timedelta()) as ledger:
        tally = sweep.sweep(ledger, None, sweep.Wishes(), lambda *_: None, progress)
    outcome.findings = dict(tally.by_kind)
