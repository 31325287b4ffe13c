"""What the actor asks of the database about generations. Every function is one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from psycopg.types.json import Jsonb

from worker.jobs import Job
from worker.ledger import ImageLedger


@dataclass(frozen=True, slots=True)
class GenerationInput:
    """A picture to read; `byte_size` is None when Storage never told it."""

    role: str
    asset_id: str
    bucket: str
    path: str
    byte_size: int | None


@dataclass(frozen=True, slots=True)
class GenerationTask:
    """What begin_generation answers."""

    generation_id: str
    render_id: str
    provider: str
    prediction_id: str | None
    was_submitted: bool
    """An attempt was about to ask the provider; without a prediction_id its answer was lost."""
    is_canceled: bool
    is_late: bool
    """It counts as failed already, for its time is over; a result is still welcome."""
    seconds_since: float
    """Since the provider was asked, or else since it was ordered."""
    max_side: int
    limits: dict[str, Any]
    inputs: tuple[GenerationInput, ...]
    recipe: dict[str, Any]

    def picture_path(self, idx: int) -> str:
        """Where a picture lies in bucket `public`."""
        return f"{render_folder(self.render_id)}/{idx}.webp"

    def thumb_path(self, idx: int) -> str:
        """Where its small version lies in bucket `public`."""
        return f"{render_folder(self.render_id)}/{idx}_thumb.webp"


def render_folder(render_id: str) -> str:
    """The folder of a render's pictures in bucket `public`."""
    return f"renders/{render_id}"


class GenerationLedger(ImageLedger):
    """The generation functions of schema private, as media_worker. All raise LeaseLostError."""

    def begin_generation(self, generation_id: str, job: Job) -> GenerationTask | None:
        """Takes the generation up; None when there is nothing to do."""
        row = self._one("select private.begin_generation(%s, %s, %s)", (generation_id, job.id, job.token))
        if row is None:
            return None
        return GenerationTask(
            generation_id=str(row["generation_id"]),
            render_id=str(row["render_id"]),
            provider=str(row["provider"]),
            prediction_id=row["prediction_id"],
            was_submitted=row["submitted_at"] is not None,
            is_canceled=bool(row["is_canceled"]),
            is_late=bool(row["is_late"]),
            seconds_since=float(row["seconds_since"]),
            max_side=int(row["max_side"]),
            limits=row["limits"],
            inputs=tuple(GenerationInput(**entry) for entry in row["inputs"]),
            recipe=row,
        )

    def begin_thumb(self, variant_id: str) -> dict[str, Any] | None:
        """image_path, thumb_path, byte_size and limits; None when the picture is gone."""
        row: dict[str, Any] | None = self._one("select private.begin_thumb(%s)", (variant_id,))
        return row

    def report(
        self,
        generation_id: str,
        job: Job,
        *,
        progress: int | None = None,
        prediction_id: str | None = None,
    ) -> str:
        """Tells how far it is; answers `go`, `canceled` or `gone`."""
        answer = self._one(
            "select private.report_generation(%s, %s, %s, %s, %s)",
            (generation_id, job.id, job.token, progress, prediction_id),
        )
        return str(answer)

    def begin_call(self, generation_id: str, job: Job, inputs: list[dict[str, Any]]) -> tuple[str, float]:
        """Right before the provider is asked: `go`, `wait` with seconds, `canceled` or `gone`."""
        row = self._one(
            "select private.begin_provider_call(%s, %s, %s, %s)",
            (generation_id, job.id, job.token, Jsonb(inputs)),
        )
        return str(row["answer"]), float(row.get("seconds", 0))

    def tell_prediction(self, generation_id: str, prediction_ids: list[str]) -> tuple[str, str | None]:
        """Which of them is this generation's: `found` with its id, `none`, or `unclear`."""
        row = self._one("select private.tell_prediction(%s, %s::text[])", (generation_id, prediction_ids))
        return str(row["answer"]), row.get("prediction_id")

    def park(
        self,
        generation_id: str,
        job: Job,
        pause: float,
        *,
        progress: int | None = None,
        prediction_id: str | None = None,
        is_withdrawn: bool = False,
    ) -> str:
        """Ends this attempt; the job is due again after `pause` seconds. `parked`, or `gone`."""
        return self._end(
            job,
            "select private.park_generation(%s, %s, %s, %s, %s, %s, %s)",
            (
                generation_id,
                job.id,
                job.token,
                timedelta(seconds=pause),
                progress,
                prediction_id,
                is_withdrawn,
            ),
        )

    def finish_generation(self, generation_id: str, job: Job, result: dict[str, Any]) -> str:
        """Render, pictures, debit, status and the job's end in one transaction; `succeeded`, `canceled`, `gone`."""
        return self._end(
            job,
            "select private.finish_generation(%s, %s, %s, %s)",
            (generation_id, job.id, job.token, Jsonb(result)),
        )

    def fail_generation(
        self, generation_id: str, job: Job, code: str, message: str, *, is_retryable: bool = False
    ) -> str:
        """Ends the generation with a reason for people, and the job; `failed`, `canceled` or `gone`."""
        return self._end(
            job,
            "select private.fail_generation(%s, %s, %s, %s, %s, %s)",
            (generation_id, job.id, job.token, code, message, is_retryable),
        )
