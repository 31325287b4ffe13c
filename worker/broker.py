"""A dramatiq broker on the table queue.jobs.

Actors, threads, time limits and shutdown are dramatiq's own. Retries, delays, priorities and dead letters are
the queue's: the Retries middleware is left out, delayed messages are scheduled rows.
"""

from __future__ import annotations

import inspect
import logging
import threading
import time
from collections import defaultdict
from datetime import timedelta
from queue import Empty
from typing import Any

import dramatiq
import psycopg
from dramatiq.broker import Broker, Consumer, MessageProxy
from dramatiq.errors import ConnectionFailed, QueueNotFound
from dramatiq.middleware import (
    AgeLimit,
    Callbacks,
    CurrentMessage,
    Middleware,
    Pipelines,
    ShutdownNotifications,
    SkipMessage,
    TimeLimit,
)
from psycopg.types.json import Jsonb
from psycopg_pool import PoolTimeout

from worker import metrics, tracing
from worker.config import Settings
from worker.consumer import QueueConsumer
from worker.database import TRANSIENT, Backoff, Session, open_pool
from worker.identity import worker_identity
from worker.jobs import Job, JobMessage, LeaseBook, origin
from worker.listener import Listener
from worker.outbox.consumer import WireConsumer
from worker.presence import Presence

log = logging.getLogger(__name__)

#: A claimed job that no thread has begun after this many seconds goes back, for other workers to take.
STALE_SECONDS = 1.0

_SEND = "select queue.send(%s, %s, %s, %s, %s::smallint, %s, %s, %s, %s, %s)"
_EXTEND = "select queue.extend(%s::bigint[], %s::uuid[], %s)"
_RELEASE = "select queue.release(%s::bigint[], %s::uuid[])"


class LedgerBroker(Broker):
    """Broker on PostgreSQL. Every process makes its own, after any fork.

    Messages may carry the options owner_id, dedupe_key, max_attempts and priority. `actor.send` arguments
    become the named arguments of the job, so they must be JSON.
    """

    def __init__(self, settings: Settings, *, middleware: list[Middleware] | None = None) -> None:
        if middleware is None:
            middleware = [
                AgeLimit(),
                TimeLimit(time_limit=settings.job_seconds * 1000),
                ShutdownNotifications(),
                Callbacks(),
                Pipelines(),
                CurrentMessage(),
            ]
        super().__init__([*middleware, _Bookkeeping()])
        self.settings = settings
        self.worker_id = worker_identity()
        self.leases = LeaseBook()
        self.draining = False
        self.pool = open_pool(settings.db_url, "worker", settings.threads + 2)
        self._consumers: dict[str, QueueConsumer] = {}
        self._worker: dramatiq.Worker | None = None
        self._listener = Listener(settings.listen_url, self.wake)
        self._heart: threading.Thread | None = None
        self._stop_heart = threading.Event()
        self._beat_at = time.monotonic()

    # dramatiq's interface.

    def declare_queue(self, queue_name: str) -> None:
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues[queue_name] = None
            self.emit_after("declare_queue", queue_name)

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 30000) -> Consumer:  # noqa: ARG002
        if queue_name not in self.queues:
            raise QueueNotFound(queue_name)  # type: ignore[no-untyped-call]
        consumer: QueueConsumer
        if self.settings.broker_url:
            consumer = WireConsumer(self, queue_name, timeout)
        else:
            self._listener.start()
            consumer = QueueConsumer(self, queue_name, timeout)
        self._consumers[queue_name] = consumer
        return consumer

    def enqueue(self, message: dramatiq.Message[Any], *, delay: int | None = None) -> dramatiq.Message[Any]:
        """Adds a job. Raises ConnectionFailed when the database is away; then it may have been added."""
        self.emit_before("enqueue", message, delay)
        options = message.options
        try:
            with self.pool.connection() as connection:
                row = connection.execute(
                    _SEND,
                    (
                        message.actor_name,
                        Jsonb(self._named_arguments(message)),
                        options.get("owner_id"),
                        message.queue_name,
                        options.get("priority", 0),
                        None if delay is None else timedelta(milliseconds=delay),
                        options.get("dedupe_key"),
                        options.get("max_attempts") or self._actor_option(message.actor_name, "max_attempts"),
                        *origin(),
                    ),
                ).fetchone()
        except (*TRANSIENT, PoolTimeout) as error:
            raise ConnectionFailed(str(error)) from error  # type: ignore[no-untyped-call]
        job_id = row[0] if row else None
        sent = message.copy(message_id=str(job_id), options={"job_id": job_id})
        self.emit_after("enqueue", sent, delay)
        return sent

    def close(self) -> None:
        self._stop_heart.set()
        self._listener.stop()
        if self._heart is not None:
            self._heart.join(5)
        self.pool.close(timeout=5)

    def _actor_option(self, actor_name: str, name: str) -> Any:
        actor = self.actors.get(actor_name)
        return actor.options.get(name) if actor else None

    def _named_arguments(self, message: dramatiq.Message[Any]) -> dict[str, Any]:
        if not message.args:
            return message.kwargs
        signature = inspect.signature(self.get_actor(message.actor_name).fn)
        return dict(signature.bind(*message.args, **message.kwargs).arguments)

    def takes_arguments(self, message: dramatiq.broker.MessageProxy) -> bool:
        """Whether this worker's actor can be called with a message's arguments, by their names."""
        try:
            inspect.signature(self.get_actor(message.actor_name).fn).bind(*message.args, **message.kwargs)
        except TypeError:
            return False
        return True

    # Leases.

    def wake(self, queue_name: str | None = None) -> None:
        """There may be work in a queue, or (None) in any."""
        for name, consumer in list(self._consumers.items()):
            if queue_name is None or name == queue_name:
                consumer.notify()

    def forget_consumer(self, queue_name: str, consumer: QueueConsumer) -> None:
        """A consumer was closed; dramatiq makes a new one when it goes on."""
        if self._consumers.get(queue_name) is consumer:
            del self._consumers[queue_name]

    def release(self, jobs: list[Job]) -> None:
        """Gives jobs back; the attempt does not count. With the database away, the leases run out instead."""
        self.leases.drop(jobs)
        mine = [job for job in jobs if not (job.lost or job.settled)]
        if not mine:
            return
        try:
            with self.pool.connection(timeout=3) as connection:
                connection.execute(_RELEASE, ([job.id for job in mine], [job.token for job in mine]))
        except (psycopg.Error, PoolTimeout) as error:
            log.warning(
                "could not give back %s jobs: %s", len(mine), error, extra={"action": "release_failed"}
            )
            return
        log.info("gave back %s jobs", len(mine), extra={"action": "release", "count": len(mine)})

    def drain(self) -> None:
        """Claims nothing more, and gives back at once whatever no thread has begun."""
        self.draining = True
        for consumer in list(self._consumers.values()):
            consumer.drain()
        self._give_back(older_than=0)

    def give_back_running(self) -> int:
        """After the grace time: gives back what is still running. Its effects are refused from then on."""
        jobs = [job for job in self.leases.held() if not job.settled]
        self.release(jobs)
        return len(jobs)

    def attach(self, worker: dramatiq.Worker) -> None:
        """Starts the heartbeat for a worker of this process."""
        self._worker = worker
        self._heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._heart.start()

    def is_beating(self) -> bool:
        """Whether the heartbeat goes round; it may take as long as a lease, when the database is slow to answer."""
        return time.monotonic() - self._beat_at < max(60.0, 2 * self.settings.lease_seconds)

    def is_wired(self) -> bool:
        """Whether messages come, in outbox mode; without it there is nothing to miss."""
        return all(consumer.is_wired() for consumer in list(self._consumers.values()))

    def _give_back(self, *, older_than: float) -> None:
        """Takes messages that wait longer than older_than seconds out of dramatiq's queue again."""
        if self._worker is None:
            return
        queue, taken = self._worker.work_queue, []
        try:
            while True:
                taken.append(queue.get_nowait())
        except Empty:
            pass
        before = time.monotonic() - older_than
        stale: dict[str, list[Job]] = defaultdict(list)
        for item in taken:
            job = item.message.job if isinstance(item.message, JobMessage) else None
            if job is None or job.received_at > before:
                queue.put(item)
            else:
                stale[job.queue].append(job)
            queue.task_done()
        for name, jobs in stale.items():
            consumer = self._consumers.get(name)
            if consumer is not None:
                consumer.give_back_stale(jobs, older_than)
            else:
                self.release(jobs)

    def _beat(self) -> None:
        """Renews all leases every third of their length; looks for stale messages every second."""
        session, backoff = Session(self.settings.db_url, "heartbeat"), Backoff(0.2, 2.0)
        lease = self.settings.lease_seconds
        next_beat = time.monotonic() + lease / 3
        has_broker = bool(self.settings.broker_url)
        presence = Presence(self.worker_id, self.settings.threads, has_broker=has_broker)
        while not self._stop_heart.wait(min(STALE_SECONDS, lease / 6)):
            self._give_back(older_than=STALE_SECONDS)
            presence.beat(session, self._consumers, len(self.leases))
            now = self._beat_at = time.monotonic()
            if now < next_beat:
                continue
            held = [job for job in self.leases.held() if not job.settled]
            next_beat = now + lease / 3
            if not held:
                continue
            try:
                rows = session.fetch(
                    _EXTEND, ([j.id for j in held], [j.token for j in held], timedelta(seconds=lease))
                )
            except (psycopg.Error, OSError) as error:
                next_beat = now + backoff.next()
                log.warning("heartbeat failed: %s", error, extra={"action": "heartbeat_failed"})
                continue
            backoff.reset()
            lost = {row[0] for row in rows}
            for job in held:
                if job.id not in lost:
                    job.leased_until = now + lease
                elif job in self.leases.held() and not job.settled:
                    # Else it was ended while the heartbeat was under way.
                    job.lost = True
                    metrics.LEASES_LOST.inc()
                    log.warning("lease lost", extra={"action": "lease_lost", **job.log_fields()})
        presence.leave(session)
        session.close()


class _Bookkeeping(Middleware):
    """Ties dramatiq's signals to the leases."""

    @property
    def actor_options(self) -> set[str]:
        return {"max_attempts", "throws"}

    def before_worker_boot(self, broker: Broker, worker: dramatiq.Worker) -> None:
        assert isinstance(broker, LedgerBroker)  # noqa: S101
        broker.attach(worker)

    def before_worker_shutdown(self, broker: Broker, worker: dramatiq.Worker) -> None:  # noqa: ARG002
        assert isinstance(broker, LedgerBroker)  # noqa: S101
        broker.drain()

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:  # noqa: ARG002
        if isinstance(message, JobMessage):
            job = message.job
            now = time.monotonic()
            if job.lost or now > job.leased_until:
                # The process slept (or was stopped) beyond the lease: somebody else has the job.
                job.lost = True
                raise SkipMessage(f"lease of job {job.id} is lost")
            job.started_at = now
            job.end_span = tracing.job(job)

    def after_process_message(
        self,
        broker: Broker,  # noqa: ARG002
        message: MessageProxy,
        *,
        result: Any = None,  # noqa: ARG002
        exception: BaseException | None = None,
    ) -> None:
        if isinstance(message, JobMessage) and message.job.end_span is not None:
            message.job.end_span(exception)
            message.job.end_span = None
        if exception is not None:
            # Without this dramatiq acknowledges a message that failed.
            message.fail()
