"""Who looks at photos before buyers do. The site's policy names one of PROVIDERS.

One more provider: a module with a class that has `review`, a line in PROVIDERS, its name in the check of
`site_policies.photo_review_provider`, tests against a server that speaks its wire.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from worker.review.base import Reviewer, ReviewError, Verdict

__all__ = ["PROVIDERS", "ReviewError", "Reviewer", "Reviewers", "Verdict"]


def _disabled() -> Reviewer:
    from worker.review.disabled import DisabledReviewer  # noqa: PLC0415

    return DisabledReviewer()


def _gemini() -> Reviewer:
    # Its SDK is an optional extra.
    from worker.review.gemini import GeminiReviewer, GeminiSettings  # noqa: PLC0415

    return GeminiReviewer(GeminiSettings.from_env())


PROVIDERS: dict[str, Callable[[], Reviewer]] = {"disabled": _disabled, "gemini": _gemini}


class Reviewers:
    """The providers of a process, each made when it is first asked for. Thread safe."""

    def __init__(self, providers: dict[str, Callable[[], Reviewer]] | None = None) -> None:
        self._providers = PROVIDERS if providers is None else providers
        self._made: dict[str, Reviewer] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> Reviewer:
        """The provider of that name. Raises ReviewError when there is none, or it cannot be set up."""
        with self._lock:
            if name not in self._made:
                make = self._providers.get(name)
                if make is None:
                    raise ReviewError(f"no review provider is called {name!r}", retryable=False)
                try:
                    self._made[name] = make()
                except ImportError as error:
                    raise ReviewError(
                        f"{error}: install the extra imageledger[{name}]", retryable=False
                    ) from error
            return self._made[name]
