"""OpenTelemetry traces, when OTEL_EXPORTER_OTLP_ENDPOINT says where to: spans of jobs and of what jobs wait for.

The SDK is the extra `imageledger[otel]` and is imported by `start`, only where traces are wanted; elsewhere a span
costs one comparison. Attributes are ids, sizes, types and names of ours: no prompt, address, URL or message of an
error, which may hold any of them. Everything else is by the standard variables: OTEL_SERVICE_NAME,
OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER, OTEL_EXPORTER_OTLP_HEADERS, OTEL_SDK_DISABLED …
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from worker.errors import ConfigError

if TYPE_CHECKING:
    from worker.jobs import Job

log = logging.getLogger(__name__)

#: How long the last spans may keep a worker that stops; a collector that is away must not.
STOP_SECONDS = 1.0


class Span:
    """What a caller may add to a span. This one is of nobody who traces: it does nothing."""

    def set(self, name: str, value: str | float | bool | None) -> None:
        """Adds `imageledger.NAME`; None is left out."""


_NOTHING = Span()


class _Live(Span):
    def __init__(self, span: Any) -> None:
        self._span = span

    def set(self, name: str, value: str | float | bool | None) -> None:
        if value is not None:
            self._span.set_attribute(f"imageledger.{name}", value)


class _Tracing:
    """The SDK, set up. `api` is its package `opentelemetry.trace`."""

    def __init__(self, worker_id: str) -> None:
        from opentelemetry import context, trace  # noqa: PLC0415
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
            TraceContextTextMapPropagator,
        )

        ours: dict[str, Any] = {
            "service.name": "imageledger-worker",
            "service.version": _version(),
            "service.instance.id": worker_id,
            "host.name": socket.gethostname(),
            "process.pid": os.getpid(),
        }
        # What the operator says wins.
        resource = Resource.create(ours).merge(OTELResourceDetector().detect())
        # An orderly exit would wait for the collector: `stop` does not.
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("imageledger", _version())
        self._api, self._context, self._propagator = trace, context, TraceContextTextMapPropagator()

    def begin(self, name: str, kind: str, attributes: Mapping[str, Any], parent: str | None) -> Any:
        """Starts a span and makes it this thread's; answers what `end` wants."""
        context = self._propagator.extract({"traceparent": parent}) if parent else None
        span = self._tracer.start_span(
            name,
            context,
            kind=getattr(self._api.SpanKind, kind),
            attributes={
                f"imageledger.{key}": value for key, value in attributes.items() if value is not None
            },
        )
        return span, self._context.attach(self._api.set_span_in_context(span, context))

    def end(self, handle: Any, error: BaseException | None) -> None:
        span, token = handle
        if error is not None:
            span.set_attribute("error.type", type(error).__qualname__)
            span.set_status(self._api.Status(self._api.StatusCode.ERROR))
        self._context.detach(token)
        span.end()

    def parent(self) -> str | None:
        """This thread's span as a W3C traceparent."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return carrier.get("traceparent")

    def stop(self, seconds: float) -> None:
        thread = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        thread.start()
        thread.join(seconds)
        if thread.is_alive():
            log.warning("the last spans were not sent: no answer", extra={"action": "traces_lost"})


_tracing: _Tracing | None = None


def is_wanted(env: Mapping[str, str] | None = None) -> bool:
    """Whether the environment names a collector. Raises ConfigError for what this worker cannot do."""
    read = os.environ if env is None else env
    if read.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if not (read.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or read.get("OTEL_EXPORTER_OTLP_ENDPOINT")):
        return False
    exporter = read.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp"
    if exporter == "none":
        return False
    protocol = read.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or read.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    for name, value, known in (
        ("OTEL_TRACES_EXPORTER", exporter, "otlp"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", (protocol or "").strip() or "http/protobuf", "http/protobuf"),
    ):
        if value != known:
            raise ConfigError(f"{name} must be {known} or none at all, not {value!r}")
    return True


def start(worker_id: str) -> None:
    """Traces this process if the environment wants it. Raises ConfigError when the extra is not installed."""
    global _tracing  # noqa: PLW0603 - one a process, like the logs
    if _tracing is not None or not is_wanted():
        return
    try:
        _tracing = _Tracing(worker_id)
    except ImportError as error:
        raise ConfigError(
            f"OTEL_EXPORTER_OTLP_ENDPOINT is set, but {error}: install imageledger[otel], or unset it"
        ) from error
    log.info("traces are sent", extra={"action": "tracing"})


def stop(seconds: float = STOP_SECONDS) -> None:
    """Sends the last spans, for so long; then nothing is traced any more."""
    global _tracing
    if _tracing is not None:
        tracing, _tracing = _tracing, None
        tracing.stop(seconds)


def is_on() -> bool:
    """Whether this process traces."""
    return _tracing is not None


def parent() -> str | None:
    """This thread's span as a W3C traceparent, for requests and jobs that it leads to; None without one."""
    return None if _tracing is None else _tracing.parent()


@contextmanager
def span(name: str, kind: str = "INTERNAL", **attributes: str | float | bool | None) -> Iterator[Span]:
    """A span around the block, below this thread's; an exception is its type only."""
    tracing = _tracing
    if tracing is None:
        yield _NOTHING
        return
    handle = tracing.begin(name, kind, attributes, None)
    try:
        yield _Live(handle[0])
    except BaseException as error:
        tracing.end(handle, error)
        raise
    tracing.end(handle, None)


def job(subject: Job) -> Callable[[BaseException | None], None] | None:
    """Begins the span of an attempt, below what led to the job; call the answer when it ends, in this thread."""
    tracing = _tracing
    if tracing is None:
        return None
    attributes = {
        "job.id": subject.id,
        "job.actor": subject.actor,
        "job.queue": subject.queue,
        "job.attempt": subject.attempt,
        "job.wait_seconds": round(subject.wait_seconds, 3),
        "owner_id": str(subject.owner_id) if subject.owner_id else None,
        "correlation_id": subject.correlation_id,
    }
    handle = tracing.begin(f"job {subject.actor}", "CONSUMER", attributes, subject.trace_parent)

    def end(error: BaseException | None) -> None:
        handle[0].set_attribute("imageledger.job.outcome", "failed" if error else subject.outcome)
        tracing.end(handle, error)

    return end


def _version() -> str:
    try:
        return version("imageledger")
    except PackageNotFoundError:
        return "unknown"
