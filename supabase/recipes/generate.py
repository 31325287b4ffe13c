"""One prompt in, pictures out: submit, poll until it has ended, say where the pictures are."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from supabase import Client

ENDED = ("succeeded", "failed", "canceled")


def generate(
    supabase: Client,
    recipe: dict[str, Any],
    on_progress: Callable[[str, int], None] | None = None,
) -> dict[str, Any]:
    """`recipe` as submit_generation takes it, such as {"mode": "imagine", "prompt": "A lamp"}.

    Answers the generation with `pictures`, none unless it succeeded.
    """
    # The key makes it safe to send again when the answer was lost: the same key is the same generation, paid once.
    arguments = {"idempotency_key": str(uuid4()), **recipe}
    job: Any = supabase.rpc("submit_generation", arguments).execute().data
    pause = 0.5
    while job["status"] not in ENDED:
        time.sleep(pause)
        pause = min(pause * 1.5, 5)
        query = supabase.table("generation_jobs").select("*").eq("id", job["id"])
        job = query.single().execute().data
        if on_progress:
            on_progress(job["status"], job["progress"])
    query = supabase.table("render_variants").select("idx, image_path, thumb_path, width, height, asset_id")
    variants: Any = query.eq("render_id", job["render_id"]).order("idx").execute().data
    files = supabase.storage.from_("public")
    pictures = [{**variant, "url": files.get_public_url(variant["image_path"])} for variant in variants]
    return {**job, "pictures": pictures}
