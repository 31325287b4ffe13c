"""Which processes belong to a stack, found without asking the stack."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def processes_of(home: Path) -> dict[int, str]:
    """Process id → command of every living process that names the state folder, or works in its database."""
    data_dir = (home / "postgres").resolve() / "data"
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):
            if (entry / "stat").read_text().rpartition(")")[2].split()[0] in ("Z", "X"):
                continue
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            environment = (entry / "environ").read_bytes().decode(errors="replace")
            if str(home) in command + environment or (entry / "cwd").readlink() == data_dir:
                found[int(entry.name)] = command.strip()
    return found


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Poll; an AssertionError names what did not happen."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)
