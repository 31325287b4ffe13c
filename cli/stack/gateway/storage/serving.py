"""Objects as HTTP serves them: download, HEAD and info; public, signed and under the caller's row level
security."""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any, BinaryIO
from urllib.parse import quote

from psycopg.rows import DictRow
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from cli.stack.gateway.db import Caller
from cli.stack.gateway.http import iso
from cli.stack.gateway.storage.errors import StorageError, no_such_bucket, no_such_key
from cli.stack.gateway.storage.limits import check_key
from cli.stack.gateway.storage.service import Storage, find_object
from cli.stack.gateway.storage.signing import verify_signature

_READ_SIZE = 256 * 1024
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


async def _readable(storage: Storage, request: Request, operation: str) -> DictRow:
    """The object if its bucket is public or the caller's policies show it. To a stranger a private bucket
    does not exist."""
    bucket_id, name = request.path_params["bucket"], check_key(request.path_params["path"])
    caller = storage.caller(request, allow_invalid=True)
    bucket = await storage.find_bucket(caller, bucket_id, operation)
    if bucket["public"]:
        return await _as_service(storage, caller, bucket_id, name, operation)
    if not caller.authenticated:
        raise no_such_bucket()
    async with storage.db.as_caller(caller, operation) as connection:
        return await find_object(connection, bucket_id, name)


async def _public(storage: Storage, request: Request, operation: str) -> DictRow:
    bucket_id, name = request.path_params["bucket"], check_key(request.path_params["path"])
    caller = Caller({"role": "anon"}, method=request.method, path=request.url.path, authenticated=False)
    bucket = await storage.find_bucket(caller, bucket_id, operation)
    if not bucket["public"]:
        raise no_such_bucket()
    return await _as_service(storage, caller, bucket_id, name, operation)


async def _as_service(storage: Storage, caller: Caller, bucket: str, name: str, operation: str) -> DictRow:
    async with storage.db.as_service(caller, operation) as connection:
        return await find_object(connection, bucket, name)


async def download(storage: Storage, request: Request) -> Response:
    for attempt in (1, 2):
        row = await _readable(storage, request, "storage.object.get_authenticated")
        if response := _content(storage, request, row, last=attempt == 2):
            return response
    raise no_such_key()


async def download_public(storage: Storage, request: Request) -> Response:
    for attempt in (1, 2):
        row = await _public(storage, request, "storage.object.get_public")
        if response := _content(storage, request, row, last=attempt == 2):
            return response
    raise no_such_key()


async def download_signed(storage: Storage, request: Request) -> Response:
    claims = verify_signature(storage, request, "download")
    bucket, name = request.path_params["bucket"], check_key(request.path_params["path"])
    caller = Caller({"role": "anon"}, method=request.method, path=request.url.path, authenticated=False)
    for attempt in (1, 2):
        row = await _as_service(storage, caller, bucket, name, "storage.object.get_signed")
        if response := _content(storage, request, row, last=attempt == 2):
            expires = datetime.fromtimestamp(claims["exp"], UTC)
            response.headers["expires"] = format_datetime(expires, usegmt=True)
            del response.headers["cache-control"]
            return response
    raise no_such_key()


async def head(storage: Storage, request: Request) -> Response:
    row = await _readable(storage, request, "object.head_authenticated_info")
    return Response(headers=_headers(request, row) | {"content-length": str(_size(row))})


async def head_public(storage: Storage, request: Request) -> Response:
    row = await _public(storage, request, "storage.object.info_public")
    return Response(headers=_headers(request, row) | {"content-length": str(_size(row))})


async def info(storage: Storage, request: Request) -> Response:
    return _info(await _readable(storage, request, "object.get_authenticated_info"))


async def info_public(storage: Storage, request: Request) -> Response:
    return _info(await _public(storage, request, "storage.object.info_public"))


async def no_transformations(_storage: Storage, _request: Request) -> Response:
    message = "The feature imageTransformation is not enabled for this resource"
    raise StorageError(409, "FeatureNotEnabled", message)


async def no_resumable_uploads(_storage: Storage, _request: Request) -> Response:
    message = "Resumable uploads (TUS) are not available in this stack: use a standard or a signed upload"
    raise StorageError(404, "NotSupported", message, http_status=404)


def _content(storage: Storage, request: Request, row: DictRow, *, last: bool) -> Response | None:
    """The bytes, or 304, or 206. None when the version was replaced between reading its row and opening its
    file: the row must be read again. Once only: after that the bytes are lost and it is a 404."""
    headers = _headers(request, row)
    if _not_modified(request, row):
        return Response(status_code=304, headers=headers)
    try:
        file = storage.files.open(row["version"] or "")
    except (FileNotFoundError, ValueError):
        if last:
            raise no_such_key() from None
        return None
    size = os.fstat(file.fileno()).st_size
    try:
        span = _requested_range(request, size)
    except StorageError:
        file.close()
        raise
    status, start, stop = 200, 0, size
    if span is not None:
        status, (start, stop) = 206, span
        headers["content-range"] = f"bytes {start}-{stop - 1}/{size}"
    headers["content-length"] = str(stop - start)
    if request.method == "HEAD":
        file.close()
        return Response(status_code=status, headers=headers)
    return StreamingResponse(_read(file, start, stop), status_code=status, headers=headers)


async def _read(file: BinaryIO, start: int, stop: int) -> AsyncIterator[bytes]:
    with file:
        await asyncio.to_thread(file.seek, start)
        left = stop - start
        while left > 0 and (chunk := await asyncio.to_thread(file.read, min(_READ_SIZE, left))):
            left -= len(chunk)
            yield chunk


def _headers(request: Request, row: DictRow) -> dict[str, str]:
    metadata: dict[str, Any] = row["metadata"] or {}
    mime_type = str(metadata.get("mimetype") or "application/octet-stream")
    headers = {
        "accept-ranges": "bytes",
        # A page of somebody else's must not run in the API's origin.
        "content-type": "text/plain" if "text/html" in mime_type else mime_type,
        "etag": str(metadata.get("eTag") or ""),
        "cache-control": str(metadata.get("cacheControl") or "no-cache"),
        "last-modified": format_datetime(_last_modified(row), usegmt=True),
        "x-robots-tag": "none",
    }
    download_as = request.query_params.get("download")
    if download_as == "":
        headers["content-disposition"] = "attachment;"
    elif download_as is not None:
        name = quote(download_as, safe="!*'()~")
        headers["content-disposition"] = f"attachment; filename={name}; filename*=UTF-8''{name}"
    return {name: _header_text(value) for name, value in headers.items()}


def _header_text(value: str) -> str:
    """What may stand in a header: stored types and cache times are what a client once sent."""
    return "".join(char for char in value if " " <= char <= "~")


def _last_modified(row: DictRow) -> datetime:
    moment: datetime = row["updated_at"]
    return moment.astimezone(UTC).replace(microsecond=0)


def _size(row: DictRow) -> int:
    return int((row["metadata"] or {}).get("size") or 0)


def _not_modified(request: Request, row: DictRow) -> bool:
    etag = (row["metadata"] or {}).get("eTag")
    if wanted := request.headers.get("if-none-match"):
        return wanted.strip() == "*" or etag in [tag.strip().removeprefix("W/") for tag in wanted.split(",")]
    if since := request.headers.get("if-modified-since"):
        try:
            return _last_modified(row) <= parsedate_to_datetime(since)
        except (ValueError, TypeError):
            return False
    return False


def _requested_range(request: Request, size: int) -> tuple[int, int] | None:
    """[start, stop) of a single range; None without one, or for a form that HTTP lets a server ignore."""
    match = _RANGE.fullmatch(request.headers.get("range", "").strip())
    if match is None or match[0] == "bytes=-":
        return None
    first, last = match.groups()
    if first:
        start, stop = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    else:
        start, stop = max(0, size - int(last)), size
    if start >= stop:
        raise StorageError(
            416, "InvalidRange", "The requested range is not satisfiable", error="InvalidRange"
        )
    return start, stop


def _info(row: DictRow) -> Response:
    metadata: dict[str, Any] = row["metadata"] or {}
    return JSONResponse(
        {
            "id": str(row["id"]),
            "name": row["name"],
            "version": row["version"],
            "bucket_id": row["bucket_id"],
            "size": metadata.get("size"),
            "content_type": metadata.get("mimetype"),
            "cache_control": metadata.get("cacheControl"),
            "etag": metadata.get("eTag"),
            "metadata": row["user_metadata"],
            "last_modified": iso(row["updated_at"]),
            "created_at": iso(row["created_at"]),
        }
    )


def routes(storage: Storage) -> list[Route]:
    endpoint = storage.endpoint
    rest = "{bucket}/{path:path}"
    reads = [
        ("sign", download_signed, None),
        ("public", download_public, head_public),
        ("authenticated", download, head),
    ]
    found = [Route(f"/object/info/public/{rest}", endpoint(info_public), methods=["GET"])]
    found += [
        Route(f"/object/info/authenticated/{rest}", endpoint(info), methods=["GET"]),
        Route(f"/object/info/{rest}", endpoint(info), methods=["GET"]),
    ]
    for prefix, getter, header in reads:
        # Starlette adds HEAD to a GET route unless a HEAD route comes first.
        found.append(Route(f"/object/{prefix}/{rest}", endpoint(header or getter), methods=["HEAD"]))
        found.append(Route(f"/object/{prefix}/{rest}", endpoint(getter), methods=["GET"]))
    found.append(Route(f"/object/{rest}", endpoint(head), methods=["HEAD"]))
    found.append(Route(f"/object/{rest}", endpoint(download), methods=["GET"]))
    found.append(Route("/render/image/{path:path}", endpoint(no_transformations), methods=["GET", "HEAD"]))
    any_method = ["GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS"]
    for path in ("/upload/resumable", "/upload/resumable/{path:path}"):
        found.append(Route(path, endpoint(no_resumable_uploads), methods=any_method))
    return found
