"""A leased job inside a worker process, and the book of all that are held."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from dramatiq import Message
from dramatiq.broker import MessageProxy
from dramatiq.middleware import CurrentMessage

from worker import tracing
from worker.errors import WorkerError


@dataclass(slots=True, eq=False)
class Job:
    """One attempt at a job. Times are time.monotonic() seconds."""

    id: int
    queue: str
    actor: str
    owner_id: UUID | None
    attempt: int
    max_attempts: int
    token: UUID
    leased_until: float
    received_at: float
    started_at: float | None = None
    #: The actor has ended the job itself, in the transaction of its effects.
    settled: bool = False
    #: How the attempt ended, for metrics, when it did not fail: succeeded, or parked for later.
    outcome: str = "succeeded"
    #: The database says that the lease is gone.
    lost: bool = False
    #: The request that led to it, and its span as a W3C traceparent.
    correlation_id: str | None = None
    trace_parent: str | None = None
    #: How long it was due before it was claimed.
    wait_seconds: float = 0.0
    #: Ends the span of this attempt, where one was begun.
    end_span: Callable[[BaseException | None], None] | None = None

    def log_fields(self) -> dict[str, Any]:
        """What a log line about this job carries."""
        return {
            "job_id": self.id,
            "actor": self.actor,
            "owner_id": str(self.owner_id) if self.owner_id else None,
            "attempt": self.attempt,
            "correlation_id": self.correlation_id,
        }


class JobMessage(MessageProxy):
    """The dramatiq message of a job."""

    def __init__(self, job: Job, args: dict[str, Any]) -> None:
        super().__init__(
            Message(
                queue_name=job.queue,
                actor_name=job.actor,
                args=(),
                kwargs=args,
                options={"job_id": job.id, "lease_token": str(job.token), "attempt": job.attempt},
                message_id=str(job.id),
                message_timestamp=0,
            )
        )
        self.job = job

    @property
    def exception(self) -> BaseException | None:
        """What the actor raised."""
        return self._exception


def job_at_hand() -> Job | None:
    """The job that this thread works on, if it does."""
    message: object = CurrentMessage.get_current_message()
    return message.job if isinstance(message, JobMessage) else None


def current_job() -> Job:
    """The job that this thread works on. Raises WorkerError outside of an actor."""
    job = job_at_hand()
    if job is None:
        raise WorkerError("no job is being worked on in this thread")
    return job


def origin() -> tuple[str | None, str | None]:
    """Correlation id and W3C traceparent of what this thread does now, for whatever it leads to."""
    job = job_at_hand()
    if job is None:
        return None, tracing.parent()
    return job.correlation_id, tracing.parent() or job.trace_parent


@dataclass(slots=True)
class LeaseBook:
    """All jobs that this process holds a lease of. Thread safe."""

    _jobs: dict[UUID, Job] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, jobs: Iterable[Job]) -> None:
        """Notes newly claimed jobs."""
        with self._lock:
            self._jobs.update((job.token, job) for job in jobs)

    def drop(self, jobs: Iterable[Job]) -> None:
        """Forgets jobs that are ended, given back or lost."""
        with self._lock:
            for job in jobs:
                self._jobs.pop(job.token, None)

    def held(self) -> list[Job]:
        """The jobs held now."""
        with self._lock:
            return list(self._jobs.values())

    def __len__(self) -> int:
        return len(self._jobs)
