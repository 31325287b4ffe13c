"""How long a server asks to wait."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

#: Whoever asks for more is asked again after an hour all the same, seconds.
LONGEST = 3600.0


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, at most LONGEST, of the header Retry-After: a number, or a date (RFC 9110 10.2.3); None without one.

    A date is measured by the clock of whoever answered, where it tells its time: ours may be wrong.
    """
    value = headers.get("retry-after", "")
    with contextlib.suppress(ValueError):
        seconds = float(value)
        return min(max(seconds, 0.0), LONGEST) if math.isfinite(seconds) else None
    until = _moment(value)
    if until is None:
        return None
    now = _moment(headers.get("date", ""))
    return min(max(until - (time.time() if now is None else now), 0.0), LONGEST)


def _moment(value: str) -> float | None:
    """Seconds since the epoch of an HTTP date."""
    with contextlib.suppress(ValueError, TypeError):
        return parsedate_to_datetime(value).timestamp()
    return None
