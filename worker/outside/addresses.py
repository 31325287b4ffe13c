"""Which addresses the worker may connect to. The host's name is one question, the address that it has now another.

Only hosts that were listed (`legacy.fetch_hosts`, or a provider's own), and never an address that is not of the
public internet: a name on the list can be made to point into the private network. `LEGACY_FETCH_NETWORKS` names
networks that are allowed all the same, such as a store of one's own at 10.0.0.0/8; it is the worker's environment,
which no row of the database can change.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from worker.errors import ConfigError
from worker.outside.errors import FetchRefused, FetchUnavailable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_PORTS = {"http": 80, "https": 443}
#: IPv6 prefixes in which an IPv4 address is written, and where it begins (RFC 6052, RFC 8215).
_NAT64 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))


@dataclass(frozen=True, slots=True)
class Target:
    """A checked address: connect to `address` and `port`, speak to `host`."""

    scheme: str
    host: str
    port: int
    address: str
    #: Path and query as they are to be sent.
    target: str

    @property
    def authority(self) -> str:
        """What the header Host says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def networks_from_env(env: Mapping[str, str] | None = None) -> tuple[Network, ...]:
    """LEGACY_FETCH_NETWORKS, comma-separated. Raises ConfigError."""
    text = (os.environ if env is None else env).get("LEGACY_FETCH_NETWORKS", "")
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ConfigError(f"LEGACY_FETCH_NETWORKS: {error}") from None


def is_public(address: Address) -> bool:
    """Whether the address is one of the public internet, also when an IPv4 one is written as IPv6."""
    if isinstance(address, ipaddress.IPv6Address):
        if any(address in network for network in _NAT64):
            return False
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is not None:
            return is_public(inner)
        # ::a.b.c.d, deprecated, but stacks still route it.
        if int(address) >> 32 == 0:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def resolve(
    url: str,
    hosts: Sequence[str],
    networks: Sequence[Network],
    *,
    schemes: Collection[str] = ("http", "https"),
    trusted: Collection[str] = (),
) -> Target:
    """The one address to connect to. `trusted`: "host:port" that an operator has named, where no more is asked.

    Raises FetchRefused (scheme_refused, host_refused, address_refused, url_invalid), FetchUnavailable when the name
    cannot be resolved now.
    """
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        raise FetchRefused("url_invalid", "the address cannot be read.") from None
    if parts.scheme not in _PORTS:
        raise FetchRefused("scheme_refused", "only http and https addresses are copied.")
    is_trusted = f"{host}:{port}" in trusted
    if parts.scheme not in schemes and not is_trusted:
        raise FetchRefused("scheme_refused", f"{parts.scheme} is not taken from here.")
    if parts.username is not None or parts.password is not None:
        raise FetchRefused("url_invalid", "the address contains a password.")
    port = port or _PORTS[parts.scheme]
    if not host or not (is_trusted or is_listed(host, port, hosts)):
        raise FetchRefused("host_refused", f"the host {host or '(none)'} is not on the list.")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise FetchUnavailable(f"{host} cannot be resolved: {error}") from error
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    for address in addresses:
        # All of them: a name that has a private address too is not one to trust.
        if not (is_trusted or is_public(address) or any(address in network for network in networks)):
            raise FetchRefused("address_refused", f"the host {host} has an address that is not public.")
    path = parts.path or "/"
    return Target(
        parts.scheme, host, port, str(addresses[0]), f"{path}?{parts.query}" if parts.query else path
    )


def is_listed(host: str, port: int, hosts: Sequence[str]) -> bool:
    """`cdn.example.com` is that host at 80 and 443, `*.example.com` what is below it, `:port` another port."""
    for entry in hosts:
        name, _, wanted = entry.partition(":")
        ports = (int(wanted),) if wanted else tuple(_PORTS.values())
        fits = host.endswith(name[1:]) if name.startswith("*.") else host == name
        if fits and port in ports:
            return True
    return False
