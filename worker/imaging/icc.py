"""Builds small ICC profiles from primaries and a tone curve (ICC.1:2022, matrix/TRC display profiles).

HEIF files may name their colours by number (`nclx`, ITU-T H.273) instead of carrying a profile; the colour
engine wants a profile. Building one takes a page, shipping profile files would bring their licences along.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

_D50 = (0.9642, 1.0, 0.8249)
_BRADFORD = ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))

Xy = tuple[float, float]
Vector = tuple[float, float, float]
Matrix = tuple[Vector, Vector, Vector]


@dataclass(frozen=True, slots=True)
class ColourSpace:
    """RGB primaries and white as CIE xy; `gamma` None means the sRGB tone curve."""

    red: Xy
    green: Xy
    blue: Xy
    white: Xy = (0.3127, 0.3290)
    gamma: float | None = None


SRGB = ColourSpace((0.640, 0.330), (0.300, 0.600), (0.150, 0.060))
DISPLAY_P3 = ColourSpace((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
ADOBE_RGB = ColourSpace((0.640, 0.330), (0.210, 0.710), (0.150, 0.060), gamma=563 / 256)
BT2020 = ColourSpace((0.708, 0.292), (0.170, 0.797), (0.131, 0.046))


def rgb_profile(space: ColourSpace) -> bytes:
    """An ICC v4 display profile for an RGB space."""
    columns = _colorants(space)
    curve = _curve(space.gamma)
    tags = {b"rXYZ": _xyz(columns[0]), b"gXYZ": _xyz(columns[1]), b"bXYZ": _xyz(columns[2])}
    tags |= {b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    return _profile(b"RGB ", tags)


def gray_profile(gamma: float) -> bytes:
    """An ICC v4 display profile for one gray channel."""
    return _profile(b"GRAY", {b"kTRC": _curve(gamma)})


def _profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    text = "imageledger".encode("utf-16-be")
    label = b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(text), 28) + text
    tags = {b"desc": label, b"cprt": label, b"wtpt": _xyz(_D50)} | tags
    table, body = b"", b""
    start = 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        table += struct.pack(">4sII", name, start + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    size = start + len(body)
    header = struct.pack(">I4sI4s4s4s", size, bytes(4), 0x04300000, b"mntr", space, b"XYZ ")
    header += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + _xyz(_D50)[8:] + bytes(48)
    return header + struct.pack(">I", len(tags)) + table + body


def _curve(gamma: float | None) -> bytes:
    if gamma is not None:
        return b"para" + bytes(4) + struct.pack(">HHi", 0, 0, _fixed(gamma))
    parameters = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    return b"para" + bytes(4) + struct.pack(">HH5i", 3, 0, *map(_fixed, parameters))


def _xyz(value: Sequence[float]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *map(_fixed, value))


def _fixed(value: float) -> int:
    return round(value * 65536)


def _colorants(space: ColourSpace) -> Matrix:
    """XYZ of the three primaries, adapted to the D50 of the profile connection space (Bradford)."""
    red, green, blue, white = (
        (x / y, 1.0, (1 - x - y) / y) for x, y in (space.red, space.green, space.blue, space.white)
    )
    primaries = _transpose((red, green, blue))
    scale = _apply(_inverse(primaries), white)
    cone_white, cone_d50 = _apply(_BRADFORD, white), _apply(_BRADFORD, _D50)
    back = _inverse(_BRADFORD)

    def adapt(colour: Vector, factor: float) -> Vector:
        cone = _apply(_BRADFORD, colour)
        moved = tuple(factor * c * d / w for c, d, w in zip(cone, cone_d50, cone_white, strict=True))
        return _apply(back, (moved[0], moved[1], moved[2]))

    return (adapt(red, scale[0]), adapt(green, scale[1]), adapt(blue, scale[2]))


def _apply(matrix: Matrix, vector: Vector) -> Vector:
    x, y, z = (sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix)
    return (x, y, z)


def _transpose(matrix: Matrix) -> Matrix:
    first, second, third = zip(*matrix, strict=True)
    return (first, second, third)


def _inverse(matrix: Matrix) -> Matrix:
    (a, b, c), (d, e, f), (g, h, i) = matrix
    determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    adjugate = (
        (e * i - f * h, c * h - b * i, b * f - c * e),
        (f * g - d * i, a * i - c * g, c * d - a * f),
        (d * h - e * g, b * g - a * h, a * e - b * d),
    )
    rows = tuple(tuple(value / determinant for value in row) for row in adjugate)
    return (
        (rows[0][0], rows[0][1], rows[0][2]),
        (rows[1][0], rows[1][1], rows[1][2]),
        (rows[2][0], rows[2][1], rows[2][2]),
    )
