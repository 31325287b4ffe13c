"""What copying a picture can end with."""

from __future__ import annotations

from worker.errors import WorkerError

#: By name, because SDKs bring HTTP libraries of their own.
_NOT_SENT = {
    "ConnectError",
    "ConnectTimeout",
    "PoolTimeout",
    "UnsupportedProtocol",
    "InvalidURL",
    "ProxyError",
}


def was_not_sent(error: BaseException) -> bool:
    """Whether a request certainly never reached the other side: nothing was done there, and nothing paid."""
    return type(error).__name__ in _NOT_SENT


class FetchRefused(WorkerError):  # noqa: N818
    """It cannot be copied as it is; another attempt changes nothing. `code` is stable."""

    retryable = False

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class FetchUnavailable(WorkerError):  # noqa: N818
    """The other side did not answer as it might another time."""
