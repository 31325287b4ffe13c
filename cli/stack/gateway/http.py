"""What all routes share: reading bodies with bounded memory, JSON, timestamps, CORS and the API key."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_JSON_BYTES = 4 * 1024 * 1024


class ClientGoneError(Exception):
    """The client closed the connection before its request was complete."""


class BodyTooLargeError(Exception):
    """A JSON body is longer than MAX_JSON_BYTES."""


class BadJsonError(Exception):
    """A body is not the JSON that the route expects; str() says why."""


class Body:
    """A request's body as a stream that can be left early and drained later."""

    def __init__(self, request: Request) -> None:
        self._receive = request.receive
        self._expects_continue = request.headers.get("expect", "").lower() == "100-continue"
        self._complete = False
        self._started = False

    async def chunks(self) -> AsyncIterator[bytes]:
        """The rest of the body, as it arrives; raises ClientGoneError when it ends too early."""
        while not self._complete:
            self._started = True
            message = await self._receive()
            if message["type"] != "http.request":
                self._complete = True
                raise ClientGoneError
            self._complete = not message.get("more_body", False)
            if chunk := message.get("body", b""):
                yield chunk

    async def drain(self) -> None:
        """Read and drop the rest, so that a client still sending gets to read the answer instead of a
        reset."""
        if self._expects_continue and not self._started:
            return
        async for _ in self.chunks():
            pass


async def read_json(request: Request, *, optional: bool = False) -> dict[str, Any]:
    """The body as a JSON object; {} for an empty body if optional. Raises BadJsonError, BodyTooLargeError,
    ClientGoneError."""
    body = Body(request)
    data = bytearray()
    async for chunk in body.chunks():
        data += chunk
        if len(data) > MAX_JSON_BYTES:
            await body.drain()
            raise BodyTooLargeError
    if optional and not data.strip():
        return {}
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadJsonError(str(error)) from None
    if not isinstance(value, dict):
        raise BadJsonError("the body must be an object")
    return value


def iso(value: datetime | None, *, precision: str = "milliseconds") -> str | None:
    """A timestamp as JavaScript writes it: UTC, with a Z."""
    if value is None:
        return None
    return value.astimezone(UTC).isoformat(timespec=precision).removesuffix("+00:00") + "Z"


def bearer(headers: Headers) -> str:
    """The token of the Authorization header, without the word Bearer; '' when there is none."""
    value = headers.get("authorization", "")
    scheme, _, token = value.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else value.strip()


_METHODS = "GET,HEAD,PUT,PATCH,POST,DELETE,OPTIONS"
_EXPOSED = (
    "Content-Encoding,Content-Location,Content-Range,Content-Type,Date,ETag,Link,Location,"
    "Range-Unit,X-Total-Count,X-Correlation-Id"
)


class Cors:
    """Answers preflights and opens every answer to every origin, as Supabase's API gateway does."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            response = JSONResponse(
                {},
                headers={
                    "Access-Control-Allow-Origin": "*",
                    "Access-Control-Allow-Methods": _METHODS,
                    "Access-Control-Allow-Headers": headers.get("access-control-request-headers", "*"),
                    "Access-Control-Max-Age": "3600",
                },
            )
            await response(scope, receive, send)
            return

        async def opened(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                answer["Access-Control-Allow-Origin"] = "*"
                answer.setdefault("Access-Control-Expose-Headers", _EXPOSED)
                answer["X-Gateway"] = "imageledger embedded stack, for development only"
            await send(message)

        await self._app(scope, receive, opened)


class ApiKey:
    """Asks for the anon or service_role key where Supabase's API gateway does, and lets it stand in for a
    token."""

    def __init__(self, app: ASGIApp, *, keys: Sequence[str], guarded: Callable[[str], bool]) -> None:
        self._app = app
        self._keys = frozenset(key.encode() for key in keys)
        self._guarded = guarded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        key = Headers(scope=scope).get("apikey") or _query_key(scope)
        if self._guarded(scope["path"]) and (key is None or key.encode() not in self._keys):
            message = "No API key found in request" if key is None else "Invalid authentication credentials"
            await JSONResponse({"message": message}, status_code=401)(scope, receive, send)
            return
        if key and "authorization" not in Headers(scope=scope):
            scope["headers"] = [*scope["headers"], (b"authorization", b"Bearer " + key.encode())]
        await self._app(scope, receive, send)


def _query_key(scope: Scope) -> str | None:
    query = scope["query_string"]
    if b"apikey" not in query:
        return None
    return dict(parse_qsl(query.decode("latin-1"))).get("apikey")
