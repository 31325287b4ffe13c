"""A local server that speaks the documented wire of Gemini's generateContent, and misbehaves on demand."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, Any]
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
    return code, {
        "error": {"code": code, "message": message, "status": status}
        | ({"details": details} if details else {})
    }


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


class GeminiServer:
    """Context manager. `answers` are used up one a request; then `standing`. `requests`: (path, headers, body)."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.standing: Answer = verdict(ALLOWED)
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.delay = 0.0
        self.before: Callable[[], None] = lambda: None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.gemini = self  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> GeminiServer:
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
        gemini: GeminiServer = self.server.gemini  # type: ignore[attr-defined]
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        gemini.requests.append((self.path, headers, body))
        gemini.before()
        time.sleep(gemini.delay)
        status, answer = gemini.answers.pop(0) if gemini.answers else gemini.standing
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=UTF-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
