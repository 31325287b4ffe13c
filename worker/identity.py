"""Who a worker process is, so that another one on the same machine can tell whether it still lives."""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path


@cache
def _place() -> str:
    """Host, boot and process-id namespace: where a process id means the same thing."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()[:8]
        namespace = Path("/proc/self/ns/pid").readlink().name.strip("pid:[]")
    except OSError:
        return ""
    return f"{socket.gethostname()}/{boot}/{namespace}"


def _started(pid: int) -> str | None:
    """Start time of a living process in clock ticks since boot; None when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rsplit(")", 1)[1].split()
    return None if fields[0] in {"Z", "X"} else fields[19]


def worker_identity() -> str:
    """`host/boot/namespace/pid/start`, or only host and pid where /proc is missing."""
    pid = os.getpid()
    place = _place()
    return f"{place}/{pid}/{_started(pid)}" if place else f"{socket.gethostname()}/{pid}"


def is_dead(worker: str) -> bool:
    """Whether a worker surely does not live any more. Elsewhere, or unknown: False."""
    place, _, rest = worker.rpartition("/")
    place, _, pid = place.rpartition("/")
    if not place or place != _place() or not pid.isdigit():
        return False
    return _started(int(pid)) != rest
