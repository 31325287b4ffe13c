"""Output files that a provider names by address: from its own hosts, of limited size, never from inside."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from worker.generation.errors import ProviderError, ProviderFailedError
from worker.outside import download as outside
from worker.outside.errors import FetchRefused, FetchUnavailable

BYTES_MAX = 64 * 1024 * 1024


def download(
    url: str, target: Path, *, hosts: Collection[str], trusted: Collection[str] = (), seconds: float = 60
) -> None:
    """Writes what lies at `url` to `target`.

    `hosts`: names of the provider, ".example.com" for everything below; https only, public addresses only.
    `trusted`: "host:port" that an operator has named, where neither is asked. Every redirect is checked again.
    Raises ProviderFailedError (`output_not_trusted`, `output_gone`, `output_too_large`, `no_output`); ProviderError
    when another attempt may help.
    """
    listed = [f"*{name}:443" if name.startswith(".") else f"{name}:443" for name in hosts]
    try:
        outside.download(
            url,
            target,
            hosts=listed,
            schemes=("https",),
            trusted=trusted,
            max_bytes=BYTES_MAX,
            seconds=seconds,
        )
    except FetchUnavailable as error:
        raise ProviderError(f"output: {error}", retry_after=error.retry_after) from error
    except FetchRefused as refused:
        raise _meaning(refused.code) from refused


def _meaning(code: str) -> ProviderError:
    match code:
        case "http_403" | "http_404" | "http_410":
            return ProviderFailedError(
                "output_gone", "The provider has deleted the picture already. Try again.", is_retryable=True
            )
        case "too_large":
            return ProviderFailedError("output_too_large", "The provider sent too large a picture.")
        case "empty":
            return ProviderFailedError("no_output", "The provider made no picture.")
        case "encoded":
            return ProviderError("output: encoded")
        case _ if code.startswith("http_"):
            return ProviderError(f"output: {code}")
    return ProviderFailedError(
        "output_not_trusted", "The provider named a picture at an address that is not its own."
    )
