"""That this process lives, told to operators every few seconds, also while it has nothing to do."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

import psycopg

from worker.database import Session

log = logging.getLogger(__name__)

#: Seconds between two signs of life.
BEAT_SECONDS = 5.0

_BEAT = "select queue.beat(%s, %s::text[], %s, %s, %s)"
_LEAVE = "select queue.leave(%s)"


class Presence:
    """One row of queue.heartbeats. Nothing rests on it but what operators see: it never raises.

    It lives in the thread of the heartbeat, on its connection.
    """

    def __init__(self, worker: str, threads: int, *, has_broker: bool = False) -> None:
        self._worker = worker
        self._threads = threads
        self._has_broker = has_broker
        self._next = 0.0

    def beat(self, session: Session, queues: Iterable[str], held: int) -> None:
        """Renews the row when it is time."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + BEAT_SECONDS
        given = (self._worker, sorted(queues), self._threads, held, self._has_broker)
        self._tell(session, _BEAT, given)

    def leave(self, session: Session) -> None:
        """Deletes the row, at an orderly end."""
        self._tell(session, _LEAVE, (self._worker,))

    @staticmethod
    def _tell(session: Session, sql: str, parameters: tuple[object, ...]) -> None:
        try:
            session.fetch(sql, parameters)
        except psycopg.errors.UndefinedFunction:
            pass  # a database that is not migrated yet
        except (psycopg.Error, OSError) as error:
            log.debug("sign of life failed: %s", error, extra={"action": "presence_failed"})
