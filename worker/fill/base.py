"""What a provider of texts is: what goes in, what comes out, how it may fail."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from worker.errors import WorkerError


@dataclass(frozen=True, slots=True)
class Field:
    """A row of fill_fields."""

    name: str
    target: str
    """`listing`, or `image`: then for each photo."""
    length_max: int
    instruction: str


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo that passes the gate, as WebP."""

    image_id: str
    data: bytes
    file_name: str = ""
    alt_text: str = ""
    tags: tuple[str, ...] = ()
    mime_type: str = "image/webp"


@dataclass(frozen=True, slots=True)
class FillRequest:
    """What to write. `keys` are the fields' names, and `images/<id>/<field>` for photos."""

    fill_id: str
    fields: tuple[Field, ...]
    keys: tuple[str, ...]
    listing: dict[str, str | None]
    """What the listing's texts hold."""
    photos: tuple[Photo, ...]


@dataclass(frozen=True, slots=True)
class FillAnswer:
    """Values by key: text, or a list of texts for tags. What is not known is left out."""

    values: dict[str, str | list[str]]
    model: str
    usage: dict[str, Any] = field(default_factory=dict)


class FillProvider(Protocol):
    """One way to write texts. Thread safe. Raises the errors below, nothing else."""

    repeats_safely: bool
    """Whether asking twice costs nothing more."""

    def fill(self, request: FillRequest) -> FillAnswer:
        """Asks once, and waits. Paid providers are paid here."""
        ...


class FillFailedError(WorkerError):
    """The fill ends without an answer. `message` is for the listing's owner, `detail` for operators."""

    retryable = False

    def __init__(self, code: str, message: str, *, is_retryable: bool = False, detail: str = "") -> None:
        super().__init__(detail or message)
        self.code = code
        self.message = message
        self.is_retryable = is_retryable
        """Whether its owner may try again, by another fill."""


class FillPostponedError(WorkerError):
    """The provider has done nothing, and says so or was never reached: the job may ask again later."""


class ContentRefusedError(FillFailedError):
    """The provider will not look at this, or not write about it."""

    def __init__(self, detail: str) -> None:
        super().__init__("content_refused", "The provider refuses to describe this listing.", detail=detail)


class MalformedAnswerError(FillFailedError):
    """The answer came, and makes no sense. It was paid: it is not asked for again unless its owner says so."""

    def __init__(self, detail: str) -> None:
        super().__init__(
            "answer_malformed",
            "The provider gave no usable answer. Try again.",
            is_retryable=True,
            detail=detail,
        )


class OutcomeUnknownError(FillFailedError):
    """Whether the provider did the work, and took the money, cannot be told: never asked again blindly."""

    def __init__(self, detail: str = "") -> None:
        super().__init__(
            "outcome_unknown",
            "The connection to the provider broke before its answer came. Nothing was changed or counted. Try again.",
            is_retryable=True,
            detail=detail,
        )


class MisconfiguredError(FillFailedError):
    """The key, the model's name or the request is refused: the same again would fail again."""

    def __init__(self, detail: str) -> None:
        super().__init__("provider_refused", "The provider is not set up correctly here.", detail=detail)
