"""The demo's seller: everything it does, it does from the outside, with supabase-py and the anon key.

It is what a shop's frontend would be, and a model for one: sign up, a draft listing, reserve, upload,
wait, sign out, sign in, open the listing, download. Nothing here knows the worker, the stack or SQL.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from httpx import HTTPError
from supabase import Client, ClientOptions, create_client
from supabase_auth.errors import AuthApiError

VARIANT_ROLES = ("thumb", "card", "preview", "detail", "detail_max")
IMAGE_COLUMNS = (
    "id, position, state, error, file_name, mime_type, byte_size, width, height, sha256, original_path, "
    "image_variants(role, path, width, height, byte_size)"
)


@dataclass(frozen=True)
class Photo:
    """A photo on the seller's disk. `mime_type` is what a browser would declare from the name."""

    path: Path
    mime_type: str
    byte_size: int
    sha256: str

    @classmethod
    def read(cls, path: Path, mime_type: str) -> Photo:
        """Hash the file in blocks: a photo may be large, and only its digest is kept."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return cls(path, mime_type, path.stat().st_size, digest)


@dataclass(frozen=True)
class Upload:
    """What reserve_uploads answered for one photo."""

    photo: Photo
    image_id: str
    bucket: str
    path: str


class Seller:
    """One person with an e-mail address, a password and an anon key."""

    def __init__(self, url: str, anon_key: str, email: str, password: str) -> None:
        self._url, self._anon_key = url, anon_key
        self.email, self._password = email, password
        self._client = self._new_client()

    def _new_client(self) -> Client:
        options = ClientOptions(auto_refresh_token=False, persist_session=False, storage_client_timeout=120)
        return create_client(self._url, self._anon_key, options=options)

    def sign_up_or_in(self) -> bool:
        """Answers True when the account is new."""
        credentials: Any = {"email": self.email, "password": self._password}
        try:
            self._client.auth.sign_in_with_password(credentials)
        except AuthApiError as error:
            if error.code != "invalid_credentials":
                raise
            self._client.auth.sign_up(credentials)
            return True
        return False

    def sign_out_and_in(self) -> None:
        """A new client, as after a browser was closed: nothing of the old one is kept."""
        self._client.auth.sign_out()
        self._client = self._new_client()
        credentials: Any = {"email": self.email, "password": self._password}
        self._client.auth.sign_in_with_password(credentials)

    def open_draft(self, sku: str, title: str) -> str:
        """The id of the seller's listing with this sku; a second run finds the first one's."""
        found: Any = self._client.table("listings").select("id").eq("sku", sku).execute().data
        if not found:
            found = self._client.table("listings").insert({"sku": sku, "title": title}).execute().data
        return str(found[0]["id"])

    def images(self, listing_id: str) -> list[dict[str, Any]]:
        """The listing's photos in order, each with its variants."""
        query = self._client.table("listing_images").select(IMAGE_COLUMNS).eq("listing_id", listing_id)
        rows: Any = query.is_("deleted_at", "null").order("position").execute().data
        return list(rows)

    def reserve(self, listing_id: str, photos: list[Photo]) -> list[Upload]:
        """Rows first: the ledger knows each photo before a byte is sent, and names its path."""
        files = [
            {"file_name": p.path.name, "mime_type": p.mime_type, "byte_size": p.byte_size} for p in photos
        ]
        reserved: Any = self._client.rpc(
            "reserve_uploads", {"listing_id": listing_id, "files": files}
        ).execute()
        return [
            Upload(photo, row["image_id"], row["bucket"], row["path"])
            for photo, row in zip(photos, reserved.data, strict=True)
        ]

    def upload(self, upload: Upload) -> None:
        """Send the bytes to exactly the reserved path."""
        bucket = self._client.storage.from_(upload.bucket)
        bucket.upload(upload.path, upload.photo.path, {"content-type": upload.photo.mime_type})

    def wait(self, listing_id: str, image_ids: set[str], timeout: float) -> Iterator[dict[str, Any]]:
        """Yield each image once, when it is ready or failed. TimeoutError after `timeout` seconds."""
        waiting, pause, deadline = set(image_ids), 0.05, time.monotonic() + timeout
        while waiting:
            for image in self.images(listing_id):
                if image["id"] in waiting and image["state"] in {"ready", "failed"}:
                    waiting.discard(image["id"])
                    yield image
            if waiting and time.monotonic() > deadline:
                raise TimeoutError(f"{len(waiting)} photos were not processed within {timeout:g} s")
            if waiting:
                time.sleep(pause)
                pause = min(pause * 1.3, 1.0)

    def milliseconds_to_ready(self, listing_id: str) -> dict[str, int]:
        """From the moment the bytes were there to `ready`, by image id, as the ledger's history has it."""
        query = self._client.table("image_events").select("image_id, event, created_at")
        rows: Any = query.eq("listing_id", listing_id).in_("event", ["uploaded", "processed"]).execute().data
        times: dict[str, dict[str, datetime]] = {}
        for row in rows:
            moment = datetime.fromisoformat(row["created_at"])
            times.setdefault(row["image_id"], {})[row["event"]] = moment
        return {
            image_id: round((seen["processed"] - seen["uploaded"]).total_seconds() * 1000)
            for image_id, seen in times.items()
            if len(seen) == 2
        }

    def download(self, image: dict[str, Any], folder: Path) -> int:
        """Fetch the image's variants, as a browser that shows the listing would; answers their bytes."""
        folder.mkdir(parents=True, exist_ok=True)
        total = 0
        for variant in image["image_variants"]:
            data = self._client.storage.from_("media").download(variant["path"])
            if len(data) != variant["byte_size"]:
                raise HTTPError(f"{variant['path']}: {len(data)} bytes came, not {variant['byte_size']}")
            (folder / f"{variant['role']}.webp").write_bytes(data)
            total += len(data)
        return total
