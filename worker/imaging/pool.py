"""`Renderer`: a pool of child processes that decode photos and may be killed at any moment.

A time limit in a thread does not stop C code, and a decoder's crash or greed for memory takes its process
along. So every photo is decoded in a child: whatever happens there fails one image.
"""

import contextlib
import logging
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from worker.imaging.errors import ImageRejected, RenderAborted
from worker.imaging.model import Limits, RenderedImage, VariantSpec
from worker.imaging.process import ChildLost, ChildProcess
from worker.imaging.protocol import Frame, decode_image, encode_request

_log = logging.getLogger(__name__)

MIB = 1024 * 1024
# Signals that mean "this file crashed the decoder": a second crash on the same file is the file's fault.
_CRASHES = frozenset(
    {
        signal.SIGSEGV,
        signal.SIGABRT,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGILL,
        signal.SIGTRAP,
        signal.SIGSYS,
    }
)
_RECYCLE_AFTER_IMAGES = 500
_RECYCLE_ABOVE_BYTES = 512 * MIB


class Renderer:
    """Renders photos in `processes` children. Thread safe; a context manager; children start when first
    needed.

    `timeout_seconds` bounds one photo, `memory_bytes` the address space of one child. Children die with
    this process, also when it is killed. `on_rendered` is told each photo's type, seconds (the wait for a free child
    included) and the most bytes that the child held.
    """

    def __init__(
        self,
        processes: int,
        timeout_seconds: float = 30,
        memory_bytes: int = 1536 * MIB,
        on_rendered: Callable[[str, float, int], None] | None = None,
    ) -> None:
        if processes < 1:
            raise ValueError("processes must be at least 1")
        self._timeout = timeout_seconds
        self._on_rendered = on_rendered
        # Children are started by one thread that lives as long as the pool: Linux ties a child's life to
        # the thread that started it, and the caller's thread may end long before the pool does.
        self._starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="imaging-starter")
        self._slots: queue.LifoQueue[_Slot] = queue.LifoQueue()
        self._all = [_Slot(self._starter, memory_bytes) for _ in range(processes)]
        self._closed = threading.Event()
        for slot in self._all:
            self._slots.put(slot)

    def render(
        self,
        source: Path,
        specs: Sequence[VariantSpec],
        limits: Limits,
        out_dir: Path,
        on_started: Callable[[], None] | None = None,
    ) -> RenderedImage:
        """Renders `source` into `out_dir`/`role`.webp; waits for a free child when all are busy.

        `on_started` is called in this process once the child has the work. Raises ImageRejected for what is
        the file's fault, RenderAborted for what is worth a retry, ValueError for a call that makes no
        sense.
        """
        wanted = _checked_specs(specs)
        request = encode_request(source.absolute(), wanted, limits, out_dir.absolute(), self._timeout)
        started = time.monotonic()
        slot = self._take_slot()
        try:
            reply = self._ask(slot, request, on_started)
        except BaseException:
            slot.discard()
            raise
        finally:
            self._slots.put(slot)
        if "rejected" in reply:
            raise ImageRejected(str(reply["rejected"]["code"]), str(reply["rejected"]["message"]))
        try:
            image, peak = decode_image(reply["image"], out_dir), int(reply["peak"])
        except (KeyError, TypeError, ValueError) as error:
            raise RenderAborted(
                str(reply.get("aborted", "the decode process gave a senseless answer"))
            ) from error
        if self._on_rendered is not None:
            self._on_rendered(image.mime_type, time.monotonic() - started, peak)
        return image

    def close(self) -> None:
        """Ends the children. Renders that are under way are aborted."""
        self._closed.set()
        for slot in self._all:
            slot.discard()
        self._starter.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take_slot(self) -> "_Slot":
        while not self._closed.is_set():
            with contextlib.suppress(queue.Empty):
                return self._slots.get(timeout=0.5)
        raise RenderAborted("the renderer is closed")

    def _ask(self, slot: "_Slot", request: Frame, on_started: Callable[[], None] | None) -> Frame:
        for last_try in (False, True):
            if self._closed.is_set():
                raise RenderAborted("the renderer is closed")
            child = slot.child()
            try:
                reply = child.ask(request, time.monotonic() + self._timeout, on_started)
            except ChildLost as lost:
                slot.replace()
                self._judge(lost, last_try=last_try)
                continue
            memory_short = reply.get("rejected", {}).get("code") == "decode_memory"
            if memory_short or child.images >= _RECYCLE_AFTER_IMAGES or child.rss > _RECYCLE_ABOVE_BYTES:
                slot.replace()
            # A child that has worked before may be short of memory because of that: the file gets a fresh
            # one.
            if memory_short and child.images > 1 and not last_try:
                continue
            return reply
        raise AssertionError("unreachable")

    def _judge(self, lost: ChildLost, *, last_try: bool) -> None:
        """Raises what a lost child means for the image; returns when a second try is due."""
        _log.warning(
            "decode process lost",
            extra={"action": "imaging.child_lost", "signal": lost.signal, "reason": lost.reason},
        )
        out_of_time = lost.timed_out and lost.cpu_seconds > self._timeout / 4
        if out_of_time or lost.signal == signal.SIGXCPU:
            raise ImageRejected(
                "decode_timeout", f"The image could not be decoded within {self._timeout:g} seconds."
            ) from lost
        if lost.signal in _CRASHES:
            if last_try:
                raise ImageRejected("decode_crashed", "The file makes the image decoder crash.") from lost
            return
        # Without CPU time to show for it, the machine was too busy or the child was stopped: not the file's
        # fault.
        if lost.started or last_try:
            raise RenderAborted(f"the decode process was lost: {lost.reason}") from lost


class _Slot:
    """One place in the pool: a child, or one that is being started."""

    def __init__(self, starter: ThreadPoolExecutor, memory_bytes: int) -> None:
        self._starter = starter
        self._memory_bytes = memory_bytes
        self._future: Future[ChildProcess] | None = None
        self._lock = threading.Lock()

    def child(self) -> ChildProcess:
        """The living child, started now if there is none."""
        with self._lock:
            if self._future is None:
                self._start()
            future = self._future
        assert future is not None  # noqa: S101
        try:
            return future.result()
        except OSError as error:
            raise RenderAborted(f"the decode process did not start: {error}") from error

    def replace(self) -> None:
        """Ends the child and starts the next one in the background."""
        self.discard()
        with self._lock, contextlib.suppress(RuntimeError):  # the pool may be closing
            self._start()

    def discard(self) -> None:
        """Ends the child, if there is one."""
        with self._lock:
            future, self._future = self._future, None
        if future is not None and not future.cancel():
            future.add_done_callback(_end)

    def _start(self) -> None:
        self._future = self._starter.submit(ChildProcess, os.getpid(), self._memory_bytes)


def _end(future: Future[ChildProcess]) -> None:
    if not future.cancelled() and future.exception() is None:
        future.result().kill()


def _checked_specs(specs: Sequence[VariantSpec]) -> tuple[VariantSpec, ...]:
    roles = {spec.role for spec in specs}
    if not specs or len(roles) != len(specs):
        raise ValueError("specs must name at least one variant, each role once")
    for spec in specs:
        if not spec.role.replace("_", "").isalnum() or spec.max_side < 1 or not 1 <= spec.quality <= 100:
            raise ValueError(f"senseless variant: {spec}")
    return tuple(specs)
