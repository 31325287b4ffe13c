"""What fetch_image asks of the database. Every function is one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from worker.jobs import Job
from worker.ledger import ImageLedger
from worker.outside.errors import FetchRefused


@dataclass(frozen=True, slots=True)
class FetchTask:
    """What begin_fetch answers."""

    url: str
    hosts: tuple[str, ...]
    limits: dict[str, Any]


class FetchLedger(ImageLedger):
    """The functions for imported images of schema private, as media_worker. All raise LeaseLostError."""

    def begin_fetch(self, image_id: str, job: Job) -> FetchTask | None:
        """None when there is nothing to do."""
        row = self._one("select private.begin_fetch(%s, %s, %s)", (image_id, job.id, job.token))
        return None if row is None else FetchTask(row["url"], tuple(row["hosts"]), row["limits"])

    def reserve(self, image_id: str, job: Job, byte_size: int, mime_type: str) -> str | None:
        """The path to upload to; None when the image is gone. Raises FetchRefused: storage_budget_exceeded."""
        try:
            path = self._one(
                "select private.reserve_fetch(%s, %s, %s, %s, %s)",
                (image_id, job.id, job.token, byte_size, mime_type),
            )
        except psycopg.Error as error:
            if error.diag.message_detail == "storage_budget_exceeded":
                message = error.diag.message_primary or "there is no room for it."
                raise FetchRefused("storage_budget_exceeded", message) from error
            raise
        return None if path is None else str(path)

    def finish_fetch(self, image_id: str, job: Job, result: dict[str, Any]) -> None:
        """Ends the job with its result."""
        self._end(
            job, "select private.finish_fetch(%s, %s, %s, %s)", (image_id, job.id, job.token, Jsonb(result))
        )

    def fail_fetch(self, image_id: str, job: Job, code: str, message: str) -> None:
        """Ends the job; the image keeps waiting for its bytes, with the reason."""
        self._end(
            job, "select private.fail_fetch(%s, %s, %s, %s, %s)", (image_id, job.id, job.token, code, message)
        )
