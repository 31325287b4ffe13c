"""`replicate`: models at replicate.com, by its SDK replicate (extra `replicate`).

| Variable | Default | Meaning |
|---|---|---|
| `REPLICATE_API_TOKEN` | – | the token |
| `REPLICATE_BASE_URL` | Replicate's | another address that speaks the same wire |
| `REPLICATE_MODEL` | by what is asked, see `choose` | a model of MODELS |
| `REPLICATE_WEBHOOK_URL` | – | whom it tells that it is done: `{API}/rest/v1/rpc/webhook_replicate?apikey={anon key}` |
| `REPLICATE_OUTPUT_HOSTS` | – | comma-separated `host:port` to fetch outputs from besides Replicate's own |
| `REPLICATE_SECONDS` | 30 | time limit of one request |

The API has no key for repeated requests. A create whose answer was lost is looked for in the list of predictions, by
prompt and seed; the wire is that of https://replicate.com/docs/reference/http.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import httpx
from replicate.client import Client
from replicate.exceptions import ReplicateError
from replicate.prediction import Prediction as Found

from worker.generation import service
from worker.generation.download import download
from worker.generation.errors import (
    ContentRefusedError,
    ProviderBusyError,
    ProviderDeniedError,
    ProviderError,
    ProviderFailedError,
    UnsupportedError,
)
from worker.generation.provider import GenerationRequest, Outputs, Prediction
from worker.outside.errors import was_not_sent
from worker.outside.retry_after import retry_after

#: Where Replicate documents that outputs lie.
HOSTS = ("replicate.delivery", ".replicate.delivery")
RATIOS = ("1:1", "16:9", "9:16", "3:2", "2:3", "4:3", "3:4", "5:4", "4:5", "21:9", "9:21")
#: Its clock and ours, when predictions are looked for by time.
SKEW = timedelta(minutes=2)
PAGES_MAX = 5


@dataclass(frozen=True, slots=True)
class Model:
    """How a model calls what a recipe says. Without `ratio` it takes width and height as they are, or not at all."""

    params: dict[str, str]
    """Our name → its."""
    picture: str | None = None
    mask: str | None = None
    negative_prompt: str | None = None
    ratio: str | None = None
    always: dict[str, Any] = field(default_factory=dict)
    version: str | None = None
    """Of a model that has no official endpoint."""


_FLUX = {"steps": "num_inference_steps", "seed": "seed", "count": "num_outputs"}
_PNG = {"output_format": "png"}
MODELS = {
    "black-forest-labs/flux-schnell": Model(_FLUX, ratio="aspect_ratio", always=_PNG),
    "black-forest-labs/flux-dev": Model(
        {**_FLUX, "guidance": "guidance", "strength": "prompt_strength"},
        picture="image",
        ratio="aspect_ratio",
        always=_PNG,
    ),
    "black-forest-labs/flux-fill-dev": Model(
        {**_FLUX, "guidance": "guidance"}, picture="image", mask="mask", always=_PNG
    ),
    "stability-ai/sdxl": Model(
        {
            **_FLUX,
            "width": "width",
            "height": "height",
            "guidance": "guidance_scale",
            "strength": "prompt_strength",
            "scheduler": "scheduler",
        },
        picture="image",
        mask="mask",
        negative_prompt="negative_prompt",
        version="7762fd07cf82c948538e41f63f77d685e02b063e37e496e96eefd46c929f9bdc",
    ),
}


class ReplicateProvider:
    """See the module. Retries are the queue's, not the SDK's."""

    name = "replicate"
    repeats_safely = False
    collects_from_inputs = False

    def __init__(self) -> None:
        self._env = env = service.Environment(self.name)
        self._model = env.text("REPLICATE_MODEL")
        self._webhook = env.text("REPLICATE_WEBHOOK_URL")
        self._trusted = {host.strip() for host in env.text("REPLICATE_OUTPUT_HOSTS").split(",")}
        seconds = env.seconds("REPLICATE_SECONDS", 30)
        self._last = threading.local()
        self._client = Client(
            api_token=env.secret("REPLICATE_API_TOKEN"),
            base_url=env.text("REPLICATE_BASE_URL") or None,
            timeout=httpx.Timeout(seconds, connect=min(5.0, seconds)),
            # Mounted ones take the place of the SDK's own, which sleeps and repeats.
            mounts={"https://": httpx.HTTPTransport(), "http://": httpx.HTTPTransport()},
            event_hooks={"response": [self._note]},
        )
        self._found: dict[str, Found] = {}

    def choose(self, request: GenerationRequest) -> tuple[str, Model]:
        """The model: as asked, as set, or by what the recipe has. Raises UnsupportedError."""
        if request.mask:
            usual = "black-forest-labs/flux-fill-dev"
        elif request.pictures:
            usual = "black-forest-labs/flux-dev"
        else:
            usual = "black-forest-labs/flux-schnell"
        name = service.known_model(self.name, request.model or self._model or usual, MODELS)
        return name, MODELS[name]

    def check(self, request: GenerationRequest) -> None:
        """By the model's line in MODELS."""
        name, model = self.choose(request)
        sides = {"width", "height"} if model.ratio else set()
        service.refuse_unsupported(
            request,
            by=name,
            params={*model.params, *sides},
            pictures=1 if model.picture else 0,
            mask=model.mask is not None,
            negative_prompt=model.negative_prompt is not None,
        )
        self._scalars(request, name, model)

    def submit(self, request: GenerationRequest) -> Prediction:
        """Uploads the pictures, which costs nothing, then creates the prediction."""
        name, model = self.choose(request)
        inputs = self._scalars(request, name, model)
        try:
            for key, path in (
                (model.picture, next(iter(request.pictures), None)),
                (model.mask, request.mask),
            ):
                if key and path:
                    inputs[key] = self._upload(path)
        except httpx.HTTPError as error:
            raise ProviderBusyError(f"replicate: upload: {type(error).__name__}") from error
        more: dict[str, Any] = {}
        if self._webhook:
            more = {"webhook": self._webhook, "webhook_events_filter": ["completed"]}
        try:
            if model.version:
                found = self._client.predictions.create(version=model.version, input=inputs, **more)
            else:
                found = self._client.models.predictions.create(model=name, input=inputs, **more)
        except ReplicateError as error:
            status = error.status or 0
            if status in {500, 503}:
                raise ProviderDeniedError(
                    f"replicate: create: HTTP {status}", retry_after=self._retry_after
                ) from error
            if status >= 500:
                # A gateway's: the call may still be on its way. The next attempts look it up.
                raise ProviderError(f"replicate: create: HTTP {status}") from error
            self._raise(error)
        except httpx.HTTPError as error:
            if was_not_sent(error):
                raise ProviderBusyError(f"replicate: {type(error).__name__}") from error
            # The next attempt looks it up.
            raise ProviderError(f"replicate: create: {type(error).__name__}") from error
        except (ValueError, TypeError, KeyError) as error:
            raise ProviderError(
                f"replicate: create: no prediction in the answer: {type(error).__name__}"
            ) from error
        return self._tell(found)

    def find(self, request: GenerationRequest, since: float) -> Sequence[Prediction]:
        """Looks through the predictions since then, newest first."""
        after = datetime.now(UTC) - timedelta(seconds=since) - SKEW
        wanted = {"prompt": service.prompt_of(request), "seed": request.params["seed"]}
        found: list[str] = []
        try:
            address: str | None = "/v1/predictions"
            for _ in range(PAGES_MAX):
                page, address = self._page(str(address))
                new = [one for one in page if _time(one["created_at"]) >= after]
                found += [str(one["id"]) for one in new if wanted.items() <= (one.get("input") or {}).items()]
                if len(new) < len(page) or not address:
                    break
        except ReplicateError as error:
            raise ProviderError(
                f"replicate: list: HTTP {error.status}", retry_after=self._retry_after
            ) from error
        except (httpx.HTTPError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ProviderError(f"replicate: list: {type(error).__name__}") from error
        return [Prediction(prediction_id) for prediction_id in found]

    def poll(self, request: GenerationRequest, prediction_id: str) -> Prediction:  # noqa: ARG002
        """Asks for the prediction."""
        try:
            return self._tell(self._client.predictions.get(prediction_id))
        except ReplicateError as error:
            if error.status == 404:
                raise ProviderFailedError(
                    "prediction_unknown",
                    "The provider does not know this picture any more. Try again.",
                    is_retryable=True,
                ) from error
            raise ProviderError(
                f"replicate: get: HTTP {error.status}", retry_after=self._retry_after
            ) from error
        except (httpx.HTTPError, ValueError, TypeError) as error:
            # A status that is newer than the SDK: stopped before it began.
            if isinstance(error, ValueError) and "aborted" in str(error):
                raise _stopped() from error
            raise ProviderError(f"replicate: get: {type(error).__name__}") from error

    def collect(self, request: GenerationRequest, prediction_id: str, folder: Path) -> Outputs:
        """Fetches the output files."""
        if prediction_id not in self._found and not self.poll(request, prediction_id).is_done:
            raise ProviderError("replicate: not done")
        found = self._found.pop(prediction_id)
        output = found.output if isinstance(found.output, list) else [found.output]
        files = []
        for idx, url in enumerate(output[: max(1, int(request.params.get("count", 1)))]):
            if not isinstance(url, str):
                raise ProviderFailedError("no_output", "The provider made no picture.")
            files.append(folder / f"output_{idx}")
            download(url, files[-1], hosts=HOSTS, trusted=self._trusted)
        model = str(found.model or request.model or self.name)
        metrics = found.metrics or {}
        usage = {"image": float(len(files)), "second": float(metrics.get("predict_time") or 0)}
        return Outputs(tuple(files), model, self._env.cost(model, usage))

    def cancel(self, prediction_id: str) -> None:
        """Asks Replicate to stop. Raises ProviderError."""
        try:
            self._client.predictions.cancel(prediction_id)
        except (ReplicateError, httpx.HTTPError, ValueError, TypeError) as error:
            raise ProviderError(f"replicate: cancel: {type(error).__name__}") from error

    def _page(self, address: str) -> tuple[list[dict[str, Any]], str | None]:
        """Predictions, newest first, and where older ones are. As they come: the SDK's own list refuses a whole page
        for one prediction, of whomever, with a status that is newer than the SDK."""
        answer = self._client._request("GET", address).json()
        return answer["results"], answer.get("next")

    def _note(self, answer: httpx.Response) -> None:
        """The SDK's errors do not carry headers."""
        self._last.retry_after = retry_after(answer.headers)

    @property
    def _retry_after(self) -> float | None:
        """Of the last answer to this thread."""
        return getattr(self._last, "retry_after", None)

    def _scalars(self, request: GenerationRequest, name: str, model: Model) -> dict[str, Any]:
        """All inputs but the pictures."""
        inputs: dict[str, Any] = {"prompt": service.prompt_of(request), **model.always}
        for param, value in request.params.items():
            if param in model.params:
                inputs[model.params[param]] = value
        if model.negative_prompt and request.negative_prompt:
            inputs[model.negative_prompt] = request.negative_prompt
        if model.ratio and {"width", "height"} & request.params.keys():
            inputs[model.ratio] = _ratio(request, name)
        return inputs

    def _upload(self, path: Path) -> str:
        with ExitStack() as stack:
            try:
                return str(self._client.files.create(stack.enter_context(path.open("rb"))).urls["get"])
            except ReplicateError as error:
                if (error.status or 0) >= 500:
                    raise ProviderBusyError(f"replicate: upload: HTTP {error.status}") from error
                self._raise(error)

    def _raise(self, error: ReplicateError) -> NoReturn:
        service.raise_for_status(
            self.name,
            error.status or 0,
            error.detail or error.title or "",
            is_own_answer=True,
            retry_after=self._retry_after,
        )

    def _tell(self, found: Found) -> Prediction:
        """What a prediction's status means. Raises ProviderFailedError for one that has ended without a result."""
        if found.status == "failed":
            text = str(found.error or "")
            if any(word in text.lower() for word in ("nsfw", "safety", "sensitive", "moderation")):
                raise ContentRefusedError
            raise ProviderFailedError(
                "provider_failed", "The provider could not make this picture. Try again.", is_retryable=True
            )
        if found.status in {"canceled", "aborted"}:
            raise ProviderFailedError(
                "canceled_by_provider", "The provider has stopped this picture. Try again.", is_retryable=True
            )
        if found.status == "succeeded":
            self._found[found.id] = found
        progress = found.progress
        return Prediction(
            found.id,
            is_done=found.status == "succeeded",
            progress=int(progress.percentage * 100) if progress else 0,
        )


def _stopped() -> ProviderFailedError:
    return ProviderFailedError(
        "canceled_by_provider", "The provider has stopped this picture. Try again.", is_retryable=True
    )


def _time(text: str | None) -> datetime:
    return datetime.fromisoformat((text or "").replace("Z", "+00:00"))


def _ratio(request: GenerationRequest, name: str) -> str:
    width, height = request.params.get("width"), request.params.get("height")
    for ratio in RATIOS:
        across, down = (int(part) for part in ratio.split(":"))
        if width and height and width * down == height * across:
            return ratio
    raise UnsupportedError(
        f"{name} takes params.width and params.height in one of these ratios: {', '.join(RATIOS)}."
    )
