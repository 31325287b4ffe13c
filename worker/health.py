"""GET /healthz, /readyz and /metrics of a worker, where WORKER_HTTP_PORT names a port.

`/healthz` is 200 while the process does its work and 503 once it cannot: restart it then. `/readyz` is 200 while
database and Storage answer and the worker takes jobs: a deploy waits for it. Neither tells more than names of
parts, since whoever reaches the port can read them.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry
from prometheus_client.exposition import ThreadingWSGIServer

from worker import metrics
from worker.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

log = logging.getLogger(__name__)

#: A part's name → whether it is well. Called at each request, by several threads.
Checks = Mapping[str, Callable[[], bool]]


class HealthServer:
    """Serves until `close`. A context manager."""

    def __init__(
        self, host: str, port: int, *, alive: Checks, ready: Checks, registry: CollectorRegistry
    ) -> None:
        self._answers: dict[str, Callable[[], tuple[int, str, bytes]]] = {
            "/healthz": lambda: _report(alive),
            "/readyz": lambda: _report({**alive, **ready}),
            "/metrics": lambda: (200, CONTENT_TYPE_LATEST, metrics.render(registry)),
        }
        try:
            self._server = make_server(host, port, self._app, ThreadingWSGIServer, _Quiet)
        except (OSError, OverflowError) as error:
            raise ConfigError(f"WORKER_HTTP_PORT: cannot listen on {host}:{port}: {error}") from error
        self.port: int = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)
        self._thread.start()
        log.info("health and metrics", extra={"action": "listening", "address": f"{host}:{self.port}"})

    def __enter__(self) -> HealthServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stops listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def _app(self, environment: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        answer = self._answers.get(str(environment.get("PATH_INFO")))
        if answer is None:
            status, kind, body = 404, "text/plain", b"/healthz, /readyz or /metrics\n"
        elif environment["REQUEST_METHOD"] not in {"GET", "HEAD"}:
            status, kind, body = 405, "text/plain", b"GET\n"
        else:
            status, kind, body = answer()
        words = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}
        start(f"{status} {words[status]}", [("Content-Type", kind), ("Content-Length", str(len(body)))])
        return [] if environment["REQUEST_METHOD"] == "HEAD" else [body]


def _report(checks: Checks) -> tuple[int, str, bytes]:
    found: dict[str, bool] = {}
    for name, check in checks.items():
        try:
            found[name] = check()
        except Exception:
            log.debug("check %s failed", name, exc_info=True)
            found[name] = False
    ok = all(found.values())
    body: dict[str, Any] = {"status": "ok" if ok else "unavailable", "checks": found}
    return 200 if ok else 503, "application/json", json.dumps(body).encode() + b"\n"


def kept(check: Callable[[], bool], seconds: float) -> Callable[[], bool]:
    """The check, asked at most every so many seconds: probes come often, and from several sides."""
    lock = threading.Lock()
    known = False
    until = 0.0

    def ask() -> bool:
        nonlocal known, until
        with lock:
            if time.monotonic() >= until:
                try:
                    known = check()
                except Exception:
                    known = False
                    raise
                finally:
                    until = time.monotonic() + seconds
            return known

    return ask


class _Quiet(WSGIRequestHandler):
    #: Seconds that a connection may say nothing.
    timeout = 10

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)
