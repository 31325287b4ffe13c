"""The exceptions of the worker: one tree. What is raised decides what becomes of the job."""

from __future__ import annotations


class WorkerError(Exception):
    """Base of all. `retryable`: whether another attempt can help; `retry_after`: the pause wanted, in s."""

    retryable = True

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ConfigError(WorkerError):
    """A setting is missing or makes no sense."""

    retryable = False


class LeaseLostError(WorkerError):
    """Another worker may have the job by now: nothing of this attempt may take effect."""

    retryable = False


class LedgerBusyError(WorkerError):
    """Somebody else is changing the rows that the job is about: later."""


class PermanentError(WorkerError):
    """The job can never succeed: it ends dead at once."""

    retryable = False


class StorageError(WorkerError):
    """Storage did not do what was asked: refused, out of order, too slow, or the connection broke."""

    def __init__(self, message: str, *, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message, retry_after=retry_after)
        self.status = status


class ObjectMissingError(StorageError):
    """There is no object at that path."""


class ObjectChangedError(StorageError):
    """The object is not the one that the ledger describes (length, ETag): it was or is being replaced."""
