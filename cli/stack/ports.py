"""Which ports the stack listens on: Supabase's usual ones when they are free, the same ones at each start."""

from __future__ import annotations

import socket
from dataclasses import asdict, dataclass, replace
from typing import Any

from cli.errors import CliError

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Ports:
    """0 stands for: not chosen yet. `rest` and `rest_admin` are PostgREST's, on loopback only."""

    api: int = 0
    db: int = 0
    rest: int = 0
    rest_admin: int = 0

    @classmethod
    def from_dict(cls, data: Any) -> Ports:
        names = cls.__dataclass_fields__
        return cls(**{name: int(data[name]) for name in names if isinstance(data, dict) and name in data})

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


PREFERRED = Ports(api=54321, db=54322)


def choose(remembered: Ports, *, host: str, api: int | None) -> Ports:
    """Ports that are free now. One given by the user (`api`) must be free; others give way."""
    if api is not None:
        if not is_free(api, host):
            raise CliError(
                f"port {api} on {host} is taken",
                remedy="choose another --port, or none to have a free one chosen",
                code="port_taken",
            )
        remembered = replace(remembered, api=api)
    chosen: dict[str, int] = {}
    for name, port in remembered.as_dict().items():
        where = host if name == "api" else LOOPBACK
        candidates = (port, getattr(PREFERRED, name))
        free = (c for c in candidates if c and c not in chosen.values() and is_free(c, where))
        chosen[name] = next(free, 0) or _any_free(where, set(chosen.values()))
    return Ports(**chosen)


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether nobody listens there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        # As servers do, so that connections that ended a moment ago are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def _any_free(host: str, taken: set[int]) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        with socket.socket(family) as probe:
            probe.bind((host, 0))
            port = int(probe.getsockname()[1])
        if port not in taken:
            return port
