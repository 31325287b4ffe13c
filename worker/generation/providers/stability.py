"""`stability`: Stability AI's REST API v2beta, by httpx.

Its official SDK, stability-sdk, speaks the older gRPC API, knows none of these endpoints, and had its last release in
2024; so there is none to use. The wire is that of https://platform.stability.ai/docs/api-reference (stable-image).

| Variable | Default | Meaning |
|---|---|---|
| `STABILITY_API_KEY` | – | the key |
| `STABILITY_BASE_URL` | https://api.stability.ai | another address that speaks the same wire |
| `STABILITY_MODEL` | by what is asked, see `choose` | a model of MODELS |
| `STABILITY_SECONDS` | 120 | time limit of the request, shorter than `WORKER_JOB_SECONDS` |

The answer is the picture, and there is no way to ask for it again. A failed request costs nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import httpx

from worker.generation import service
from worker.generation.download import BYTES_MAX
from worker.generation.errors import ContentRefusedError, UnsupportedError
from worker.generation.provider import GenerationRequest, Prediction
from worker.outside.retry_after import retry_after

RATIOS = ("16:9", "1:1", "21:9", "2:3", "3:2", "4:5", "5:4", "9:16", "9:21")


@dataclass(frozen=True, slots=True)
class Model:
    """An endpoint, and how it calls what a recipe says."""

    path: str
    params: dict[str, str]
    pictures: int = 0
    mask: bool = False
    always: tuple[tuple[str, str], ...] = ()
    picture_means: tuple[tuple[str, str], ...] = ()
    """Fields that go with a picture."""
    has_ratio: bool = True


_GENERATE = "/v2beta/stable-image/generate"
MODELS = {
    "core": Model(f"{_GENERATE}/core", {"seed": "seed"}),
    "ultra": Model(f"{_GENERATE}/ultra", {"seed": "seed", "strength": "strength"}, pictures=1),
    "sd3.5-large": Model(
        f"{_GENERATE}/sd3",
        {"seed": "seed", "strength": "strength", "guidance": "cfg_scale"},
        pictures=1,
        always=(("model", "sd3.5-large"),),
        picture_means=(("mode", "image-to-image"),),
    ),
    "inpaint": Model(
        "/v2beta/stable-image/edit/inpaint", {"seed": "seed"}, pictures=1, mask=True, has_ratio=False
    ),
}
#: What an endpoint wants with a picture when the recipe does not say.
STRENGTH = 0.6


class StabilityProvider(service.AnswersAtOnce):
    """See the module."""

    name = "stability"

    def __init__(self) -> None:
        super().__init__()
        self._env = env = service.Environment(self.name)
        self._model = env.text("STABILITY_MODEL")
        seconds = env.seconds("STABILITY_SECONDS", 120)
        self._client = httpx.Client(
            base_url=env.text("STABILITY_BASE_URL", "https://api.stability.ai"),
            headers={"authorization": f"Bearer {env.secret('STABILITY_API_KEY')}", "accept": "image/*"},
            timeout=httpx.Timeout(seconds, connect=min(5.0, seconds)),
        )

    def choose(self, request: GenerationRequest) -> tuple[str, Model]:
        """The model: as asked, as set, or by what the recipe has. Raises UnsupportedError."""
        usual = "inpaint" if request.mask else "sd3.5-large" if request.pictures else "core"
        name = service.known_model(self.name, request.model or self._model or usual, MODELS)
        return name, MODELS[name]

    def check(self, request: GenerationRequest) -> None:
        """By the model's line in MODELS; one picture at a time."""
        name, model = self.choose(request)
        sides = {"width", "height"} if model.has_ratio and not request.pictures else set()
        count = {"count"} if request.params.get("count") == 1 else set()
        service.refuse_unsupported(
            request,
            by=name,
            params={*model.params, *sides, *count},
            pictures=model.pictures,
            mask=model.mask,
            negative_prompt=True,
        )
        if model.mask and not request.mask:
            raise UnsupportedError(f"{name} needs a mask: mask_asset_id.")
        _fields(request, name, model)

    def submit(self, request: GenerationRequest) -> Prediction:
        """One multipart request."""
        name, model = self.choose(request)
        fields = _fields(request, name, model)
        files: dict[str, Any] = {key: (None, value) for key, value in fields.items()}
        for key, path in (("image", next(iter(request.pictures), None)), ("mask", request.mask)):
            if path:
                files[key] = (f"{key}.webp", path.read_bytes(), "image/webp")
        try:
            answer = self._client.post(model.path, files=files)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            service.raise_for_transport(self.name, error)
        if answer.status_code != 200:
            self._raise(answer)
        if answer.headers.get("finish-reason") == "CONTENT_FILTERED":
            raise ContentRefusedError
        picture = service.checked(answer.content, self.name, most=BYTES_MAX)
        return self.keep(request, [picture], name, self._env.cost(name, {"image": 1}))

    def _raise(self, answer: httpx.Response) -> None:
        try:
            found = json.loads(answer.content)
        except ValueError:
            found = None
        body = found if isinstance(found, dict) else {}
        if body.get("name") == "content_moderation":
            raise ContentRefusedError
        service.raise_for_status(
            self.name,
            answer.status_code,
            str(body.get("name", "")),
            is_own_answer=bool(body),
            retry_after=retry_after(answer.headers),
        )


def _fields(request: GenerationRequest, name: str, model: Model) -> dict[str, str]:
    fields = {"prompt": service.prompt_of(request), "output_format": "png", **dict(model.always)}
    if request.negative_prompt:
        fields["negative_prompt"] = request.negative_prompt
    for param, key in model.params.items():
        if param in request.params and (param != "strength" or request.pictures):
            fields[key] = str(request.params[param])
    if request.pictures:
        fields |= dict(model.picture_means)
        if "strength" in model.params:
            fields.setdefault("strength", str(STRENGTH))
    width, height = request.params.get("width"), request.params.get("height")
    if width or height:
        for ratio in RATIOS:
            across, down = (int(part) for part in ratio.split(":"))
            if width and height and width * down == height * across:
                return fields | {"aspect_ratio": ratio}
        raise UnsupportedError(
            f"{name} takes params.width and params.height in one of these ratios: {', '.join(RATIOS)}."
        )
    return fields
