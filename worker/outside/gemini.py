"""What all that asks Google's Gemini shares: the client, how an answer is read, how long it asks to wait."""

from __future__ import annotations

import re

import httpx
from google import genai
from google.genai import types

_REFUSALS = {
    "SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "RECITATION", "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_RECITATION",
}  # fmt: skip


def client(api_key: str, base_url: str | None, seconds: float) -> genai.Client:
    """A client whose time limit, retries (none: they are the queue's) and connection errors (httpx's) are ours."""
    return genai.Client(
        api_key=api_key,
        vertexai=False,
        http_options=types.HttpOptions(
            base_url=base_url,
            # The one whose documentation has answers by a JSON schema.
            api_version="v1beta",
            timeout=int(seconds * 1000),
            httpx_client=httpx.Client(timeout=httpx.Timeout(seconds, connect=min(5.0, seconds))),
            retry_options=types.HttpRetryOptions(attempts=1),
        ),
    )


#: The SDK calls functions of ours by itself unless it is told not to.
NO_CALLS = types.AutomaticFunctionCallingConfig(disable=True)


def refusal_of(answer: types.GenerateContentResponse) -> str | None:
    """Google's word for why its filters would not answer, as in SAFETY; None when they did."""
    feedback = answer.prompt_feedback
    if feedback is not None and feedback.block_reason is not None:
        return _word(feedback.block_reason)
    return next(
        (word for one in answer.candidates or () if (word := _word(one.finish_reason)) in _REFUSALS), None
    )


def text_of(answer: types.GenerateContentResponse) -> str:
    """The text of a finished answer, without the model's thoughts. Raises ValueError when there is none, or half."""
    if not answer.candidates:
        raise ValueError("no candidates")
    candidate = answer.candidates[0]
    finish = _word(candidate.finish_reason)
    if finish not in {"STOP", "FINISH_REASON_UNSPECIFIED", ""}:
        raise ValueError(f"the answer ended with {finish}")
    parts = (candidate.content.parts if candidate.content else None) or []
    return "".join(part.text or "" for part in parts if not part.thought)


def retry_delay(details: object) -> float | None:
    """Seconds that an error's google.rpc.RetryInfo asks for, as in {"retryDelay": "37.5s"}."""
    body = details.get("error", details) if isinstance(details, dict) else {}
    for detail in body.get("details") or () if isinstance(body, dict) else ():
        if isinstance(detail, dict) and str(detail.get("@type", "")).endswith("google.rpc.RetryInfo"):
            found = re.fullmatch(r"(\d+(?:\.\d+)?)s", str(detail.get("retryDelay", "")))
            if found:
                return float(found[1])
    return None


def _word(value: object) -> str:
    """An enumerated value, or a new one that the SDK does not know yet, as its word."""
    return str(getattr(value, "value", value) or "")
