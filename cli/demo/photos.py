"""Which photos the demo uploads: the user's own, or samples that it makes."""

from __future__ import annotations

import mimetypes
from collections.abc import Sequence
from pathlib import Path

from cli.demo.seller import Photo
from worker.imaging.samples import sample_photos

# What browsers declare for names that Python's table does not know everywhere.
_BY_SUFFIX = {".heic": "image/heic", ".heif": "image/heif", ".webp": "image/webp"}


def declared_type(path: Path) -> str:
    """The type a browser would declare from the file's name; the worker looks at the content itself."""
    known = _BY_SUFFIX.get(path.suffix.lower()) or mimetypes.guess_type(path.name)[0]
    return known or "application/octet-stream"


def own_photos(paths: Sequence[Path]) -> list[Photo]:
    """Read each file once to hash it; the same bytes given twice are one photo."""
    photos = {photo.sha256: photo for photo in (Photo.read(path, declared_type(path)) for path in paths)}
    return list(photos.values())


def made_photos(folder: Path) -> list[Photo]:
    """Write the samples below `folder`; they are the same bytes in every run."""
    folder.mkdir(parents=True, exist_ok=True)
    photos = []
    for name, mime_type, data in sample_photos():
        path = folder / name
        if not path.exists() or path.read_bytes() != data:
            path.write_bytes(data)
        photos.append(Photo.read(path, mime_type))
    return photos
