"""Who writes texts of listings. The site's policy names some of PROVIDERS; see README.md.

One more provider: a module with a class that has `fill`, a line in PROVIDERS, tests against a server that speaks
its wire. Operators switch it on in `site_policies.fill_providers`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from worker.fill.base import FillFailedError, FillProvider

__all__ = ["PROVIDERS", "FillProvider", "FillProviders"]


def _local() -> FillProvider:
    from worker.fill.local import LocalFiller  # noqa: PLC0415

    return LocalFiller()


def _openai() -> FillProvider:
    # Its SDK is an optional extra.
    from worker.fill import openai, wire  # noqa: PLC0415

    return openai.OpenAIFiller(wire.Settings.from_env("OPENAI", openai.DEFAULT_MODEL))


def _google() -> FillProvider:
    from worker.fill import google, wire  # noqa: PLC0415

    return google.GoogleFiller(wire.Settings.from_env("GEMINI", google.DEFAULT_MODEL))


PROVIDERS: dict[str, Callable[[], FillProvider]] = {"local": _local, "openai": _openai, "google": _google}

#: The extra that brings a provider's SDK, where it is not called like the provider.
_EXTRAS = {"google": "gemini"}


class FillProviders:
    """The providers of a process, each made when it is first asked for. Thread safe."""

    def __init__(self, providers: dict[str, Callable[[], FillProvider]] | None = None) -> None:
        self._providers = PROVIDERS if providers is None else providers
        self._made: dict[str, FillProvider] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> FillProvider:
        """The provider of that name. Raises FillFailedError when there is none, or it cannot be set up."""
        with self._lock:
            if name not in self._made:
                make = self._providers.get(name)
                if make is None:
                    raise FillFailedError("provider_unknown", f"No worker knows the provider {name}.")
                try:
                    self._made[name] = make()
                except ImportError as error:
                    raise FillFailedError(
                        "provider_missing",
                        f"The provider {name} is not installed here.",
                        detail=f"{error}: install the extra imageledger[{_EXTRAS.get(name, name)}]",
                    ) from error
            return self._made[name]
