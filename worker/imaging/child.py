"""The child process: takes one photo after another from its pipe, inside limits that it sets on itself first.

Started by `pool.py` as a fresh interpreter, not by fork: the parent has threads, and a forked copy of a
process with threads may hang in any lock. The price of starting (imports) is paid once for some hundred
photos.
"""

import contextlib
import ctypes
import os
import resource
import signal
import sys

from worker.imaging.errors import ImageRejected
from worker.imaging.protocol import Frame, decode_request, encode_image, read_frame, write_frame

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_MAX_OUTPUT_BYTES = 256 * 1024 * 1024
_MAX_OPEN_FILES = 64


def main(parent_pid: int, memory_bytes: int) -> None:
    """Serves requests until the pipe closes."""
    requests, replies = _take_pipes()
    _die_with_parent(parent_pid)
    _limit(memory_bytes)
    # Imported inside the limits, and after the tie to the parent is made.
    from worker.imaging.render import render_file  # noqa: PLC0415

    write_frame(replies, {"ready": True, "cpu": _cpu_seconds()})
    while (request := read_frame(requests)) is not None:
        _limit_cpu(request["cpu_seconds"])
        _forget_peak()
        reply: Frame
        try:
            reply = {"image": encode_image(render_file(*decode_request(request)))}
        except ImageRejected as error:
            reply = {"rejected": {"code": error.code, "message": error.message}}
        except MemoryError:
            message = "The image needs more memory than one image may take."
            reply = {"rejected": {"code": "decode_memory", "message": message}}
        except Exception as error:  # the parent decides about a retry; this process stays usable
            reply = {"aborted": f"{type(error).__name__}: {error}"[:500]}
        write_frame(replies, reply | {"rss": _resident_bytes(), "peak": _peak_bytes(), "cpu": _cpu_seconds()})


def _take_pipes() -> tuple[int, int]:
    """Moves the two pipes away from the standard descriptors, where a library's printf would break frames."""
    requests, replies = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)
    return requests, replies


def _die_with_parent(parent_pid: int) -> None:
    """Killed by the kernel when the parent dies, however it dies.

    Elsewhere than on Linux the closed pipe ends us.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle: it may want to finish
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if os.getppid() != parent_pid:  # it died before the tie was made
            os._exit(1)


def _limit(memory_bytes: int) -> None:
    _set_limit(resource.RLIMIT_CORE, 0)
    _set_limit(resource.RLIMIT_FSIZE, _MAX_OUTPUT_BYTES)
    _set_limit(resource.RLIMIT_NOFILE, _MAX_OPEN_FILES)
    with contextlib.suppress(ValueError, OSError):  # macOS knows the name but refuses the call
        _set_limit(resource.RLIMIT_AS, memory_bytes)


def _set_limit(which: int, value: int) -> None:
    _, hard = resource.getrlimit(which)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(which, (value, value))


def _limit_cpu(seconds: float) -> None:
    """A soft limit for this image on top of what earlier ones took: SIGXCPU ends the process."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    limit = int(_cpu_seconds() + seconds) + 2
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, hard))


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _forget_peak() -> None:
    """The highest memory of this process counts from now (Linux)."""
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "wb") as file:  # noqa: PTH123
        file.write(b"5")


def _peak_bytes() -> int:
    """Most memory held since `_forget_peak` (Linux), else the highest ever."""
    with contextlib.suppress(OSError, StopIteration), open("/proc/self/status", "rb") as status:  # noqa: PTH123
        return int(next(line for line in status if line.startswith(b"VmHWM:")).split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _resident_bytes() -> int:
    """Memory held now (Linux), else the highest ever."""
    try:
        with open("/proc/self/statm", "rb") as statm:  # noqa: PTH123
            return int(statm.read().split()[1]) * resource.getpagesize()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
