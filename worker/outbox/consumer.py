"""The consumer of outbox mode: what to claim comes over the wire, all the rest is as without one."""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from worker import metrics
from worker.consumer import QueueConsumer
from worker.database import Row
from worker.jobs import Job
from worker.outbox.link import Link, Room
from worker.outbox.wire import Wire

if TYPE_CHECKING:
    from worker.broker import LedgerBroker

log = logging.getLogger(__name__)

#: With the broker away for so long, jobs are claimed from the table itself: it is the truth, and safe beside the wire.
#: With nothing from it for so long the table is asked too, as often: the relay may be gone, or what it sends refused.
FALL_BACK_SECONDS = 5.0

_CLAIM_PUBLISHED = "select * from queue.claim_published(%s, %s, %s::bigint[], %s, %s::bigint[], %s::uuid[])"


class WireConsumer(QueueConsumer):
    """Claims exactly the jobs that messages name; a message is acknowledged once its job has a lease."""

    def __init__(self, broker: LedgerBroker, queue: str, timeout_ms: int) -> None:
        super().__init__(broker, queue, timeout_ms)
        settings = broker.settings
        wire = Wire(settings.broker_url, settings.broker_namespace)
        self._link = Link(queue, wire, self._room, self.notify)
        self._on_table = False
        self._looked_at, self._found, self._told = 0.0, False, False
        self._link.start()

    def is_wired(self) -> bool:
        return self._link.seconds_away == 0

    def _room(self) -> Room:
        with self._wake:
            waits = self._broker.draining or self._backoff.is_failing
            return Room(free=0 if waits else self._target() - self._held, prefetch=self._ahead())

    def _claim(self, want: int, done: list[Job]) -> list[Row]:
        if self._falls_back():
            return super()._claim(want, done)
        letters = self._link.take(want)
        if want and not letters and self._looks_itself():
            return self._look(want, done)
        if not (letters or done or self._backoff.is_failing):
            return []
        try:
            rows = self._session.fetch(
                _CLAIM_PUBLISHED,
                (
                    self._queue,
                    self._broker.worker_id,
                    [letter.job_id for letter in letters],
                    timedelta(seconds=self._broker.settings.lease_seconds),
                    [job.id for job in done],
                    [job.token for job in done],
                ),
            )
        except Exception:
            self._link.put_back(letters)
            raise
        for letter in letters:
            letter.inbox.acknowledge(letter)
        claimed = sum(row[1] is not None for row in rows)
        count = metrics.WIRE_MESSAGES.labels
        if claimed:
            count(self._queue, "claimed").inc(claimed)
        if len(letters) > claimed:
            count(self._queue, "nothing").inc(len(letters) - claimed)
        if len(self._link):
            self.notify()
        return rows

    def _falls_back(self) -> bool:
        on_table = self._link.seconds_away > FALL_BACK_SECONDS
        if on_table != self._on_table:
            self._on_table = on_table
            log.warning(
                "taking jobs from the table until the message broker is back"
                if on_table
                else "taking jobs from the message broker",
                extra={"action": "fall_back" if on_table else "wire_again", "queue": self._queue},
            )
        return on_table

    def _looks_itself(self) -> bool:
        if self._link.seconds_silent <= FALL_BACK_SECONDS:
            self._found = self._told = False
            return False
        return self._found or time.monotonic() - self._looked_at > FALL_BACK_SECONDS

    def _look(self, want: int, done: list[Job]) -> list[Row]:
        """Whether the table has work that nobody told of; goes on there while it has, and nothing comes."""
        rows = super()._claim(want, done)
        self._looked_at = time.monotonic()
        waits = [row[8] for row in rows if row[1] is not None]
        # One that became due just now may be on its way.
        if waits and not self._told and max(waits) > FALL_BACK_SECONDS / 2:
            self._told = True
            log.warning(
                "the message broker told nothing of jobs that are due: taking them from the table",
                extra={"action": "fall_back", "queue": self._queue},
            )
        self._found = bool(waits)
        return rows

    def _end(self, job: Job, **how: object) -> None:
        super()._end(job, **how)  # type: ignore[arg-type]
        self._link.look()

    def forget(self, jobs: list[Job]) -> None:
        super().forget(jobs)
        self._link.look()

    def close(self) -> None:
        self._link.stop()
        super().close()
