"""The photos of an export: links that live for a time, or files beside it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from cli.exchange.account import Account

Photo = dict[str, Any]
Found = dict[str, Any]

#: What the copied files become where a site does not take WebP.
_JPEG_QUALITY = 92


def link(account: Account, photos: Sequence[Photo], rules: dict[str, Any], seconds: int) -> list[Found]:
    """Give each photo its `url`. Answers what is wrong with them."""
    urls = account.sign([photo["path"] for photo in photos], seconds)
    problems = []
    for n, photo in enumerate(photos, 1):
        url = photo["url"] = urls.get(photo["path"], "")
        length_max = rules.get("url_length_max")
        if not url:
            problems.append(
                _problem(
                    "photo_not_signed",
                    photo,
                    f"Photo {n} got no link: it has just left the gate.",
                    "Export again.",
                )
            )
        elif rules.get("url_https") and not url.startswith("https://"):
            problems.append(
                _problem(
                    "url_not_https",
                    photo,
                    f"Photo {n} has a link that is not https: {url.partition('?')[0]}",
                    "Export from a project that is reached by https, or with --copy-files.",
                )
            )
        elif length_max and len(url) > length_max:
            problems.append(
                _problem(
                    "url_too_long",
                    photo,
                    f"Photo {n} has a link of {len(url)} characters.",
                    "Use --copy-files.",
                )
            )
    return problems


def copy(
    account: Account, photos: Sequence[Photo], rules: dict[str, Any], folder: Path, name: str
) -> list[Found]:
    """Write each photo below `folder` as <name>/<n>.<ext>, its `file`; as JPEG where the site takes no WebP.

    `name` becomes a folder: the caller gives an id, never what a user wrote. Answers what is wrong.
    """
    formats = rules.get("photo_formats") or ["image/webp"]
    problems = []
    for n, photo in enumerate(photos, 1):
        data = account.download(photo["path"])
        extension = "webp"
        if "image/webp" not in formats:
            data, extension = _as_jpeg(data), "jpg"
            photo["mime_type"] = "image/jpeg"
        photo["byte_size"] = len(data)
        photo["file"] = f"{name}/{n}.{extension}"
        bytes_max = rules.get("photo_bytes_max")
        if bytes_max and len(data) > bytes_max:
            problems.append(
                _problem(
                    "photo_too_large",
                    photo,
                    f"Photo {n} has {len(data)} bytes as JPEG.",
                    "Replace it by a smaller one.",
                )
            )
        target = folder / photo["file"]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return problems


def _as_jpeg(data: bytes) -> bytes:
    """A rendering of our own, so it is neither a bomb nor turned; what is see-through becomes white."""
    with Image.open(io.BytesIO(data), formats=["WEBP"]) as image:
        rgba = image.convert("RGBA")
        paper = Image.new("RGB", rgba.size, "white")
        paper.paste(rgba, mask=rgba.getchannel("A"))
    out = io.BytesIO()
    paper.save(out, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    return out.getvalue()


def _problem(code: str, photo: Photo, message: str, remedy: str) -> Found:
    return {"code": code, "image_id": photo["image_id"], "message": message, "remedy": remedy}
