"""One photo to its variants: header, limits, one decode, a pyramid from largest to smallest.

Runs inside a child process (`child.py`), which bounds its time and memory; nothing here relies on that for
correctness.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pillow_heif
from PIL import Image, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin
from pillow_heif.as_plugin import HeifImageFile

from worker.imaging import colour
from worker.imaging.errors import ImageRejected
from worker.imaging.header import Header, is_complete, read_header
from worker.imaging.model import Limits, RenderedImage, RenderedVariant, VariantSpec
from worker.imaging.orientation import read_orientation, swaps_sides, upright
from worker.imaging.thumbhash import thumbhash

WEBP_MAX_SIDE = 16_383
# libwebp's 4 is the point from which more time buys little: 2 takes half of it, but 7 to 10 % more bytes
# for the same picture; 6 doubles it for 3 % fewer. 3 does the same work as 4.
_WEBP_METHOD = 4
# Magic Kernel Sharp keeps what Lanczos keeps at the same file size, with a narrower kernel: a sixth less
# time. It is crisper, so that WebP quality 78 takes the bytes that 80 takes after Lanczos.
_FILTER = Image.Resampling.MKS2013

# One plugin for each format, called by name. `Image.open` would try every plugin there is, and hands JPEGs
# with a second picture to another class whose checks are not needed for the first one.
_PLUGINS: dict[str, Callable[[BytesIO], ImageFile.ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "HEIF": HeifImageFile,
}

# Only the primary image is wanted. Parallelism comes from several processes, not from threads in each.
pillow_heif.options.THUMBNAILS = False
pillow_heif.options.DEPTH_IMAGES = False
pillow_heif.options.AUX_IMAGES = False
pillow_heif.options.DECODE_THREADS = 1
# Sizes are checked against the site's own limit before any plugin runs; Pillow's fixed ones would only
# interfere.
Image.MAX_IMAGE_PIXELS = None

Size = tuple[int, int]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class _Source:
    """A decoded photo, not yet upright and in its own colours."""

    image: Image.Image
    box: Box
    """The part of the pixels that is the photo: scaled decoding may add a fraction of a pixel."""
    size: Size
    """Upright size of the original."""
    orientation: int
    profile: bytes | None


def render_file(source: Path, specs: Sequence[VariantSpec], limits: Limits, out_dir: Path) -> RenderedImage:
    """Reads `source`, writes `out_dir`/`role`.webp for every spec.

    Raises ImageRejected for everything that is the file's fault, OSError when reading or writing fails.
    """
    if source.stat().st_size > limits.max_bytes:
        raise _too_large(limits)
    data = source.read_bytes()
    if not data:
        raise ImageRejected("unsupported_type", "The file is empty.")
    header = read_header(data)
    _check_size((header.width, header.height), limits, exact=header.format != "HEIF")
    if header.hollow:
        raise ImageRejected("corrupt", "The file claims more pixels than it holds.")
    ordered = sorted(specs, key=lambda spec: spec.max_side, reverse=True)
    photo = _decode(data, header, limits, ordered[0].max_side)
    variants, smallest = _write_variants(photo, ordered, out_dir)
    return RenderedImage(
        mime_type=header.mime_type,
        byte_size=len(data),
        width=photo.size[0],
        height=photo.size[1],
        sha256=hashlib.sha256(data).hexdigest(),
        thumbhash=thumbhash(smallest),
        variants=variants,
    )


def _decode(data: bytes, header: Header, limits: Limits, max_side: int) -> _Source:
    """The one decode.

    Hostile files make the libraries raise nearly anything: all of it is the file's fault.
    """
    try:
        image = _PLUGINS[header.format](BytesIO(data))
        if header.format != "HEIF" and image.size != (header.width, header.height):
            raise ImageRejected("corrupt", "The file contradicts itself about its size.")  # noqa: TRY301
        _check_size(image.size, limits)
        size = image.size
        profile = colour.embedded_profile(image)
        box: Box = (0, 0, *image.size)
        if header.format == "JPEG":
            drafted = image.draft(None, fit(image.size, max_side))
            box = box if drafted is None else drafted[1]
        image.load()
        if header.format == "HEIF":
            _check_size(image.size, limits)
            size, box = image.size, (0, 0, *image.size)
        # libheif has turned the pixels by the container's own instructions; EXIF in a HEIF only repeats them.
        # A PNG's EXIF may stand behind the pixels, so it is read only now.
        orientation = 1 if header.format == "HEIF" else read_orientation(_exif(image))
        plain = colour.plain_mode(image)
        if plain.mode == "CMYK":
            plain = colour.uninverted_cmyk(plain)
    except (ImageRejected, MemoryError):
        raise
    except Exception as error:
        if not is_complete(data, header.format):
            raise ImageRejected("truncated", "The file ends before the image does.") from error
        raise ImageRejected("corrupt", "The file is damaged and cannot be read as an image.") from error
    if swaps_sides(orientation):
        size = (size[1], size[0])
    return _Source(plain, box, size, orientation, profile)


def _write_variants(
    photo: _Source, specs: Sequence[VariantSpec], out_dir: Path
) -> tuple[tuple[RenderedVariant, ...], Image.Image]:
    """Writes the variants, each scaled from the one before; answers with them and the smallest picture."""
    level: Image.Image | None = None
    encoded: dict[tuple[Size, int], bytes] = {}
    variants = []
    for spec in specs:
        size = fit(photo.size, spec.max_side)
        if level is None:
            level = _first_level(photo, size)
        elif level.size != size:
            level = level.resize(size, _FILTER)
        # A small original is not enlarged, so several roles may be the same picture.
        webp = encoded.get((size, spec.quality))
        if webp is None:
            webp = encoded[size, spec.quality] = _encode(level, spec.quality)
        path = out_dir / f"{spec.role}.webp"
        path.write_bytes(webp)
        variants.append(RenderedVariant(spec.role, path, *size, len(webp)))
    if level is None:
        raise ValueError("no variants were asked for")
    return tuple(variants), level


def _first_level(photo: _Source, size: Size) -> Image.Image:
    """The largest variant: scaled first, because turning and colour conversion cost by the pixel."""
    coded_size = (size[1], size[0]) if swaps_sides(photo.orientation) else size
    image = photo.image
    if image.size != coded_size:
        image = image.resize(coded_size, _FILTER, box=photo.box)
    return colour.to_srgb(upright(image, photo.orientation), photo.profile)


def _encode(image: Image.Image, quality: int) -> bytes:
    out = BytesIO()
    image.save(out, "WEBP", quality=quality, method=_WEBP_METHOD, icc_profile=None, exif=b"", xmp=b"")
    return out.getvalue()


def fit(size: Size, max_side: int) -> Size:
    """`size` scaled to fit a square of `max_side` (and WebP's own limit).

    Never enlarged, never below one pixel.
    """
    side = min(max_side, WEBP_MAX_SIDE)
    scale = side / max(size)
    if scale >= 1:
        return size
    return (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))


def _exif(image: Image.Image) -> bytes | None:
    exif = image.info.get("exif")
    return exif if isinstance(exif, bytes) else None


def _check_size(size: Size, limits: Limits, *, exact: bool = True) -> None:
    width, height = size
    if width * height > limits.max_pixels:
        raise ImageRejected(
            "too_many_pixels",
            f"The image has {width:,} x {height:,} pixels; "
            f"at most {limits.max_pixels / 1e6:,.6g} megapixels are accepted.",
        )
    if not exact:
        return
    if min(size) < limits.min_side:
        raise ImageRejected(
            "too_small",
            f"The image has {width:,} x {height:,} pixels; "
            f"its shorter side must have at least {limits.min_side:,}.",
        )
    if max(size) > limits.max_aspect * min(size):
        raise ImageRejected(
            "aspect_out_of_range",
            f"The image has {width:,} x {height:,} pixels; "
            f"its longer side may be at most {limits.max_aspect:g} times the shorter one.",
        )


def _too_large(limits: Limits) -> ImageRejected:
    return ImageRejected("too_large", f"The file is larger than {limits.max_bytes / 1e6:,.3g} MB.")
