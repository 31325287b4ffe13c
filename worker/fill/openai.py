"""Texts by OpenAI, with its SDK openai (extra `openai`): the Responses API, with an answer by a JSON schema.

| Variable | Default | Meaning |
|---|---|---|
| `OPENAI_API_KEY` | – | the key |
| `OPENAI_BASE_URL` | OpenAI's | another address that speaks the same wire |
| `OPENAI_FILL_MODEL` | gpt-4.1-mini | a model that sees pictures and answers by a schema |
| `OPENAI_FILL_SECONDS` | 60 | time limit of one request |
"""

from __future__ import annotations

import base64
from typing import Any

import openai

from worker.fill import words
from worker.fill.base import (
    ContentRefusedError,
    FillAnswer,
    FillRequest,
    MalformedAnswerError,
)
from worker.fill.wire import Settings, from_status, from_transport
from worker.outside.retry_after import retry_after

DEFAULT_MODEL = "gpt-4.1-mini"


class OpenAIFiller:
    """One request a fill. Retries are the queue's, not the SDK's."""

    repeats_safely = False

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client = openai.OpenAI(
            api_key=settings.api_key,
            base_url=settings.base_url,
            timeout=openai.Timeout(settings.seconds, connect=min(5.0, settings.seconds)),
            max_retries=0,
        )

    def fill(self, request: FillRequest) -> FillAnswer:
        """Asks the model."""
        try:
            # Untyped on the way in and out: the wire is what the documentation of the API says.
            body = self._client.responses.with_raw_response.create(**self._body(request)).http_response.json()
        except openai.APIConnectionError as error:
            # Timeouts among them.
            raise from_transport("openai", error.__cause__ or error) from error
        except openai.APIStatusError as error:
            raise from_status(
                "openai", error.status_code, str(error), retry_after=retry_after(error.response.headers)
            ) from error
        except ValueError as error:
            raise MalformedAnswerError(f"openai: no JSON: {error}") from error
        try:
            return _read(request, body)
        except (AttributeError, TypeError) as error:
            raise MalformedAnswerError(f"openai: {error}") from error

    def _body(self, request: FillRequest) -> dict[str, Any]:
        content: list[dict[str, Any]] = [{"type": "input_text", "text": words.question(request)}]
        for photo in request.photos:
            data = base64.b64encode(photo.data).decode()
            content.append({"type": "input_image", "image_url": f"data:{photo.mime_type};base64,{data}"})
        return {
            "model": self._settings.model,
            "instructions": words.INSTRUCTION,
            "input": [{"role": "user", "content": content}],
            "text": {
                "format": {
                    "type": "json_schema",
                    "name": "listing",
                    "strict": True,
                    "schema": words.schema(request),
                }
            },
            # Photos of people's homes need not stay with the provider.
            "store": False,
        }


def _read(request: FillRequest, body: Any) -> FillAnswer:
    """The values in a response; a refusal, or half an answer, is none."""
    if not isinstance(body, dict):
        raise MalformedAnswerError("openai: no object")
    status = body.get("status")
    if status == "incomplete":
        reason = str((body.get("incomplete_details") or {}).get("reason"))
        if reason == "content_filter":
            raise ContentRefusedError("openai: content_filter")
        raise MalformedAnswerError(f"openai: incomplete: {reason}")
    if status != "completed":
        raise MalformedAnswerError(f"openai: {status}: {str(body.get('error'))[:300]}")
    texts = []
    for item in body.get("output") or ():
        for part in (
            item.get("content") or () if isinstance(item, dict) and item.get("type") == "message" else ()
        ):
            if part.get("type") == "refusal":
                raise ContentRefusedError(f"openai: {str(part.get('refusal'))[:300]}")
            if part.get("type") == "output_text":
                texts.append(str(part.get("text") or ""))
    usage = body.get("usage") or {}
    counts = {
        name: usage[name] for name in ("input_tokens", "output_tokens") if isinstance(usage.get(name), int)
    }
    return FillAnswer(words.read(request, "".join(texts)), str(body.get("model") or ""), counts)
