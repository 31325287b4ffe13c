"""The protocol of providers, and what goes in and comes out of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """A recipe. Pictures are WebP files, upright sRGB without metadata: decoded and measured already."""

    generation_id: str
    """Also the key by which a provider can recognise a repeated request."""
    mode: str
    prompt: str
    negative_prompt: str
    room_type: str
    style: str
    model: str | None
    params: dict[str, Any]
    """width, height, steps, guidance, strength, scheduler, seed, count; the seed is always there."""
    source: Path | None = None
    mask: Path | None = None
    """White where the source is to change."""
    inputs: tuple[Path, ...] = ()
    max_side: int = 2048

    @property
    def pictures(self) -> tuple[Path, ...]:
        """What the result starts from: the source and the inputs."""
        return ((self.source,) if self.source else ()) + self.inputs


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a provider says about work that it has accepted."""

    id: str
    is_done: bool = False
    progress: int = 0
    """Percent."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """Files that a provider made: pictures by claim, not yet by proof."""

    files: tuple[Path, ...]
    model: str
    cost: float | None = 0.0
    """US dollars; None: not known."""
    notes: dict[str, Any] = field(default_factory=dict)


class Provider(Protocol):
    """One way to generate. Thread safe. Raises the errors of worker.generation.errors, nothing else."""

    name: str
    repeats_safely: bool
    """Whether `submit` twice costs nothing more: the provider is free, or recognises generation_id."""
    collects_from_inputs: bool
    """Whether `collect` reads the request's pictures."""

    def check(self, request: GenerationRequest) -> None:
        """Raises UnsupportedError, naming what the provider does not have, before anything is paid."""
        ...

    def submit(self, request: GenerationRequest) -> Prediction:
        """Asks for the pictures. Paid providers are paid here."""
        ...

    def find(self, request: GenerationRequest, since: float) -> Sequence[Prediction]:
        """All that a `submit` may have become whose answer was lost `since` seconds ago; none: nothing to be seen yet.

        Recipes repeat: other generations' predictions may be among them. Raises OutcomeUnknownError when the
        provider cannot be asked. The request's pictures may be missing.
        """
        ...

    def poll(self, request: GenerationRequest, prediction_id: str) -> Prediction:
        """How far it is; also of what an earlier attempt of another process submitted.

        Raises ProviderFailedError for one that failed or was stopped.
        """
        ...

    def collect(self, request: GenerationRequest, prediction_id: str, folder: Path) -> Outputs:
        """Writes the pictures of a prediction that is done into the folder."""
        ...

    def cancel(self, prediction_id: str) -> None:
        """Asks the provider to stop; it may be too late."""
        ...
