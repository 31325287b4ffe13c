"""The signs of a label, on pictures that the test draws."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFilter

from worker.legacy.label import judge


def price_tag(size: tuple[int, int] = (300, 480), *, bars: bool = True, text: bool = True) -> Image.Image:
    """Black print on white: lines of text and a barcode."""
    rng = random.Random(3)
    tag = Image.new("RGB", size, (250, 250, 247))
    draw = ImageDraw.Draw(tag)
    if text:
        for line in range(8):
            draw.text(
                (24, 24 + line * 26), f"SIZE M  COTTON 100%  EUR {line}9,95", fill=(20, 20, 20), font_size=16
            )
    if bars:
        x = 24
        while x < size[0] - 24:
            width = rng.choice((2, 2, 4, 6))
            draw.rectangle((x, size[1] - 190, x + width - 1, size[1] - 40), fill=(0, 0, 0))
            x += width + rng.choice((2, 4, 4))
    return tag


def photo(seed: int, size: tuple[int, int] = (480, 360)) -> Image.Image:
    """Soft shapes of many colours, grain and shade, as a camera gives them."""
    rng = random.Random(seed)
    picture = Image.new("RGB", size)
    draw = ImageDraw.Draw(picture)
    for y in range(size[1]):
        draw.line((0, y, size[0], y), fill=(60 + y // 4, 90 + y // 8, 140 - y // 5))
    for _ in range(60):
        x, y, r = rng.randrange(size[0]), rng.randrange(size[1]), rng.randrange(15, 110)
        colour = tuple(rng.randrange(30, 230) for _ in range(3))
        draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)
    picture = picture.filter(ImageFilter.GaussianBlur(4))
    grain = Image.effect_noise(size, 40).convert("RGB")
    return Image.blend(picture, grain, 0.15)


def score(picture: Image.Image, folder: Path) -> float:
    path = folder / "look.webp"
    picture.save(path, quality=90)
    return judge(path).score


@pytest.mark.parametrize("seed", range(4))
def test_a_photo_is_no_label(seed: int, tmp_path: Path) -> None:
    assert score(photo(seed), tmp_path) <= 0.3


@pytest.mark.parametrize("turned", [0, 90, 180])
def test_a_price_tag_is_a_label(turned: int, tmp_path: Path) -> None:
    assert score(price_tag().rotate(turned, expand=True), tmp_path) >= 0.6


def test_text_alone_and_bars_alone_are_signs(tmp_path: Path) -> None:
    for tag in (price_tag(bars=False), price_tag(text=False)):
        assert score(tag, tmp_path) > 0.5
    path = tmp_path / "bars.webp"
    price_tag(text=False).save(path)
    assert judge(path).signs["bars"] == 1
    price_tag(bars=False).save(path)
    assert judge(path).signs["bars"] == 0


def test_an_article_on_a_plain_ground_is_no_label(tmp_path: Path) -> None:
    shot = Image.new("RGB", (480, 480), (252, 252, 252))
    shot.paste(photo(7, (300, 340)), (90, 70))
    assert score(shot, tmp_path) < 0.6


@pytest.mark.parametrize("size", [(1, 1), (3, 400), (400, 2), (24, 24)])
def test_small_pictures_have_a_score_too(size: tuple[int, int], tmp_path: Path) -> None:
    assert 0 <= score(Image.new("RGB", size, "white"), tmp_path) <= 1
