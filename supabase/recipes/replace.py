"""Replace a photo: the old one stays until the new one passes the gate; then the new one takes its place and flag."""

from __future__ import annotations

import time
from typing import Any

from supabase import Client


def replace_photo(supabase: Client, image_id: str, name: str, mime_type: str, data: bytes) -> dict[str, Any]:
    """Answers the new photo once it has taken the place, or has failed: then the old one is untouched."""
    file = {"file_name": name, "mime_type": mime_type, "byte_size": len(data)}
    place: Any = supabase.rpc("reserve_replacement", {"image_id": image_id, "file": file}).execute().data
    supabase.storage.from_(place["bucket"]).upload(place["path"], data, {"content-type": mime_type})
    columns = "id, position, state, error, error_code, review_state, review_reason"
    while True:
        query = supabase.table("listing_images").select(columns).eq("id", place["image_id"])
        image: Any = query.single().execute().data
        # Waiting for a review is no matter of seconds: show it as it is in media_tray, and go on.
        is_waiting = image["state"] == "ready" and image["review_state"] in ("pending", "rejected", "error")
        if image["position"] is not None or image["state"] == "failed" or is_waiting:
            return dict(image)
        time.sleep(0.5)
