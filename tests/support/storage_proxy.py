"""A proxy in front of the real gateway that breaks chosen requests: what lies between a worker and Storage."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

Fault = Callable[["Exchange"], None]


class StorageProxy:
    """Context manager; `url` stands for the gateway's address.

    `on(method, pattern, fault, times)`: the next `times` requests whose path matches go to `fault(exchange)`
    instead, in the order of the rules. `hits` counts what was broken.
    """

    def __init__(self, api_url: str) -> None:
        self.target = urlsplit(api_url)
        self.hits = 0
        self.is_cut = False
        self._rules: list[list[Any]] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Exchange)
        self._server.daemon_threads = True
        self._server.proxy = self  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> StorageProxy:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._server.shutdown()
        self._server.server_close()

    def on(self, method: str, pattern: str, fault: Fault, times: int = 1) -> None:
        with self._lock:
            self._rules.append([method, re.compile(pattern), fault, times])

    def heal(self) -> None:
        """No faults any more, and none counted."""
        with self._lock:
            self._rules.clear()
        self.is_cut = False
        self.hits = 0

    def fault_for(self, method: str, path: str) -> Fault | None:
        with self._lock:
            for rule in self._rules:
                if rule[0] == method and rule[1].search(path) and rule[3] > 0:
                    rule[3] -= 1
                    self.hits += 1
                    fault: Fault = rule[2]
                    return fault
        return None


class Exchange(BaseHTTPRequestHandler):
    """One request on its way; what a fault works on."""

    protocol_version = "HTTP/1.1"
    #: Head and body leave in two packets: the second would wait 40 ms for an acknowledgement.
    disable_nagle_algorithm = True
    body = b""

    @property
    def proxy(self) -> StorageProxy:
        proxy: StorageProxy = self.server.proxy  # type: ignore[attr-defined]
        return proxy

    def log_message(self, *_: Any) -> None:
        pass

    def ask(self) -> tuple[int, list[tuple[str, str]], bytes]:
        """What the gateway answers: status, headers, body."""
        target = self.proxy.target
        wire = HTTPConnection(str(target.hostname), target.port, timeout=60)
        try:
            headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOP_BY_HOP}
            wire.request(self.command, self.path, self.body or None, headers)
            answer = wire.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            wire.close()

    def answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.head(status, headers, len(body))
        self.wfile.write(body)

    def head(self, status: int, headers: list[tuple[str, str]], length: int) -> None:
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in _HOP_BY_HOP | {"date", "server"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def _run(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            self.body = b""
            while size := int(self.rfile.readline(), 16):
                self.body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.proxy.is_cut:
            self.proxy.hits += 1
            self.close_connection = True
            return
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            fault = self.proxy.fault_for(self.command, self.path)
            (fault or pass_on)(self)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _run  # noqa: N815


_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "host"})


def pass_on(exchange: Exchange) -> None:
    """No fault."""
    exchange.answer(*exchange.ask())


def status(code: int, **headers: str) -> Fault:
    """An answer of Storage's own, before anything is done."""

    def fault(exchange: Exchange) -> None:
        body = f'{{"statusCode": "{code}", "error": "error", "message": "broken on purpose"}}'.encode()
        named = [(name.replace("_", "-"), value) for name, value in headers.items()]
        exchange.answer(code, [("Content-Type", "application/json"), *named], body)

    return fault


def reset_after(count: int) -> Fault:
    """The right length is announced, `count` bytes come, the connection breaks."""

    def fault(exchange: Exchange) -> None:
        code, headers, body = exchange.ask()
        exchange.head(code, headers, len(body))
        exchange.wfile.write(body[:count])
        exchange.close_connection = True

    return fault


def drip(seconds: float) -> Fault:
    """One byte at a time, with a pause of `seconds` after each."""

    def fault(exchange: Exchange) -> None:
        code, headers, body = exchange.ask()
        exchange.head(code, headers, len(body))
        for byte in body:
            exchange.wfile.write(bytes([byte]))
            exchange.wfile.flush()
            time.sleep(seconds)

    return fault


def hang(seconds: float) -> Fault:
    """Nothing happens for so long; then the connection closes."""

    def fault(exchange: Exchange) -> None:
        time.sleep(seconds)
        exchange.close_connection = True

    return fault


def lose_reply(exchange: Exchange) -> None:
    """It is done, and nobody is told."""
    exchange.ask()
    exchange.close_connection = True


def other_bytes(exchange: Exchange) -> None:
    """Another object of the same length and its own tag, as after a replacement."""
    code, headers, body = exchange.ask()
    kept = [(name, value) for name, value in headers if name.lower() != "etag"]
    exchange.answer(code, [*kept, ("ETag", f'"{"0" * 32}"')], body[::-1])


def garbled(exchange: Exchange) -> None:
    """The right length and tag, and one wrong byte."""
    code, headers, body = exchange.ask()
    middle = len(body) // 2
    exchange.answer(code, headers, body[:middle] + bytes([body[middle] ^ 0xFF]) + body[middle + 1 :])


def no_json(exchange: Exchange) -> None:
    """An answer of something that is not Storage."""
    exchange.answer(200, [("Content-Type", "text/html")], b"<html>welcome</html>")


def after(action: Callable[[], object]) -> Fault:
    """Something happens elsewhere first; then the request goes on."""

    def fault(exchange: Exchange) -> None:
        action()
        pass_on(exchange)

    return fault
