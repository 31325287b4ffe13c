"""What the servers of providers share: a web server on loopback that keeps requests and answers as it is told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

#: Status, body (bytes, or what becomes JSON), and headers where there are any.
Answer = tuple[int, Any] | tuple[int, Any, dict[str, str]]


class LoopbackServer:
    """Context manager: a server with this handler, which finds it as `self.server.owner`."""

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        self._server = _Server(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._server.owner = self
        self.host = f"127.0.0.1:{self._server.server_port}"
        self.url = f"http://{self.host}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class WireServer(LoopbackServer):
    """`answers` are used up one a request; then `standing`. `requests`: (path, headers, body).

    `before` runs at each request, `delay` (s) passes then, and `drop` breaks the connection instead of an answer.
    """

    def __init__(self, standing: Answer) -> None:
        super().__init__(_WireHandler)
        self.answers: list[Answer] = []
        self.standing = standing
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.delay = 0.0
        self.drop = False
        self.before: Callable[[], None] = lambda: None


class _Server(ThreadingHTTPServer):
    owner: Any

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Killed workers leave broken connections behind."""


class WireHandler(BaseHTTPRequestHandler):
    """HTTP/1.1 without a log."""

    protocol_version = "HTTP/1.1"
    #: Head and body leave in two packets: the second would wait 40 ms for an acknowledgement.
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        pass

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def names(self) -> dict[str, str]:
        """The headers, by small letters."""
        return {name.lower(): value for name, value in self.headers.items()}

    def say(self, status: int, headers: dict[str, str], body: Any) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        for name, value in ({"content-type": kind} | headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class _WireHandler(WireHandler):
    def do_POST(self) -> None:
        wire: WireServer = self.server.owner  # type: ignore[attr-defined]
        wire.requests.append((self.path, self.names(), json.loads(self.body())))
        wire.before()
        time.sleep(wire.delay)
        if wire.drop:
            self.close_connection = True
            return
        status, answer, *headers = wire.answers.pop(0) if wire.answers else wire.standing
        self.say(status, headers[0] if headers else {}, answer)
