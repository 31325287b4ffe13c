"""The demo as a play in nine steps, and the report of what happened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli.demo.seller import VARIANT_ROLES, Photo, Seller

SKU = "DEMO"
# `say(step)` announces a step; `move(done, total)` moves its bar.
Say = Callable[[str], None]
Move = Callable[[int, int], None]


@dataclass
class Report:
    """What the seller saw. `images` are rows of listing_images with their variants, in order."""

    email: str
    listing_id: str
    new_account: bool
    uploaded: int
    found: int
    images: list[dict[str, Any]]
    milliseconds: dict[str, int]
    downloads: Path
    downloaded_bytes: int = 0
    sources: dict[str, Photo] = field(default_factory=dict)

    @property
    def failed(self) -> list[dict[str, Any]]:
        return [image for image in self.images if image["state"] != "ready"]

    def as_json(self) -> dict[str, Any]:
        """The report as plain data."""
        return {
            "email": self.email,
            "listing_id": self.listing_id,
            "uploaded": self.uploaded,
            "already_there": self.found,
            "downloads": str(self.downloads),
            "images": [
                image | {"milliseconds_to_ready": self.milliseconds.get(image["id"])} for image in self.images
            ],
        }


def play(seller: Seller, photos: Sequence[Photo], downloads: Path, say: Say, move: Move) -> Report:
    """Run the main job once. A second run with the same photos finds them and uploads nothing.

    Raises what supabase-py raises, and TimeoutError when no worker processes the photos.
    """
    say(f"Sign up or in as {seller.email}")
    new_account = seller.sign_up_or_in()
    say("Save a draft listing")
    listing_id = seller.open_draft(SKU, "Demo listing")
    there = {image["sha256"] for image in seller.images(listing_id)}
    wanted = [photo for photo in photos if photo.sha256 not in there]
    if wanted:
        say(f"Reserve {len(wanted)} uploads")
        uploads = seller.reserve(listing_id, wanted)
        say("Upload to Storage")
        for done, upload in enumerate(uploads, 1):
            seller.upload(upload)
            move(done, len(uploads))
        say("Wait until the worker made the variants")
        image_ids = {upload.image_id for upload in uploads}
        for done, _ in enumerate(seller.wait(listing_id, image_ids, timeout=60 + 10 * len(image_ids)), 1):
            move(done, len(image_ids))
    say("Sign out, sign in again, open the listing")
    seller.sign_out_and_in()
    images = seller.images(listing_id)
    report = Report(
        email=seller.email,
        listing_id=listing_id,
        new_account=new_account,
        uploaded=len(wanted),
        found=len(photos) - len(wanted),
        images=images,
        milliseconds=seller.milliseconds_to_ready(listing_id),
        downloads=downloads / listing_id,
        sources={photo.sha256: photo for photo in photos},
    )
    say("Download the variants")
    for done, image in enumerate(images, 1):
        if image["state"] == "ready":
            folder = report.downloads / f"{image['position']:02}-{image['id'][:8]}"
            report.downloaded_bytes += seller.download(image, folder)
        move(done, len(images))
    return report


def table_rows(report: Report) -> list[list[str]]:
    """One row an image: name, original type and size, upright size, five variants' bytes, milliseconds."""
    rows = []
    for image in report.images:
        variants = {variant["role"]: variant for variant in image["image_variants"]}
        upright = f"{image['width']}x{image['height']}" if image["width"] else ""
        original = f"{image['mime_type'].removeprefix('image/')} {kilobytes(image['byte_size'])}"
        sizes = [
            f"{variants[role]['width']}x{variants[role]['height']} {kilobytes(variants[role]['byte_size'])}"
            if role in variants
            else image["state"]
            for role in VARIANT_ROLES
        ]
        took = report.milliseconds.get(image["id"])
        rows.append([image["file_name"], original, upright, *sizes, "" if took is None else str(took)])
    return rows


def kilobytes(byte_size: int) -> str:
    """`1234567` → `1,235 kB`; small files in bytes."""
    return f"{byte_size} B" if byte_size < 1000 else f"{byte_size / 1000:,.0f} kB"
