"""What is asked of the renderer, and what it answers. Sizes are pixels, `byte_size` is bytes."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class VariantSpec:
    """One wanted rendition: fits into a square of `max_side`, WebP `quality` 1..100."""

    role: str
    max_side: int
    quality: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What a source may be at most (and at least). Site policy overrides the defaults."""

    max_bytes: int = 32 * 1024 * 1024
    max_pixels: int = 50_000_000
    min_side: int = 1
    max_aspect: float = 20.0
    """Longer side divided by the shorter one."""

    @classmethod
    def of(cls, policy: Mapping[str, Any]) -> Self:
        """From what the database answers; a limit that this worker does not know yet is left to newer ones."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in policy.items() if name in known})


@dataclass(frozen=True, slots=True)
class RenderedVariant:
    """One file that was written: WebP, sRGB, upright, without metadata."""

    role: str
    path: Path
    width: int
    height: int
    byte_size: int


@dataclass(frozen=True, slots=True)
class RenderedImage:
    """The facts about the original, and its variants from largest to smallest."""

    mime_type: str
    """By content, never by name."""
    byte_size: int
    width: int
    """Upright width of the original, that is after its orientation was applied."""
    height: int
    sha256: str
    """Hex digest of the original's bytes."""
    thumbhash: str
    """Base64 of the ThumbHash, a placeholder of about 25 bytes."""
    variants: tuple[RenderedVariant, ...]
