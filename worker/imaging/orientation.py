"""EXIF orientation: one number out of a block that anybody may have written.

A whole EXIF parser meets NaN, NUL, loops and offsets beyond the end; for one tag of the first directory it
is not needed.
"""

import struct

from PIL import Image

_TAG_ORIENTATION = 0x0112
_TYPE_SHORT = 3

_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_orientation(exif: bytes | None) -> int:
    """The EXIF orientation 1..8; 1 for anything missing, damaged or out of range."""
    if not exif:
        return 1
    tiff = exif.removeprefix(b"Exif\x00\x00")
    endian = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if endian is None:
        return 1
    try:
        (at,) = struct.unpack_from(endian + "I", tiff, 4)
        (count,) = struct.unpack_from(endian + "H", tiff, at)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind, _, value = struct.unpack_from(endian + "HHIH", tiff, entry)
            if tag == _TAG_ORIENTATION:
                return value if kind == _TYPE_SHORT and 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1


def swaps_sides(orientation: int) -> bool:
    """True when width and height change places."""
    return orientation >= 5


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """The image as it was meant to be seen."""
    method = _TRANSPOSE.get(orientation)
    return image if method is None else image.transpose(method)
