"""A local server that speaks the documented wire of Gemini's generateContent, and misbehaves on demand."""

from __future__ import annotations

import json
from typing import Any

from tests.support.wire_server import Answer, WireServer

#: What it says to any photo unless told otherwise.
ALLOWED = {"allowed": True, "reason": "", "categories": []}
REJECTED = {"allowed": False, "reason": "The photo shows a phone number.", "categories": ["contact_details"]}


def says(text: str, finish: str = "STOP") -> Answer:
    """A complete answer with this text."""
    candidate = {
        "content": {"role": "model", "parts": [{"text": text}]},
        "finishReason": finish,
        "index": 0,
        "safetyRatings": [{"category": "HARM_CATEGORY_HARASSMENT", "probability": "NEGLIGIBLE"}],
    }
    usage = {"promptTokenCount": 300, "candidatesTokenCount": 20, "totalTokenCount": 320}
    return 200, {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini-2.5-flash"}


def verdict(answer: dict[str, Any]) -> Answer:
    """A structured verdict."""
    return says(json.dumps(answer))


def error(code: int, status: str, message: str = "no", details: list[Any] | None = None) -> Answer:
    """A google.rpc.Status, as Google's APIs send it."""
    more = {"details": details} if details else {}
    return code, {"error": {"code": code, "message": message, "status": status} | more}


def quota(delay: str = "37s") -> Answer:
    """429 with the delays that Google sends."""
    kind = "type.googleapis.com/google.rpc."
    return error(
        429,
        "RESOURCE_EXHAUSTED",
        "You exceeded your current quota.",
        [
            {"@type": kind + "QuotaFailure", "violations": [{"quotaId": "GenerateRequestsPerMinute"}]},
            {"@type": kind + "RetryInfo", "retryDelay": delay},
        ],
    )


class GeminiServer(WireServer):
    def __init__(self) -> None:
        super().__init__(verdict(ALLOWED))
