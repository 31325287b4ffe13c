"""Output files that a provider names by address: from its own hosts, of limited size, never from inside."""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Collection
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx

from worker.generation.errors import ProviderError, ProviderFailedError

BYTES_MAX = 64 * 1024 * 1024
REDIRECTS_MAX = 3


def download(
    url: str, target: Path, *, hosts: Collection[str], trusted: Collection[str] = (), seconds: float = 60
) -> None:
    """Writes what lies at `url` to `target`.

    `hosts`: names of the provider, ".example.com" for everything below; https only, public addresses only.
    `trusted`: "host:port" that an operator has named, where neither is asked. Every redirect is checked again.
    Raises ProviderFailedError (`output_not_trusted`, `output_gone`, `output_too_large`); ProviderError when another
    attempt may help.
    """
    deadline = time.monotonic() + seconds
    try:
        # No proxy and no netrc of the environment: neither may carry this elsewhere.
        with httpx.Client(timeout=min(seconds, 20.0), trust_env=False, follow_redirects=False) as client:
            for _ in range(REDIRECTS_MAX + 1):
                _check(url, hosts, trusted)
                with client.stream("GET", url) as answer:
                    if answer.has_redirect_location:
                        url = urljoin(url, answer.headers["location"])
                        continue
                    _write(answer, target, deadline)
                    return
    except (httpx.InvalidURL, UnicodeError) as error:
        raise _not_trusted() from error
    except httpx.HTTPError as error:
        raise ProviderError(f"output: {type(error).__name__}") from error
    raise _not_trusted()


def _check(url: str, hosts: Collection[str], trusted: Collection[str]) -> None:
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError as error:
        raise _not_trusted() from error
    if f"{host}:{port}" in trusted and parts.scheme in {"http", "https"}:
        return
    is_theirs = any(host == name or (name.startswith(".") and host.endswith(name)) for name in hosts)
    if not is_theirs or parts.scheme != "https" or port not in {None, 443} or parts.username is not None:
        raise _not_trusted()
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, 443, type=socket.SOCK_STREAM)}
    except OSError as error:
        raise ProviderError(f"output: {host} cannot be resolved") from error
    if not all(ipaddress.ip_address(address.partition("%")[0]).is_global for address in found):
        raise _not_trusted()


def _write(answer: httpx.Response, target: Path, deadline: float) -> None:
    if answer.status_code in {403, 404, 410}:
        raise ProviderFailedError(
            "output_gone", "The provider has deleted the picture already. Try again.", is_retryable=True
        )
    if answer.status_code != 200:
        raise ProviderError(f"output: HTTP {answer.status_code}")
    size = 0
    with target.open("wb") as file:
        for chunk in answer.iter_bytes():
            size += len(chunk)
            if size > BYTES_MAX:
                raise ProviderFailedError("output_too_large", "The provider sent too large a picture.")
            if time.monotonic() > deadline:
                raise ProviderError("output: too slow")
            file.write(chunk)


def _not_trusted() -> ProviderFailedError:
    return ProviderFailedError(
        "output_not_trusted", "The provider named a picture at an address that is not its own."
    )
