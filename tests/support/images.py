"""Image files for tests: small, deterministic, good and hostile ones. Every function answers bytes.

Good pictures show four quadrants, so that a test can see which way is up: red at the top left, green at the
top right, blue at the bottom left, yellow at the bottom right.
"""

import re
import struct
import zlib
from io import BytesIO

from PIL import Image, ImageChops, ImageDraw
from pillow_heif.as_plugin import register_heif_opener

from worker.imaging.samples import as_stored, exif_block

register_heif_opener()

Size = tuple[int, int]
Colour = tuple[int, ...]

QUADRANTS: tuple[Colour, ...] = ((220, 40, 40), (40, 180, 60), (50, 70, 210), (235, 215, 60))
"""Colours of an upright picture: top left, top right, bottom left, bottom right."""

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF>secret-xmp-marker</rdf:RDF></x:xmpmeta>'


def quadrants(size: Size = (600, 400)) -> Image.Image:
    """The upright picture, in RGB."""
    width, height = size
    image = Image.new("RGB", size, QUADRANTS[0])
    draw = ImageDraw.Draw(image)
    draw.rectangle((width // 2, 0, width, height), fill=QUADRANTS[1])
    draw.rectangle((0, height // 2, width, height), fill=QUADRANTS[2])
    draw.rectangle((width // 2, height // 2, width, height), fill=QUADRANTS[3])
    return image


def quadrant_indices(image: Image.Image) -> tuple[int, ...]:
    """Which of QUADRANTS is nearest at the four places; (0, 1, 2, 3) when the picture is upright."""
    rgb = image.convert("RGB")
    found = []
    for x, y in ((1, 1), (3, 1), (1, 3), (3, 3)):
        seen = rgb.getpixel((rgb.width * x // 4, rgb.height * y // 4))
        assert isinstance(seen, tuple)
        distances = [sum((a - b) ** 2 for a, b in zip(seen, wanted, strict=True)) for wanted in QUADRANTS]
        found.append(distances.index(min(distances)))
    return tuple(found)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    """The image as a file of a Pillow format."""
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


# Good files


def make_jpeg(
    size: Size = (600, 400), *, orientation: int = 1, gps: bool = False, xmp: bool = False, **options: object
) -> bytes:
    """A JPEG that is `size` when upright, stored as `orientation` says."""
    stored = as_stored(quadrants(size), orientation)
    if xmp:
        options["xmp"] = XMP
    return saved(stored, "JPEG", quality=90, exif=exif_block(orientation, gps=gps), **options)


def make_mpo(size: Size = (600, 400)) -> bytes:
    """A JPEG with a second, different picture behind the first: what phones write for portrait shots."""
    second = Image.new("RGB", size, (0, 0, 0))
    return saved(quadrants(size), "MPO", save_all=True, append_images=[second])


def make_cmyk_jpeg(size: Size = (600, 400), *, adobe: bool = True) -> bytes:
    """A CMYK JPEG: inverted and marked as Adobe writes it, or plain without the marker."""
    image = quadrants(size).convert("CMYK")
    if adobe:
        return saved(image, "JPEG", quality=95)
    data = saved(ImageChops.invert(image), "JPEG", quality=95)
    return re.sub(rb"\xff\xee\x00\x0eAdobe.{7}", b"", data, count=1, flags=re.DOTALL)


def make_png(size: Size = (600, 400), *, mode: str = "RGB", **options: object) -> bytes:
    """A PNG in any mode that Pillow writes."""
    return saved(quadrants(size).convert(mode), "PNG", **options)


def make_png_alpha(size: Size = (600, 400)) -> bytes:
    """Opaque in the middle, transparent around; the hidden pixels are white."""
    image = quadrants(size).convert("RGBA")
    mask = Image.new("L", size, 0)
    ImageDraw.Draw(mask).rectangle((size[0] // 4, size[1] // 4, size[0] * 3 // 4, size[1] * 3 // 4), fill=255)
    image.putalpha(mask)
    hidden = Image.new("RGBA", size, (255, 255, 255, 0))
    return saved(Image.composite(image, hidden, mask), "PNG")


def make_png_palette(size: Size = (600, 400), *, transparent: int | None = None) -> bytes:
    """A PNG with a palette; `transparent` is the index that is fully transparent."""
    image = quadrants(size).quantize(8)
    return saved(image, "PNG") if transparent is None else saved(image, "PNG", transparency=transparent)


def make_png_16bit(size: Size = (64, 32), *, colour: tuple[int, ...] = (0x8000,)) -> bytes:
    """One colour in 16-bit samples: 1 value for gray, 2 with alpha, 3 for RGB, 4 with alpha."""
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[len(colour)]
    row = b"\0" + struct.pack(f">{len(colour)}H", *colour) * size[0]
    return raw_png(size, 16, colour_type, row * size[1])


def make_apng(size: Size = (600, 400)) -> bytes:
    """Animated: the first frame is the picture, the second is black."""
    black = Image.new("RGB", size)
    return saved(quadrants(size), "PNG", save_all=True, append_images=[black], duration=100)


def make_webp(
    size: Size = (600, 400), *, orientation: int = 1, gps: bool = False, **options: object
) -> bytes:
    """A WebP with EXIF."""
    stored = as_stored(quadrants(size), orientation)
    return saved(stored, "WEBP", exif=exif_block(orientation, gps=gps), **({"quality": 90} | options))


def make_webp_animated(size: Size = (600, 400)) -> bytes:
    """Animated: the first frame is the picture, the second is black."""
    black = Image.new("RGB", size)
    return saved(quadrants(size), "WEBP", save_all=True, append_images=[black], duration=100)


def make_heic(
    size: Size = (600, 400), *, orientation: int = 1, gps: bool = False, **options: object
) -> bytes:
    """A HEIC whose container and whose EXIF both say how to turn it, as phones write it."""
    stored = as_stored(quadrants(size), orientation)
    settings = {"quality": 80, "enc_params": {"preset": "ultrafast"}} | options
    return saved(stored, "HEIF", exif=exif_block(orientation, gps=gps).tobytes(), **settings)


# Hostile and wrong files


def raw_png(size: Size, bit_depth: int, colour_type: int, rows: bytes, *extra: tuple[bytes, bytes]) -> bytes:
    """A PNG from filtered rows, with extra chunks before the pixels."""
    header = struct.pack(">IIBBBBB", *size, bit_depth, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_png_chunk(*chunk) for chunk in chunks)


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_bomb(size: Size = (60_000, 60_000)) -> bytes:
    """A few kilobytes that claim gigabytes of pixels."""
    return raw_png(size, 8, 2, bytes(100_000))


def png_text_bomb() -> bytes:
    """A small picture with a text chunk that unpacks to a hundred megabytes."""
    text = b"Comment\0\0" + zlib.compress(bytes(100_000_000), 9)
    return raw_png((8, 8), 8, 0, b"\0" + bytes(8) * 9, (b"zTXt", text))


def gif_bomb() -> bytes:
    """44 bytes that make Pillow's GIF plugin allocate gigabytes while it merely opens the file."""
    screen = b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0x80, 0, 0) + bytes(6)
    return (
        screen + b"," + struct.pack("<HHHHB", 0, 0, 65_535, 65_535, 0) + b"\x02\x02\x44\x01\x00;" + bytes(8)
    )


def jpeg_bomb(size: Size = (65_500, 65_500)) -> bytes:
    """A JPEG whose frame header claims another size than the file has pixels for."""
    data = make_jpeg((64, 64))
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", size[1], size[0]) + data[at + 4 :]


def webp_bomb() -> bytes:
    """A VP8X header with the largest canvas there is."""
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + b"\xff\xff\xff" * 2
    return b"RIFF" + struct.pack("<I", len(body)) + body


def heic_bomb(size: Size = (60_000, 60_000)) -> bytes:
    """A HEIC whose size properties claim gigabytes of pixels."""
    return re.sub(
        rb"ispe\0{4}.{8}", b"ispe\0\0\0\0" + struct.pack(">II", *size), make_heic(), flags=re.DOTALL
    )


def scan_bomb_jpeg(scans: int, size: Size = (3000, 3000)) -> bytes:
    """A progressive JPEG that repeats its last scan: every one makes the decoder visit every block again."""
    data = saved(Image.new("L", size, 128), "JPEG", progressive=True, quality=50)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + b"\xff\xd9"


def truncated(data: bytes, part: float = 0.6) -> bytes:
    """The first part of a file."""
    return data[: int(len(data) * part)]


def damaged(data: bytes, at: int, length: int = 100) -> bytes:
    """A stretch of the file overwritten, its length kept."""
    return data[:at] + bytes((i * 37 + 11) & 0xFF for i in range(length)) + data[at + length :]


def exif_with_nonsense() -> bytes:
    """EXIF that holds NaN, NUL, a loop of directories and offsets beyond its end."""
    entries = struct.pack("<HHIf", 0x011A, 11, 1, float("nan")) + struct.pack(
        "<HHI4s", 0x010F, 2, 4, b"a\0b\0"
    )
    entries += struct.pack("<HHII", 0x8769, 4, 1, 8) + struct.pack("<HHII", 0x9286, 7, 0xFFFFFFF0, 0xFFFFFFF0)
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, 4) + entries + struct.pack("<I", 8)


def not_images() -> dict[str, bytes]:
    """Files that are no image of an accepted type, whatever their name says."""
    picture = quadrants((40, 40))
    return {
        "page.jpg": b"<!DOCTYPE html><html><script>alert(1)</script></html>",
        "vector.png": b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
        "animation.gif": saved(picture, "GIF"),
        "bomb.gif": gif_bomb(),
        "scan.tiff": saved(picture, "TIFF"),
        "old.bmp": saved(picture, "BMP"),
        "new.avif": saved(picture, "AVIF"),
        "wave.webp": b"RIFF\x24\0\0\0WAVEfmt " + bytes(32),
        "movie.heic": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(64),
        "paper.pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
        "archive.jpg": b"PK\x03\x04" + bytes(64),
        "script.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n",
        "zeros.jpg": bytes(4096),
        "empty.jpg": b"",
        "one-byte.jpg": b"\xff",
    }
