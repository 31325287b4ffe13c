"""What comes out of a good file: upright, sRGB, right in size, and nothing but pixels."""

import base64
import hashlib
import struct
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from tests.support import images
from worker.imaging import Limits, RenderedImage, Renderer, VariantSpec, icc
from worker.imaging.samples import SIZE, sample_photos

SPECS = (
    VariantSpec("thumb", 64, 80),
    VariantSpec("card", 160, 80),
    VariantSpec("detail", 300, 90),
)
FIVE = tuple(
    VariantSpec(role, side, 80)
    for role, side in (
        ("thumb", 160),
        ("card", 480),
        ("preview", 960),
        ("detail", 1600),
        ("detail_max", 2560),
    )
)
Render = Callable[..., RenderedImage]


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    with Renderer(processes=1) as renderer:
        yield renderer


@pytest.fixture
def render(renderer: Renderer, tmp_path: Path) -> Render:
    def run(
        data: bytes, specs: tuple[VariantSpec, ...] = SPECS, limits: Limits | None = None
    ) -> RenderedImage:
        source = tmp_path / "source"
        source.write_bytes(data)
        return renderer.render(source, specs, limits or Limits(), tmp_path)

    return run


def opened(image: RenderedImage, role: str = "detail") -> Image.Image:
    (variant,) = (variant for variant in image.variants if variant.role == role)
    picture = Image.open(variant.path)
    picture.load()
    return picture


def colour_at(picture: Image.Image, x: int, y: int) -> tuple[int, ...]:
    """RGBA of a pixel."""
    pixel = picture.convert("RGBA").getpixel((x, y))
    assert isinstance(pixel, tuple)
    return pixel


def colour_at_centre(image: RenderedImage) -> tuple[int, ...]:
    picture = opened(image)
    return colour_at(picture, picture.width // 2, picture.height // 2)


def assert_only_pixels(image: RenderedImage) -> None:
    """Every variant is a WebP whose chunks are pixels and nothing else."""
    assert image.variants
    for variant in image.variants:
        data = variant.path.read_bytes()
        assert len(data) == variant.byte_size
        assert data[:4] == b"RIFF"
        assert data[8:12] == b"WEBP"
        assert struct.unpack_from("<I", data, 4)[0] + 8 == len(data)
        at = 12
        while at < len(data):
            kind, length = struct.unpack_from("<4sI", data, at)
            assert kind in {b"VP8 ", b"VP8L", b"VP8X", b"ALPH"}
            at += 8 + length + length % 2
        with Image.open(variant.path) as picture:
            assert picture.size == (variant.width, variant.height)
            assert not set(picture.info) & {"exif", "xmp", "icc_profile"}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("make", [images.make_jpeg, images.make_heic, images.make_webp])
def test_comes_out_upright(render: Render, make: Callable[..., bytes], orientation: int) -> None:
    image = render(make((600, 400), orientation=orientation, gps=True))
    assert (image.width, image.height) == (600, 400)
    assert [(v.role, v.width, v.height) for v in image.variants] == [
        ("detail", 300, 200),
        ("card", 160, 107),
        ("thumb", 64, 43),
    ]
    for role in ("detail", "card", "thumb"):
        assert images.quadrant_indices(opened(image, role)) == (0, 1, 2, 3)
    assert_only_pixels(image)


def test_facts_of_the_original(render: Render) -> None:
    data = images.make_jpeg((300, 500), orientation=6, gps=True, xmp=True)
    image = render(data)
    assert image.mime_type == "image/jpeg"
    assert image.byte_size == len(data)
    assert image.sha256 == hashlib.sha256(data).hexdigest()
    assert (image.width, image.height) == (300, 500)
    assert 15 <= len(base64.b64decode(image.thumbhash)) <= 30
    assert_only_pixels(image)
    for variant in image.variants:
        assert b"secret-xmp-marker" not in variant.path.read_bytes()


@pytest.mark.parametrize(
    ("data", "mime_type"),
    [
        (images.make_jpeg(), "image/jpeg"),
        (images.make_jpeg(progressive=True), "image/jpeg"),
        (images.make_mpo(), "image/jpeg"),
        (images.make_png(), "image/png"),
        (images.make_apng(), "image/png"),
        (images.make_png_palette(), "image/png"),
        (images.make_webp(), "image/webp"),
        (images.make_webp(lossless=True), "image/webp"),
        (images.make_webp_animated(), "image/webp"),
        (images.make_heic(), "image/heic"),
    ],
    ids=[
        "jpeg",
        "progressive",
        "mpo",
        "png",
        "apng",
        "palette",
        "webp",
        "webp-lossless",
        "webp-animated",
        "heic",
    ],
)
def test_type_is_known_by_content_and_the_first_frame_is_taken(
    render: Render, data: bytes, mime_type: str
) -> None:
    image = render(data)
    assert image.mime_type == mime_type
    assert images.quadrant_indices(opened(image)) == (0, 1, 2, 3)
    assert_only_pixels(image)


def test_nothing_is_enlarged(render: Render) -> None:
    image = render(images.make_jpeg((200, 100)))
    assert [(v.role, v.width, v.height) for v in image.variants] == [
        ("detail", 200, 100),
        ("card", 160, 80),
        ("thumb", 64, 32),
    ]


def test_variants_end_at_the_longest_side_that_webp_has(render: Render) -> None:
    image = render(
        images.make_png((17_000, 20)), (VariantSpec("detail", 20_000, 50),), Limits(max_aspect=1000)
    )
    assert (image.width, image.height) == (17_000, 20)
    assert (image.variants[0].width, image.variants[0].height) == (16_383, 19)


def test_a_pixel_thin_image_keeps_one_pixel(render: Render) -> None:
    image = render(images.make_png((1, 900)), limits=Limits(max_aspect=1000))
    assert [(v.width, v.height) for v in image.variants] == [(1, 300), (1, 160), (1, 64)]


# Alpha


def test_alpha_is_kept_and_hidden_pixels_do_not_bleed(render: Render) -> None:
    image = render(images.make_png_alpha((640, 640)), (VariantSpec("detail", 101, 95),))
    picture = opened(image)
    assert picture.mode == "RGBA"
    assert colour_at(picture, 2, 2)[3] == 0
    assert colour_at(picture, 50, 50)[3] == 255
    # On black, an edge that took the hidden white along would shine; with premultiplied alpha it only fades.
    black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
    edge = Image.alpha_composite(black, picture).crop((20, 30, 30, 45)).convert("RGB")
    red, green, blue = (max(band.tobytes()) for band in edge.split())
    assert red <= 235
    assert green <= 75
    assert blue <= 75


def test_alpha_that_hides_nothing_is_dropped(render: Render) -> None:
    assert opened(render(images.make_png(mode="RGBA"))).mode == "RGB"


def test_transparent_palette_entry(render: Render) -> None:
    data = images.make_png_palette()
    index = Image.open(BytesIO(data)).getpixel((10, 10))
    assert isinstance(index, int)
    picture = opened(render(images.make_png_palette(transparent=index)))
    assert picture.mode == "RGBA"
    assert colour_at(picture, 10, 10)[3] == 0
    assert colour_at(picture, 290, 10)[3] == 255


def test_heic_alpha(render: Render) -> None:
    source = Image.open(BytesIO(images.make_png_alpha()))
    picture = opened(render(images.saved(source, "HEIF", quality=90)))
    assert picture.mode == "RGBA"
    assert colour_at(picture, 5, 5)[3] < 10
    assert colour_at(picture, 150, 100)[3] > 245


# Depths and modes


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        ((0x8080,), (128, 128, 128, 255)),
        ((0xFFFF,), (255, 255, 255, 255)),
        ((0x0101,), (1, 1, 1, 255)),
        ((0xC0C0, 0x8000), (192, 192, 192, 128)),
        ((0xC0C0, 0x4040, 0x2020), (192, 64, 32, 255)),
        ((0xC0C0, 0x4040, 0x2020, 0x8080), (192, 64, 32, 128)),
    ],
)
def test_sixteen_bits(render: Render, sample: tuple[int, ...], expected: tuple[int, ...]) -> None:
    seen = colour_at_centre(render(images.make_png_16bit(colour=sample)))
    assert all(abs(a - b) <= 4 for a, b in zip(seen, expected, strict=True)), seen


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_png_mode_renders(render: Render, mode: str) -> None:
    image = render(images.make_png(mode=mode))
    assert opened(image).size == (300, 200)
    assert_only_pixels(image)


def test_one_bit_keeps_black_and_white(render: Render) -> None:
    rows = (b"\0" + b"\xff" * 8 + b"\0" * 8) * 128
    picture = opened(render(images.raw_png((128, 128), 1, 0, rows)))
    assert min(colour_at(picture, 20, 60)) > 250
    assert max(colour_at(picture, 110, 60)[:3]) < 5


# Colour


def _to_linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def _to_srgb(value: float) -> int:
    value = min(1.0, max(0.0, value))
    return round(255 * (value * 12.92 if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055))


# Linear light to linear sRGB, published values (CSS Color 4).
P3_TO_SRGB = ((1.2249402, -0.2249402, 0.0), (-0.0420570, 1.0420570, 0.0), (-0.0196376, -0.0786361, 1.0982735))
ADOBE_TO_SRGB = ((1.3983557, -0.3983557, 0.0), (0.0, 1.0, 0.0), (0.0, -0.0429290, 1.0429290))


def _expected(
    colour: tuple[int, ...], matrix: tuple[tuple[float, ...], ...], gamma: float | None
) -> list[int]:
    linear = [_to_linear(v / 255) if gamma is None else (v / 255) ** gamma for v in colour]
    return [_to_srgb(sum(a * b for a, b in zip(row, linear, strict=True))) for row in matrix]


@pytest.mark.parametrize("colour", [(200, 100, 60), (90, 180, 120), (60, 90, 160), (128, 128, 128)])
@pytest.mark.parametrize(
    ("space", "matrix", "gamma"),
    [(icc.DISPLAY_P3, P3_TO_SRGB, None), (icc.ADOBE_RGB, ADOBE_TO_SRGB, 2.19921875)],
    ids=["p3", "adobe-rgb"],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "HEIF"])
def test_wide_colours_become_srgb(
    render: Render,
    kind: str,
    space: icc.ColourSpace,
    matrix: tuple[tuple[float, ...], ...],
    gamma: float | None,
    colour: tuple[int, ...],
) -> None:
    data = images.saved(
        Image.new("RGB", (64, 64), colour), kind, quality=100, icc_profile=icc.rgb_profile(space)
    )
    image = render(data)
    expected = _expected(colour, matrix, gamma)
    seen = colour_at_centre(image)[:3]
    assert all(abs(a - b) <= 4 for a, b in zip(seen, expected, strict=True)), (seen, expected)
    assert_only_pixels(image)


def test_heif_colour_numbers_count_as_a_profile(render: Render) -> None:
    colour = (200, 100, 60)
    data = images.saved(
        Image.new("RGB", (64, 64), colour),
        "HEIF",
        quality=95,
        color_primaries=12,
        transfer_characteristics=13,
        matrix_coefficients=6,
        full_range_flag=1,
    )
    seen = colour_at_centre(render(data))[:3]
    expected = _expected(colour, P3_TO_SRGB, None)
    assert all(abs(a - b) <= 4 for a, b in zip(seen, expected, strict=True)), (seen, expected)


def test_alpha_survives_colour_conversion(render: Render) -> None:
    source = Image.new("RGBA", (64, 64), (200, 100, 60, 100))
    data = images.saved(source, "PNG", icc_profile=icc.rgb_profile(icc.DISPLAY_P3))
    seen = colour_at_centre(render(data))
    expected = [*_expected((200, 100, 60), P3_TO_SRGB, None), 100]
    assert all(abs(a - b) <= 4 for a, b in zip(seen, expected, strict=True)), (seen, expected)


def test_gray_profile(render: Render) -> None:
    data = images.saved(Image.new("L", (64, 64), 128), "PNG", icc_profile=icc.gray_profile(1.0))
    seen = colour_at_centre(render(data))[:3]
    assert all(abs(value - _to_srgb(128 / 255)) <= 3 for value in seen), seen


@pytest.mark.parametrize("adobe", [True, False], ids=["adobe-inverted", "plain"])
def test_cmyk_is_not_inverted(render: Render, adobe: bool) -> None:
    data = images.make_cmyk_jpeg(adobe=adobe)
    assert (b"Adobe" in data) is adobe
    image = render(data)
    assert images.quadrant_indices(opened(image)) == (0, 1, 2, 3)
    assert_only_pixels(image)


@pytest.mark.parametrize(
    "profile",
    [b"not a profile at all" * 20, icc.gray_profile(2.2), icc.rgb_profile(icc.SRGB), bytes(3000)],
    ids=["broken", "of-another-kind", "srgb", "zeros"],
)
def test_other_profiles_leave_the_pixels_alone(render: Render, profile: bytes) -> None:
    colour = (200, 100, 60)
    data = images.saved(Image.new("RGB", (64, 64), colour), "PNG", icc_profile=profile)
    seen = colour_at_centre(render(data))[:3]
    assert all(abs(a - b) <= 3 for a, b in zip(seen, colour, strict=True)), seen


def test_sensible_scaling_keeps_detail(render: Render) -> None:
    """A large JPEG, decoded at a smaller scale, must look like one scaled from its full size."""
    large = images.quadrants((4000, 3000))
    image = render(images.saved(large, "JPEG", quality=95), (VariantSpec("detail", 900, 90),))
    wanted = large.resize((900, 675), Image.Resampling.LANCZOS)
    got = opened(image).convert("RGB")
    for x, y in ((100, 100), (445, 100), (455, 100), (100, 332), (100, 343), (700, 600)):
        pair = zip(colour_at(got, x, y), colour_at(wanted, x, y), strict=True)
        assert all(abs(a - b) < 40 for a, b in pair), (x, y)


def test_sample_photos_give_five_upright_variants(render: Render) -> None:
    photos = sample_photos()
    assert [mime for _, mime, _ in photos] == ["image/jpeg", "image/heic", "image/png", "image/webp"]
    for name, mime_type, data in photos:
        image = render(data, FIVE)
        assert image.mime_type == mime_type, name
        assert (image.width, image.height) == SIZE, name
        assert [(v.role, v.width) for v in image.variants] == [
            ("detail_max", 2560),
            ("detail", 1600),
            ("preview", 960),
            ("card", 480),
            ("thumb", 160),
        ]
        assert opened(image, "card").mode == ("RGBA" if name.endswith("png") else "RGB")
        assert_only_pixels(image)
