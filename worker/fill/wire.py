"""What the providers on the network share: settings, and what errors of HTTP and of the connection mean."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx

from worker.errors import WorkerError
from worker.fill.base import FillPostponedError, MisconfiguredError, OutcomeUnknownError
from worker.outside.errors import was_not_sent

SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Settings:
    """A provider's key, address, model, and the time limit of one request."""

    api_key: str = field(repr=False)
    base_url: str | None
    model: str
    seconds: float = SECONDS

    @classmethod
    def from_env(cls, prefix: str, model: str, env: Mapping[str, str] | None = None) -> Settings:
        """<prefix>_API_KEY, _BASE_URL, _FILL_MODEL (default: `model`), _FILL_SECONDS. Raises MisconfiguredError."""
        env = os.environ if env is None else env

        def text(name: str) -> str:
            return env.get(f"{prefix}_{name}", "").strip()

        if not text("API_KEY"):
            raise MisconfiguredError(f"{prefix}_API_KEY is not set")
        try:
            seconds = float(text("FILL_SECONDS") or SECONDS)
        except ValueError as error:
            raise MisconfiguredError(f"{prefix}_FILL_SECONDS is not a number") from error
        if not 0 < seconds < float("inf"):
            raise MisconfiguredError(f"{prefix}_FILL_SECONDS is not a time")
        return cls(text("API_KEY"), text("BASE_URL") or None, text("FILL_MODEL") or model, seconds)


def from_transport(who: str, error: BaseException) -> WorkerError:
    """What a broken connection of a paid request means."""
    detail = f"{who}: {type(error).__name__}: {error}"
    return FillPostponedError(detail) if was_not_sent(error) else OutcomeUnknownError(detail)


def from_status(who: str, status: int, text: str, *, retry_after: float | None) -> WorkerError:
    """What an HTTP error means. Whoever answers 429 or 503 has not begun; after any other 5xx nobody knows."""
    detail = f"{who}: {status}: {text[:500]}"
    if status in {httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE}:
        return FillPostponedError(detail, retry_after=retry_after)
    if status == httpx.codes.REQUEST_TIMEOUT or status >= httpx.codes.INTERNAL_SERVER_ERROR:
        return OutcomeUnknownError(detail)
    return MisconfiguredError(detail)
