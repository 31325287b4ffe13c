"""What the actor asks of the database about fills. Every function is one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg.types.json import Jsonb

from worker.fill.base import Field, FillAnswer
from worker.jobs import Job
from worker.ledger import ImageLedger


@dataclass(frozen=True, slots=True)
class FillPicture:
    """A photo to show, in bucket `media`."""

    image_id: str
    bucket: str
    path: str
    byte_size: int
    file_name: str
    alt_text: str
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FillTask:
    """What begin_fill answers."""

    fill_id: str
    provider: str
    was_submitted: bool
    """An attempt was about to ask the provider, and its answer was lost."""
    listing: dict[str, str | None]
    fields: tuple[Field, ...]
    keys: tuple[str, ...]
    photos: tuple[FillPicture, ...]


class FillLedger(ImageLedger):
    """The fill functions of schema private, as media_worker. All raise LeaseLostError."""

    def begin_fill(self, fill_id: str, job: Job) -> FillTask | None:
        """Takes the fill up; None when there is nothing to do."""
        row = self._one("select private.begin_fill(%s, %s, %s)", (fill_id, job.id, job.token))
        if row is None:
            return None
        return FillTask(
            fill_id=str(row["fill_id"]),
            provider=str(row["provider"]),
            was_submitted=row["submitted_at"] is not None,
            listing=row["listing"],
            fields=tuple(
                Field(f["field"], f["target"], f["length_max"], f["instruction"]) for f in row["fields"]
            ),
            keys=tuple(row["keys"]),
            photos=tuple(
                FillPicture(
                    image_id=photo["image_id"],
                    bucket=photo["bucket"],
                    path=photo["path"],
                    byte_size=photo["byte_size"],
                    file_name=photo["file_name"] or "",
                    alt_text=photo["alt_text"] or "",
                    tags=tuple(photo["tags"] or ()),
                )
                for photo in row["photos"]
            ),
        )

    def submit_fill(
        self, fill_id: str, job: Job, image_ids: Sequence[str] = (), *, is_submitting: bool = True
    ) -> str:
        """Tells that the provider is about to be asked, or has refused to begin: `go`, `changed` or `gone`."""
        answer = self._one(
            "select private.submit_fill(%s, %s, %s, %s::uuid[], %s)",
            (fill_id, job.id, job.token, list(image_ids), is_submitting),
        )
        return str(answer)

    def finish_fill(self, fill_id: str, job: Job, answer: FillAnswer) -> str:
        """Writes the values and ends the job, in one transaction; `succeeded`, `failed` or `gone`."""
        return self._end(
            job,
            "select private.finish_fill(%s, %s, %s, %s, %s, %s)",
            (fill_id, job.id, job.token, Jsonb(answer.values), answer.model[:200], Jsonb(answer.usage)),
        )

    def fail_fill(self, fill_id: str, job: Job, code: str, message: str, *, is_retryable: bool) -> str:
        """Ends the fill with a reason for people, and the job; `failed` or `gone`."""
        return self._end(
            job,
            "select private.fail_fill(%s, %s, %s, %s, %s, %s)",
            (fill_id, job.id, job.token, code, message, is_retryable),
        )
