"""Takes a snapshot: rows and the list of objects in one REPEATABLE READ transaction, then the bytes of that list.

Bytes are immutable by path, and only the worker removes any. So its removals wait while a snapshot is taken (the
actor `remove_objects` is paused, and those that run already are let end first): what the rows refer to is still there
when it is copied, however long that takes and whatever users do meanwhile. The transaction is over before the first
byte is copied.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg

from cli.database import operator
from cli.errors import CliError, LockedError, NotMigratedError
from cli.snapshot import tables
from cli.snapshot.folder import Folder, Manifest, Progress, Stored, TableFile
from cli.sweep.ledger import SweepLedger
from cli.sweep.run import check_same_project
from worker.errors import ObjectMissingError, StorageError
from worker.objects import Download, ObjectStore, matches_etag

BUCKETS = ["private", "media", "public"]
ACTOR = "remove_objects"
# Of advisory locks: one snapshot or restore of a database at a time.
LOCK_ID = 7_240_517_003
READERS = 6
AHEAD = 200
ATTEMPTS = 3
#: How long removals that run already are waited for.
SETTLE_SECONDS = 120.0
REASON = "held back while a snapshot is taken"

_OBJECTS = """
select bucket_id, name, coalesce((metadata ->> 'size')::bigint, 0), coalesce(version, ''),
  coalesce(metadata ->> 'eTag', ''), coalesce(metadata ->> 'mimetype', ''), coalesce(metadata ->> 'cacheControl', ''),
  owner::text, owner_id, created_at::text, user_metadata
from storage.objects where bucket_id = any(%s) order by bucket_id, name
"""


@dataclass(frozen=True)
class Taken:
    """What a snapshot came to; of a dry run, what it would copy."""

    manifest: Manifest | None
    row_count: int
    object_count: int
    byte_count: int
    reused: int
    downloaded: int
    troubles: list[Stored]


def take(
    db_url: str,
    objects: ObjectStore,
    folder: Folder,
    progress: Progress,
    *,
    with_keys: bool = False,
    dry_run: bool = False,
) -> Taken:
    """Writes a snapshot into `folder`; what an earlier or unfinished one there holds already is not copied again.

    Raises CliError `folder_in_use`, `storage_unreachable`, `not_one_project`, `removals_run`; NotMigratedError,
    LockedError.
    """
    with operator(db_url, "snapshot") as session:
        conn = tables.plain(session)
        if conn.execute("select to_regclass('private.restored_objects')").fetchone() == (None,):
            raise NotMigratedError(
                "the database's schema is older than this command", remedy="run `imageledger migrate`"
            )
        if dry_run:
            return _look(conn, folder)
        if conn.execute("select pg_try_advisory_lock(%s)", [LOCK_ID]).fetchone() != (True,):
            raise LockedError(
                "a snapshot or a restore of this database is under way", remedy="wait for its end"
            )
        with SweepLedger(db_url, timedelta()) as ledger:
            check_same_project(ledger, objects)
        folder.create()
        with _removals_held(conn, progress):
            identity = str(uuid4())
            manifest, listed = _rows(conn, folder, identity, progress, with_keys=with_keys)
            copier = _Copier(conn, objects, folder, known_bytes(folder))
            manifest = copier.copy(manifest, listed, progress)
        folder.write(manifest)
    return Taken(
        manifest,
        sum(table.row_count for table in manifest.tables),
        manifest.object_count,
        manifest.byte_count,
        copier.reused,
        copier.downloaded,
        copier.troubles,
    )


def _look(conn: tables.Connection, folder: Folder) -> Taken:
    known = known_bytes(folder)
    found = [Stored(*row) for row in conn.execute(_OBJECTS, [BUCKETS]).fetchall()]
    reused = sum(1 for item in found if item.key in known)
    rows = 0
    for table in [*tables.readable_auth_tables(conn), *tables.ledger_tables(conn)]:
        row = conn.execute(
            psycopg.sql.SQL("select count(*) from {}").format(tables.identifier(table))
        ).fetchone()
        rows += row[0] if row else 0
    size = sum(item.byte_size for item in found)
    return Taken(None, rows, len(found), size, reused, len(found) - reused, [])


@contextmanager
def _removals_held(conn: tables.Connection, progress: Progress) -> Iterator[None]:
    """No object is removed until the end of the block; an operator's own pause stays afterwards."""
    with conn.transaction():
        conn.execute("select queue.pause('actor', %s, %s)", [ACTOR, REASON])
        row = conn.execute(
            "select reason from queue.pauses where kind = 'actor' and name = %s", [ACTOR]
        ).fetchone()
    # Also the one that a snapshot left which was killed.
    ours = row is not None and row[0] == REASON
    try:
        deadline = time.monotonic() + SETTLE_SECONDS
        running = (
            "select count(*) from queue.jobs where actor = %s and state = 'running' and leased_until > now()"
        )
        while (left := (conn.execute(running, [ACTOR]).fetchone() or (0,))[0]) > 0:
            progress(0, 1, f"waiting for {left} removals")
            if time.monotonic() > deadline:
                raise CliError(
                    f"{left} removals have been running for {SETTLE_SECONDS:.0f} s",
                    remedy=f"see `imageledger queue ls --actor {ACTOR}`, and take the snapshot when they have ended",
                    code="removals_run",
                )
            time.sleep(0.1)
        yield
    finally:
        if ours and not conn.closed:
            conn.execute("select queue.resume('actor', %s)", [ACTOR])


def _rows(
    conn: tables.Connection, folder: Folder, identity: str, progress: Progress, *, with_keys: bool
) -> tuple[Manifest, list[Stored]]:
    """All that the database holds, at one moment."""
    with conn.transaction():
        conn.execute("set transaction isolation level repeatable read, read only")
        conn.execute("set local search_path = ''")
        conn.execute("set local datestyle = iso; set local extra_float_digits = 1")
        wanted = [*tables.readable_auth_tables(conn), *tables.ledger_tables(conn)]
        if not with_keys:
            wanted.remove(tables.KEYS)
        written = []
        for done, table in enumerate(wanted):
            progress(done, len(wanted), f"rows of {table}")
            written.append(_table(conn, folder, identity, table))
        listed = [Stored(*row) for row in conn.execute(_OBJECTS, [BUCKETS]).fetchall()]
        moment = conn.execute("select now()::text").fetchone()
        manifest = Manifest(
            id=identity,
            taken_at=moment[0] if moment else "",
            server_version=conn.info.server_version,
            schema_files=_schema_files(conn),
            tables=written,
            buckets=_buckets(conn),
            objects_file=f"tables/{identity}/objects.jsonl.gz",
            objects_sha256="",
            object_count=len(listed),
            byte_count=sum(item.byte_size for item in listed),
            troubles={},
            credentials=_credentials(conn, with_keys=with_keys),
        )
    return manifest, listed


def _table(conn: tables.Connection, folder: Folder, identity: str, table: str) -> TableFile:
    columns = tables.columns_of(conn, table)
    count = 0

    def counted() -> Iterator[bytes]:
        nonlocal count
        for piece in tables.copy_out(conn, table, columns):
            # COPY text writes a line feed inside a value as \n: each real one ends a row.
            count += piece.count(b"\n")
            yield piece

    name = f"tables/{identity}/{table}.copy.gz"
    sha256 = folder.write_lines(name, counted())
    sequences = {} if table in tables.AUTH else tables.sequences_of(conn, table)
    return TableFile(table, name, sha256, count, columns, sequences)


def _schema_files(conn: tables.Connection) -> dict[str, str]:
    if conn.execute("select to_regclass('private.schema_files')").fetchone() == (None,):
        return {}
    return dict(conn.execute("select path, sha256 from private.schema_files order by path").fetchall())


def _buckets(conn: tables.Connection) -> list[dict[str, Any]]:
    rows = conn.execute(
        "select id, public, file_size_limit, allowed_mime_types from storage.buckets where id = any(%s) order by id",
        [BUCKETS],
    ).fetchall()
    names = ("id", "public", "file_size_limit", "allowed_mime_types")
    return [dict(zip(names, row, strict=True)) for row in rows]


def _credentials(conn: tables.Connection, *, with_keys: bool) -> dict[str, Any]:
    """How many secrets there are, where, and the digest of each key: enough to know a key again, not to make it."""
    row = conn.execute(
        "select count(*) filter (where key_id is not null), count(*) filter (where vault_id is not null)"
        " from private.credential_secrets"
    ).fetchone()
    sealed, in_vault = row or (0, 0)
    keys = {
        str(number): hashlib.sha256(bytes(key)).hexdigest()
        for number, key in conn.execute("select id, key from private.credential_keys order by id").fetchall()
    }
    return {"sealed": sealed, "in_vault": in_vault, "keys": keys, "with_keys": with_keys}


def known_bytes(folder: Folder) -> dict[tuple[str, str, str, str], str]:
    """Which bytes of which version are in the folder already: of the snapshot before, and of an unfinished one."""
    known: dict[tuple[str, str, str, str], str] = {}
    try:
        for item in folder.objects(folder.read()):
            if item.sha256:
                known[item.key] = item.sha256
    except (CliError, OSError, ValueError, TypeError):
        # None there, or damaged: then everything is copied again.
        known = {}
    if folder.journal.is_file():
        for line in folder.journal.read_text().splitlines():
            try:
                bucket, name, version, etag, sha256 = json.loads(line)
            except ValueError:
                continue  # the line that was being written when it ended
            known[bucket, name, version, etag] = sha256
    return known


class _Copier:
    """Bytes of a list of objects into the folder, a few at a time."""

    def __init__(
        self,
        conn: tables.Connection,
        objects: ObjectStore,
        folder: Folder,
        known: dict[tuple[str, str, str, str], str],
    ) -> None:
        self._conn, self._objects, self._folder, self._known = conn, objects, folder, known
        self.reused = self.downloaded = 0
        self.troubles: list[Stored] = []

    def copy(self, manifest: Manifest, listed: list[Stored], progress: Progress) -> Manifest:
        """Answers the manifest with what was found."""
        tally: Counter[str] = Counter()

        def lines() -> Iterator[bytes]:
            for done, item in enumerate(self._copied(listed)):
                progress(done + 1, len(listed), "copying objects")
                if item.trouble:
                    tally[item.trouble] += 1
                    self.troubles.append(item)
                yield json.dumps(asdict(item), ensure_ascii=False).encode() + b"\n"

        sha256 = self._folder.write_lines(manifest.objects_file, lines())
        return replace(manifest, objects_sha256=sha256, troubles=dict(tally))

    def _copied(self, listed: list[Stored]) -> Iterator[Stored]:
        with (
            ThreadPoolExecutor(READERS, "copy") as pool,
            self._folder.journal.open("a", encoding="utf8") as journal,
        ):
            self._folder.journal.chmod(0o600)
            ahead: deque[Future[Stored]] = deque()
            try:
                for item in listed:
                    ahead.append(pool.submit(self._one, item))
                    if len(ahead) >= AHEAD:
                        yield self._settled(ahead.popleft().result(), journal)
                while ahead:
                    yield self._settled(ahead.popleft().result(), journal)
            finally:
                for waiting in ahead:
                    waiting.cancel()

    def _settled(self, item: Stored, journal: Any) -> Stored:
        if item.trouble == "lost":
            row = self._conn.execute(
                "select exists (select from storage.objects where bucket_id = %s and name = %s)",
                [item.bucket, item.name],
            ).fetchone()
            return item if row == (True,) else replace(item, trouble="deleted_meanwhile")
        if self._known.get(item.key) == item.sha256:
            self.reused += 1
        else:
            self.downloaded += 1
            if not item.trouble:
                journal.write(json.dumps([*item.key, item.sha256]) + "\n")
                journal.flush()
        return item

    def _one(self, item: Stored) -> Stored:
        sha256 = self._known.get(item.key)
        if sha256 and self._is_whole(sha256, item.byte_size):
            return replace(item, sha256=sha256)
        target = self._folder.path / "bytes" / f"arriving-{uuid4().hex}"
        target.parent.mkdir(exist_ok=True, mode=0o700)
        try:
            return self._fetch(item, target)
        finally:
            target.unlink(missing_ok=True)

    def _is_whole(self, sha256: str, byte_size: int) -> bool:
        """Its size, not its digest: that is what `snapshot verify` reads."""
        blob = self._folder.blob(sha256)
        return blob.is_file() and blob.stat().st_size == byte_size

    def _fetch(self, item: Stored, target: Path) -> Stored:
        found: Download | None = None
        trouble = ""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                found = self._objects.download(item.bucket, item.name, target)
                is_same = found.byte_size == item.byte_size and matches_etag(found, item.etag)
                # Written again since the rows were read, or damaged: what is there is kept, and said.
                trouble = "" if is_same else "changed"
            except ObjectMissingError:
                trouble = "lost"
            except StorageError as error:
                if attempt == ATTEMPTS:
                    raise CliError(
                        f"Storage does not deliver {item.bucket}/{item.name}: {error}",
                        remedy="run it again: what was copied stays; see `imageledger doctor`",
                        code="storage_unreachable",
                    ) from error
                trouble = "lost"
            if not trouble:
                break
            time.sleep(0.2 * attempt)
        if trouble == "lost" or found is None:
            return replace(item, trouble="lost")
        blob = self._folder.blob(found.sha256)
        blob.parent.mkdir(exist_ok=True, mode=0o700)
        target.chmod(0o600)
        target.rename(blob)
        if trouble:
            return replace(item, sha256=found.sha256, byte_size=found.byte_size, etag="", trouble=trouble)
        return replace(item, sha256=found.sha256)
