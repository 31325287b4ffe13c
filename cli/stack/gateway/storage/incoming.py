"""An upload as it arrives: a raw body or multipart/form-data, read as a stream."""

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import Request

from cli.stack.gateway.http import Body
from cli.stack.gateway.storage.errors import entity_too_large, invalid_request

_MAX_FIELD_BYTES = 1024 * 1024
_MAX_FIELDS = 10


@dataclass
class Incoming:
    """What is known of an upload before its bytes: then `chunks` brings them."""

    mime_type: str
    cache_control: str
    user_metadata: dict[str, Any] | None
    declared_length: int | None
    """Length of the request's body by its header: of the file itself only when the body is raw."""
    is_raw: bool
    chunks: AsyncIterator[bytes]


async def open_upload(request: Request, body: Body) -> Incoming:
    """Read up to the first byte of the file. Raises StorageError when there is no file in the request."""
    content_type = request.headers.get("content-type", "")
    length = _content_length(request)
    if not content_type.startswith("multipart/form-data"):
        return Incoming(
            mime_type=content_type or "application/octet-stream",
            cache_control=request.headers.get("cache-control", "no-cache"),
            user_metadata=decode_metadata(request.headers.get("x-metadata")),
            declared_length=length,
            is_raw=True,
            chunks=body.chunks(),
        )
    _, options = parse_options_header(content_type)
    if not (boundary := options.get(b"boundary")):
        raise invalid_request("No content provided")
    form = _Form(boundary)
    source = body.chunks()
    while form.file is None:
        try:
            form.feed(await anext(source))
        except StopAsyncIteration:
            raise invalid_request("No content provided") from None
    cache_time = form.fields.get("cacheControl")
    return Incoming(
        mime_type=form.fields.get("contentType") or form.file,
        cache_control=f"max-age={cache_time}" if cache_time else "no-cache",
        user_metadata=_parse_object(form.fields.get("metadata", form.fields.get("userMetadata"))),
        declared_length=length,
        is_raw=False,
        chunks=_file_chunks(form, source),
    )


async def _file_chunks(form: "_Form", source: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    while True:
        for data in form.take():
            yield data
        try:
            form.feed(await anext(source))
        except StopAsyncIteration:
            break
    if not form.finished:
        raise invalid_request("The multipart body ended early")


@dataclass
class _Form:
    """The parser's state: small fields in memory, the first file's bytes handed on at once."""

    boundary: bytes
    fields: dict[str, str] = field(default_factory=dict)
    file: str | None = None
    """The file part's own content type, once its headers are read."""
    finished: bool = False

    def __post_init__(self) -> None:
        self._data: list[bytes] = []
        self._headers: dict[bytes, bytes] = {}
        self._header_name = b""
        self._header_value = b""
        self._name: str | None = None
        self._value = bytearray()
        self._in_file = False
        self._parser = MultipartParser(
            self.boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
        )

    def feed(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise invalid_request(f"Malformed multipart body: {error}") from None

    def take(self) -> list[bytes]:
        data, self._data = self._data, []
        return data

    def _on_part_begin(self) -> None:
        self._headers = {}
        self._name = None
        self._value = bytearray()
        self._in_file = False

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value
        self._header_name = self._header_value = b""

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        content_type = self._headers.get(b"content-type", b"").decode("latin-1")
        if b"filename" in options or content_type == "application/octet-stream":
            if self.file is None:
                self.file = content_type or "application/octet-stream"
                self._in_file = True
        elif self.file is None:
            self._name = options.get(b"name", b"").decode("utf-8", "replace")

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._data.append(data[start:end])
        elif self._name is not None:
            self._value += data[start:end]
            if len(self._value) > _MAX_FIELD_BYTES:
                raise entity_too_large("user_metadata")

    def _on_part_end(self) -> None:
        if self._name is not None:
            if len(self.fields) >= _MAX_FIELDS:
                raise invalid_request("Too many fields")
            self.fields[self._name] = self._value.decode("utf-8", "replace")

    def _on_end(self) -> None:
        self.finished = True


def decode_metadata(header: str | None) -> dict[str, Any] | None:
    """The x-metadata header: JSON in base64; None when absent or not that."""
    if not header:
        return None
    try:
        return _parse_object(base64.b64decode(header).decode())
    except ValueError:
        return None


def _parse_object(text: str | None) -> dict[str, Any] | None:
    try:
        value = json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _content_length(request: Request) -> int | None:
    value = request.headers.get("content-length", "")
    return int(value) if value.isascii() and value.isdigit() else None
