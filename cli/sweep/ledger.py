"""The sweep's questions to the database, and its repairs. Logs in as the operator (SUPABASE_DB_URL)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from psycopg.rows import class_row, dict_row

from cli.errors import CliError
from cli.sweep.findings import Finding, Slice

#: Rows that are held at a time, of the server's cursor.
PAGE = 2000

_FINDINGS: LiteralString = """
select * from private.sweep_images(%(owner_from)s, %(owner_to)s, %(older_than)s)
union all
select * from private.sweep_renders(%(owner_from)s, %(owner_to)s, %(older_than)s)
union all
select * from private.sweep_objects(%(name_from)s, %(name_to)s, %(owner_from)s, %(owner_to)s, %(older_than)s)
"""
_BYTES: LiteralString = """
select * from private.sweep_bytes(%(owner_from)s, %(owner_to)s, %(older_than)s)
union all
select * from private.sweep_render_bytes(%(owner_from)s, %(owner_to)s, %(older_than)s)
"""
_IN_FLIGHT: LiteralString = """
select
  (select count(*) from public.listing_images where state = 'awaiting_upload') as reserved_uploads,
  (select count(*) from queue.jobs where actor = 'process_image' and state in ('scheduled', 'ready', 'running'))
    as processing,
  (select coalesce(sum(jsonb_array_length(args -> 'paths')), 0)::bigint from queue.jobs
    where actor = 'remove_objects' and state in ('scheduled', 'ready', 'running')) as ordered_removals
"""


@dataclass(frozen=True, slots=True)
class StoredBytes:
    """An object, and what its bytes must be."""

    owner_id: UUID
    #: None for pictures of renders.
    image_id: UUID | None
    bucket: str
    path: str
    byte_size: int
    sha256: str | None
    etag: str | None


class SweepLedger:
    """Two sessions, since repairs are made while the findings are still being read. A context manager."""

    def __init__(self, db_url: str, older_than: timedelta) -> None:
        try:
            self._read = psycopg.connect(db_url, application_name="imageledger sweep")
            self._write = psycopg.connect(db_url, application_name="imageledger sweep", autocommit=True)
        except psycopg.OperationalError as error:
            raise CliError(str(error), remedy="check SUPABASE_DB_URL", code="database_unreachable") from error
        self._older_than = older_than
        # Set for the session: a hosted project's two minutes are meant for requests.
        self._read.execute("set statement_timeout = 0")
        self._read.commit()

    def __enter__(self) -> SweepLedger:
        return self

    def __exit__(self, *_: object) -> None:
        self._read.close()
        self._write.close()

    def object_count(self) -> int:
        """How many objects there are, as the planner knows; exact only where there are few."""
        row = self._write.execute(
            "select reltuples::bigint from pg_class where oid = 'storage.objects'::regclass"
        ).fetchone()
        if row and row[0] > 0:
            return int(row[0])
        row = self._write.execute("select count(*) from storage.objects").fetchone()
        return int(row[0]) if row else 0

    def findings(self, part: Slice) -> Iterator[Finding]:
        """What the tables tell without reading a byte."""
        yield from self._stream(_FINDINGS, part, Finding)

    def stored_bytes(self, part: Slice) -> Iterator[StoredBytes]:
        """What --verify-checksums reads."""
        yield from self._stream(_BYTES, part, StoredBytes)

    def in_flight(self) -> dict[str, int]:
        """What is under way and therefore no debris."""
        with self._write.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(_IN_FLIGHT).fetchone() or {}

    def any_object(self) -> tuple[str, str] | None:
        """The bucket and name of some object of ours."""
        row = self._write.execute(
            "select bucket_id, name from storage.objects where bucket_id in ('private', 'media')"
            " and name like '%/%' order by created_at limit 1"
        ).fetchone()
        return (row[0], row[1]) if row else None

    def has_object(self, bucket: str, path: str) -> bool:
        """Whether there is a row of this object now."""
        row = self._write.execute(
            "select exists (select from storage.objects where bucket_id = %s and name = %s)", (bucket, path)
        ).fetchone()
        return bool(row and row[0])

    def repair_image(self, image_id: UUID, kind: str) -> str:
        """`failed`, `processing`, `cleared` or `nothing`."""
        row = self._write.execute("select private.repair_image(%s, %s)", (image_id, kind)).fetchone()
        return str(row[0]) if row else "nothing"

    def repair_picture(self, path: str, kind: str) -> str:
        """`marked`, `cleared`, `processing` or `nothing`."""
        row = self._write.execute("select private.repair_picture(%s, %s)", (path, kind)).fetchone()
        return str(row[0]) if row else "nothing"

    def order_removal(self, owner_id: UUID | None, bucket: str, paths: Sequence[str]) -> None:
        """The worker removes them, after another look at whether a row refers to them."""
        self._write.execute("select private.enqueue_removal(%s, %s, %s)", (owner_id, bucket, list(paths)))

    def erasure_report(self, user_id: UUID) -> dict[str, Any]:
        """See private.erasure_report."""
        row = self._write.execute("select private.erasure_report(%s)::text", (user_id,)).fetchone()
        report: dict[str, Any] = json.loads(row[0]) if row else {}
        return report

    def _stream(self, sql: LiteralString, part: Slice, shape: type[Any]) -> Iterator[Any]:
        parameters = {
            "name_from": part.name_from,
            "name_to": part.name_to,
            "owner_from": part.owner_from,
            "owner_to": part.owner_to,
            "older_than": self._older_than,
        }
        with (
            self._read.transaction(),
            self._read.cursor("sweep", row_factory=class_row(shape)) as cursor,
        ):
            cursor.itersize = PAGE
            cursor.execute(sql, parameters)
            yield from cursor
