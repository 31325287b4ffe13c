"""What must be refused, with a code and a sentence, while the renderer goes on working."""

import contextlib
import random
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import images
from worker.imaging import ImageRejected, Limits, RenderedImage, Renderer, VariantSpec
from worker.imaging.header import read_header, sniff_type

SPECS = (VariantSpec("thumb", 64, 80), VariantSpec("detail", 300, 80))
Render = Callable[..., RenderedImage]


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    with Renderer(processes=1) as renderer:
        yield renderer


@pytest.fixture
def render(renderer: Renderer, tmp_path: Path) -> Render:
    def run(data: bytes, limits: Limits | None = None) -> RenderedImage:
        source = tmp_path / "photo.jpg"
        source.write_bytes(data)
        return renderer.render(source, SPECS, limits or Limits(), tmp_path)

    return run


def code_of(render: Render, data: bytes, limits: Limits | None = None) -> str:
    with pytest.raises(ImageRejected) as caught:
        render(data, limits)
    assert caught.value.message[0].isupper()
    assert caught.value.message.endswith(".")
    return caught.value.code


@pytest.mark.parametrize("name", images.not_images())
def test_what_is_no_image_of_ours(render: Render, name: str) -> None:
    assert code_of(render, images.not_images()[name]) == "unsupported_type"


def test_a_name_means_nothing(render: Render) -> None:
    """The source is always called photo.jpg here."""
    assert render(images.make_png()).mime_type == "image/png"


@pytest.mark.parametrize(
    "data",
    [images.png_bomb(), images.jpeg_bomb(), images.webp_bomb(), images.heic_bomb()],
    ids=["png", "jpeg", "webp", "heic"],
)
def test_bombs_are_refused_by_their_header(data: bytes) -> None:
    header = read_header(data)
    assert header.width * header.height > Limits().max_pixels


def test_the_type_is_told_without_reading_the_file(tmp_path: Path) -> None:
    file = tmp_path / "photo"
    for data in (images.make_jpeg(), images.make_png(), images.heic_bomb(), images.webp_bomb()):
        file.write_bytes(data)
        assert sniff_type(file) == read_header(data).mime_type
    with file.open("wb") as large:
        large.write(images.make_jpeg())
        large.truncate(1 << 33)
    assert sniff_type(file) == "image/jpeg"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (images.png_bomb(), "too_many_pixels"),
        (images.jpeg_bomb(), "too_many_pixels"),
        (images.webp_bomb(), "too_many_pixels"),
        (images.heic_bomb(), "too_many_pixels"),
        (images.png_text_bomb(), "corrupt"),
        (images.scan_bomb_jpeg(5000, (400, 400)), "too_complex"),
        # A frame that is larger than its pixels.
        (images.png_bomb((2000, 2000)), "corrupt"),
        (images.jpeg_bomb((5000, 5000)), "corrupt"),
    ],
    ids=["png", "jpeg", "webp", "heic", "png-text", "jpeg-scans", "png-short-of-rows", "jpeg-short-of-rows"],
)
def test_bombs(render: Render, data: bytes, code: str) -> None:
    assert code_of(render, data) == code


@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.95])
@pytest.mark.parametrize(
    "make",
    [images.make_jpeg, images.make_png, images.make_webp, images.make_heic],
    ids=["jpeg", "png", "webp", "heic"],
)
def test_truncated_files(render: Render, make: Callable[[], bytes], part: float) -> None:
    assert code_of(render, images.truncated(make(), part)) == "truncated"


def test_a_truncated_progressive_jpeg(render: Render) -> None:
    assert code_of(render, images.truncated(images.make_jpeg(progressive=True), 0.7)) == "truncated"


@pytest.mark.parametrize(
    ("make", "near"),
    [
        (images.make_jpeg, b"\xff\xc4"),  # the Huffman tables
        (images.make_png, b"IDAT"),
        (images.make_webp, b"VP8 "),
        (images.make_heic, b"iloc"),
    ],
    ids=["jpeg", "png", "webp", "heic"],
)
def test_damaged_files(render: Render, make: Callable[[], bytes], near: bytes) -> None:
    data = make()
    assert code_of(render, images.damaged(data, data.index(near) + 10)) == "corrupt"


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (Limits(max_bytes=100), "too_large"),
        (Limits(max_pixels=600 * 400 - 1), "too_many_pixels"),
        (Limits(min_side=401), "too_small"),
        (Limits(max_aspect=1.49), "aspect_out_of_range"),
    ],
)
@pytest.mark.parametrize(
    "make",
    [images.make_jpeg, images.make_png, images.make_webp, images.make_heic],
    ids=["jpeg", "png", "webp", "heic"],
)
def test_limits(render: Render, make: Callable[[], bytes], limits: Limits, code: str) -> None:
    assert code_of(render, make(), limits) == code


@pytest.mark.parametrize("make", [images.make_jpeg, images.make_png, images.make_webp, images.make_heic])
def test_limits_include_their_bound(render: Render, make: Callable[[], bytes]) -> None:
    data = make()
    limits = Limits(max_bytes=len(data), max_pixels=600 * 400, min_side=400, max_aspect=1.5)
    assert render(data, limits).width == 600


def test_rare_jpegs_are_told_apart_from_damage(render: Render) -> None:
    lossless = images.make_jpeg().replace(b"\xff\xc0", b"\xff\xc3", 1)
    assert code_of(render, lossless) == "unsupported_type"


@pytest.mark.parametrize("make", [images.make_jpeg, images.make_png, images.make_webp])
def test_exif_nonsense_does_not_cost_the_picture(
    render: Render, make: Callable[..., bytes], tmp_path: Path
) -> None:
    kind = {images.make_jpeg: "JPEG", images.make_png: "PNG", images.make_webp: "WEBP"}[make]
    image = render(images.saved(images.quadrants(), kind, exif=images.exif_with_nonsense()))
    assert (image.width, image.height) == (600, 400)


def test_a_frame_count_of_a_billion_is_not_believed(render: Render) -> None:
    animated = images.make_apng()
    at = animated.index(b"acTL") + 4
    frames = (1_000_000_000).to_bytes(4, "big")
    chunk = b"acTL" + frames + animated[at + 4 : at + 8]
    patched = animated[: at - 4] + chunk + zlib.crc32(chunk).to_bytes(4, "big") + animated[at + 12 :]
    assert render(patched).width == 600


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "heic"])
def test_random_damage_is_refused_or_survived(render: Render, kind: str, seed: int) -> None:
    """Whatever a file holds, the answer is variants or ImageRejected.

    Never another error, never a dead renderer.
    """
    data = bytearray(
        {
            "jpeg": images.make_jpeg((200, 120), orientation=6, gps=True),
            "png": images.make_png((200, 120), mode="P"),
            "webp": images.make_webp((200, 120), orientation=3),
            "heic": images.make_heic((200, 120), orientation=8),
        }[kind]
    )
    rng = random.Random(f"{kind}{seed}")
    for _ in range(rng.choice((1, 3, 30))):
        # Heads are where parsers are.
        data[int(rng.random() ** 3 * len(data))] = rng.randrange(256)
    with contextlib.suppress(ImageRejected):
        assert render(bytes(data)).variants[0].byte_size > 0


def test_header_parsers_answer_for_every_prefix() -> None:
    for make in (images.make_jpeg, images.make_png, images.make_webp, images.make_heic):
        data = make((40, 30))
        for end in range(min(len(data), 3000)):
            with contextlib.suppress(ImageRejected):
                header = read_header(data[:end])
                assert max(header.width, header.height) <= 64


def test_boxes_without_end_are_bounded() -> None:
    brand = b"\0\0\0\x14ftypmif1\0\0\0\0mif1"
    nested = brand + b"\0\0\x10\0meta\0\0\0\0" * 3000
    with pytest.raises(ImageRejected):
        read_header(nested)
    many = brand + b"\0\0\0\x08free" * 100_000
    with pytest.raises(ImageRejected):
        read_header(many)
