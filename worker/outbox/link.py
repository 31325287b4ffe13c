"""A worker's end of the wire: a thread a queue that receives ids, and gives back what this worker cannot begin soon."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from worker import metrics
from worker.database import Backoff
from worker.outbox.wire import Inbox, Letter, Wire, WireError

log = logging.getLogger(__name__)

#: A message that waits this long for a free thread goes back to the wire, for others to take.
STALE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Room:
    """What a consumer could begin: how many jobs now, and how many to have on the way."""

    free: int
    prefetch: int


class Link:
    """Receives for one consumer, which asks with `take` and is called back by `wake`."""

    def __init__(self, queue: str, wire: Wire, room: Callable[[], Room], wake: Callable[[], None]) -> None:
        self._queue, self._wire, self._room, self._wake = queue, wire, room, wake
        self._letters: deque[tuple[Letter, float]] = deque()
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._stop = threading.Event()
        self._away_since: float | None = time.monotonic()
        self._heard_at = time.monotonic()
        self._inbox: Inbox | None = None
        self._thread = threading.Thread(target=self._run, name=f"wire {queue}", daemon=True)

    def start(self) -> None:
        """Begins to receive."""
        self._thread.start()

    def stop(self) -> None:
        """Receives nothing more; what was not taken goes to others."""
        self._stop.set()
        self._changed.set()
        if self._thread.is_alive():
            self._thread.join(5)

    @property
    def seconds_away(self) -> float:
        """How long the broker has been away; 0 while it is there."""
        since = self._away_since
        return 0.0 if since is None else time.monotonic() - since

    @property
    def seconds_silent(self) -> float:
        """How long nothing has come while there was room for it."""
        return time.monotonic() - self._heard_at

    def take(self, most: int) -> list[Letter]:
        """Up to so many messages that have come. Whoever takes them acknowledges them or puts them back."""
        with self._lock:
            return [self._letters.popleft()[0] for _ in range(min(most, len(self._letters)))]

    def put_back(self, letters: list[Letter]) -> None:
        """They could not be claimed: the database is away."""
        now = time.monotonic()
        with self._lock:
            self._letters.extendleft((letter, now) for letter in reversed(letters))

    def __len__(self) -> int:
        return len(self._letters)

    def look(self) -> None:
        """There may be room again."""
        self._changed.set()

    def _run(self) -> None:
        backoff = Backoff(0.1, 3.0)
        while not self._stop.is_set():
            try:
                self._receive()
                if self._away_since is None and backoff.reset():
                    log.info("message broker is back", extra={"action": "wire_back", "queue": self._queue})
            except WireError as error:
                self._lose()
                pause = backoff.next()
                log.warning(
                    "message broker is away: %s",
                    error,
                    extra={"action": "wire_away", "queue": self._queue, "retry_in": round(pause, 2)},
                )
                self._stop.wait(pause)
            except Exception:
                # A thread that died would leave this worker deaf.
                self._lose()
                log.exception("receiving failed", extra={"action": "wire_failed", "queue": self._queue})
                self._stop.wait(backoff.next())
        self._close()
        self._wire.reset()

    def _receive(self) -> None:
        """One step: receive, give back, or wait for room."""
        room = self._room()
        if room.free <= 0 or self._inbox is None:
            self._heard_at = time.monotonic()
        if self._is_stale():
            # Nothing is hoarded behind a job that takes long. While there is no room nothing more is received.
            self._close()
        elif room.free <= 0 and self._inbox is None:
            self._changed.wait(0.25)
            self._changed.clear()
        else:
            if self._inbox is not None and not self._letters and room.prefetch > 2 * self._inbox.prefetch:
                self._close()  # jobs turned out to be quick: fetch further ahead
            if self._inbox is None:
                self._inbox = self._wire.receive(self._queue, max(1, room.prefetch))
                self._away_since = None
            letter = self._inbox.next()
            if letter is not None:
                self._heard_at = time.monotonic()
                with self._lock:
                    self._letters.append((letter, time.monotonic()))
                self._wake()

    def _is_stale(self) -> bool:
        with self._lock:
            return bool(self._letters) and self._letters[0][1] < time.monotonic() - STALE_SECONDS

    def _lose(self) -> None:
        if self._away_since is None:
            self._away_since = time.monotonic()
            metrics.WIRE_LOST.labels("worker").inc()
        self._close()
        self._wire.reset()
        self._wake()

    def _close(self) -> None:
        with self._lock:
            unread = [letter for letter, _ in self._letters]
            self._letters.clear()
        inbox, self._inbox = self._inbox, None
        if inbox is not None:
            inbox.close(unread)
