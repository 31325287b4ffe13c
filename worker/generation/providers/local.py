"""`local`: pictures without any service, for development, demos and tests. It understands no word of the prompt.

What it makes is decided by the recipe alone: the same seed, prompt, size and pictures give the same pixels.
Without a picture it paints gradients and shapes; with one it recolours it by `strength`; with a mask it does so
only where the mask is white; of two pictures it makes one, side by side.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

from worker.generation.errors import ProviderFailedError
from worker.generation.provider import GenerationRequest, Outputs, Prediction

MODEL = "local-shapes-1"
DEFAULT_SIDE = 512
#: Seconds that a picture takes with `scheduler` "slow": long enough to see progress, and to cancel.
SLOW_SECONDS = 3.0


class LocalProvider:
    """See the module. Free, deterministic, and so never in doubt."""

    name = "local"
    repeats_safely = True
    collects_from_inputs = True

    def check(self, request: GenerationRequest) -> None:
        """It takes everything."""

    def submit(self, request: GenerationRequest) -> Prediction:
        """Nothing is kept: the prediction's id says when it began."""
        return Prediction(f"local-{request.generation_id}-{time.time_ns()}")

    def find(self, request: GenerationRequest, since: float) -> Sequence[Prediction]:  # noqa: ARG002
        """Nothing is ever lost."""
        return (self.submit(request),)

    def poll(self, request: GenerationRequest, prediction_id: str) -> Prediction:
        """Done at once, or by the clock with scheduler `slow`."""
        if request.params.get("scheduler") != "slow":
            return Prediction(prediction_id, is_done=True, progress=100)
        started = prediction_id.rsplit("-", 1)[1]
        if not started.isdigit():
            raise ProviderFailedError("prediction_unknown", "The local provider has no such prediction.")
        share = (time.time_ns() - int(started)) / 1e9 / SLOW_SECONDS
        return Prediction(prediction_id, is_done=share >= 1, progress=max(0, min(100, int(share * 100))))

    def collect(self, request: GenerationRequest, prediction_id: str, folder: Path) -> Outputs:  # noqa: ARG002
        """One PNG for each of `count`."""
        files = []
        for idx in range(int(request.params.get("count", 1))):
            file = folder / f"output_{idx}.png"
            picture(request, idx).save(file)
            files.append(file)
        return Outputs(tuple(files), MODEL)

    def cancel(self, prediction_id: str) -> None:
        """There is nothing to stop."""


def picture(request: GenerationRequest, idx: int) -> Image.Image:
    """The idx-th picture of a recipe."""
    words = "|".join(
        (request.mode, request.prompt, request.negative_prompt, request.room_type, request.style)
    )
    seed = f"{request.params['seed']}|{idx}|{words}"
    dice = random.Random(hashlib.sha256(seed.encode()).digest())  # noqa: S311
    sources = [_open(path) for path in request.pictures]
    size = _size(request, sources)
    painted = _paint(size, dice)
    if not sources:
        return painted
    base = _beside(sources, size)
    changed = Image.blend(base, _tinted(base, painted), float(request.params.get("strength", 0.6)))
    if request.mask is None:
        return changed
    mask = _open(request.mask).convert("L").resize(size).point(lambda value: 255 if value >= 128 else 0)
    return Image.composite(changed, base, mask)


def _open(path: Path) -> Image.Image:
    with Image.open(path, formats=("WEBP",)) as image:
        return image.convert("RGB")


def _size(request: GenerationRequest, sources: list[Image.Image]) -> tuple[int, int]:
    natural = sources[0].size if len(sources) == 1 else (DEFAULT_SIDE, DEFAULT_SIDE)
    width, height = (
        max(1, min(int(request.params.get(name, side)), request.max_side))
        for name, side in zip(("width", "height"), natural, strict=True)
    )
    return width, height


def _paint(size: tuple[int, int], dice: random.Random) -> Image.Image:
    def colour() -> tuple[int, int, int]:
        return dice.randrange(40, 230), dice.randrange(40, 230), dice.randrange(40, 230)

    ramp = Image.linear_gradient("L").rotate(dice.choice((0, 90, 180, 270))).resize(size)
    canvas = ImageOps.colorize(ramp, colour(), colour())
    draw = ImageDraw.Draw(canvas)
    for _ in range(dice.randrange(6, 12)):
        x, y = dice.randrange(size[0]), dice.randrange(size[1])
        reach = max(4, int(min(size) * dice.uniform(0.05, 0.3)))
        box = (x - reach, y - reach, x + reach, y + reach)
        if dice.random() < 0.5:
            draw.ellipse(box, fill=colour())
        else:
            draw.rectangle(box, fill=colour())
    return canvas.filter(ImageFilter.GaussianBlur(max(1, min(size) // 200)))


def _beside(sources: list[Image.Image], size: tuple[int, int]) -> Image.Image:
    """The pictures next to each other, each filling its share."""
    canvas = Image.new("RGB", size)
    edges = [round(size[0] * n / len(sources)) for n in range(len(sources) + 1)]
    for source, left, right in zip(sources, edges, edges[1:], strict=False):
        canvas.paste(ImageOps.fit(source, (max(1, right - left), size[1])), (left, 0))
    return canvas


def _tinted(base: Image.Image, painted: Image.Image) -> Image.Image:
    return ImageChops.soft_light(base, painted)
