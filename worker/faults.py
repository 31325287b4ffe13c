"""Sudden death at a named step, for tests of recovery: `FAULT_AT=uploaded:card`. Unset, nothing happens.

Steps, in order: claimed, downloaded, decoding, uploaded:<role>, rows_written (before the commit), committed
(before the acknowledgement). Generations: claimed, downloaded, submitting, submitted, accepted, polling
(a later look), collected, uploaded:<idx>, uploaded:<idx>_thumb, rows_written, committed. Fills: claimed,
downloaded, submitting, answered, rows_written, committed.
"""

from __future__ import annotations

import os
import signal
import threading

_AT = os.environ.get("FAULT_AT", "")


def reach(step: str) -> None:
    """Dies here by SIGKILL when `step` is the one that FAULT_AT names."""
    if step == _AT:
        os.kill(os.getpid(), signal.SIGKILL)


def reach_within(step: str, seconds: float) -> None:
    """As `reach`, but a little later, while the caller waits for somebody else (a decoder child)."""
    if step == _AT:
        timer = threading.Timer(seconds, reach, (step,))
        timer.daemon = True
        timer.start()
