"""A small web server of pictures on loopback, with the bad manners that servers have."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class PictureServer:
    """`pictures[path]` is served; /to?URL redirects, /slow drips, /endless never ends, /flaky fails once."""

    def __init__(self) -> None:
        self.pictures: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = int(self._server.server_address[1])
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.host}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path, _, query = request.path.partition("?")
        first = path not in {seen for seen, _ in self.requests}
        self.requests.append((path, request.headers.get("Host", "")))
        try:
            if path == "/to":
                request.send_response(302)
                request.send_header("Location", query)
                request.send_header("Content-Length", "0")
                request.end_headers()
            elif path == "/endless":
                request.send_response(200)
                request.end_headers()
                for _ in range(100_000):
                    request.wfile.write(b"x" * 65536)
            elif path == "/slow":
                request.send_response(200)
                request.end_headers()
                for _ in range(100):
                    request.wfile.write(b"x")
                    request.wfile.flush()
                    time.sleep(0.1)
            elif (path == "/flaky.jpg" and first) or path not in self.pictures:
                request.send_error(503 if path == "/flaky.jpg" else 404)
            else:
                body = self.pictures[path]
                request.send_response(200)
                request.send_header("Content-Type", "text/html")
                request.send_header("Content-Length", str(len(body)))
                request.end_headers()
                request.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def __enter__(self) -> PictureServer:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
