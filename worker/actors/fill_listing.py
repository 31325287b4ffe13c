"""fill_listing {"fill_id"}: has the texts of a listing written, from its photos and what it says already.

A provider that costs money is asked once: that it is about to be asked is written down before, and an attempt
that finds this without an answer fails the fill instead of asking again. Values, status and the end of the job
are one transaction; whatever fails before it leaves every field as it was.
"""

from __future__ import annotations

import logging
import tempfile
import time
from pathlib import Path

import dramatiq

from worker import faults, tracing
from worker.errors import LeaseLostError, ObjectChangedError, ObjectMissingError, WorkerError
from worker.fill.base import FillFailedError, FillPostponedError, FillRequest, OutcomeUnknownError, Photo
from worker.fill.ledger import FillLedger, FillTask
from worker.jobs import Job, current_job
from worker.tools import Tools

log = logging.getLogger(__name__)

#: A missing rendering is believed at this attempt: until then it may be Storage that is out of order.
MISSING_IS_FINAL_AT = 3


def declare(broker: dramatiq.Broker, tools: Tools) -> None:
    """Declares the actor."""
    ledger = FillLedger(tools.broker.pool)

    def fill_listing(fill_id: str) -> None:
        started = time.monotonic()
        job = current_job()
        faults.reach("claimed")
        task = ledger.begin_fill(fill_id, job)
        state = "nothing" if task is None else _run(tools, ledger, job, task)
        log.info(
            "fill: %s",
            state,
            extra={
                "action": "fill_listing",
                "fill_id": fill_id,
                "state": state,
                "ms": round((time.monotonic() - started) * 1000),
                **job.log_fields(),
            },
        )

    dramatiq.actor(broker=broker, actor_name="fill_listing", throws=(WorkerError,))(fill_listing)


def _run(tools: Tools, ledger: FillLedger, job: Job, task: FillTask) -> str:
    """`succeeded`, `failed`, or `gone` when nobody wants it any more."""
    try:
        provider = tools.fillers.get(task.provider)
        if task.was_submitted and not provider.repeats_safely:
            raise OutcomeUnknownError("an attempt ended before the provider's answer came")
        request = _fetch(tools, job, task)
        faults.reach("downloaded")
        answer = ledger.submit_fill(task.fill_id, job, [photo.image_id for photo in request.photos])
        if answer == "changed":
            raise FillPostponedError("a photo does not pass the gate any more", retry_after=0.1)
        if answer != "go":
            return answer
        faults.reach("submitting")
        try:
            with tracing.span("provider fill", "CLIENT", provider=task.provider):
                filled = provider.fill(request)
        except FillPostponedError:
            ledger.submit_fill(task.fill_id, job, is_submitting=False)
            raise
        faults.reach("answered")
        return ledger.finish_fill(task.fill_id, job, filled)
    except FillFailedError as failure:
        log.warning("no texts: %s", failure, extra={"action": "fill_failed", **job.log_fields()})
        return ledger.fail_fill(
            task.fill_id, job, failure.code, failure.message, is_retryable=failure.is_retryable
        )
    except (ObjectMissingError, ObjectChangedError) as error:
        # Or it is being withdrawn or rendered again: the next attempt finds out.
        if job.attempt < MISSING_IS_FINAL_AT:
            raise
        log.warning("no photo: %s", error, extra={"action": "fill_failed", **job.log_fields()})
        return ledger.fail_fill(
            task.fill_id,
            job,
            "photo_missing",
            "A photo could not be read. Try again later.",
            is_retryable=True,
        )


def _fetch(tools: Tools, job: Job, task: FillTask) -> FillRequest:
    photos = []
    with tempfile.TemporaryDirectory(prefix="imageledger-") as folder:
        for n, picture in enumerate(task.photos):
            if job.lost:
                raise LeaseLostError(f"job {job.id} was given to another worker")
            target = Path(folder) / f"{n}.webp"
            tools.objects.download(picture.bucket, picture.path, target, byte_size=picture.byte_size)
            photos.append(
                Photo(
                    picture.image_id, target.read_bytes(), picture.file_name, picture.alt_text, picture.tags
                )
            )
    return FillRequest(task.fill_id, task.fields, task.keys, task.listing, tuple(photos))
