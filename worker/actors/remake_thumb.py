"""remake_thumb {"variant_id"}: a render's thumbnail again, from its picture. Ordered by the sweep."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import dramatiq

from worker.actors.generate import BUCKET, THUMB
from worker.errors import WorkerError
from worker.generation.ledger import GenerationLedger
from worker.imaging import Limits, RenderAborted
from worker.jobs import current_job
from worker.tools import Tools

log = logging.getLogger(__name__)


def declare(broker: dramatiq.Broker, tools: Tools) -> None:
    """Declares the actor."""
    ledger = GenerationLedger(tools.broker.pool)

    def remake_thumb(variant_id: str) -> None:
        job = current_job()
        task = ledger.begin_thumb(variant_id)
        if task is not None:
            with tempfile.TemporaryDirectory(prefix="imageledger-") as name:
                folder = Path(name)
                tools.objects.download(
                    BUCKET, task["image_path"], folder / "picture", byte_size=task["byte_size"]
                )
                image = tools.renderer.render(folder / "picture", [THUMB], Limits.of(task["limits"]), folder)
                tools.objects.upload(BUCKET, task["thumb_path"], image.variants[0].path, "image/webp")
        log.info(
            "thumbnail: %s",
            "made" if task else "nothing",
            extra={"action": "remake_thumb", "variant_id": variant_id, **job.log_fields()},
        )

    dramatiq.actor(broker=broker, actor_name="remake_thumb", throws=(WorkerError, RenderAborted))(
        remake_thumb
    )
