"""`google`: Gemini's image models, by Google's SDK google-genai (extra `google`).

| Variable | Default | Meaning |
|---|---|---|
| `GEMINI_API_KEY` | – | the key; the photo review uses the same |
| `GEMINI_BASE_URL` | Google's | another address that speaks the same wire |
| `GOOGLE_IMAGE_MODEL` | gemini-3.1-flash-image | a model of MODELS |
| `GOOGLE_SECONDS` | 180 | time limit of the request, shorter than `WORKER_JOB_SECONDS` |

The answer is the picture, and there is no way to ask for it again. There is no mask. The wire is `generateContent`.
"""

from __future__ import annotations

import httpx
from google.genai import errors, types

from worker.generation import service
from worker.generation.download import BYTES_MAX
from worker.generation.errors import (
    ContentRefusedError,
    OutcomeUnknownError,
    ProviderFailedError,
    UnsupportedError,
)
from worker.generation.provider import GenerationRequest, Prediction
from worker.outside import gemini

MODELS = ("gemini-3.1-flash-image", "gemini-3-pro-image")
RATIOS = ("1:1", "2:3", "3:2", "3:4", "4:3", "9:16", "16:9", "21:9")


class GoogleProvider(service.AnswersAtOnce):
    """See the module. Retries are the queue's, not the SDK's."""

    name = "google"

    def __init__(self) -> None:
        super().__init__()
        self._env = env = service.Environment(self.name)
        self._model = env.text("GOOGLE_IMAGE_MODEL", MODELS[0])
        self._client = gemini.client(
            env.secret("GEMINI_API_KEY"),
            env.text("GEMINI_BASE_URL") or None,
            env.seconds("GOOGLE_SECONDS", 180),
        )

    def check(self, request: GenerationRequest) -> None:
        """One picture at a time, in one of RATIOS."""
        model = service.known_model(self.name, request.model or self._model, MODELS)
        count = {"count"} if request.params.get("count") == 1 else set()
        service.refuse_unsupported(request, by=model, params={"width", "height", *count}, pictures=2)
        ratio_of(request, model)

    def submit(self, request: GenerationRequest) -> Prediction:
        """`generateContent` with the pictures first, then the words."""
        model = request.model or self._model
        parts = [
            types.Part.from_bytes(data=path.read_bytes(), mime_type="image/webp") for path in request.pictures
        ]
        parts.append(types.Part.from_text(text=service.prompt_of(request)))
        try:
            answer = self._client.models.generate_content(
                model=model,
                contents=types.Content(role="user", parts=parts),
                config=types.GenerateContentConfig(
                    response_modalities=["IMAGE"],
                    seed=int(request.params["seed"]),
                    image_config=types.ImageConfig(aspect_ratio=ratio_of(request, model)),
                    automatic_function_calling=gemini.NO_CALLS,
                ),
            )
        except errors.APIError as error:
            service.raise_for_status(
                self.name,
                error.code,
                f"{error.status}",
                is_own_answer=bool(error.status),
                retry_after=gemini.retry_delay(error.details),
            )
        except httpx.HTTPError as error:
            service.raise_for_transport(self.name, error)
        except (ValueError, TypeError, errors.UnknownApiResponseError) as error:
            raise OutcomeUnknownError from error
        usage = answer.usage_metadata
        tokens = {
            "input_tokens": float((usage and usage.prompt_token_count) or 0),
            "output_tokens": float((usage and usage.candidates_token_count) or 0),
        }
        return self.keep(request, [self._picture(answer)], model, self._env.cost(model, tokens))

    def _picture(self, answer: types.GenerateContentResponse) -> bytes:
        for candidate in answer.candidates or ():
            for part in (candidate.content.parts if candidate.content else None) or ():
                if part.inline_data is not None and not part.thought:
                    return service.checked(part.inline_data.data, self.name, most=BYTES_MAX)
        if gemini.refusal_of(answer):
            raise ContentRefusedError
        raise ProviderFailedError(
            "no_output", "The provider google made no picture. Try again.", is_retryable=True
        )


def ratio_of(request: GenerationRequest, model: str) -> str | None:
    """The aspect ratio that width and height stand for: the model chooses the size. Raises UnsupportedError."""
    width, height = request.params.get("width"), request.params.get("height")
    if width is None and height is None:
        return None
    for ratio in RATIOS:
        across, down = (int(part) for part in ratio.split(":"))
        if width and height and width * down == height * across:
            return ratio
    raise UnsupportedError(
        f"{model} takes params.width and params.height in one of these ratios: {', '.join(RATIOS)}."
    )
