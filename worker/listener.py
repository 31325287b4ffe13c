"""LISTEN on a connection of its own. A hint only: without it, polling finds the work."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable

import psycopg

from worker.database import Backoff, Row, connect

log = logging.getLogger(__name__)

CHANNEL = "queue_jobs"


class Listener:
    """Calls `wake(queue)` for each notification, and `wake(None)` after each new connection."""

    def __init__(self, url: str | None, wake: Callable[[str | None], None]) -> None:
        self._url = url
        self._wake = wake
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._connection: psycopg.Connection[Row] | None = None

    def start(self) -> None:
        """Starts listening, once; does nothing without an address."""
        if self._url and self._thread is None:
            self._thread = threading.Thread(target=self._run, args=(self._url,), name="listener", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Ends the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(2)

    def _run(self, url: str) -> None:
        backoff = Backoff(0.2, 10.0)
        while not self._stop.is_set():
            try:
                with contextlib.closing(connect(url, "listener")) as connection:
                    connection.execute(f"listen {CHANNEL}")
                    # What was sent while nobody listened.
                    self._wake(None)
                    backoff.reset()
                    while not self._stop.is_set():
                        for notification in connection.notifies(timeout=0.5):
                            self._wake(notification.payload)
                            if self._stop.is_set():
                                break
            except (psycopg.Error, OSError) as error:
                pause = backoff.next()
                log.warning(
                    "not listening, polling instead: %s",
                    str(error).strip(),
                    extra={"action": "listen_failed", "retry_in": round(pause, 2)},
                )
                self._stop.wait(pause)
