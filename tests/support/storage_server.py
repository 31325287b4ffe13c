"""A small Storage server in memory that misbehaves on demand: storage3's wire, and a script of faults."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

Fault = Callable[["_Handler"], bool]


class StorageServer:
    """Context manager. `objects` maps (bucket, path) to bytes.

    `on(method, pattern, fault, times)`: the next `times` requests that match call `fault(handler)`; when it
    returns True it has answered, else the request goes on.
    """

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], bytes] = {}
        self.headers: dict[tuple[str, str], dict[str, str]] = {}
        self.requests: list[str] = []
        #: Asked and told of each object, as (bucket, path), before it comes or goes: for whoever keeps rows of them.
        self.accepts: Callable[[str, str], bool] = lambda *_: True
        self.on_remove: Callable[[str, str], None] = lambda *_: None
        self._faults: list[list[Any]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.storage = self  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> StorageServer:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._server.shutdown()
        self._server.server_close()

    def on(self, method: str, pattern: str, fault: Fault, times: int = 1) -> None:
        self._faults.append([method, re.compile(pattern), fault, times])

    def forget_faults(self) -> None:
        """From here on everything works."""
        self._faults.clear()

    def fault_for(self, method: str, path: str) -> Fault | None:
        for entry in self._faults:
            if entry[0] == method and entry[1].search(path) and entry[3] > 0:
                entry[3] -= 1
                fault: Fault = entry[2]
                return fault
        return None


def status(code: int, message: str = "no", **headers: str) -> Fault:
    """Answers an error, as Storage words it."""

    def fault(handler: _Handler) -> bool:
        handler.refuse(code, message, headers)
        return True

    return fault


def reset_after(count: int) -> Fault:
    """Says the right length, sends `count` bytes, and breaks the connection."""

    def fault(handler: _Handler) -> bool:
        data = handler.server_storage.objects[handler.key()]
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[:count])
        handler.close_connection = True
        return True

    return fault


def drip(seconds: float) -> Fault:
    """One byte at a time."""

    def fault(handler: _Handler) -> bool:
        data = handler.server_storage.objects[handler.key()]
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        with contextlib.suppress(OSError):
            for byte in data:
                handler.wfile.write(bytes([byte]))
                handler.wfile.flush()
                time.sleep(seconds)
        handler.close_connection = True
        return True

    return fault


def lose_reply(handler: _Handler) -> bool:
    """Does what was asked, and breaks the connection before it answers."""
    if handler.command == "DELETE":
        handler.remove()
    elif handler.command == "POST" and "/list/" not in handler.path:
        handler.store()
    handler.close_connection = True
    return True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    #: Head and body leave in two packets: the second would wait 40 ms for an acknowledgement.
    disable_nagle_algorithm = True

    @property
    def server_storage(self) -> StorageServer:
        storage: StorageServer = self.server.storage  # type: ignore[attr-defined]
        return storage

    def log_message(self, *_: Any) -> None:
        pass

    def _run(self, action: Callable[[], None]) -> None:
        length = int(self.headers.get("Content-Length", 0))
        chunked = self.headers.get("Transfer-Encoding") == "chunked"
        self.body = self._chunks() if chunked else self.rfile.read(length)
        self.server_storage.requests.append(f"{self.command} {self.path}")
        fault = self.server_storage.fault_for(self.command, self.path)
        if fault is None or not fault(self):
            action()

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def key(self) -> tuple[str, str]:
        path = unquote(urlsplit(self.path).path).removeprefix("/storage/v1/object/")
        path = path.removeprefix("authenticated/").removeprefix("info/").removeprefix("list/")
        bucket, _, name = path.partition("/")
        return bucket, name

    def answer(self, data: bytes, kind: str = "application/json", **headers: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def refuse(self, code: int, message: str, headers: dict[str, str] | None = None) -> None:
        data = json.dumps({"statusCode": str(code), "error": "error", "message": message}).encode()
        # As Storage does: 404 inside of a 400.
        self.send_response(400 if code in {404, 409} else code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def store(self) -> bool:
        """False when it may not be there."""
        if not self.server_storage.accepts(*self.key()):
            return False
        boundary = re.search(r"boundary=(\S+)", self.headers["Content-Type"])
        assert boundary
        for part in self.body.split(b"--" + boundary[1].encode()):
            head, _, content = part.partition(b"\r\n\r\n")
            if b'filename="' in head:
                self.server_storage.objects[self.key()] = content.removesuffix(b"\r\n")
                kind = re.search(rb"Content-Type: (\S+)", head)
                assert kind
                self.server_storage.headers.setdefault(self.key(), {})["content-type"] = kind[1].decode()
            elif b'name="cacheControl"' in head:
                value = content.removesuffix(b"\r\n").decode()
                self.server_storage.headers.setdefault(self.key(), {})["cache-control"] = value
        return True

    def do_GET(self) -> None:
        self._run(self._get)

    def _get(self) -> None:
        if self.path == "/storage/v1/bucket":
            self.answer(b"[]")
            return
        data = self.server_storage.objects.get(self.key())
        if data is None:
            self.refuse(404, "Object not found")
        elif "/info/" in self.path:
            self.answer(b"{}")
        else:
            etag = hashlib.md5(data, usedforsecurity=False).hexdigest()
            self.answer(data, "application/octet-stream", ETag=f'"{etag}"')

    def do_POST(self) -> None:
        self._run(self._post)

    def _post(self) -> None:
        if "/list/" in self.path:
            prefix = json.loads(self.body)["prefix"].rstrip("/") + "/"
            bucket = self.key()[0]
            names = [p.removeprefix(prefix) for b, p in self.server_storage.objects if b == bucket]
            entries = [{"name": n, "id": "1"} for n in names if "/" not in n]
            self.answer(json.dumps(entries).encode())
            return
        if self.key() in self.server_storage.objects and self.headers.get("x-upsert") != "true":
            self.refuse(409, "The resource already exists")
            return
        if not self.store():
            self.refuse(403, "new row violates row-level security policy")
            return
        self.answer(json.dumps({"Key": "/".join(self.key()), "Id": "1"}).encode())

    def do_DELETE(self) -> None:
        self._run(self._delete)

    def _delete(self) -> None:
        self.answer(json.dumps([{"name": path} for path in self.remove()]).encode())

    def remove(self) -> list[str]:
        bucket, removed = self.key()[0], []
        for path in json.loads(self.body)["prefixes"]:
            self.server_storage.on_remove(bucket, path)
            if self.server_storage.objects.pop((bucket, path), None) is not None:
                removed.append(path)
        return removed
