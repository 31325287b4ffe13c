"""Takes jobs of one queue in turns; a turn acknowledges what is done and claims more, in one round trip.

How much a turn claims follows from how long jobs take: enough to keep the threads busy for HORIZON seconds.
Jobs that take long are claimed one for each free thread, so that no other worker waits for what lies here.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import psycopg
from dramatiq.broker import Consumer, MessageProxy
from dramatiq.errors import ActorNotFound, Retry
from dramatiq.middleware import Shutdown

from worker import metrics
from worker.database import Backoff, Row, Session, is_lease_lost
from worker.errors import LeaseLostError
from worker.jobs import Job, JobMessage

if TYPE_CHECKING:
    from worker.broker import LedgerBroker

log = logging.getLogger(__name__)

#: Seconds of work to have in hand, on top of one job for each thread.
HORIZON = 0.025
MOST_PREFETCHED = 256
#: Acknowledgements wait this long for company: the shorter one when threads may be idle.
FLUSH_IDLE, FLUSH_BUSY = 0.002, 0.02
#: Pause for a job whose actor or arguments this worker does not know: a newer worker will.
UNKNOWN_ACTOR_PAUSE = 15.0

_CLAIM = "select * from queue.take(%s, %s, %s, %s, %s::bigint[], %s::uuid[])"
_FAIL = "select queue.fail(%s, %s, %s, %s, %s)"
_DECLINE = "select queue.decline(%s, %s, %s, %s)"


@dataclass(slots=True)
class _Failure:
    job: Job
    error: str
    retryable: bool
    retry_after: timedelta | None
    #: This worker's code cannot make the attempt; it does not count.
    is_unknown: bool = False


class QueueConsumer(Consumer):
    """Consumer of one queue. `__next__` is called by one thread, `ack` and `nack` by all."""

    def __init__(self, broker: LedgerBroker, queue: str, timeout_ms: int) -> None:
        self._broker = broker
        self._queue = queue
        self._timeout = timeout_ms / 1000
        self._session = Session(broker.settings.db_url, f"consumer {queue}")
        self._wake = threading.Condition()
        self._buffer: deque[JobMessage] = deque()
        self._done: list[Job] = []
        self._failures: list[_Failure] = []
        self._first_end_at = 0.0
        self._held = 0
        self._service_seconds: float | None = None
        self._hungry = True
        self._next_poll = 0.0
        self._pause_until = 0.0
        self._backoff = Backoff()

    # What the consumer thread calls.

    def __next__(self) -> MessageProxy | None:
        deadline = time.monotonic() + self._timeout
        while True:
            if self._buffer and not self._broker.draining:
                return self._buffer.popleft()
            with self._wake:
                now = time.monotonic()
                pause = self._seconds_to_turn(now)
                if pause > 0:
                    if now >= deadline:
                        return None
                    self._wake.wait(min(pause, deadline - now))
                    continue
            self._take_turn()

    def _seconds_to_turn(self, now: float) -> float:
        """How long until a turn is worth its round trip; 0 = now. Called with the lock held."""
        if now < self._pause_until:
            return self._pause_until - now
        if not self._hungry and now >= self._next_poll:
            self._hungry = True
        free = 0 if self._broker.draining else self._target() - self._held
        if self._done or self._failures:
            if self._hungry and free >= self._target() // 2:
                return 0
            busy = self._held > 2 * self._broker.settings.threads
            return max(0.0, self._first_end_at + (FLUSH_BUSY if busy else FLUSH_IDLE) - now)
        if self._broker.draining:
            return self._timeout
        if free > 0:
            return 0 if self._hungry else self._next_poll - now
        return self._timeout

    def _target(self) -> int:
        """How many jobs to hold: all queues of this process share its threads, and each may have one."""
        elsewhere = len(self._broker.leases) - self._held
        return max(1, self._ahead() - max(0, elsewhere))

    def _ahead(self) -> int:
        """One job for each thread, and HORIZON seconds of work more."""
        threads = self._broker.settings.threads
        extra = 0
        if self._service_seconds is not None:
            extra = int(HORIZON * threads / max(self._service_seconds, 1e-6))
            extra -= extra % 8
        return min(threads + extra, MOST_PREFETCHED)

    def _take_turn(self) -> None:
        with self._wake:
            done, self._done = self._done, []
            failures, self._failures = self._failures, []
            want = 0
            if self._hungry and not self._broker.draining:
                want = max(0, self._target() - self._held)
            # Notifications from now on mean another look.
            self._hungry = self._hungry and want == 0
        started = time.monotonic()
        lease = self._broker.settings.lease_seconds
        try:
            while failures:
                self._record(failures[0])
                failures.pop(0)
            rows = self._claim(want, done)
        except (psycopg.Error, OSError) as error:
            self._postpone(done, failures, error)
            return

        self._broker.leases.drop(done)
        if self._backoff.reset():
            log.info("database is back", extra={"action": "reconnect", "queue": self._queue})
        if not rows and not want:
            return
        messages = []
        for job_id, actor, args, owner_id, attempt, most, token, _, wait, correlation_id, trace in rows:
            if actor is None:
                log.warning("acknowledged too late", extra={"action": "lease_lost", "job_id": job_id})
                metrics.LEASES_LOST.inc()
                continue
            job = Job(
                job_id,
                self._queue,
                actor,
                owner_id,
                attempt,
                most,
                token,
                started + lease,
                time.monotonic(),
                correlation_id=correlation_id,
                trace_parent=trace,
                wait_seconds=wait,
            )
            messages.append(JobMessage(job, args))
        self._broker.leases.add(message.job for message in messages)
        with self._wake:
            self._held += len(messages)
            self._buffer.extend(messages)
            if want and len(messages) == want:
                self._hungry = True
            elif want:
                jitter = random.uniform(0.9, 1.1)  # noqa: S311 - not for secrecy
                self._next_poll = time.monotonic() + self._broker.settings.poll_seconds * jitter

    def _claim(self, want: int, done: list[Job]) -> list[Row]:
        """Acknowledges what is done, and the rows of up to `want` claimed jobs. Raises psycopg.Error."""
        return self._session.fetch(
            _CLAIM,
            (
                self._queue,
                self._broker.worker_id,
                want,
                timedelta(seconds=self._broker.settings.lease_seconds),
                [job.id for job in done],
                [job.token for job in done],
            ),
        )

    def _postpone(self, done: list[Job], failures: list[_Failure], error: Exception) -> None:
        """The database did not answer: nothing is forgotten, the next turn repeats it all."""
        pause = self._backoff.next()
        with self._wake:
            self._done[:0] = done
            self._failures[:0] = failures
            self._hungry = True
            self._pause_until = time.monotonic() + pause
        log.warning(
            "database is away: %s",
            str(error).strip() or type(error).__name__,
            extra={"action": "turn_failed", "queue": self._queue, "retry_in": round(pause, 2)},
        )

    def _record(self, failure: _Failure) -> None:
        job = failure.job
        try:
            if failure.is_unknown:
                ((state,),) = self._session.fetch(
                    _DECLINE, (job.id, job.token, failure.error, failure.retry_after)
                )
            else:
                ((state,),) = self._session.fetch(
                    _FAIL, (job.id, job.token, failure.error, failure.retryable, failure.retry_after)
                )
        except psycopg.Error as error:
            if not is_lease_lost(error):
                raise
            state = "lost"
        self._broker.leases.drop([job])
        usual = "returned" if failure.is_unknown else "retry"
        metrics.JOBS.labels(job.actor, {"dead": "dead", "lost": "lease_lost"}.get(state, usual)).inc()
        log.log(
            logging.ERROR if state == "dead" else logging.WARNING,
            "attempt failed: %s",
            failure.error,
            extra={"action": "failed", "state": state, **job.log_fields()},
        )

    # What other threads call.

    def is_wired(self) -> bool:
        """Whether it hears of new jobs; there is nothing to miss where the table is asked."""
        return True

    def notify(self) -> None:
        """There may be work."""
        with self._wake:
            self._hungry = True
            self._wake.notify()

    def ack(self, message: MessageProxy) -> None:
        assert isinstance(message, JobMessage)  # noqa: S101 - made by __next__
        job = message.job
        metrics.JOBS.labels(job.actor, "lease_lost" if job.lost and not job.settled else job.outcome).inc()
        if job.settled or job.lost:
            self._broker.leases.drop([job])
            self._end(job)
        else:
            self._end(job, done=True)

    def nack(self, message: MessageProxy) -> None:
        assert isinstance(message, JobMessage)  # noqa: S101 - made by __next__
        job, error = message.job, message.exception
        if job.settled or job.lost or isinstance(error, LeaseLostError) or (error and is_lease_lost(error)):
            log.warning("lease lost", extra={"action": "lease_lost", **job.log_fields()})
            metrics.JOBS.labels(job.actor, "lease_lost").inc()
            self._broker.leases.drop([job])
            self._end(job)
        elif isinstance(error, Shutdown):
            metrics.JOBS.labels(job.actor, "returned").inc()
            self._end(job)
            self._broker.release([job])
        else:
            self._end(job, failure=self._describe(message, error))

    def _end(self, job: Job, *, done: bool = False, failure: _Failure | None = None) -> None:
        now = time.monotonic()
        with self._wake:
            self._held -= 1
            if job.started_at is not None:
                took = now - job.started_at
                metrics.JOB_SECONDS.labels(job.actor).observe(took)
                old = self._service_seconds
                self._service_seconds = took if old is None else old + 0.1 * (took - old)
            first = not (self._done or self._failures)
            if done:
                self._done.append(job)
            if failure:
                self._failures.append(failure)
            if first:
                self._first_end_at = now
            # Only when it changes what the consumer thread waits for.
            if first or (self._hungry and self._held * 2 <= self._target()):
                self._wake.notify()

    def _describe(self, message: JobMessage, error: BaseException | None) -> _Failure:
        retry_after: float | None = getattr(error, "retry_after", None)
        if isinstance(error, Retry) and error.delay is not None:
            retry_after = error.delay / 1000
        is_unknown = isinstance(error, ActorNotFound) or (
            isinstance(error, TypeError) and not self._broker.takes_arguments(message)
        )
        if is_unknown:
            retry_after = UNKNOWN_ACTOR_PAUSE
        text = f"{type(error).__name__}: {error}" if error else "the message was rejected"
        return _Failure(
            job=message.job,
            error=text.replace("\x00", "")[:4000],
            retryable=bool(getattr(error, "retryable", True)),
            retry_after=None if retry_after is None else timedelta(seconds=max(0.0, retry_after)),
            is_unknown=is_unknown,
        )

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        self.forget([message.job for message in messages if isinstance(message, JobMessage)])

    def forget(self, jobs: list[Job]) -> None:
        """Gives back jobs of this queue that were not started."""
        with self._wake:
            self._held -= len(jobs)
            self._wake.notify()
        self._broker.release(jobs)

    def give_back_stale(self, jobs: list[Job], seconds: float) -> None:
        """Gives back jobs that waited so long for a thread: work is slower now, so fetch no more ahead."""
        with self._wake:
            self._service_seconds = max(self._service_seconds or 0.0, seconds)
        self.forget(jobs)

    def drain(self) -> None:
        """Gives back what was claimed and not yet handed out; nothing more is claimed."""
        waiting = []
        while self._buffer:
            waiting.append(self._buffer.popleft().job)
        self.forget(waiting)

    def close(self) -> None:
        self.drain()
        for _ in range(3):
            with self._wake:
                pending = bool(self._done or self._failures)
            if not pending:
                break
            self._take_turn()
            if self._done or self._failures:
                time.sleep(min(1.0, max(0.0, self._pause_until - time.monotonic())))
        self._broker.forget_consumer(self._queue, self)
        self._session.close()
