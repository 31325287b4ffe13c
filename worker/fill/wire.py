"""What the providers on the network share: time limits, and what HTTP errors mean."""

from __future__ import annotations

from collections.abc import Mapping

import httpx

from worker.errors import WorkerError
from worker.fill.base import FillPostponedError, MisconfiguredError, OutcomeUnknownError


def seconds_of(env: Mapping[str, str], name: str, default: float) -> float:
    """A time limit from the environment. Raises MisconfiguredError."""
    try:
        seconds = float(env.get(name, "").strip() or default)
    except ValueError as error:
        raise MisconfiguredError(f"{name} is not a number") from error
    if not 0 < seconds < float("inf"):
        raise MisconfiguredError(f"{name} is not a time")
    return seconds


def from_status(who: str, status: int, text: str, headers: Mapping[str, str]) -> WorkerError:
    """What an HTTP error means. Whoever answers 429 or 503 has not begun; after any other 5xx nobody knows."""
    detail = f"{who}: {status}: {text[:500]}"
    if status in {httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE}:
        return FillPostponedError(detail, retry_after=_retry_after(headers))
    if status == httpx.codes.REQUEST_TIMEOUT or status >= httpx.codes.INTERNAL_SERVER_ERROR:
        return OutcomeUnknownError(detail)
    return MisconfiguredError(detail)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    value = headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        return None
