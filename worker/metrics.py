"""What a worker counts, in Prometheus' terms; `health.py` serves it.

Every process counts for itself. With several processes (WORKER_PROCESSES) they count into files of one folder, and the
supervisor adds them up: prometheus_client decides which way when it is imported, so `share` has to be called
before the children start.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import REGISTRY, Collector

from worker import tracing

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_MIB = 1024 * 1024

JOBS = Counter(
    "imageledger_jobs",
    "Attempts at jobs, by how they ended: succeeded, parked, retry, dead, returned, lease_lost.",
    ("actor", "outcome"),
)
JOB_SECONDS = Histogram("imageledger_job_seconds", "How long attempts took.", ("actor",), buckets=_SECONDS)
LEASES_LOST = Counter("imageledger_leases_lost", "Leases that ran out or were given to another worker.")
RENDER_SECONDS = Histogram(
    "imageledger_render_seconds",
    "Decoding and rendering of one picture, waiting for a free child included.",
    ("format",),
    buckets=_SECONDS,
)
RENDER_BYTES = Histogram(
    "imageledger_render_memory_bytes",
    "Most memory that the decoding child held during one picture.",
    ("format",),
    buckets=tuple(n * _MIB for n in (64, 128, 192, 256, 384, 512, 768, 1024, 1536)),
)
RENDERS_REFUSED = Counter(
    "imageledger_renders_refused", "Files that cannot become a picture, by reason.", ("code",)
)
STORAGE_SECONDS = Histogram(
    "imageledger_storage_seconds",
    "Calls to Storage, by operation and outcome: ok, missing, error.",
    ("operation", "outcome"),
    buckets=_SECONDS,
)
PROVIDER_SECONDS = Histogram(
    "imageledger_provider_seconds",
    "Calls to generation providers, by operation (submit, poll, collect, cancel) and outcome: ok, error.",
    ("provider", "operation", "outcome"),
    buckets=_SECONDS,
)
PROVIDER_DOLLARS = Counter(
    "imageledger_provider_cost_dollars", "What providers said their work cost.", ("provider", "model")
)
PUBLISHED = Counter("imageledger_published", "Jobs whose id was sent to the message broker.", ("queue",))
WIRE_MESSAGES = Counter(
    "imageledger_wire_messages",
    "Messages that came from the broker: claimed, or nothing (doubled, late or foreign: nothing to claim).",
    ("queue", "outcome"),
)
WIRE_LOST = Counter(
    "imageledger_wire_lost", "How often the message broker went away, by who noticed.", ("part",)
)
MAINTENANCE = Counter(
    "imageledger_maintenance_rows", "Rows that maintenance dealt with, by function.", ("function",)
)


@contextlib.contextmanager
def storage_call(operation: str, missing: tuple[type[BaseException], ...]) -> Iterator[None]:
    """Times a call to Storage; an exception in `missing` is an answer, any other an error."""
    started = time.monotonic()
    outcome = "ok"
    try:
        yield
    except missing:
        outcome = "missing"
        raise
    except BaseException:
        outcome = "error"
        raise
    finally:
        STORAGE_SECONDS.labels(operation, outcome).observe(time.monotonic() - started)


@contextlib.contextmanager
def provider_call(provider: str, operation: str) -> Iterator[None]:
    """Times a call to a generation provider; a span, where there are traces."""
    started = time.monotonic()
    outcome = "error"
    try:
        with tracing.span(f"provider {operation}", "CLIENT", provider=provider):
            yield
        outcome = "ok"
    finally:
        PROVIDER_SECONDS.labels(provider, operation, outcome).observe(time.monotonic() - started)


def count_render(mime_type: str, seconds: float, peak_bytes: int) -> None:
    """For Renderer: a picture that was rendered."""
    RENDER_SECONDS.labels(mime_type).observe(seconds)
    RENDER_BYTES.labels(mime_type).observe(peak_bytes)


class QueueFigures(Protocol):
    """What the database knows of the queue: rows of (queue, state, jobs, seconds since the oldest was due)."""

    def __call__(self) -> Iterable[tuple[str, str, int, float]]: ...


class QueueCollector(Collector):
    """Gauges from the database, asked at most every `keep_seconds`: several scrapers cost no more than one."""

    def __init__(self, figures: QueueFigures, keep_seconds: float = 5.0) -> None:
        self._figures, self._keep = figures, keep_seconds
        self._known: list[tuple[str, str, int, float]] = []
        self._until = 0.0

    def collect(self) -> Iterator[Metric]:
        """Nothing while the database is away: a gauge that stands still would tell a lie."""
        if time.monotonic() >= self._until:
            try:
                self._known = list(self._figures())
            except Exception:
                self._known = []
            self._until = time.monotonic() + self._keep
        jobs = GaugeMetricFamily(
            "imageledger_queue_jobs", "Jobs in the table, by queue and state.", labels=("queue", "state")
        )
        lag = GaugeMetricFamily(
            "imageledger_queue_lag_seconds", "Age of the oldest job that is due.", labels=("queue",)
        )
        for queue, state, count, seconds in self._known:
            jobs.add_metric((queue, state), count)
            if state == "ready":
                lag.add_metric((queue,), seconds)
        yield jobs
        yield lag

    def describe(self) -> Iterator[Metric]:
        """Nothing: describing must not ask the database."""
        yield from ()


def share() -> Path:
    """The folder that this process's children count into. Call before they start; `unshare` removes it."""
    folder = Path(tempfile.mkdtemp(prefix="imageledger-metrics-"))
    os.environ[_FOLDER] = str(folder)
    return folder


def unshare(folder: Path) -> None:
    """The children are gone."""
    os.environ.pop(_FOLDER, None)
    shutil.rmtree(folder, ignore_errors=True)


def forget(pid: int | None) -> None:
    """A child died: what it counted stays, what it measured at the time goes."""
    if pid is not None and _FOLDER in os.environ:
        mark_process_dead(pid)  # type: ignore[no-untyped-call]


def expose(figures: QueueFigures, folder: Path | None = None) -> CollectorRegistry:
    """All metrics of this process, or added up of the processes that count into a folder."""
    registry = CollectorRegistry()
    if folder is not None:
        registry.register(_Shared(folder))
    else:
        registry.register(_Own())
    registry.register(QueueCollector(figures))
    return registry


class _Shared(Collector):
    """What several processes count into a folder, added up."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        # A child that counts for the first time makes its file and then gives it a size: the reader of
        # prometheus_client takes a file without a size for a broken one, and the whole scrape would fail.
        files = [str(file) for file in self._folder.glob("*.db") if file.stat().st_size]
        merged: Iterable[Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
        return merged

    def describe(self) -> Iterable[Metric]:
        return ()


class _Own(Collector):
    """The default registry, as part of another."""

    def collect(self) -> Iterable[Metric]:
        return REGISTRY.collect()

    def describe(self) -> Iterable[Metric]:
        return ()


def render(registry: Any) -> bytes:
    """The text format of a registry."""
    return generate_latest(registry)
