"""Upload photos to a listing, with progress: rows first, then bytes, then wait until each is ready or says why not."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from supabase import Client


def upload_photos(
    supabase: Client,
    listing_id: str,
    files: Sequence[tuple[str, str, bytes]],
    on_progress: Callable[[int, int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """`files` are (name, media type, bytes). Answers the photos, in order, each `ready` or `failed` with `error`.

    `on_progress` hears how many are sent, how many ready or failed, and of how many.
    """
    # 1. Limits are checked and every path is named before a byte is sent: all of them, or postgrest.APIError
    #    with a message for people, `details` a stable code and `hint` what to do.
    reserved: Any = (
        supabase.rpc(
            "reserve_uploads",
            {
                "listing_id": listing_id,
                "files": [
                    {"file_name": name, "mime_type": mime_type, "byte_size": len(data)}
                    for name, mime_type, data in files
                ],
            },
        )
        .execute()
        .data
    )
    # 2. Bytes, each to exactly its path.
    for sent, (place, (_, mime_type, data)) in enumerate(zip(reserved, files, strict=True), 1):
        supabase.storage.from_(place["bucket"]).upload(place["path"], data, {"content-type": mime_type})
        if on_progress:
            on_progress(sent, 0, len(files))
    # 3. The worker reads them.
    ids = [place["image_id"] for place in reserved]
    columns = "id, position, state, error, error_code, is_retryable"
    while True:
        query = supabase.table("listing_images").select(columns).in_("id", ids).order("position")
        images: Any = query.execute().data
        settled = sum(image["state"] in ("ready", "failed") for image in images)
        if on_progress:
            on_progress(len(files), settled, len(files))
        if settled == len(images):
            return list(images)
        time.sleep(0.5)
