"""review_image {"image_id", "owner_id", "listing_id"}: has a photo looked at, and writes down what was found.

Verdict and end of the job are one transaction. What may pass is tried again by the queue; what will not, and
a dead job, leaves the photo in state error, from where its owner may ask again.
"""

from __future__ import annotations

import logging
import tempfile
import time
from pathlib import Path

import dramatiq

from worker import faults, tracing
from worker.errors import LeaseLostError, ObjectChangedError, ObjectMissingError, WorkerError
from worker.jobs import Job, current_job
from worker.ledger import ReviewTask
from worker.review import ReviewError
from worker.tools import Tools

log = logging.getLogger(__name__)

#: A missing rendering is believed at this attempt: until then it may be Storage that is out of order.
MISSING_IS_FINAL_AT = 3


def declare(broker: dramatiq.Broker, tools: Tools) -> None:
    """Declares the actor."""

    def review_image(image_id: str, owner_id: str, listing_id: str) -> None:  # noqa: ARG001
        started = time.monotonic()
        job = current_job()
        faults.reach("claimed")
        task = tools.ledger.begin_review(image_id, job)
        state = "nothing" if task is None else _review(tools, job, task)
        log.info(
            "review: %s",
            state,
            extra={
                "action": "review_image",
                "image_id": image_id,
                "state": state,
                "ms": round((time.monotonic() - started) * 1000),
                **job.log_fields(),
            },
        )

    dramatiq.actor(broker=broker, actor_name="review_image", throws=(WorkerError,))(review_image)


def _review(tools: Tools, job: Job, task: ReviewTask) -> str:
    try:
        reviewer = tools.reviewers.get(task.provider)
        photo = _fetch(tools, task)
        if job.lost:
            raise LeaseLostError(f"job {job.id} was given to another worker")
        with tracing.span("provider review", "CLIENT", provider=task.provider):
            verdict = reviewer.review(photo, "image/webp")
    except ReviewError as error:
        if error.retryable and (error.attempts is None or job.attempt < error.attempts):
            raise
        return _give_up(tools, job, task, error, error.public)
    except (ObjectMissingError, ObjectChangedError) as error:
        # Or it is being withdrawn or rendered again: the next attempt finds out.
        if job.attempt < MISSING_IS_FINAL_AT:
            raise
        return _give_up(
            tools, job, task, error, "The photo could not be read for its review. Try again later."
        )
    state = "allowed" if verdict.allowed else "rejected"
    log.info(
        "verdict: %s",
        state,
        extra={
            "action": "verdict",
            "provider": task.provider,
            "categories": list(verdict.categories),
            **job.log_fields(),
        },
    )
    return tools.ledger.finish_review(task.image_id, job, state, verdict.reason, task.provider)


def _fetch(tools: Tools, task: ReviewTask) -> bytes:
    with tempfile.TemporaryDirectory(prefix="imageledger-") as folder:
        target = Path(folder) / "photo.webp"
        tools.objects.download(task.bucket, task.path, target, byte_size=task.byte_size)
        return target.read_bytes()


def _give_up(tools: Tools, job: Job, task: ReviewTask, error: WorkerError, public: str) -> str:
    log.error("no verdict: %s", error, extra={"action": "review_failed", **job.log_fields()})
    return tools.ledger.finish_review(task.image_id, job, "error", public, task.provider)
