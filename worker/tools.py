"""What actors work with, made once a process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from worker import tracing
from worker.broker import LedgerBroker
from worker.fill import FillProviders
from worker.imaging import ImageRejected, Limits, RenderedImage, Renderer, VariantSpec
from worker.ledger import ImageLedger
from worker.objects import ObjectStore
from worker.review import Reviewers


class TracedRenderer(Renderer):
    """A Renderer whose photos are spans: the wait for a free child, decoding, and all variants."""

    def render(
        self,
        source: Path,
        specs: Sequence[VariantSpec],
        limits: Limits,
        out_dir: Path,
        on_started: Callable[[], None] | None = None,
    ) -> RenderedImage:
        """As Renderer."""
        with tracing.span("render", variants=len(specs)) as span:
            try:
                image = super().render(source, specs, limits, out_dir, on_started)
            except ImageRejected as rejection:
                span.set("refused", rejection.code)
                raise
            span.set("format", image.mime_type)
            span.set("pixels", image.width * image.height)
            span.set("bytes", image.byte_size)
            return image


@dataclass(frozen=True, slots=True)
class Tools:
    """Everything is thread safe."""

    broker: LedgerBroker
    ledger: ImageLedger
    objects: ObjectStore
    renderer: Renderer
    reviewers: Reviewers = field(default_factory=Reviewers)
    fillers: FillProviders = field(default_factory=FillProviders)
