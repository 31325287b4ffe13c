"""Frames between the pool and its children: four bytes of length, then JSON. Nothing is ever unpickled.

A child works on files from strangers. If one of them took it over, all it could send back is text that is
checked field by field.
"""

import json
import os
import select
import struct
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from worker.imaging.model import Limits, RenderedImage, RenderedVariant, VariantSpec

_HEAD = struct.Struct(">I")
_MAX_FRAME = 1024 * 1024

Frame = dict[str, Any]


class FrameTimeoutError(Exception):
    """The deadline passed before a whole frame was there."""


def write_frame(fd: int, frame: Frame) -> None:
    """Writes one frame. Raises BrokenPipeError when the other side is gone."""
    body = json.dumps(frame, separators=(",", ":")).encode()
    data = memoryview(_HEAD.pack(len(body)) + body)
    while data:
        data = data[os.write(fd, data) :]


def read_frame(fd: int, deadline: float | None = None) -> Frame | None:
    """Reads one frame; None when the other side has closed.

    `deadline` is on the clock of time.monotonic. Raises FrameTimeoutError, or ValueError for what is no
    frame.
    """
    head = _read_exactly(fd, _HEAD.size, deadline)
    if head is None:
        return None
    (length,) = _HEAD.unpack(head)
    if length > _MAX_FRAME:
        raise ValueError("frame too long")
    body = _read_exactly(fd, length, deadline)
    if body is None:
        return None
    frame = json.loads(body)
    if not isinstance(frame, dict):
        raise TypeError("frame is no object")
    return frame


def _read_exactly(fd: int, length: int, deadline: float | None) -> bytes | None:
    parts = bytearray()
    while len(parts) < length:
        if deadline is not None:
            _wait_readable(fd, deadline)
        part = os.read(fd, length - len(parts))
        if not part:
            return None
        parts += part
    return bytes(parts)


def _wait_readable(fd: int, deadline: float) -> None:
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    # Short waits, so that an exception raised into this thread is noticed while a child works.
    while not poller.poll(max(0.0, min(500.0, (deadline - time.monotonic()) * 1000))):
        if time.monotonic() >= deadline:
            raise FrameTimeoutError


def encode_request(
    source: Path, specs: tuple[VariantSpec, ...], limits: Limits, out_dir: Path, cpu_seconds: float
) -> Frame:
    return {
        "source": str(source),
        "specs": [asdict(spec) for spec in specs],
        "limits": asdict(limits),
        "out_dir": str(out_dir),
        "cpu_seconds": cpu_seconds,
    }


def decode_request(frame: Frame) -> tuple[Path, list[VariantSpec], Limits, Path]:
    specs = [VariantSpec(**spec) for spec in frame["specs"]]
    return Path(frame["source"]), specs, Limits(**frame["limits"]), Path(frame["out_dir"])


def encode_image(image: RenderedImage) -> Frame:
    frame = asdict(image)
    for variant in frame["variants"]:
        del variant["path"]
    return frame


def decode_image(frame: Frame, out_dir: Path) -> RenderedImage:
    """The child's answer, with every field's type checked; paths are made here, not taken from the child."""
    return RenderedImage(
        mime_type=_text(frame, "mime_type"),
        byte_size=_count(frame, "byte_size"),
        width=_count(frame, "width"),
        height=_count(frame, "height"),
        sha256=_text(frame, "sha256"),
        thumbhash=_text(frame, "thumbhash"),
        variants=tuple(
            RenderedVariant(
                role=_text(variant, "role"),
                path=out_dir / f"{_text(variant, 'role')}.webp",
                width=_count(variant, "width"),
                height=_count(variant, "height"),
                byte_size=_count(variant, "byte_size"),
            )
            for variant in frame["variants"]
        ),
    )


def _text(frame: Frame, key: str) -> str:
    value = frame[key]
    if not isinstance(value, str) or not value or len(value) > 200 or (key == "role" and "/" in value):
        raise ValueError(key)
    return value


def _count(frame: Frame, key: str) -> int:
    value = frame[key]
    if not isinstance(value, int) or value <= 0:
        raise ValueError(key)
    return value
