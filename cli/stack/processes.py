"""Child processes that cannot outlive us or be mistaken for others: pid plus start time, death with us."""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1
# Loaded before any fork: between fork and exec nothing may allocate or import.
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Account:
    """The operating system user that a child runs as (None in its place means: as we are)."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True)
class ProcessRef:
    """One process, for certain: a recycled pid has another start time.

    `started` is in clock ticks since boot on Linux, seconds since the epoch elsewhere.
    """

    pid: int
    started: int

    def alive(self) -> bool:
        return start_time(self.pid) == self.started

    def signal(self, number: int) -> bool:
        """Send a signal; False when that process is gone."""
        if not self.alive():
            return False
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True

    def wait_gone(self, seconds: float) -> bool:
        """True once the process is gone, False when it still lives after `seconds`."""
        deadline = time.monotonic() + seconds
        while self.alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True


def start_time(pid: int) -> int | None:
    """When the process started; None when it does not exist or is a zombie."""
    if sys.platform == "linux":
        try:
            stat = Path(f"/proc/{pid}/stat").read_bytes()
        except OSError:
            return None
        # The command's name is in parentheses and may hold spaces and parentheses itself.
        fields = stat[stat.rindex(b")") + 2 :].split()
        return None if fields[0] in (b"Z", b"X") else int(fields[19])
    answer = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
        env={"LC_ALL": "C", "PATH": os.environ.get("PATH", "/bin:/usr/bin")},
    ).stdout.strip()
    if not answer or answer.startswith("Z"):
        return None
    return int(time.mktime(time.strptime(answer.split(None, 1)[1], "%a %b %d %H:%M:%S %Y")))


def reference(pid: int) -> ProcessRef | None:
    """The process that has this pid now."""
    started = start_time(pid)
    return None if started is None else ProcessRef(pid, started)


def listens(pid: int, port: int) -> bool:
    """Whether this very process listens on the TCP port; true for want of knowledge where there is no /proc."""
    if sys.platform != "linux":
        return True
    sockets = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    sockets.add(f"socket:[{fields[9]}]")
    try:
        return any(_link(file) in sockets for file in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


def _link(file: Path) -> str:
    try:
        return str(file.readlink())
    except OSError:  # closed meanwhile
        return ""


def unprivileged_account() -> Account | None:
    """Whom PostgreSQL runs as: nobody special unless we are root, which PostgreSQL refuses."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(name, entry.pw_uid, entry.pw_gid)
    return None


def can_enter(account: Account | None, folder: Path) -> bool:
    """Whether the account may traverse every folder down to this one."""
    if account is None:
        return os.access(folder, os.X_OK)
    return (
        subprocess.run(
            ["/bin/sh", "-c", 'cd -- "$1"', "sh", str(folder)],
            cwd="/",
            stderr=subprocess.DEVNULL,
            check=False,
            user=account.uid,
            group=account.gid,
            extra_groups=[],
        ).returncode
        == 0
    )


def spawn(
    command: Sequence[str | Path],
    *,
    log: IO[bytes] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    account: Account | None = None,
    death_signal: int | None = signal.SIGTERM,
    new_session: bool = False,
) -> subprocess.Popen[bytes]:
    """Start a child in a process group of its own, so that Ctrl-C in a terminal reaches us alone.

    `new_session` also frees it from our terminal. `death_signal` is what the child gets when the calling
    *thread* ends, however it ends (Linux only).
    """
    return subprocess.Popen(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=log or subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        env=None if env is None else dict(env),
        cwd=cwd or "/",
        process_group=None if new_session else 0,
        start_new_session=new_session,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
        # Runs after the change of user, which would clear the setting.
        preexec_fn=_die_with(death_signal) if death_signal and _LIBC else None,  # noqa: PLW1509
    )


def _die_with(number: int) -> Callable[[], None]:
    parent = os.getpid()

    def set_death_signal() -> None:
        assert _LIBC is not None  # noqa: S101
        _LIBC.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
        if os.getppid() != parent:  # the parent ended before the setting took hold
            os._exit(1)

    return set_death_signal


def reap(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """The exit status within `seconds`, or None."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
