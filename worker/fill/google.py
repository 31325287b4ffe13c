"""Texts by Google's Gemini, with its SDK google-genai (extra `gemini`), with an answer by a JSON schema.

| Variable | Default | Meaning |
|---|---|---|
| `GEMINI_API_KEY` | – | the key |
| `GEMINI_BASE_URL` | Google's | another address that speaks the same wire |
| `GEMINI_FILL_MODEL` | gemini-flash-latest | a model that sees pictures and answers by a schema |
| `GEMINI_FILL_SECONDS` | 60 | time limit of one request |
"""

from __future__ import annotations

import re

import httpx
from google import genai
from google.genai import errors, types

from worker.errors import WorkerError
from worker.fill import words
from worker.fill.base import (
    ContentRefusedError,
    FillAnswer,
    FillRequest,
    MalformedAnswerError,
)
from worker.fill.wire import Settings, from_status, from_transport

DEFAULT_MODEL = "gemini-flash-latest"
_REFUSALS = {"SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "IMAGE_SAFETY", "RECITATION"}


class GoogleFiller:
    """One request a fill. Retries are the queue's, not the SDK's."""

    repeats_safely = False

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        timeout = httpx.Timeout(settings.seconds, connect=min(5.0, settings.seconds))
        self._client = genai.Client(
            api_key=settings.api_key,
            vertexai=False,
            http_options=types.HttpOptions(
                base_url=settings.base_url,
                # The one whose documentation has answers by a JSON schema.
                api_version="v1beta",
                timeout=int(settings.seconds * 1000),
                httpx_client=httpx.Client(timeout=timeout),
                retry_options=types.HttpRetryOptions(attempts=1),
            ),
        )

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
                    automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
                ),
            )
        except errors.APIError as error:
            raise _from_api(error) from error
        except httpx.HTTPError as error:
            raise from_transport("gemini", error) from error
        except (ValueError, TypeError, errors.UnknownApiResponseError) as error:
            raise MalformedAnswerError(f"gemini: {type(error).__name__}: {error}") from error
        return _read(request, answer)


def _read(request: FillRequest, answer: types.GenerateContentResponse) -> FillAnswer:
    """The values in an answer; a refusal, or half an answer, is none."""
    feedback = answer.prompt_feedback
    if feedback is not None and feedback.block_reason is not None:
        raise ContentRefusedError(f"gemini: blocked: {_word(feedback.block_reason)}")
    if not answer.candidates:
        raise MalformedAnswerError("gemini: no candidates")
    candidate = answer.candidates[0]
    finish = _word(candidate.finish_reason)
    if finish in _REFUSALS:
        raise ContentRefusedError(f"gemini: blocked: {finish}")
    if finish not in {"STOP", "FINISH_REASON_UNSPECIFIED", ""}:
        raise MalformedAnswerError(f"gemini: ended with {finish}")
    parts = (candidate.content.parts if candidate.content else None) or []
    text = "".join(part.text or "" for part in parts if not part.thought)
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


def _from_api(error: errors.APIError) -> WorkerError:
    headers = {}
    # google.rpc.RetryInfo, as in {"retryDelay": "37.5s"}.
    found = re.search(r"'retryDelay': '(\d+(?:\.\d+)?)s'", str(error.details))
    if found:
        headers["retry-after"] = found[1]
    return from_status("gemini", error.code, f"{error.status}: {error.message or ''}", headers)


def _word(value: object) -> str:
    """An enumerated value, or a new one that the SDK does not know yet, as its word."""
    return str(getattr(value, "value", value) or "")
