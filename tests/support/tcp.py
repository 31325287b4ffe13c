"""A TCP proxy in front of a database or a server, which can be cut or fall silent."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from typing import Any

from psycopg.conninfo import conninfo_to_dict, make_conninfo


class Proxy:
    """Context manager. `url` is the database address through the proxy, which listens at `host`."""

    def __init__(self, db_url: str, host: str = "127.0.0.1") -> None:
        self._target = conninfo_to_dict(db_url)
        self._listener = socket.create_server((host, 0))
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._open = threading.Event()
        self._open.set()
        self._refusing = self._closed = False
        port = self._listener.getsockname()[1]
        self.url = make_conninfo(**(self._target | {"host": host, "port": port}))

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._closed = True
        self._open.set()
        self._listener.close()
        self._drop()

    def cut(self) -> None:
        """All connections break, new ones are refused."""
        self._refusing = True
        self._drop()

    def pause(self) -> None:
        """Nothing comes through any more, in either direction, and nobody is told."""
        self._open.clear()

    def heal(self) -> None:
        self._refusing = False
        self._open.set()

    def _drop(self) -> None:
        for pair in self._pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        self._pairs.clear()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
                if self._refusing:
                    client.close()
                    continue
                server = socket.create_connection((str(self._target["host"]), int(self._target["port"])))
            except OSError:
                continue
            self._pairs.append((client, server))
            threading.Thread(target=self._pump, args=(client, server), daemon=True).start()

    def _pump(self, client: socket.socket, server: socket.socket) -> None:
        other = {client: server, server: client}
        with selectors.DefaultSelector() as selector, client, server:
            for end in other:
                selector.register(end, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    end: Any = key.fileobj
                    try:
                        data = end.recv(65536)
                        self._open.wait()
                        if not data:
                            return
                        other[end].sendall(data)
                    except OSError:
                        return


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
