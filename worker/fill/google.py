"""Texts by Google's Gemini, with its SDK google-genai (extra `gemini`), with an answer by a JSON schema.

| Variable | Default | Meaning |
|---|---|---|
| `GEMINI_API_KEY` | – | the key |
| `GEMINI_BASE_URL` | Google's | another address that speaks the same wire |
| `GEMINI_FILL_MODEL` | gemini-flash-latest | a model that sees pictures and answers by a schema |
| `GEMINI_FILL_SECONDS` | 60 | time limit of one request |
"""

from __future__ import annotations

import httpx
from google.genai import errors, types

from worker.fill import words
from worker.fill.base import (
    ContentRefusedError,
    FillAnswer,
    FillRequest,
    MalformedAnswerError,
)
from worker.fill.wire import Settings, from_status, from_transport
from worker.outside import gemini

DEFAULT_MODEL = "gemini-flash-latest"


class GoogleFiller:
    """One request a fill. Retries are the queue's, not the SDK's."""

    repeats_safely = False

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client = gemini.client(settings.api_key, settings.base_url, settings.seconds)

    def fill(self, request: FillRequest) -> FillAnswer:
        """Asks the model."""
        parts = [types.Part.from_text(text=words.question(request))]
        parts += [
            types.Part.from_bytes(data=photo.data, mime_type=photo.mime_type) for photo in request.photos
        ]
        try:
            answer = self._client.models.generate_content(
                model=self._settings.model,
                contents=types.Content(role="user", parts=parts),
                config=types.GenerateContentConfig(
                    system_instruction=words.INSTRUCTION,
                    response_mime_type="application/json",
                    response_json_schema=words.schema(request),
                    automatic_function_calling=gemini.NO_CALLS,
                ),
            )
        except errors.APIError as error:
            raise from_status(
                "gemini",
                error.code,
                f"{error.status}: {error.message or ''}",
                retry_after=gemini.retry_delay(error.details),
            ) from error
        except httpx.HTTPError as error:
            raise from_transport("gemini", error) from error
        except (ValueError, TypeError, errors.UnknownApiResponseError) as error:
            raise MalformedAnswerError(f"gemini: {type(error).__name__}: {error}") from error
        return _read(request, answer)


def _read(request: FillRequest, answer: types.GenerateContentResponse) -> FillAnswer:
    """The values in an answer; a refusal, or half an answer, is none."""
    if refusal := gemini.refusal_of(answer):
        raise ContentRefusedError(f"gemini: blocked: {refusal}")
    try:
        text = gemini.text_of(answer)
    except ValueError as error:
        raise MalformedAnswerError(f"gemini: {error}") from error
    usage = answer.usage_metadata
    counts = {
        "input_tokens": usage.prompt_token_count if usage else None,
        "output_tokens": usage.candidates_token_count if usage else None,
    }
    return FillAnswer(
        words.read(request, text),
        answer.model_version or "",
        {name: count for name, count in counts.items() if count is not None},
    )
