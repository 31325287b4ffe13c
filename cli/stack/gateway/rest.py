"""`/rest/v1`: PostgREST, streamed both ways."""

from collections.abc import AsyncIterator

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from cli.stack.gateway.http import Body, ClientGoneError

PREFIX = "/rest/v1"

_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "upgrade"}
)
_NOT_FORWARDED = _HOP_BY_HOP | {"host", "apikey", "expect", "transfer-encoding"}


class RestProxy:
    """Forwards a request to PostgREST byte for byte, minus the API key and the headers of this connection."""

    def __init__(self, url: str) -> None:
        timeout = httpx.Timeout(connect=5, read=None, write=None, pool=30)
        self._client = httpx.AsyncClient(timeout=timeout, limits=httpx.Limits(max_connections=100))
        self._client.headers.clear()
        self._url = httpx.URL(url)

    async def close(self) -> None:
        await self._client.aclose()

    async def forward(self, request: Request) -> Response:
        """PostgREST's answer; 503 when it cannot be reached."""
        headers = [
            (name, value)
            for name, value in request.headers.raw
            if name.decode("latin-1").lower() not in _NOT_FORWARDED
        ]
        has_body = "content-length" in request.headers or "transfer-encoding" in request.headers
        upstream_request = self._client.build_request(
            request.method,
            self._url,
            headers=[(b"host", self._url.netloc), *headers],
            content=Body(request).chunks() if has_body else None,
            extensions={"target": self._target(request)},
        )
        try:
            upstream = await self._client.send(upstream_request, stream=True)
        except ClientGoneError:
            return Response(status_code=499)
        except httpx.TransportError as error:
            return JSONResponse({"message": f"PostgREST cannot be reached: {error!r}"}, status_code=503)
        response = StreamingResponse(_relay(upstream), status_code=upstream.status_code)
        response.raw_headers = [
            (name.lower(), value)
            for name, value in upstream.headers.raw
            if name.decode("latin-1").lower() not in _HOP_BY_HOP | {"transfer-encoding"}
        ]
        return response

    def _target(self, request: Request) -> bytes:
        raw_path: bytes = request.scope["raw_path"]
        path = self._url.raw_path.rstrip(b"/") + (raw_path[len(PREFIX) :] or b"/")
        query: bytes = request.scope["query_string"]
        if b"apikey" in query:
            query = b"&".join(part for part in query.split(b"&") if not part.startswith(b"apikey="))
        return path + b"?" + query if query else path


async def _relay(upstream: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for chunk in upstream.aiter_raw():
            yield chunk
    finally:
        await upstream.aclose()
