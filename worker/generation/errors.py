"""What a provider's failure means for the generation."""

from __future__ import annotations

from worker.errors import WorkerError


class ProviderError(WorkerError):
    """Base, and by itself: worth another attempt, after `retry_after` seconds where given.

    Raised by `submit` of a provider that does not repeat safely, it leaves open whether the call was taken:
    the next attempt looks it up.
    """


class ProviderBusyError(ProviderError):
    """The provider certainly did not take the call (too many, out of order, not reached): ask again later."""


class ProviderDeniedError(ProviderError):
    """The provider says itself that it made nothing of the call. Raised by a `submit` whose provider can be asked:
    believed when `find` agrees."""


class ProviderFailedError(ProviderError):
    """The same request will never succeed. `code` is a stable word, `message` is for the user."""

    retryable = False

    def __init__(self, code: str, message: str, *, is_retryable: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.is_retryable = is_retryable
        """Whether the user may try the same recipe again."""


class UnsupportedError(ProviderFailedError):
    """The recipe asks for something that the provider does not have. Found before anything is paid."""

    def __init__(self, what: str) -> None:
        super().__init__("not_supported", what)


class ContentRefusedError(ProviderFailedError):
    """The provider refuses to show this."""

    def __init__(
        self, message: str = "The provider refuses to make this picture. Change the prompt."
    ) -> None:
        super().__init__("content_refused", message)


class NotSetUpError(ProviderFailedError):
    """A key, a model or a package is missing or refused: an operator's to mend. `detail` is for the log."""

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(
            "provider_not_set_up",
            f"The provider {name} is not set up. Try another one, or later.",
            is_retryable=True,
        )
        self.detail = detail


class OutcomeUnknownError(ProviderFailedError):
    """Whether the provider took the request, and the money, cannot be told: never sent again blindly."""

    def __init__(self) -> None:
        super().__init__(
            "outcome_unknown",
            "The connection to the provider broke at the wrong moment. Nothing was counted. Try again.",
            is_retryable=True,
        )
