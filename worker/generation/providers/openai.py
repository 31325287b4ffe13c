"""`openai`: GPT Image models, by OpenAI's SDK openai (extra `openai`).

| Variable | Default | Meaning |
|---|---|---|
| `OPENAI_API_KEY` | – | the key |
| `OPENAI_BASE_URL` | OpenAI's | another address that speaks the same wire |
| `OPENAI_IMAGE_MODEL` | gpt-image-2 | a model of MODELS |
| `OPENAI_SECONDS` | 240 | time limit of the request, shorter than `WORKER_JOB_SECONDS` |

The answer is the picture (base64), and there is no way to ask for it again. The models have neither seed nor
strength: a repeated recipe gives another picture. The wire is that of the SDK's `images.generate` and `images.edit`.
"""

from __future__ import annotations

import base64
import binascii
import io
from typing import Any, NoReturn

import openai
from openai.types import ImagesResponse
from PIL import Image, ImageOps

from worker.generation import service
from worker.generation.download import BYTES_MAX
from worker.generation.errors import ContentRefusedError, NotSetUpError, OutcomeUnknownError
from worker.generation.provider import GenerationRequest, Prediction
from worker.outside.retry_after import retry_after

MODELS = ("gpt-image-2", "gpt-image-2.5-sunburst", "gpt-image-2.5-flare", "gpt-image-1.5", "gpt-image-1-mini")
SIZES = ((1024, 1024), (1536, 1024), (1024, 1536))
#: Our name → the SDK's.
PARAMS = {"count": "n"}


class OpenAIProvider(service.AnswersAtOnce):
    """See the module. Retries are the queue's, not the SDK's."""

    name = "openai"

    def __init__(self) -> None:
        super().__init__()
        self._env = env = service.Environment(self.name)
        self._model = env.text("OPENAI_IMAGE_MODEL", MODELS[0])
        self._client = openai.OpenAI(
            api_key=env.secret("OPENAI_API_KEY"),
            base_url=env.text("OPENAI_BASE_URL") or None,
            timeout=env.seconds("OPENAI_SECONDS", 240),
            max_retries=0,
        )

    def check(self, request: GenerationRequest) -> None:
        """Sizes, and nothing but `count` of the other parameters."""
        model = service.known_model(self.name, request.model or self._model, MODELS)
        service.refuse_unsupported(
            request, by=model, params={*PARAMS, "width", "height"}, pictures=2, mask=True
        )
        service.size_of(request, SIZES, by=model)

    def submit(self, request: GenerationRequest) -> Prediction:
        """`images.generate`, or with pictures `images.edit`."""
        model = request.model or self._model
        size = service.size_of(request, SIZES, by=model)
        asked: dict[str, Any] = {
            "model": model,
            "prompt": service.prompt_of(request),
            "size": f"{size[0]}x{size[1]}" if size else "auto",
            **{PARAMS[name]: value for name, value in request.params.items() if name in PARAMS},
        }
        try:
            if request.pictures:
                asked["image"] = [(path.name, path.read_bytes(), "image/webp") for path in request.pictures]
                if request.mask:
                    asked["mask"] = ("mask.png", transparent_mask(request), "image/png")
                answer = self._client.images.edit(**asked)
            else:
                answer = self._client.images.generate(**asked)
        except openai.APIStatusError as error:
            self._raise(error)
        except openai.APIConnectionError as error:
            service.raise_for_transport(self.name, error.__cause__ or error)
        except (openai.OpenAIError, ValueError, TypeError) as error:
            # It answered, with something else: what it did is anybody's guess.
            raise OutcomeUnknownError from error
        return self.keep(request, self._pictures(answer), model, self._cost(answer, model))

    def _pictures(self, answer: ImagesResponse) -> list[bytes]:
        pictures = []
        for entry in getattr(answer, "data", None) or [None]:
            try:
                # An address instead is not fetched: these models send none.
                data = base64.b64decode(entry.b64_json, validate=True) if entry and entry.b64_json else None
            except binascii.Error:
                data = None
            pictures.append(service.checked(data, self.name, most=BYTES_MAX))
        return pictures

    def _cost(self, answer: ImagesResponse, model: str) -> float | None:
        usage = answer.usage
        if usage is None:
            return None
        return self._env.cost(
            model,
            {
                "text_tokens": usage.input_tokens_details.text_tokens,
                "image_tokens": usage.input_tokens_details.image_tokens,
                "output_tokens": usage.output_tokens,
            },
        )

    def _raise(self, error: openai.APIStatusError) -> NoReturn:
        if error.code in {"moderation_blocked", "content_policy_violation"}:
            raise ContentRefusedError from error
        if error.code in {"insufficient_quota", "billing_hard_limit_reached"}:
            raise NotSetUpError(self.name, f"openai: {error.code}") from error
        service.raise_for_status(
            self.name,
            error.status_code,
            str(error.code or error.type or ""),
            is_own_answer=isinstance(error.body, dict),
            retry_after=retry_after(error.response.headers),
        )


def transparent_mask(request: GenerationRequest) -> bytes:
    """A PNG of the source's size, transparent where our mask is white: there OpenAI's models may paint."""
    source, mask = request.pictures[0], request.mask
    if mask is None:
        raise ValueError("a recipe without a mask")
    with Image.open(source, formats=("WEBP",)) as picture, Image.open(mask, formats=("WEBP",)) as white:
        alpha = ImageOps.invert(
            white.convert("L").resize(picture.size).point(lambda v: 255 if v >= 128 else 0)
        )
    made = Image.new("RGBA", alpha.size)
    made.putalpha(alpha)
    with io.BytesIO() as out:
        made.save(out, "PNG")
        return out.getvalue()
