"""Looks at imported images whose bytes are in Storage for signs of a label: `imageledger legacy review score`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

from cli.legacy.database import LegacyDatabase
from worker.actors.fetch_image import look
from worker.errors import StorageError
from worker.imaging import RenderAborted, Renderer
from worker.objects import ObjectStore


def score_all(
    database: LegacyDatabase,
    objects: ObjectStore,
    schema: str | None,
    step: Callable[[int], None],
) -> dict[str, int]:
    """Page by page; what was looked at is not looked at again. Counts of scored and unreadable images."""
    counts = {"scored": 0, "unreadable": 0}
    after: UUID | None = None
    with Renderer(1) as renderer, tempfile.TemporaryDirectory(prefix="imageledger-") as folder:
        while page := database.unscored(schema, after):
            for row in page:
                after = row["image_id"]
                original = Path(folder) / "original"
                try:
                    objects.download("private", row["path"], original)
                    found = look(renderer, original, {}, Path(folder))
                except (StorageError, RenderAborted):
                    found = {}
                if found:
                    database.score(row["image_id"], found["label_score"], found["label_signs"])
                counts["scored" if found else "unreadable"] += 1
                step(sum(counts.values()))
    return counts
