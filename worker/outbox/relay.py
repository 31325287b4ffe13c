"""The relay: takes the ids of due jobs, in the order of claims, from the table to the wire.

Every worker has one, and `imageledger relay` is one by itself; one of them leads, the others stand by. Whatever
happens to it, or to what it has sent, costs time and never a job: the table knows what nobody has begun.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from datetime import timedelta

import psycopg

from worker import metrics
from worker.config import Settings
from worker.database import Backoff, Session
from worker.listener import Listener
from worker.outbox.wire import Wire, WireError

log = logging.getLogger(__name__)

#: Seconds between two looks while there is more than may be on the wire; longer while workers take nothing of it.
LOOK_SECONDS, MOST_LOOK_SECONDS = 0.02, 0.25
#: On the wire at a time: two jobs a thread, and what is taken in so many seconds; never fewer than LEAST.
AHEAD_SECONDS = 0.1
LEAST = 8
MOST_LEASE_SECONDS = 5.0
#: Weight of the newest look, so that one slow job does not close the window.
_SMOOTH = 0.2

_LEAD = "select queue.lead_relay(%s, %s)"
_OUTBOX = "select * from queue.outbox()"
_PUBLISH = "select * from queue.publish(%s, %s, %s, %s)"
_RETRACT = "select queue.retract(%s::bigint[])"


@dataclass(slots=True)
class Pace:
    """How quickly workers take what is published of one queue."""

    per_second: float = 0.0
    waiting: int = 0
    looked_at: float = 0.0

    def look(self, waiting: int) -> None:
        """So many wait now."""
        now = time.monotonic()
        if self.looked_at:
            rate = max(0, self.waiting - waiting) / max(now - self.looked_at, 1e-3)
            self.per_second += _SMOOTH * (rate - self.per_second)
        self.looked_at, self.waiting = now, waiting

    def window(self, threads: int, most: int) -> int:
        """How many to have on the wire."""
        return min(most, max(LEAST, 2 * threads + int(self.per_second * AHEAD_SECONDS)))


class Relay:
    """A thread. `is_turning` and `is_leading` are for health."""

    def __init__(self, settings: Settings, worker_id: str) -> None:
        self._settings, self._worker = settings, worker_id
        self._lease = min(MOST_LEASE_SECONDS, settings.lease_seconds)
        self._session = Session(settings.db_url, "relay")
        self._wire = Wire(settings.broker_url, settings.broker_namespace)
        self._listener: Listener | None = None
        self._stop, self._work = threading.Event(), threading.Event()
        self._paces: dict[str, Pace] = {}
        self._turned_at = time.monotonic()
        self._is_away = False
        self.is_leading = False
        self._ask_at, self._look = 0.0, LOOK_SECONDS
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)

    def start(self) -> None:
        """Begins to lead, or to stand by."""
        self._thread.start()

    def stop(self) -> None:
        """Hands over to another at once."""
        self._stop.set()
        self._work.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def is_turning(self) -> bool:
        """Whether it goes round; a look takes no longer than database and broker may be silent."""
        return time.monotonic() - self._turned_at < 60

    def has_wire(self) -> bool:
        """Whether the last message could be sent."""
        return not self._is_away

    def _run(self) -> None:
        backoff = Backoff(0.1, 3.0)
        while not self._stop.is_set():
            self._turned_at = time.monotonic()
            try:
                pause = self._turn()
                if self._is_away:
                    self._is_away = False
                    log.info("message broker is back", extra={"action": "wire_back"})
                backoff.reset()
            except WireError as error:
                if not self._is_away:
                    metrics.WIRE_LOST.labels("relay").inc()
                self._is_away = True
                pause = backoff.next()
                log.warning(
                    "message broker is away: %s",
                    error,
                    extra={"action": "wire_away", "retry_in": round(pause, 2)},
                )
            except (psycopg.Error, OSError) as error:
                pause = backoff.next()
                log.warning("relay failed: %s", error, extra={"action": "relay_failed"})
            except Exception:
                pause = backoff.next()
                log.exception("relay failed", extra={"action": "relay_failed"})
            self._work.wait(pause)
            self._work.clear()
        self._leave()

    def _turn(self) -> float:
        """One look at all queues; answers the seconds until the next."""
        if not self._lead():
            return self._lease / 2
        count, is_full = 0, False
        for queue, published, threads in self._session.fetch(_OUTBOX):
            sent, fills = self._publish(queue, published, threads)
            count, is_full = count + sent, is_full or fills
        if not is_full:
            return min(self._settings.poll_seconds, self._lease / 3)
        self._look = LOOK_SECONDS if count else min(2 * self._look, MOST_LOOK_SECONDS)
        return self._look

    def _publish(self, queue: str, published: int, threads: int) -> tuple[int, bool]:
        """Fills the window of one queue; how many were sent, and whether there may be more than fits."""
        pace = self._paces.setdefault(queue, Pace())
        pace.look(published)
        on_wire = self._wire.depth(queue)
        window = pace.window(threads, self._settings.broker_window)
        room = window - max(published, on_wire)
        rows = self._session.fetch(
            _PUBLISH,
            (
                queue,
                max(0, room),
                timedelta(seconds=self._settings.broker_republish_seconds),
                on_wire >= published,
            ),
        )
        try:
            self._wire.send(queue, rows)
        except WireError:
            self._session.fetch(_RETRACT, ([job_id for job_id, _ in rows],))
            raise
        pace.waiting += len(rows)
        if rows:
            metrics.PUBLISHED.labels(queue).inc(len(rows))
        return len(rows), len(rows) >= room

    def _lead(self) -> bool:
        now = time.monotonic()
        if self.is_leading and now < self._ask_at:
            return True
        ((leads,),) = self._session.fetch(_LEAD, (self._worker, timedelta(seconds=self._lease)))
        self._ask_at = now + self._lease / 3
        if leads != self.is_leading:
            self.is_leading = leads
            log.info("relay leads" if leads else "relay stands by", extra={"action": "relay", "leads": leads})
        if leads and self._listener is None:
            self._listener = Listener(self._settings.listen_url, lambda _: self._work.set())
            self._listener.start()
        elif not leads and self._listener is not None:
            self._listener.stop()
            self._listener = None
        return bool(leads)

    def _leave(self) -> None:
        if self._listener is not None:
            self._listener.stop()
        try:
            if self.is_leading:
                self._session.fetch(_LEAD, (self._worker, timedelta(0)))
        except (psycopg.Error, OSError) as error:
            log.debug("could not hand over: %s", error)
        self._session.close()
        self._wire.reset()
