"""From whatever colours a file has to 8-bit sRGB, keeping alpha."""

from functools import lru_cache
from io import BytesIO

from PIL import Image, ImageChops, ImageCms

from worker.imaging import icc

# ITU-T H.273 colour primaries that differ visibly from sRGB's.
_NCLX_SPACES = {9: icc.BT2020, 11: icc.DISPLAY_P3, 12: icc.DISPLAY_P3}

# The mode a profile's colour space describes; a profile that does not fit the pixels is ignored.
_PROFILE_MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}
_MAX_PROFILE_BYTES = 4 * 1024 * 1024
# Two 8-bit steps: less than rounding differences between the many files that all mean sRGB.
_SRGB_TOLERANCE = 2


def embedded_profile(image: Image.Image) -> bytes | None:
    """The file's ICC profile, or one made from its HEIF colour numbers."""
    profile = image.info.get("icc_profile")
    if isinstance(profile, bytes) and 128 < len(profile) <= _MAX_PROFILE_BYTES:
        return profile
    nclx = image.info.get("nclx_profile")
    if isinstance(nclx, dict):
        space = _NCLX_SPACES.get(nclx.get("color_primaries", 0))
        return None if space is None else icc.rgb_profile(space)
    return None


def plain_mode(image: Image.Image) -> Image.Image:
    """Any Pillow mode to one of L, LA, RGB, RGBA, CMYK, so that it can be resized and colour-managed."""
    if image.mode.startswith("I;16"):
        # 16 bits to 8 by scaling; Pillow's own conversion clips at 255.
        return image.point(lambda value: value * (1 / 257) + 0.5).convert("L")
    gray = image.mode in {"1", "L", "LA", "La"}
    if image.has_transparency_data:
        mode = "LA" if gray else "RGBA"
    elif image.mode == "CMYK":
        mode = "CMYK"
    else:
        mode = "L" if gray else "RGB"
    plain = image if image.mode == mode else image.convert(mode)
    if mode in {"LA", "RGBA"} and plain.getchannel("A").getextrema() == (255, 255):
        # Alpha that hides nothing costs time and bytes in every variant.
        return plain.convert(mode.removesuffix("A"))
    return plain


def uninverted_cmyk(image: Image.Image) -> Image.Image:
    """Undoes Pillow's inversion for CMYK JPEGs that Adobe did not write.

    Pillow takes every CMYK JPEG for an inverted one. Only files with Adobe's marker are.
    """
    return image if "adobe" in image.info else ImageChops.invert(image)


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Pixels of a plain mode to sRGB: L, LA, RGB or RGBA. A broken or unfitting profile counts as sRGB."""
    colour_mode = {"LA": "L", "RGBA": "RGB"}.get(image.mode, image.mode)
    transform = None if profile is None else _transform(profile, colour_mode)
    if transform is None:
        return image.convert("RGB") if image.mode == "CMYK" else image
    if image.mode == colour_mode:
        return transform.apply(image)
    converted = transform.apply(image.convert(colour_mode))
    converted.putalpha(image.getchannel("A"))
    return converted


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The transform to sRGB, or None where none is possible or needed."""
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        if _PROFILE_MODES.get(source.profile.xcolor_space) != mode:
            return None
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        probe = _probe(mode)
        changed = transform.apply(probe)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, AttributeError):
        return None
    if mode == "CMYK":
        return transform
    difference = ImageChops.difference(changed, probe.convert("RGB"))
    visible = any(max(band.tobytes()) > _SRGB_TOLERANCE for band in difference.split())
    return transform if visible else None


def _probe(mode: str) -> Image.Image:
    """A grid over the mode's colours: shows whether a transform does anything visible."""
    if mode == "L":
        return Image.frombytes("L", (256, 1), bytes(range(256)))
    if mode == "CMYK":
        return Image.new("CMYK", (1, 1))
    steps = range(0, 256, 51)
    pixels = bytes(
        value for red in steps for green in steps for blue in steps for value in (red, green, blue)
    )
    return Image.frombytes("RGB", (len(pixels) // 3, 1), pixels)
