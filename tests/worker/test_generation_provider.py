"""The local provider: decided by the recipe alone, honest about size, strength and mask."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from worker.generation.errors import ProviderFailedError
from worker.generation.provider import GenerationRequest, Provider
from worker.generation.providers import PROVIDERS, find_provider
from worker.generation.providers.local import LocalProvider, picture

BARE = GenerationRequest(
    generation_id="g",
    mode="imagine",
    prompt="A lamp",
    negative_prompt="",
    room_type="",
    style="",
    model=None,
    params={"seed": 1, "width": 96, "height": 64},
)


@pytest.fixture
def room(tmp_path: Path) -> Path:
    path = tmp_path / "room.webp"
    Image.linear_gradient("L").convert("RGB").resize((80, 60)).save(path, lossless=True)
    return path


def differ(one: Image.Image, two: Image.Image) -> tuple[int, int, int, int] | None:
    """The box in which two pictures differ."""
    return ImageChops.difference(one, two).getbbox()


def test_every_provider_follows_the_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("REPLICATE_API_TOKEN", "OPENAI_API_KEY", "GEMINI_API_KEY", "STABILITY_API_KEY"):
        monkeypatch.setenv(key, "x")
    for name in PROVIDERS:
        provider: Provider = find_provider(name)
        assert provider.name == name
    with pytest.raises(ProviderFailedError) as info:
        find_provider("nobody")
    assert info.value.code == "provider_unknown"
    assert not info.value.retryable


def test_the_recipe_decides(tmp_path: Path) -> None:
    provider = LocalProvider()
    request = replace(BARE, params=BARE.params | {"count": 2})
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    prediction = provider.submit(request)
    assert provider.poll(request, prediction.id).is_done
    first = provider.collect(request, prediction.id, tmp_path / "a").files
    again = provider.collect(request, provider.submit(request).id, tmp_path / "b").files
    assert [f.read_bytes() for f in first] == [f.read_bytes() for f in again]
    assert first[0].read_bytes() != first[1].read_bytes()
    for change in ({"prompt": "B"}, {"style": "x"}, {"params": BARE.params | {"seed": 2}}):
        assert differ(picture(BARE, 0), picture(replace(BARE, **change), 0))  # type: ignore[arg-type]


def test_size(room: Path) -> None:
    assert picture(BARE, 0).size == (96, 64)
    bare = replace(BARE, params={"seed": 1})
    assert picture(bare, 0).size == (512, 512)
    assert picture(replace(bare, source=room), 0).size == (80, 60)
    assert picture(replace(BARE, max_side=50), 0).size == (50, 50)


def test_strength(room: Path) -> None:
    def at(strength: float) -> Image.Image:
        return picture(replace(BARE, source=room, params={"seed": 1, "strength": strength}), 0)

    source = Image.open(room).convert("RGB")
    assert differ(at(0), source) is None
    assert differ(at(1), source)


def test_mask_bounds_the_change(room: Path, tmp_path: Path) -> None:
    mask = tmp_path / "mask.webp"
    white = Image.new("L", (80, 60))
    white.paste(255, (20, 10, 50, 40))
    white.convert("RGB").save(mask, lossless=True)
    request = replace(BARE, source=room, mask=mask, params={"seed": 1, "strength": 1})
    box = differ(picture(request, 0), Image.open(room).convert("RGB"))
    assert box is not None
    assert box[0] >= 20
    assert box[1] >= 10
    assert box[2] <= 50
    assert box[3] <= 40


def test_compose_shows_both(tmp_path: Path) -> None:
    paths = []
    for name, colour in (("a", (250, 0, 0)), ("b", (0, 0, 250))):
        paths.append(tmp_path / f"{name}.webp")
        Image.new("RGB", (40, 40), colour).save(paths[-1], lossless=True)
    made = picture(replace(BARE, inputs=tuple(paths), params={"seed": 1, "strength": 0}), 0)
    assert made.getpixel((100, 250)) == (250, 0, 0)
    assert made.getpixel((400, 250)) == (0, 0, 250)


def test_slow_shows_progress() -> None:
    provider = LocalProvider()
    request = replace(BARE, params=BARE.params | {"scheduler": "slow"})
    prediction = provider.submit(request)
    assert not provider.poll(request, prediction.id).is_done
    assert provider.poll(request, "local-g-1").progress == 100
    with pytest.raises(ProviderFailedError):
        provider.poll(request, "local-g-x")
