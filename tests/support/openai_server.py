"""A local server that speaks the documented wire of OpenAI's Responses API, and misbehaves on demand."""

from __future__ import annotations

import json
from typing import Any

from tests.support.wire_server import Answer, WireServer


def response(content: list[dict[str, Any]], status: str = "completed", **more: Any) -> Answer:
    """A complete response object with this content of its message."""
    message = {"type": "message", "id": "msg_1", "status": status, "role": "assistant", "content": content}
    body = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1750000000,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "model": "gpt-4.1-mini-2025-04-14",
        "output": [{"type": "reasoning", "id": "rs_1", "summary": []}, message],
        "usage": {"input_tokens": 300, "output_tokens": 20, "total_tokens": 320},
    }
    return 200, body | more, {}


def says(text: str) -> Answer:
    return response([{"type": "output_text", "text": text, "annotations": []}])


def answers(values: dict[str, Any]) -> Answer:
    """A structured answer."""
    return says(json.dumps(values))


def refuses(text: str = "I can't help with that.") -> Answer:
    return response([{"type": "refusal", "refusal": text}])


def incomplete(reason: str) -> Answer:
    return response(
        [{"type": "output_text", "text": '{"title": "Bra', "annotations": []}],
        "incomplete",
        incomplete_details={"reason": reason},
    )


def error(status: int, code: str, message: str = "no", **headers: str) -> Answer:
    return (
        status,
        {"error": {"message": message, "type": code, "param": None, "code": code}},
        {name.replace("_", "-"): value for name, value in headers.items()},
    )


class OpenAIServer(WireServer):
    def __init__(self) -> None:
        super().__init__(answers({}))
        self.url += "/v1"
