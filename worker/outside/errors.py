"""What copying a picture can end with."""

from __future__ import annotations

from worker.errors import WorkerError


class FetchRefused(WorkerError):  # noqa: N818
    """It cannot be copied as it is; another attempt changes nothing. `code` is stable."""

    retryable = False

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class FetchUnavailable(WorkerError):  # noqa: N818
    """The other side did not answer as it might another time."""
