"""Storage: bytes in and out of buckets, with bounded time, checked lengths and one kind of error.

Uploads, lists and removals go through storage3. Downloads are streamed to a file, which storage3 does not do.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

import httpx
from storage3 import SyncStorageClient
from storage3.exceptions import StorageApiError
from storage3.utils import StorageException

from worker import metrics, tracing
from worker.errors import ObjectChangedError, ObjectMissingError, StorageError
from worker.jobs import origin
from worker.outside.retry_after import retry_after

#: A path is never written twice with other bytes, so whoever may read it may keep it.
IMMUTABLE = "31536000, immutable"


@dataclass(frozen=True, slots=True)
class Download:
    """What arrived: bytes, and hex digests of them."""

    byte_size: int
    md5: str
    sha256: str


class ObjectStore:
    """Client of one project's Storage with the service key. Thread safe; a context manager."""

    def __init__(self, supabase_url: str, service_role_key: str, *, timeout: float = 120.0) -> None:
        self._timeout = timeout
        self._base = f"{supabase_url.rstrip('/')}/storage/v1"
        headers = {"apikey": service_role_key, "Authorization": f"Bearer {service_role_key}"}
        self._http = httpx.Client(
            headers=headers,
            # Of one operation on the socket; a whole transfer is bounded by `timeout`.
            timeout=httpx.Timeout(min(20.0, timeout), connect=5.0, pool=60.0),
            limits=httpx.Limits(max_connections=32, max_keepalive_connections=32, keepalive_expiry=30.0),
            event_hooks={"request": [_say_whence]},
        )
        self._storage = SyncStorageClient(self._base + "/", headers, http_client=self._http)

    def __enter__(self) -> ObjectStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def download(
        self, bucket: str, path: str, target: Path, *, byte_size: int | None = None, etag: str | None = None
    ) -> Download:
        """Streams an object into a file.

        Raises ObjectChangedError when it is not the object of that length and ETag, ObjectMissingError when
        there is none, StorageError when the bytes did not come whole and in time.
        """
        with target.open("wb") as file:
            download = self._read(bucket, path, file.write, byte_size, etag)
        if byte_size is not None and download.byte_size != byte_size:
            raise ObjectChangedError(f"{path} has {download.byte_size} bytes instead of {byte_size}")
        return download

    def digest(self, bucket: str, path: str) -> Download:
        """Reads an object and keeps its digests only. Raises as `download`."""
        return self._read(bucket, path, lambda _: None, None, None)

    def _read(
        self,
        bucket: str,
        path: str,
        write: Callable[[bytes], object],
        byte_size: int | None,
        etag: str | None,
    ) -> Download:
        url = f"{self._base}/object/authenticated/{quote(bucket)}/{quote(path)}"
        deadline = time.monotonic() + self._timeout
        md5, sha256, size = hashlib.md5(usedforsecurity=False), hashlib.sha256(), 0
        with _call("download", bucket, f"of {bucket}/{path}"), self._http.stream("GET", url) as response:
            if response.is_error:
                response.read()
                raise _from_response(response, f"download of {bucket}/{path}")
            _check_same(response, byte_size, etag)
            # As it comes: with a chunk size httpx would wait for a whole one, however slowly it drips.
            for chunk in response.iter_bytes():
                size += len(chunk)
                if byte_size is not None and size > byte_size:
                    raise ObjectChangedError(f"{path} is longer than the {byte_size} bytes expected")
                if time.monotonic() > deadline:
                    raise StorageError(f"download of {path} took longer than {self._timeout:g} s")
                md5.update(chunk)
                sha256.update(chunk)
                write(chunk)
        return Download(size, md5.hexdigest(), sha256.hexdigest())

    def upload(
        self, bucket: str, path: str, source: Path, content_type: str, *, cache_control: str = IMMUTABLE
    ) -> None:
        """Stores a file under a path, over what may be there from an earlier attempt. Raises StorageError."""
        self._put(bucket, path, source, content_type, upsert=True, cache_control=cache_control)

    def create(self, bucket: str, path: str, source: Path, content_type: str) -> None:
        """Stores a file under a path where nothing is yet. Raises StorageError."""
        self._put(bucket, path, source, content_type, upsert=False)

    def _put(
        self,
        bucket: str,
        path: str,
        source: Path,
        content_type: str,
        *,
        upsert: bool,
        cache_control: str = IMMUTABLE,
    ) -> None:
        with _call("upload", bucket, f"of {bucket}/{path}"):
            self._storage.from_(bucket).upload(
                path,
                source,
                {
                    "content-type": content_type,
                    "cache-control": cache_control,
                    "upsert": "true" if upsert else "false",
                },
            )

    def remove(self, bucket: str, paths: Sequence[str]) -> None:
        """Removes objects, at most 1,000 a call, and makes sure that they are gone; missing ones are already.

        Raises StorageError when one is still there.
        """
        if not paths:
            return
        with _call("removal", bucket, f"from {bucket}"):
            bucket_api = self._storage.from_(bucket)
            removed = {entry.get("name") for entry in bucket_api.remove(list(paths))}
            for path in paths:
                if path not in removed and self._is_there(bucket, path):
                    raise StorageError(f"{bucket}/{path} is still there after its removal")

    def _is_there(self, bucket: str, path: str) -> bool:
        try:
            self._storage.from_(bucket).info(path)
        except StorageApiError as error:
            if _status(error.status) == httpx.codes.NOT_FOUND:
                return False
            raise
        return True

    def answers(self) -> bool:
        """Whether Storage answers and takes the service key."""
        response = self._http.get(f"{self._base}/bucket", timeout=httpx.Timeout(5.0))
        return response.is_success

    def names_below(self, bucket: str, folder: str) -> list[str]:
        """Paths of the objects directly in a folder, up to 1,000. Raises StorageError."""
        with _call("list", bucket, f"of {bucket}/{folder}"):
            entries = self._storage.from_(bucket).list(folder, {"limit": 1000, "offset": 0})
            return [f"{folder}/{entry['name']}" for entry in entries if entry.get("id")]


def _check_same(response: httpx.Response, byte_size: int | None, etag: str | None) -> None:
    found = _bare_etag(response.headers.get("etag"))
    if etag and found and found != _bare_etag(etag):
        raise ObjectChangedError(f"ETag is {found} instead of {_bare_etag(etag)}")
    length = response.headers.get("content-length")
    encoded = "content-encoding" in response.headers
    if byte_size is not None and length is not None and not encoded and int(length) != byte_size:
        raise ObjectChangedError(f"object has {length} bytes instead of {byte_size}")


def _bare_etag(etag: str | None) -> str:
    return (etag or "").removeprefix("W/").strip('"')


def is_md5(etag: str | None) -> bool:
    """Whether an ETag looks like the MD5 of the bytes (it is not for multipart or encrypted uploads)."""
    bare = _bare_etag(etag)
    return len(bare) == 32 and all(c in "0123456789abcdef" for c in bare)


def matches_etag(download: Download, etag: str | None) -> bool:
    """False when the ETag looks like an MD5, and another one."""
    return not is_md5(etag) or _bare_etag(etag) == download.md5


def _say_whence(request: httpx.Request) -> None:
    """Storage's log can name the request that led to this one."""
    for name, value in zip(("X-Correlation-Id", "traceparent"), origin(), strict=True):
        if value:
            request.headers[name] = value


@contextlib.contextmanager
def _call(operation: str, bucket: str, what: str) -> Iterator[None]:
    """A call to Storage, timed and traced; everything that can go wrong with it becomes a StorageError."""
    with (
        tracing.span(f"storage {operation}", "CLIENT", bucket=bucket),
        metrics.storage_call(operation, missing=(ObjectMissingError,)),
        _translated(f"{operation} {what}"),
    ):
        yield


@contextlib.contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except StorageError:
        raise
    except StorageApiError as error:
        cause = error.__cause__ or error.__context__
        while cause is not None and not isinstance(cause, httpx.HTTPStatusError):
            cause = cause.__cause__ or cause.__context__
        response = cause.response if isinstance(cause, httpx.HTTPStatusError) else None
        raise _error(what, _status(error.status), error.message, response) from error
    except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL) as error:
        raise StorageError(f"{what}: {type(error).__name__}: {error}") from error
    except StorageException as error:
        raise StorageError(f"{what}: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise StorageError(f"{what}: the answer makes no sense: {error}") from error


def _from_response(response: httpx.Response, what: str) -> StorageError:
    status, message = response.status_code, response.text[:200]
    with contextlib.suppress(ValueError, AttributeError):
        body = response.json()
        # Storage answers 400 to all, with the real status inside.
        status = _status(body.get("statusCode")) or status
        message = str(body.get("message", message))
    return _error(what, status, message, response)


def _error(what: str, status: int | None, message: str, response: httpx.Response | None) -> StorageError:
    kind = ObjectMissingError if status == httpx.codes.NOT_FOUND else StorageError
    pause = retry_after(response.headers) if response is not None else None
    return kind(f"{what}: {status}: {message[:500]}", status=status, retry_after=pause)


def _status(value: object) -> int | None:
    text = str(value)
    return int(text) if text.isdigit() else None
