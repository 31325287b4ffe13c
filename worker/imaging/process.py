"""One child process as its parent sees it: start, ask, kill, and what its death looked like."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from worker.imaging.protocol import Frame, FrameTimeoutError, read_frame, write_frame

_ROOT = Path(__file__).parents[2]
# Isolated mode keeps the user's environment and working directory out of the import path; ours is added by
# hand, so that it works from a checkout as well as installed.
_BOOT = """
import sys
sys.path.insert(0, sys.argv[1])
from worker.imaging.child import main
main(int(sys.argv[2]), int(sys.argv[3]))
"""
_START_SECONDS = 30.0

# Nothing of our own environment: it holds keys, and a decoder that a file has taken over could read them.
# What is set makes glibc keep and reuse the large blocks that every photo needs, in large pages: a photo
# takes about 5 % less CPU than with pages fetched from the kernel and zeroed each time.
_ENVIRONMENT = {
    "LC_ALL": "C.UTF-8",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 * 1024 * 1024),
    "MALLOC_TRIM_THRESHOLD_": str(256 * 1024 * 1024),
}


class ChildLost(Exception):  # noqa: N818
    """The child is gone before it answered."""

    def __init__(
        self, reason: str, *, signal: int, timed_out: bool, started: bool, cpu_seconds: float
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.signal = signal
        """The signal that ended it; 0 if it exited by itself."""
        self.timed_out = timed_out
        self.started = started
        """False when it was dead before it got the work."""
        self.cpu_seconds = cpu_seconds
        """What the child spent on this request."""


class ChildProcess:
    """A running child. Not thread safe: one caller at a time, except for `kill`."""

    def __init__(self, parent_pid: int, memory_bytes: int) -> None:
        self.images = 0
        self.rss = 0
        self._cpu = 0.0
        self._final_cpu = 0.0
        self._ready = False
        self._asking = False
        self._lock = threading.Lock()
        self._started_at = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", _BOOT, str(_ROOT), str(parent_pid), str(memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=_ENVIRONMENT,
            cwd="/",
            start_new_session=True,
        )
        assert self._process.stdin is not None  # noqa: S101
        assert self._process.stdout is not None  # noqa: S101
        self._requests = self._process.stdin.fileno()
        self._replies = self._process.stdout.fileno()

    def ask(self, request: Frame, deadline: float, on_started: Callable[[], None] | None = None) -> Frame:
        """Sends one request and waits for its answer until `deadline` (time.monotonic). Raises ChildLost."""
        started = False
        with self._lock:
            self._asking = True
        try:
            self._wait_ready()
            write_frame(self._requests, request)
            started = True
            if on_started is not None:
                on_started()
            reply = read_frame(self._replies, deadline)
            if reply is None:
                raise self._lost("it ended", timed_out=False, started=started)
            self.images += 1
            self.rss = int(reply["rss"])
            self._cpu = float(reply["cpu"])
        except FrameTimeoutError:
            raise self._lost("it did not answer in time", timed_out=True, started=started) from None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise self._lost(f"its pipe broke ({error})", timed_out=False, started=started) from error
        finally:
            with self._lock:
                self._asking = False
                self._close_if_over()
        return reply

    def kill(self) -> None:
        """Ends the process now and collects it. May be called by any thread, any number of times."""
        with self._lock:
            self._reap(grace_seconds=0)
            self._close_if_over()

    def _wait_ready(self) -> None:
        if not self._ready:
            frame = read_frame(self._replies, self._started_at + _START_SECONDS)
            if frame is None:
                raise OSError("it did not start")
            self._cpu = float(frame["cpu"])
            self._ready = True

    def _lost(self, reason: str, *, timed_out: bool, started: bool) -> ChildLost:
        with self._lock:
            self._reap(grace_seconds=0 if timed_out else 2)
        code = self._process.returncode
        how = f"signal {-code}" if code < 0 else f"exit status {code}"
        return ChildLost(
            f"{reason}, {how}",
            signal=max(0, -code),
            timed_out=timed_out,
            started=started,
            cpu_seconds=max(0.0, self._final_cpu - self._cpu),
        )

    def _reap(self, grace_seconds: float) -> None:
        """Collects the process, by force after the grace time; notes the CPU seconds of its whole life."""
        deadline = time.monotonic() + grace_seconds
        while self._process.returncode is None:
            forced = time.monotonic() >= deadline
            if forced:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._process.pid, signal.SIGKILL)
            # Not Popen.wait: it throws the resource usage away, which tells a hang from a machine that was
            # busy.
            pid, status, usage = os.wait4(self._process.pid, 0 if forced else os.WNOHANG)
            if pid:
                self._process.returncode = os.waitstatus_to_exitcode(status)
                self._final_cpu = usage.ru_utime + usage.ru_stime
            else:
                time.sleep(0.01)

    def _close_if_over(self) -> None:
        # Only when nobody reads: a closed descriptor's number may be given to another file at once.
        if self._process.returncode is not None and not self._asking:
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
