"""What a provider's failure means for the generation."""

from __future__ import annotations

from worker.errors import WorkerError


class ProviderError(WorkerError):
    """Base, and by itself: worth another attempt, after `retry_after` seconds where given."""


class ProviderFailedError(ProviderError):
    """The same request will never succeed. `code` is a stable word, `message` is for the user."""

    retryable = False

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class ContentRefusedError(ProviderFailedError):
    """The provider refuses to show this."""

    def __init__(
        self, message: str = "The provider refuses to make this picture. Change the prompt."
    ) -> None:
        super().__init__("content_refused", message)


class OutcomeUnknownError(ProviderFailedError):
    """Whether the provider took the request, and the money, cannot be told: never sent again blindly."""

    def __init__(self) -> None:
        super().__init__(
            "outcome_unknown",
            "The connection to the provider broke at the wrong moment. Nothing was counted. Try again.",
        )
