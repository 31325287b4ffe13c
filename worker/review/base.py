"""What a provider of reviews is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from worker.errors import WorkerError


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the reviewer found. `reason` is for the photo's owner; empty when it is allowed."""

    allowed: bool
    reason: str
    categories: tuple[str, ...] = ()


class Reviewer(Protocol):
    """Looks at one photo. Called by many threads at the same time."""

    def review(self, photo: bytes, mime_type: str) -> Verdict:
        """The verdict. Raises ReviewError when there is none."""


class ReviewError(WorkerError):
    """There is no verdict. The message is for operators, `public` for the photo's owner.

    `retryable`: another attempt of the same job can help; `attempts`: but not more than these.
    """

    def __init__(
        self,
        message: str,
        *,
        public: str = "The photo review is out of order. Try again later.",
        retryable: bool = True,
        attempts: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, retry_after=retry_after)
        self.public = public
        self.retryable = retryable
        self.attempts = attempts
