"""A leased job inside a worker process, and the book of all that are held."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from dramatiq import Message
from dramatiq.broker import MessageProxy
from dramatiq.middleware import CurrentMessage

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

    def log_fields(self) -> dict[str, Any]:
        """What a log line about this job carries."""
        return {
            "job_id": self.id,
            "actor": self.actor,
            "owner_id": str(self.owner_id) if self.owner_id else None,
            "attempt": self.attempt,
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


def current_job() -> Job:
    """The job that this thread works on. Raises WorkerError outside of an actor."""
    message: object = CurrentMessage.get_current_message()
    if not isinstance(message, JobMessage):
        raise WorkerError("no job is being worked on in this thread")
    return message.job


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
