"""What the actors ask of the database about images. Every function is one transaction."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, LiteralString, TypeVar

import psycopg
from psycopg.types.json import Jsonb
from psycopg_pool import ConnectionPool

from worker import faults, tracing
from worker.database import TRANSIENT, Backoff, Row, is_lease_lost
from worker.errors import LeaseLostError, LedgerBusyError
from worker.jobs import Job, origin

log = logging.getLogger(__name__)

T = TypeVar("T")

#: The function that a statement calls: the only part of it that a trace shows.
_CALLED = re.compile(r"\b(?:private|queue)\.[a-z_]+")

#: How long the end of a job is tried again before the whole attempt is given up, in seconds.
PATIENCE = 15.0


@dataclass(frozen=True, slots=True)
class ImageTask:
    """What begin_image answers."""

    image_id: str
    owner_id: str
    listing_id: str
    bucket: str
    path: str
    byte_size: int | None
    etag: str | None
    limits: dict[str, Any]
    variants: tuple[dict[str, Any], ...]
    #: To be measured only: a label is never rendered.
    as_label: bool = False

    @property
    def folder(self) -> str:
        """Where its variants lie in bucket `media`."""
        return variant_folder(self.owner_id, self.listing_id, self.image_id)


@dataclass(frozen=True, slots=True)
class ReviewTask:
    """What begin_review answers: the variant to look at, and who looks."""

    image_id: str
    bucket: str
    path: str
    byte_size: int
    provider: str


def variant_folder(owner_id: str, listing_id: str, image_id: str) -> str:
    """The folder of an image's variants in bucket `media`."""
    return f"{owner_id}/{listing_id}/{image_id}"


class ImageLedger:
    """The image functions of schema private, as media_worker."""

    def __init__(self, pool: ConnectionPool[psycopg.Connection[Row]]) -> None:
        self._pool = pool

    def begin(self, image_id: str, job: Job) -> ImageTask | None:
        """Marks the image processing; None when there is nothing to do. Raises LeaseLostError."""
        row = self._one("select private.begin_image(%s, %s, %s)", (image_id, job.id, job.token))
        if row is None:
            return None
        return ImageTask(
            image_id=str(row["image_id"]),
            owner_id=str(row["owner_id"]),
            listing_id=str(row["listing_id"]),
            bucket=row["bucket"],
            path=row["path"],
            byte_size=row.get("byte_size"),
            etag=row.get("etag"),
            limits=row.get("limits") or {},
            variants=tuple(row["variants"]),
            as_label=bool(row.get("as_label")),
        )

    def finish(self, image_id: str, job: Job, result: dict[str, Any]) -> str:
        """Writes the result and ends the job, in one transaction.

        `ready`; `gone`: the row was deleted; `again`: it is no label any more, and another job renders it.
        """
        return self._end(
            job, "select private.finish_image(%s, %s, %s, %s)", (image_id, job.id, job.token, Jsonb(result))
        )

    def fail(self, image_id: str, job: Job, code: str, message: str) -> str:
        """Marks the image failed for good, with a reason for people, and ends the job."""
        return self._end(
            job, "select private.fail_image(%s, %s, %s, %s, %s)", (image_id, job.id, job.token, code, message)
        )

    def begin_review(self, image_id: str, job: Job) -> ReviewTask | None:
        """What to review; None when there is nothing to do."""
        row = self._one("select private.begin_review(%s, %s, %s)", (image_id, job.id, job.token))
        if row is None:
            return None
        return ReviewTask(
            image_id=str(row["image_id"]),
            bucket=row["bucket"],
            path=row["path"],
            byte_size=row["byte_size"],
            provider=row["provider"],
        )

    def finish_review(self, image_id: str, job: Job, state: str, reason: str, provider: str) -> str:
        """Writes `allowed`, `rejected` or `error` and ends the job, in one transaction: the state, or `gone`."""
        return self._end(
            job,
            "select private.finish_review(%s, %s, %s, %s, %s, %s)",
            (image_id, job.id, job.token, state, reason, provider),
        )

    def queue_reviews(self, after_id: str | None, job: Job) -> str:
        """Orders one page of reviews and the next page, and ends the job: how many images it looked at."""
        return self._end(job, "select private.queue_reviews(%s, %s, %s)", (after_id, job.id, job.token))

    def settle_removal(self, bucket: str, paths: Sequence[str]) -> int:
        """After a removal: withdraws, or has rendered again, what lost its objects; how many images."""
        # It checks no lease, and so cannot know which job this is: what it orders belongs to it all the same.
        with self._transaction("private.settle_removal") as connection:
            row = connection.execute(
                """
                with whence as materialized (
                  select set_config('imageledger.correlation_id', coalesce(%s, ''), true) as id,
                    set_config('imageledger.trace_parent', coalesce(%s, ''), true) as trace
                )
                select private.settle_removal(%s, %s::text[]) from whence where id is not null and trace is not null
                """,
                (*origin(), bucket, list(paths)),
            )
            found = row.fetchone()
            return int(found[0]) if found else 0

    @contextmanager
    def removable(self, bucket: str, paths: Sequence[str]) -> Iterator[list[str]]:
        """Those of the paths that no row refers to, nor will before the block ends: a retry of a failed image
        waits for it. Raises LedgerBusyError when such an image is being changed just now."""
        with self._pool.connection() as connection, connection.transaction():
            try:
                rows = connection.execute(
                    "select * from private.lock_removable(%s, %s::text[])", (bucket, list(paths))
                ).fetchall()
            except psycopg.errors.LockNotAvailable as error:
                raise LedgerBusyError(f"an image in bucket {bucket} is being changed") from error
            yield [row[0] for row in rows]

    def record_removal(self, paths: Sequence[str]) -> None:
        """Notes that Storage has confirmed the removal, for the record of deleted users."""
        with self._pool.connection() as connection:
            connection.execute("select private.record_removal(%s::text[])", (list(paths),))

    @contextmanager
    def _transaction(self, sql: str) -> Iterator[psycopg.Connection[Row]]:
        """A connection for one statement. Where there are traces, what it orders hangs below its span."""
        if not tracing.is_on():
            with self._pool.connection() as connection:
                yield connection
            return
        called = _CALLED.search(sql)
        with (
            tracing.span(f"db {called[0] if called else 'query'}", "CLIENT"),
            self._pool.connection() as connection,
            connection.transaction(),
        ):
            connection.execute("select set_config('imageledger.span', %s, true)", (tracing.parent() or "",))
            yield connection

    def _one(self, sql: LiteralString, parameters: Sequence[Any]) -> Any:
        try:
            with self._transaction(sql) as connection:
                row = connection.execute(sql, parameters).fetchone()
        except psycopg.Error as error:
            if is_lease_lost(error):
                raise LeaseLostError(str(error)) from error
            raise
        return row[0] if row else None

    def _end(self, job: Job, sql: LiteralString, parameters: Sequence[Any]) -> str:
        def transact() -> str:
            with self._transaction(sql) as connection, connection.transaction():
                row = connection.execute(sql, parameters).fetchone()
                faults.reach("rows_written")
                # Before the commit: from then on the heartbeat would find the lease gone.
                job.settled = True
            return str(row[0]) if row else ""

        try:
            answer = _patiently(transact, job)
        except BaseException as error:
            job.settled = False
            if is_lease_lost(error):
                raise LeaseLostError(str(error)) from error
            raise
        faults.reach("committed")
        return answer


def _patiently(transact: Callable[[], T], job: Job) -> T:
    """Repeats a transaction while the database is away: the rendered bytes are worth a little waiting.

    A commit whose answer was lost is safe: the repetition finds the job ended and says the lease is lost.
    """
    backoff, deadline = Backoff(0.2, 3.0), time.monotonic() + PATIENCE
    while True:
        try:
            return transact()
        except TRANSIENT as error:
            job.settled = False
            pause = backoff.next()
            if time.monotonic() + pause > deadline:
                raise
            log.warning("will try again: %s", error, extra={"action": "retry_commit", **job.log_fields()})
            time.sleep(pause)
