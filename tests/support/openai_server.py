"""A local server that speaks the documented wire of OpenAI's Responses API, and misbehaves on demand."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, Any, dict[str, str]]


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
    return status, {"error": {"message": message, "type": code, "param": None, "code": code}}, headers


class OpenAIServer:
    """Context manager. `answers` are used up one a request; then `standing`. `requests`: (path, headers, body)."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.standing: Answer = answers({})
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.delay = 0.0
        self.drop = False
        self.before: Callable[[], None] = lambda: None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.openai = self  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> OpenAIServer:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        openai: OpenAIServer = self.server.openai  # type: ignore[attr-defined]
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        openai.requests.append((self.path, headers, body))
        openai.before()
        time.sleep(openai.delay)
        if openai.drop:
            self.close_connection = True
            return
        status, answer, extra = openai.answers.pop(0) if openai.answers else openai.standing
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in extra.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)
