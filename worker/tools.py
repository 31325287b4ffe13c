"""What actors work with, made once a process."""

from __future__ import annotations

from dataclasses import dataclass, field

from worker.broker import LedgerBroker
from worker.fill import FillProviders
from worker.imaging import Renderer
from worker.ledger import ImageLedger
from worker.objects import ObjectStore
from worker.review import Reviewers


@dataclass(frozen=True, slots=True)
class Tools:
    """Everything is thread safe."""

    broker: LedgerBroker
    ledger: ImageLedger
    objects: ObjectStore
    renderer: Renderer
    reviewers: Reviewers = field(default_factory=Reviewers)
    fillers: FillProviders = field(default_factory=FillProviders)
