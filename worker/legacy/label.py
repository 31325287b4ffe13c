"""Does a picture look like a label, a price tag or a barcode? A few measures of the pixels, no model.

It sees what labels have in common: print on a plain light (or plain dark) ground, few colours, rows of small dark
marks, and bars, which change along one direction and stay the same across it. It takes a screenshot, a size chart
or a document for a label too, and misses a label that is small in the picture: a reason to look, not a verdict.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from PIL import Image, ImageFilter, ImageOps

#: Pixels of the longer side that is looked at.
SIDE = 320
#: Lines that are read for bars, across and down.
_LINES = 24
#: Changes between dark and light that a line through a barcode has at least: EAN-13 has 59, a short Code 39 some 40.
_BAR_EDGES = 24


@dataclass(frozen=True, slots=True)
class Verdict:
    """`score` from 0 (a photo) to 1 (a label); `signs`: each measure, from 0 to 1."""

    score: float
    signs: dict[str, float]


def judge(path: Path) -> Verdict:
    """Looks at a picture that was decoded and made small before: never hand it a stranger's file."""
    with Image.open(path, formats=["WEBP", "PNG", "JPEG"]) as image:
        image.load()
        rgb = image.convert("RGB")
    rgb.thumbnail((SIDE, SIDE))
    if min(rgb.size) < _LINES:
        # Too small to have print on it.
        return Verdict(0.0, {})
    gray = ImageOps.grayscale(rgb)
    signs = {
        "plain_ground": _plain_ground(gray),
        "few_colours": _few_colours(rgb),
        "print": _print(gray),
        "bars": _bars(gray),
        "aspect": _aspect(*rgb.size),
    }
    score = (
        0.3 * signs["plain_ground"]
        + 0.15 * signs["few_colours"]
        + 0.3 * signs["print"]
        + 0.2 * signs["bars"]
        + 0.05 * signs["aspect"]
    )
    # Bars on a plain ground are seldom anything else.
    score = max(score, 0.9 * min(signs["bars"], signs["plain_ground"]))
    return Verdict(round(min(1.0, score), 3), {name: round(value, 3) for name, value in signs.items()})


def _ramp(value: float, low: float, high: float) -> float:
    """0 up to `low`, 1 from `high`, straight between."""
    return min(1.0, max(0.0, (value - low) / (high - low)))


def _plain_ground(gray: Image.Image) -> float:
    """The share of pixels within a narrow range of the commonest brightness."""
    histogram = gray.histogram()
    total = sum(histogram)
    window = max(sum(histogram[at : at + 17]) for at in range(240))
    return _ramp(window / total, 0.35, 0.7)


def _few_colours(rgb: Image.Image) -> float:
    """Print is mostly without colour; photos have many."""
    small = rgb.resize((64, 64))
    colours = {(r >> 5, g >> 5, b >> 5) for r, g, b in _pixels(small)}
    return 1.0 - _ramp(len(colours), 16, 70)


def _print(gray: Image.Image) -> float:
    """Much contrast in little area: strong edges at some 4 to 35 % of the pixels, and nearly none elsewhere."""
    edges = gray.filter(ImageFilter.FIND_EDGES).crop((2, 2, gray.width - 2, gray.height - 2))
    histogram = edges.histogram()
    total = max(1, sum(histogram))
    strong = sum(histogram[96:]) / total
    weak = sum(histogram[16:64]) / total
    return _ramp(strong, 0.015, 0.06) * (1.0 - _ramp(strong, 0.4, 0.6)) * (1.0 - _ramp(weak, 0.15, 0.4))


def _bars(gray: Image.Image) -> float:
    """Several neighbouring lines that all change often between dark and light, at the same places."""
    return max(_bars_across(gray), _bars_across(gray.transpose(Image.Transpose.ROTATE_90)))


def _bars_across(gray: Image.Image) -> float:
    width, height = gray.size
    if width < _BAR_EDGES * 2 or height < _LINES:
        return 0.0
    data = gray.tobytes()
    rows = []
    for line in range(_LINES):
        at = line * (height - 1) // (_LINES - 1)
        row = data[at * width : (at + 1) * width]
        low, high = min(row), max(row)
        # Without contrast there is nothing to cut in two.
        middle = (low + high) / 2 if high - low > 80 else -1
        rows.append([value < middle for value in row])
    alike = best = 0
    for above, below in pairwise(rows):
        edges = sum(a != b for a, b in pairwise(above))
        # Of what is dark in either: lines of text have little in common.
        dark = sum(a or b for a, b in zip(above, below, strict=True))
        same = sum(a and b for a, b in zip(above, below, strict=True))
        alike = alike + 1 if edges >= _BAR_EDGES and same > 0.75 * dark else 0
        best = max(best, alike)
    return _ramp(best, 0.5, 3)


def _aspect(width: int, height: int) -> float:
    """Tags are long or wide more often than photos, which are 4:3 or square."""
    return _ramp(max(width, height) / min(width, height), 1.4, 2.0)


def _pixels(image: Image.Image) -> list[tuple[int, int, int]]:
    raw = image.tobytes()
    return [(raw[i], raw[i + 1], raw[i + 2]) for i in range(0, len(raw), 3)]
