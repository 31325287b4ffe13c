"""Photos to try things with: drawn, not taken, so that they are nobody's and need no files.

They have what uploads from phones have: millions of pixels, grain, EXIF that says "turn me", a GPS
position, HEIC, an alpha channel. The same bytes come out on every run with the same library versions.
"""

import random
from io import BytesIO

from PIL import ExifTags, Image, ImageChops, ImageDraw, ImageFilter, ImageOps
from pillow_heif.as_plugin import register_heif_opener

SIZE = (3000, 2000)
"""Upright width and height of every sample, in pixels."""

GPS = {1: "N", 2: (59.0, 54.0, 50.0), 3: "E", 4: (10.0, 45.0, 8.0)}
"""A public square in Oslo, as EXIF writes it: what must not be found in any served file."""

_TRANSPOSE_FOR_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def sample_photos() -> list[tuple[str, str, bytes]]:
    """(file name, MIME type, bytes) of four photos.

    JPEG (EXIF orientation 6, GPS), HEIC, PNG with alpha, WebP.
    """
    register_heif_opener()
    return [
        ("chair.jpg", "image/jpeg", _jpeg()),
        ("lamp.heic", "image/heic", _heic()),
        ("vase.png", "image/png", _png()),
        ("table.webp", "image/webp", _webp()),
    ]


def exif_block(orientation: int, *, gps: bool = True) -> Image.Exif:
    """EXIF as a phone writes it."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.Make] = "imageledger"
    exif[ExifTags.Base.Model] = "sample"
    exif[ExifTags.Base.DateTime] = "2026:01:02 03:04:05"
    if gps:
        exif[ExifTags.IFD.GPSInfo] = GPS
    return exif


def as_stored(upright: Image.Image, orientation: int) -> Image.Image:
    """The pixels as a camera stores them, so that a viewer that obeys `orientation` sees `upright`."""
    method = _TRANSPOSE_FOR_ORIENTATION.get(orientation)
    return upright if method is None else upright.transpose(method)


def scene(size: tuple[int, int], seed: int) -> Image.Image:
    """An upright picture in RGB: a wall, a floor, things with light and shade, grain."""
    rng = random.Random(seed)  # noqa: S311
    width, height = size
    image = _gradient(size, (rng.randrange(120, 200), 190, 210), (235, rng.randrange(200, 240), 215))
    horizon = height * 2 // 3
    floor = _gradient((width, height - horizon), (150, 110, rng.randrange(60, 100)), (90, 60, 45))
    image.paste(floor, (0, horizon))
    draw = ImageDraw.Draw(image)
    for x in range(0, width, width // 12):
        draw.line([(x, horizon), (x * 2 - width // 2, height)], fill=(80, 55, 40), width=max(1, width // 500))
    for _ in range(9):
        _draw_thing(image, rng)
    return _with_grain(image, rng)


def _draw_thing(image: Image.Image, rng: random.Random) -> None:
    side = rng.randrange(image.height // 8, image.height // 3)
    light = ImageChops.invert(Image.radial_gradient("L")).resize((side, side))
    colour = tuple(rng.randrange(30, 255) for _ in range(3))
    thing = ImageOps.colorize(light, tuple(value // 4 for value in colour), colour)
    mask = Image.new("L", (side, side), 0)
    shape = ImageDraw.Draw(mask)
    inside = (side // 20, side // 20, side - side // 20, side - side // 20)
    if rng.random() < 0.5:
        shape.ellipse(inside, fill=255)
    else:
        shape.rounded_rectangle(inside, radius=side // 8, fill=255)
    at = (rng.randrange(0, image.width - side), rng.randrange(image.height // 4, image.height - side))
    image.paste(thing, at, mask)


def _gradient(size: tuple[int, int], top: tuple[int, int, int], bottom: tuple[int, int, int]) -> Image.Image:
    return ImageOps.colorize(Image.linear_gradient("L").resize(size), top, bottom)


def _with_grain(image: Image.Image, rng: random.Random) -> Image.Image:
    """Sensor noise: without it any codec would look better than it is."""
    side = 512
    tile = Image.frombytes("RGB", (side, side), rng.randbytes(side * side * 3))
    tile = tile.filter(ImageFilter.BoxBlur(1)).point(lambda value: value // 8)
    grain = Image.new("RGB", image.size)
    for x in range(0, image.width, side):
        for y in range(0, image.height, side):
            grain.paste(tile, (x, y))
    return ImageChops.add(image, grain, 1, -16)


def _jpeg() -> bytes:
    return _saved(as_stored(scene(SIZE, 1), 6), "JPEG", quality=92, exif=exif_block(6))


def _heic() -> bytes:
    # The encoder turns the orientation into the container's own rotation, as phones do.
    return _saved(
        as_stored(scene(SIZE, 2), 6),
        "HEIF",
        quality=60,
        exif=exif_block(6).tobytes(),
        enc_params={"preset": "ultrafast"},
    )


def _png() -> bytes:
    image = scene(SIZE, 3)
    mask = Image.new("L", SIZE, 0)
    ImageDraw.Draw(mask).ellipse((SIZE[0] // 3, SIZE[1] // 8, SIZE[0] * 2 // 3, SIZE[1] * 7 // 8), fill=255)
    image.putalpha(mask)
    # What is hidden is blank, as programs that cut things out leave it.
    return _saved(
        Image.composite(image, Image.new("RGBA", SIZE), mask), "PNG", compress_level=1, exif=exif_block(1)
    )


def _webp() -> bytes:
    return _saved(scene(SIZE, 4), "WEBP", quality=85, method=0, exif=exif_block(1))


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()
