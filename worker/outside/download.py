"""Copies the bytes behind an address into a file: checked addresses only, bounded in size, time and redirects.

Nothing is followed or decoded on trust: the name is resolved once and the connection goes to the address that was
checked (no second look-up in between), each redirect is checked like the first address, proxies and cookies of the
environment are not used, and the bytes are taken as they come.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from urllib.parse import urljoin

import httpx

from worker.outside.addresses import Network, Target, resolve
from worker.outside.errors import FetchRefused, FetchUnavailable
from worker.outside.retry_after import retry_after

REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LATER = frozenset({408, 425, 429})


def download(
    url: str,
    target: Path,
    *,
    hosts: Sequence[str],
    networks: Sequence[Network] = (),
    schemes: Collection[str] = ("http", "https"),
    trusted: Collection[str] = (),
    max_bytes: int,
    seconds: float = 60.0,
) -> int:
    """Streams the picture into `target`; its size in bytes. See `resolve` for what may be asked.

    Raises FetchRefused (scheme_refused, host_refused, address_refused, url_invalid, too_many_redirects, http_<status>,
    too_large, encoded, empty) and FetchUnavailable for what may pass: timeouts, 5xx, 429, broken connections.
    """
    deadline = time.monotonic() + seconds
    for _ in range(REDIRECTS + 1):
        checked = resolve(url, hosts, networks, schemes=schemes, trusted=trusted)
        try:
            # A client each: no connection of one host is ever used for another.
            with (
                httpx.Client(
                    trust_env=False,
                    follow_redirects=False,
                    verify=ssl.create_default_context() if checked.scheme == "https" else False,
                    timeout=httpx.Timeout(min(15.0, seconds), connect=5.0),
                ) as client,
                client.stream(
                    "GET",
                    _connect_url(checked),
                    headers={"Host": checked.authority, "Accept": "image/*", "Accept-Encoding": "identity"},
                    extensions={"sni_hostname": checked.host},
                ) as response,
            ):
                if response.status_code in _REDIRECTS and "location" in response.headers:
                    url = urljoin(url, response.headers["location"])
                    continue
                _check(response, max_bytes)
                return _store(response, target, max_bytes, deadline)
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            raise FetchUnavailable(f"{checked.host}: {type(error).__name__}: {error}") from error
        except (httpx.InvalidURL, ValueError, UnicodeError) as error:
            raise FetchRefused("url_invalid", "the address cannot be read.") from error
    raise FetchRefused("too_many_redirects", f"it leads on more than {REDIRECTS} times.")


def _connect_url(checked: Target) -> str:
    address = f"[{checked.address}]" if ":" in checked.address else checked.address
    return f"{checked.scheme}://{address}:{checked.port}{checked.target}"


def _check(response: httpx.Response, max_bytes: int) -> None:
    status = response.status_code
    if status >= 500 or status in _LATER:
        raise FetchUnavailable(f"{status} from the server", retry_after=retry_after(response.headers))
    if status != httpx.codes.OK:
        raise FetchRefused(f"http_{status}", f"the server answered {status}.")
    if response.headers.get("content-encoding", "identity") != "identity":
        raise FetchRefused("encoded", "the server compressed the picture though it was not asked to.")
    length = response.headers.get("content-length", "")
    if length.isdigit() and int(length) > max_bytes:
        raise FetchRefused("too_large", f"it has {length} bytes, more than the limit of {max_bytes}.")


def _store(response: httpx.Response, target: Path, max_bytes: int, deadline: float) -> int:
    size = 0
    with target.open("wb") as file:
        for chunk in response.iter_raw():
            size += len(chunk)
            if size > max_bytes:
                raise FetchRefused("too_large", f"it has more bytes than the limit of {max_bytes}.")
            if time.monotonic() > deadline:
                raise FetchUnavailable("it took too long")
            file.write(chunk)
    if size == 0:
        raise FetchRefused("empty", "it has no bytes.")
    return size
