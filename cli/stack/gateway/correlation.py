"""Every request has a correlation id: the client's, or a new one. It is logged, passed on and answered."""

import logging
import re
import time
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger("gateway.requests")

HEADER = "X-Correlation-Id"
#: As the database's queue.plain_id: nothing that could break a line, a header or a terminal.
_PLAIN = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_TRACE = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

#: Headers that are passed on only in their form; the first one is written anew.
_FORMS = {HEADER.lower().encode(): None, b"x-request-id": _PLAIN, b"traceparent": _TRACE}


def correlation_of(headers: Headers) -> str:
    """The request's id: X-Correlation-Id, X-Request-Id, the trace of a traceparent; a new one if none is plain."""
    for name in (HEADER, "X-Request-Id"):
        word = headers.get(name, "")
        if _PLAIN.fullmatch(word):
            return word
    trace = _TRACE.fullmatch(headers.get("traceparent", ""))
    return trace[1] if trace else str(uuid4())


class Correlation:
    """Names each request, tells its name to what is behind (PostgREST, the database) and writes a line when it ends.

    The line has the path without its query, in which signed URLs carry their tokens.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        name = correlation_of(Headers(scope=scope))
        # What is not one is not passed on either: PostgREST answers 500 to bytes that are no text.
        others = [
            (key, value)
            for key, value in scope["headers"]
            if key not in _FORMS or ((rule := _FORMS[key]) and rule.fullmatch(value.decode("latin-1")))
        ]
        scope["headers"] = [*others, (HEADER.lower().encode(), name.encode())]
        started, status = time.monotonic(), 500

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = name
            await send(message)

        try:
            await self._app(scope, receive, named)
        finally:
            if scope["path"] != "/health":
                path = scope["raw_path"].decode("ascii", "backslashreplace")[:500]
                took = round((time.monotonic() - started) * 1000)
                logger.info("%s %s %d %d ms correlation_id=%s", scope["method"], path, status, took, name)
