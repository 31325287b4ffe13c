"""ThumbHash: a placeholder of about 25 bytes that shows colours, shape and alpha before a photo has loaded.

The public algorithm by Evan Wallace (https://evanw.github.io/thumbhash/): the image's low frequencies (a
DCT of luma, two chroma planes and alpha), quantised to four bits each. Written with row and column passes
instead of a product for every pixel and frequency, which is what makes it cheap in Python.
"""

import base64
import math
from collections.abc import Sequence
from operator import mul

from PIL import Image

# The algorithm allows up to 100; the few frequencies that are kept are the same from this on.
_MAX_SIDE = 48


def thumbhash(image: Image.Image) -> str:
    """Base64 of the hash of an image in any mode that converts to RGBA."""
    scale = min(1.0, _MAX_SIDE / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    small = image if image.size == size else image.resize(size, Image.Resampling.BOX)
    return base64.b64encode(_encode(small.convert("RGBA"), image.width / image.height)).decode("ascii")


def _encode(image: Image.Image, aspect: float) -> bytes:
    width, height = image.size
    red, green, blue, alpha = ([v / 255 for v in band.tobytes()] for band in image.split())
    visible = sum(alpha)
    has_alpha = visible < width * height
    average = [sum(map(mul, plane, alpha)) / (visible or 1.0) for plane in (red, green, blue)]
    # Transparent parts show the average colour, so that they do not disturb the frequencies.
    if has_alpha:
        red, green, blue = (
            [mean * (1 - a) + v * a for v, a in zip(plane, alpha, strict=True)]
            for plane, mean in zip((red, green, blue), average, strict=True)
        )
    luma = [(r + g + b) / 3 for r, g, b in zip(red, green, blue, strict=True)]
    yellow = [(r + g) / 2 - b for r, g, b in zip(red, green, blue, strict=True)]
    tint = [r - g for r, g in zip(red, green, strict=True)]

    limit = 5 if has_alpha else 7
    across = max(1, _round(limit * min(1.0, aspect)))
    down = max(1, _round(limit / max(1.0, aspect)))
    l_dc, l_ac, l_scale = _channel(luma, width, max(3, across), max(3, down))
    p_dc, p_ac, p_scale = _channel(yellow, width, 3, 3)
    q_dc, q_ac, q_scale = _channel(tint, width, 3, 3)

    landscape = width > height
    header = _round(63 * l_dc) | _round(31.5 + 31.5 * p_dc) << 6 | _round(31.5 + 31.5 * q_dc) << 12
    header |= _round(31 * l_scale) << 18 | has_alpha << 23
    shape = (down if landscape else across) | _round(63 * p_scale) << 3
    shape |= _round(63 * q_scale) << 9 | landscape << 15
    out = bytearray(header.to_bytes(3, "little") + shape.to_bytes(2, "little"))
    coefficients = [*l_ac, *p_ac, *q_ac]
    if has_alpha:
        a_dc, a_ac, a_scale = _channel(alpha, width, 5, 5)
        out.append(_round(15 * a_dc) | _round(15 * a_scale) << 4)
        coefficients += a_ac
    nibbles = [_round(15 * value) for value in coefficients] + [0]
    out += bytes(low | high << 4 for low, high in zip(nibbles[::2], nibbles[1::2], strict=False))
    return bytes(out)


def _channel(plane: Sequence[float], width: int, across: int, down: int) -> tuple[float, list[float], float]:
    """(mean, frequencies scaled to 0..1, their scale) of one plane, in a triangle of frequencies."""
    height = len(plane) // width
    basis_x, basis_y = _basis(width, across), _basis(height, down)
    rows = [plane[at : at + width] for at in range(0, width * height, width)]
    columns = [[sum(map(mul, row, wave)) for row in rows] for wave in basis_x]
    mean, frequencies = 0.0, []
    for cy in range(down):
        for cx in range(across):
            if cx * down >= across * (down - cy):
                break
            value = sum(map(mul, columns[cx], basis_y[cy])) / (width * height)
            if cx or cy:
                frequencies.append(value)
            else:
                mean = value
    scale = max((abs(value) for value in frequencies), default=0.0)
    if scale:
        frequencies = [0.5 + 0.5 / scale * value for value in frequencies]
    return mean, frequencies, scale


def _basis(length: int, count: int) -> list[list[float]]:
    return [[math.cos(math.pi / length * wave * (at + 0.5)) for at in range(length)] for wave in range(count)]


def _round(value: float) -> int:
    """Half up, as the decoders in other languages expect; Python's own rounds half to even."""
    return math.floor(value + 0.5)
