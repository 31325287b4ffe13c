"""No reviewer: reviews are wanted and nobody does them. Every attempt ends in a row that can be retried."""

from __future__ import annotations

from worker.review.base import ReviewError, Verdict


class DisabledReviewer:
    """Has no opinion."""

    def review(self, photo: bytes, mime_type: str) -> Verdict:  # noqa: ARG002
        """Raises ReviewError, always."""
        raise ReviewError(
            "site_policies.photo_review_provider is disabled",
            public="No photo review is set up at the moment. Try again later.",
            retryable=False,
        )
