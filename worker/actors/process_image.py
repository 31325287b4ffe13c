"""process_image {"image_id", "owner_id", "listing_id"}: from the original to five variants and a ready row.

Every key is deterministic and every upload overwrites, so another attempt may repeat any step. The row
becomes ready in the transaction that ends the job; an attempt that lost its lease cannot get there.
"""

from __future__ import annotations

import logging
import tempfile
import time
from pathlib import Path

import dramatiq
import httpx

from worker import faults, metrics
from worker.errors import LeaseLostError, ObjectChangedError, ObjectMissingError, StorageError, WorkerError
from worker.imaging import ImageRejected, Limits, RenderAborted, RenderedImage, VariantSpec
from worker.jobs import Job, current_job
from worker.ledger import ImageTask, variant_folder
from worker.objects import matches_etag
from worker.tools import Tools

log = logging.getLogger(__name__)

BUCKET = "media"
#: A missing original is believed at this attempt: until then it may be Storage that is out of order.
MISSING_IS_FINAL_AT = 3
#: What a label is measured by; never uploaded.
MEASURE = VariantSpec("thumb", 160, 70)
#: Reads of an object that keeps changing, in one attempt.
READS = 3


def declare(broker: dramatiq.Broker, tools: Tools) -> None:
    """Declares the actor."""

    def process_image(image_id: str, owner_id: str, listing_id: str) -> None:
        started = time.monotonic()
        job = current_job()
        faults.reach("claimed")
        with tempfile.TemporaryDirectory(prefix="imageledger-") as folder:
            state = _Processing(tools, job, image_id, Path(folder)).run()
        if state in {"nothing", "failed"}:
            _order_clean_up(tools, job, variant_folder(owner_id, listing_id, image_id))
        log.info(
            "image is %s" if state != "nothing" else "%s to do",
            state,
            extra={
                "action": "process_image",
                "image_id": image_id,
                "state": state,
                "ms": round((time.monotonic() - started) * 1000),
                **job.log_fields(),
            },
        )

    dramatiq.actor(broker=broker, actor_name="process_image", throws=(WorkerError, RenderAborted))(
        process_image
    )


class _Processing:
    """One attempt at one image."""

    def __init__(self, tools: Tools, job: Job, image_id: str, folder: Path) -> None:
        self._tools = tools
        self._job = job
        self._image_id = image_id
        self._folder = folder

    def run(self) -> str:
        """`ready`, `gone`, `again`, `failed`, or `nothing` when there was nothing to do."""
        try:
            task = self._fetch()
            if task is None:
                return "nothing"
            image = self._render(task)
        except ImageRejected as rejection:
            metrics.RENDERS_REFUSED.labels(rejection.code).inc()
            return self._fail(rejection.code, rejection.message)
        except ObjectMissingError:
            if self._job.attempt < MISSING_IS_FINAL_AT:
                raise
            return self._fail(
                "original_missing", "The uploaded file is not in storage any more. Please upload it again."
            )
        paths = []
        try:
            for variant in () if task.as_label else image.variants:
                self._check_lease()
                path = f"{task.folder}/{variant.role}.webp"
                paths.append(path)
                self._tools.objects.upload(BUCKET, path, variant.path, "image/webp")
                faults.reach(f"uploaded:{variant.role}")
            return self._tools.ledger.finish(self._image_id, self._job, _result(task, image))
        except LeaseLostError:
            # The image may be deleted or removed by now, and whoever cleaned up was there before these uploads. Where
            # somebody else works on it, or has, the same paths are referred to and stay.
            _send_removal(self._tools, self._job, paths)
            raise

    def _fetch(self) -> ImageTask | None:
        """The original in a file. Reads the row again when the object is not the one that it tells of."""
        for attempt in range(1, READS + 1):
            self._check_lease()
            task = self._tools.ledger.begin(self._image_id, self._job)
            if task is None:
                return None
            try:
                download = self._tools.objects.download(
                    task.bucket, task.path, self._original, byte_size=task.byte_size, etag=task.etag
                )
            except ObjectChangedError:
                if attempt == READS:
                    raise
            else:
                # Not every server's ETag is the MD5; what comes three times the same is what is stored.
                if matches_etag(download, task.etag) or attempt == READS:
                    faults.reach("downloaded")
                    return task
            time.sleep(0.1 * attempt)
        raise StorageError("unreachable")

    def _render(self, task: ImageTask) -> RenderedImage:
        limits = Limits.of(task.limits)
        specs = [VariantSpec(v["role"], int(v["max_side"]), int(v["quality"])) for v in task.variants]
        faults.reach_within("decoding", 0.02)
        return self._tools.renderer.render(
            self._original, [MEASURE] if task.as_label else specs, limits, self._folder
        )

    def _fail(self, code: str, message: str) -> str:
        self._tools.ledger.fail(self._image_id, self._job, code, message)
        return "failed"

    def _check_lease(self) -> None:
        if self._job.lost:
            raise LeaseLostError(f"job {self._job.id} was given to another worker")

    @property
    def _original(self) -> Path:
        return self._folder / "original"


def _result(task: ImageTask, image: RenderedImage) -> dict[str, object]:
    return {
        "mime_type": image.mime_type,
        "byte_size": image.byte_size,
        "width": image.width,
        "height": image.height,
        "sha256": image.sha256,
        "thumbhash": image.thumbhash,
        "as_label": task.as_label,
        "variants": [
            {
                "role": variant.role,
                "path": f"{task.folder}/{variant.role}.webp",
                "width": variant.width,
                "height": variant.height,
                "byte_size": variant.byte_size,
            }
            for variant in (() if task.as_label else image.variants)
        ],
    }


def _order_clean_up(tools: Tools, job: Job, folder: str) -> None:
    """Has the variants removed that an earlier attempt may have stored before it was killed.

    remove_objects asks again whether rows refer to them, so a ready image keeps its own.
    """
    try:
        _send_removal(tools, job, tools.objects.names_below(BUCKET, folder))
    except (StorageError, httpx.HTTPError) as error:
        if not job.settled:
            raise
        log.warning("left to the sweep: %s", error, extra={"action": "clean_up", **job.log_fields()})


def _send_removal(tools: Tools, job: Job, paths: list[str]) -> None:
    if not paths:
        return
    tools.broker.enqueue(
        dramatiq.Message(
            queue_name="default",
            actor_name="remove_objects",
            args=(),
            kwargs={"bucket": BUCKET, "paths": paths},
            options={"owner_id": str(job.owner_id) if job.owner_id else None},
        )
    )
