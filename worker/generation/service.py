"""What providers that are services share: settings, prices, the words of a prompt, refusing, classifying."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from worker.generation.errors import (
    NotSetUpError,
    OutcomeUnknownError,
    ProviderBusyError,
    ProviderError,
    ProviderFailedError,
    UnsupportedError,
)
from worker.generation.provider import GenerationRequest, Outputs, Prediction
from worker.outside.errors import was_not_sent

#: Answers that wait to be stored, at most: a picture whose generation has ended is not kept for ever.
KEPT_MAX = 32
#: US dollars of one generation: what its column holds.
COST_MAX = 1e6

WISHES = {
    "redesign": "Redesign this room; keep its walls, windows and perspective",
    "staging": "Furnish this empty room as a stager would; keep its walls, windows and perspective",
    "compose": "Combine these pictures into one",
}


class Environment:
    """Settings of one provider, from the environment."""

    def __init__(self, provider: str, env: Mapping[str, str] | None = None) -> None:
        self._provider, self._env = provider, os.environ if env is None else env
        self._prices = _read_prices(provider, self.text("GENERATION_PRICES", "{}"))

    def text(self, name: str, default: str = "") -> str:
        """A setting, or its default when it is not set or empty."""
        return self._env.get(name, "").strip() or default

    def secret(self, name: str) -> str:
        """A setting that has to be there. Raises NotSetUpError."""
        value = self.text(name)
        if not value:
            raise NotSetUpError(self._provider, f"{name} is not set")
        return value

    def seconds(self, name: str, default: float) -> float:
        """A duration. Raises NotSetUpError."""
        try:
            value = float(self.text(name) or default)
        except ValueError:
            value = 0
        if not 0 < value < 3600:
            raise NotSetUpError(self._provider, f"{name} must be a number of seconds")
        return value

    def cost(self, model: str, usage: Mapping[str, float]) -> float | None:
        """US dollars of what was used, by GENERATION_PRICES; None when that does not know the model.

        A price is of one unit ("image", "second"), or of a million when the unit ends with "tokens".
        """
        prices = self._prices.get(f"{self._provider}/{model}")
        if prices is None:
            return None
        cost = sum(
            prices.get(unit, 0.0) * count / (1e6 if unit.endswith("tokens") else 1)
            for unit, count in usage.items()
        )
        # What was used is the provider's word: nonsense in it must not keep a paid picture from being stored.
        return cost if 0 <= cost < COST_MAX else None


def _price(value: object) -> float:
    """US dollars. Raises ValueError: less than nothing, infinite, or no number."""
    price = float(str(value))
    if not 0 <= price < COST_MAX:
        raise ValueError(value)
    return price


def _read_prices(provider: str, text: str) -> dict[str, dict[str, float]]:
    """GENERATION_PRICES. Read before anything is paid: a mistake in it must not cost a picture."""
    try:
        return {
            model: {unit: _price(price) for unit, price in prices.items()}
            for model, prices in json.loads(text).items()
        }
    except (ValueError, TypeError, AttributeError) as error:
        raise NotSetUpError(provider, "GENERATION_PRICES is malformed, see its documentation") from error


def prompt_of(request: GenerationRequest) -> str:
    """One prompt of everything that the recipe says in words."""
    words = [WISHES.get(request.mode, "")]
    words.append(f"Room: {request.room_type}" if request.room_type else "")
    words.append(f"Style: {request.style}" if request.style else "")
    words.append(request.prompt)
    return ". ".join(word.strip(" .") for word in words if word.strip(" ."))


def refuse_unsupported(
    request: GenerationRequest,
    *,
    by: str,
    params: Collection[str],
    pictures: int,
    mask: bool = False,
    negative_prompt: bool = False,
) -> None:
    """Raises UnsupportedError naming what `by` does not have. The seed, which every recipe has, is let go."""
    wrong = [f"params.{name}" for name in sorted(request.params) if name not in {*params, "seed"}]
    if request.negative_prompt and not negative_prompt:
        wrong.append("negative_prompt")
    if request.mask and not mask:
        wrong.append("mask_asset_id")
    if len(request.pictures) > pictures:
        wrong.append(f"mode {request.mode}")
    if wrong:
        raise UnsupportedError(
            f"{by} does not have: {', '.join(wrong)}. Leave them out, or choose another one."
        )


def size_of(
    request: GenerationRequest, sizes: Sequence[tuple[int, int]], *, by: str
) -> tuple[int, int] | None:
    """The wanted size, None when none is wanted. Raises UnsupportedError for one that is not among `sizes`."""
    width, height = request.params.get("width"), request.params.get("height")
    if width is None and height is None:
        return None
    if (width, height) not in sizes:
        known = ", ".join(f"{w} x {h}" for w, h in sizes)
        raise UnsupportedError(f"{by} makes these sizes (params.width x params.height): {known}.")
    return int(width), int(height)  # type: ignore[arg-type]


def known_model(name: str, model: str, models: Collection[str]) -> str:
    """The model. Raises UnsupportedError for one that the provider's table lacks."""
    if model not in models:
        raise UnsupportedError(f"model: {name} has no {model!r}, but {', '.join(sorted(models))}.")
    return model


def raise_for_status(
    name: str, status: int, text: str, *, is_own_answer: bool, retry_after: float | None = None
) -> NoReturn:
    """What an HTTP error of a paid call means. `is_own_answer`: the service's, not that of a proxy before it."""
    detail = f"{name}: HTTP {status}: {text[:500]}"
    if status == 429:
        raise ProviderBusyError(detail, retry_after=retry_after)
    if status >= 500:
        # The service says itself that it made nothing; whoever else says so does not know.
        if status in {500, 503} and is_own_answer:
            raise ProviderBusyError(detail, retry_after=retry_after)
        raise OutcomeUnknownError
    if status in {401, 402, 403, 404}:
        raise NotSetUpError(name, detail)
    raise ProviderFailedError(
        "provider_refused",
        f"The provider {name} does not take this recipe. Change it, or choose another one.",
    )


def raise_for_transport(name: str, error: BaseException) -> NoReturn:
    """What a broken connection of a paid call means."""
    if was_not_sent(error):
        raise ProviderBusyError(f"{name}: {type(error).__name__}") from error
    raise OutcomeUnknownError from error


class AnswersAtOnce:
    """Base of services whose answer to the paid call is the picture: they cannot be asked for it again."""

    name: str
    repeats_safely = False
    collects_from_inputs = False

    def __init__(self) -> None:
        self._answers: dict[str, tuple[list[bytes], str, float | None]] = {}

    def keep(
        self, request: GenerationRequest, pictures: list[bytes], model: str, cost: float | None
    ) -> Prediction:
        """The prediction that `collect` of this very object will find."""
        prediction_id = self._id(request)
        while len(self._answers) >= KEPT_MAX:
            self._answers.pop(next(iter(self._answers)), None)
        self._answers[prediction_id] = (pictures, model, cost)
        return Prediction(prediction_id, is_done=True, progress=100)

    def _id(self, request: GenerationRequest) -> str:
        return f"{self.name}-{request.generation_id}"

    def find(self, request: GenerationRequest, since: float) -> Sequence[Prediction]:  # noqa: ARG002
        """What this process was answered; beyond that nobody can tell."""
        return (self.poll(request, self._id(request)),)

    def poll(self, request: GenerationRequest, prediction_id: str) -> Prediction:  # noqa: ARG002
        """Done, when this object made it; what a lost process was given is lost."""
        if prediction_id not in self._answers:
            raise OutcomeUnknownError
        return Prediction(prediction_id, is_done=True, progress=100)

    def collect(self, request: GenerationRequest, prediction_id: str, folder: Path) -> Outputs:
        """Writes what the call was answered with."""
        self.poll(request, prediction_id)
        pictures, model, cost = self._answers.pop(prediction_id)
        files = []
        for idx, data in enumerate(pictures):
            files.append(folder / f"output_{idx}")
            files[-1].write_bytes(data)
        return Outputs(tuple(files), model, cost)

    def cancel(self, prediction_id: str) -> None:
        """There is nothing to stop any more."""


def checked(data: bytes | None, name: str, *, most: int) -> bytes:
    """Bytes of a picture. Raises ProviderFailedError when there are none, or too many."""
    if not data:
        raise ProviderFailedError(
            "no_output", f"The provider {name} made no picture. Try again.", is_retryable=True
        )
    if len(data) > most:
        raise ProviderFailedError("output_too_large", f"The provider {name} sent too large a picture.")
    return data


__all__ = [
    "AnswersAtOnce",
    "Environment",
    "ProviderError",
    "checked",
    "known_model",
    "prompt_of",
    "raise_for_status",
    "raise_for_transport",
    "refuse_unsupported",
    "size_of",
]
