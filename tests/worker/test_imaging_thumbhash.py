"""The quick ThumbHash against the published formula, written down as slowly as it is printed."""

import base64
import math
import random

import pytest
from PIL import Image

from tests.support import images
from worker.imaging.thumbhash import thumbhash


def _slow(image: Image.Image) -> bytes:
    width, height = image.size
    pixels = [
        (r / 255, g / 255, b / 255, a / 255) for r, g, b, a in zip(*[iter(image.tobytes())] * 4, strict=True)
    ]
    visible = sum(pixel[3] for pixel in pixels)
    mean = [sum(pixel[i] * pixel[3] for pixel in pixels) / visible for i in range(3)]
    has_alpha = visible < width * height
    limit = 5 if has_alpha else 7
    lx = max(1, math.floor(limit * width / max(width, height) + 0.5))
    ly = max(1, math.floor(limit * height / max(width, height) + 0.5))
    blended = [[mean[i] * (1 - pixel[3]) + pixel[i] * pixel[3] for i in range(3)] for pixel in pixels]
    planes = (
        [(r + g + b) / 3 for r, g, b in blended],
        [(r + g) / 2 - b for r, g, b in blended],
        [r - g for r, g, _ in blended],
        [pixel[3] for pixel in pixels],
    )

    def encode(plane: list[float], nx: int, ny: int) -> tuple[float, list[float], float]:
        dc, ac, scale = 0.0, [], 0.0
        for cy in range(ny):
            cx = 0
            while cx * ny < nx * (ny - cy):
                f = 0.0
                for y in range(height):
                    for x in range(width):
                        wave = math.cos(math.pi / width * cx * (x + 0.5)) * math.cos(
                            math.pi / height * cy * (y + 0.5)
                        )
                        f += plane[x + y * width] * wave
                f /= width * height
                if cx or cy:
                    ac.append(f)
                    scale = max(scale, abs(f))
                else:
                    dc = f
                cx += 1
        return dc, [0.5 + 0.5 / scale * f for f in ac] if scale else ac, scale

    def nearest(value: float) -> int:
        return math.floor(value + 0.5)

    luma, yellow, tint = (
        encode(planes[0], max(3, lx), max(3, ly)),
        encode(planes[1], 3, 3),
        encode(planes[2], 3, 3),
    )
    head = (
        nearest(63 * luma[0]) | nearest(31.5 + 31.5 * yellow[0]) << 6 | nearest(31.5 + 31.5 * tint[0]) << 12
    )
    head |= nearest(31 * luma[2]) << 18 | has_alpha << 23
    shape = (ly if width > height else lx) | nearest(63 * yellow[2]) << 3 | nearest(63 * tint[2]) << 9
    shape |= (width > height) << 15
    out = list(head.to_bytes(3, "little") + shape.to_bytes(2, "little"))
    channels = [luma, yellow, tint]
    if has_alpha:
        channels.append(encode(planes[3], 5, 5))
        out.append(nearest(15 * channels[3][0]) | nearest(15 * channels[3][2]) << 4)
    start, index = len(out), 0
    for _, ac, _ in channels:
        for f in ac:
            if start + index // 2 == len(out):
                out.append(0)
            out[start + index // 2] |= nearest(15 * f) << 4 * (index % 2)
            index += 1
    return bytes(out)


@pytest.mark.parametrize("size", [(24, 16), (16, 24), (20, 20), (24, 5), (3, 17)])
@pytest.mark.parametrize("alpha", [False, True])
def test_agrees_with_the_published_formula(size: tuple[int, int], alpha: bool) -> None:
    rng = random.Random(f"{size}{alpha}")
    image = images.quadrants(size).convert("RGBA")
    noise = Image.frombytes("RGBA", size, rng.randbytes(size[0] * size[1] * 4))
    image = Image.blend(image, noise, 0.3)
    if not alpha:
        image.putalpha(255)
    assert base64.b64decode(thumbhash(image)) == _slow(image)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_any_mode_and_any_size(mode: str) -> None:
    for size in ((1, 1), (1, 300), (300, 1), (160, 107)):
        assert 5 <= len(base64.b64decode(thumbhash(Image.new(mode, size, 0)))) <= 30


def test_the_same_photo_gives_the_same_hash_at_any_size() -> None:
    small, large = images.quadrants((48, 32)), images.quadrants((160, 107))
    pairs = zip(base64.b64decode(thumbhash(small)), base64.b64decode(thumbhash(large)), strict=True)
    assert sum(abs(a % 16 - b % 16) + abs(a // 16 - b // 16) for a, b in pairs) <= 12
