"""fetch_image {"image_id", "owner_id", "listing_id"}: an imported picture's bytes from its address into Storage.

The upload is an ordinary one: the row reserves the real size first, and Storage's trigger orders process_image.
A second attempt finds the row uploaded and has nothing to do, or reserves and uploads again.
"""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path
from typing import Any

import dramatiq

from worker import faults
from worker.errors import LeaseLostError, WorkerError
from worker.imaging import ImageRejected, Limits, RenderAborted, Renderer, VariantSpec
from worker.imaging.header import sniff_type
from worker.jobs import current_job
from worker.legacy.label import SIDE, judge
from worker.legacy.ledger import FetchLedger, FetchTask
from worker.outside.addresses import networks_from_env
from worker.outside.download import download
from worker.outside.errors import FetchRefused
from worker.tools import Tools

log = logging.getLogger(__name__)

#: Rendered small by a child process; what is judged is our own WebP, never the stranger's file.
LOOK = VariantSpec("thumb", SIDE, 90)


def declare(broker: dramatiq.Broker, tools: Tools) -> None:
    """Declares the actor."""
    ledger = FetchLedger(tools.broker.pool)
    networks = networks_from_env()
    seconds = float(os.environ.get("LEGACY_FETCH_SECONDS", "60"))

    def fetch_image(image_id: str, owner_id: str, listing_id: str) -> None:
        job = current_job()
        task = ledger.begin_fetch(image_id, job)
        state = "nothing"
        if task is None:
            ledger.finish_fetch(image_id, job, {})
        else:
            try:
                with tempfile.TemporaryDirectory(prefix="imageledger-") as folder:
                    original = Path(folder) / "original"
                    download(
                        task.url,
                        original,
                        hosts=task.hosts,
                        networks=networks,
                        max_bytes=int(task.limits["max_bytes"]),
                        seconds=seconds,
                    )
                    state = _store(tools, ledger, image_id, task, original)
            except FetchRefused as refused:
                ledger.fail_fetch(image_id, job, refused.code, refused.message)
                state = refused.code
        log.info(
            "copy of an imported picture: %s",
            state,
            extra={
                "action": "fetch_image",
                "image_id": image_id,
                "listing_id": listing_id,
                "owner": owner_id,
                "state": state,
                **job.log_fields(),
            },
        )

    dramatiq.actor(broker=broker, actor_name="fetch_image", throws=(WorkerError, RenderAborted))(fetch_image)


def _store(tools: Tools, ledger: FetchLedger, image_id: str, task: FetchTask, original: Path) -> str:
    job = current_job()
    try:
        mime_type = sniff_type(original)
    except ImageRejected as rejection:
        raise FetchRefused(rejection.code, rejection.message) from rejection
    result = look(tools.renderer, original, task.limits, original.parent)
    if job.lost:
        raise LeaseLostError(f"job {job.id} was given to another worker")
    path = ledger.reserve(image_id, job, original.stat().st_size, mime_type)
    if path is None:
        ledger.finish_fetch(image_id, job, {})
        return "gone"
    faults.reach("reserved")
    tools.objects.create("private", path, original, mime_type)
    faults.reach("uploaded")
    ledger.finish_fetch(image_id, job, result)
    return "copied"


def look(renderer: Renderer, original: Path, limits: dict[str, Any], folder: Path) -> dict[str, Any]:
    """How much the picture looks like a label; empty when it cannot be rendered, which process_image will say."""
    try:
        image = renderer.render(original, [LOOK], Limits.of(limits), folder)
    except ImageRejected:
        return {}
    verdict = judge(image.variants[0].path)
    return {"label_score": verdict.score, "label_signs": verdict.signs}
