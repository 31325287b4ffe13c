"""One module a queue, each a program: `python -m tests.bench.queue_peers.<name> ADDRESS WHAT COUNT`.

WHAT is `drain` (COUNT no-op jobs that are there already, one process, 8 threads; prints jobs/s) or `idle`
(COUNT single jobs sent to an idle worker; prints the milliseconds from before the send until the job runs).
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections.abc import Callable

THREADS = 8


class Counter:
    """Says when the last of `count` calls came."""

    def __init__(self, count: int) -> None:
        self._left = count
        self._lock = threading.Lock()
        self.done = threading.Event()

    def __call__(self) -> None:
        with self._lock:
            self._left -= 1
            if self._left == 0:
                self.done.set()


class Pings:
    """Sends one job after another, each into idleness, and measures how long it takes until it runs."""

    def __init__(self) -> None:
        self._ran = threading.Event()
        self._at = 0.0

    def pong(self) -> None:
        """To be called by the job."""
        self._at = time.perf_counter()
        self._ran.set()

    def measure(self, send: Callable[[], object], count: int) -> list[float]:
        """Milliseconds of each."""
        times = []
        for _ in range(count + 3):
            time.sleep(random.uniform(0.03, 0.1))
            self._ran.clear()
            sent = time.perf_counter()
            send()
            if not self._ran.wait(30):
                raise TimeoutError("a job was not picked up")
            times.append((self._at - sent) * 1000)
        return times[3:]


def arguments() -> tuple[str, str, int]:
    """Address, what to do, and how many."""
    address, what, count = sys.argv[1:]
    return address, what, int(count)


def answer(result: object) -> None:
    """Prints the result for the caller."""
    print(json.dumps(result), flush=True)
