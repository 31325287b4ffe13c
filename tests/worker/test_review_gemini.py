"""The provider gemini: Google's own SDK against a local server that speaks generateContent."""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.gemini_server import ALLOWED, REJECTED, GeminiServer, error, quota, says, verdict
from worker.review import ReviewError, Reviewers, Verdict
from worker.review.gemini import GeminiReviewer, GeminiSettings

PHOTO = b"RIFF\x10\x00\x00\x00WEBPVP8 "


@pytest.fixture
def gemini() -> Iterator[GeminiServer]:
    with GeminiServer() as server:
        yield server


def reviewer(gemini: GeminiServer, seconds: float = 5) -> GeminiReviewer:
    return GeminiReviewer(GeminiSettings("a-key", gemini.url, seconds=seconds))


def refusal(gemini: GeminiServer, answer: Any, seconds: float = 5) -> ReviewError:
    gemini.answers = [answer]
    with pytest.raises(ReviewError) as info:
        reviewer(gemini, seconds).review(PHOTO, "image/webp")
    assert len(gemini.requests) == 1, "retries are the queue's"
    assert "gemini" not in info.value.public.lower()
    return info.value


def test_what_is_sent(gemini: GeminiServer) -> None:
    assert reviewer(gemini).review(PHOTO, "image/webp") == Verdict(True, "")
    path, headers, body = gemini.requests[0]
    assert path == "/v1beta/models/gemini-flash-latest:generateContent"
    assert headers["x-goog-api-key"] == "a-key"
    assert "a-key" not in path
    photo = body["contents"][0]["parts"][0]["inlineData"]
    # Either spelling is the wire's: JSON of protocol buffers accepts both.
    assert (photo.get("mimeType") or photo["mime_type"]) == "image/webp"
    assert base64.urlsafe_b64decode(photo["data"]) == PHOTO
    config = body["generationConfig"]
    assert config["responseMimeType"] == "application/json"
    assert set(config["responseJsonSchema"]["required"]) == {"allowed", "reason", "categories"}
    assert "marketplace" in body["systemInstruction"]["parts"][0]["text"]


def test_rejected_with_a_reason(gemini: GeminiServer) -> None:
    gemini.answers = [verdict(REJECTED)]
    found = reviewer(gemini).review(PHOTO, "image/webp")
    assert found == Verdict(False, "The photo shows a phone number.", ("contact_details",))


def test_rejected_without_a_reason_gets_one(gemini: GeminiServer) -> None:
    gemini.answers = [verdict({"allowed": False, "reason": " ", "categories": ["weapon"]})]
    assert "weapon" in reviewer(gemini).review(PHOTO, "image/webp").reason


def test_thoughts_are_not_the_answer(gemini: GeminiServer) -> None:
    status, body = verdict(ALLOWED)
    body["candidates"][0]["content"]["parts"].insert(0, {"text": "Hmm.", "thought": True})
    gemini.answers = [(status, body)]
    assert reviewer(gemini).review(PHOTO, "image/webp").allowed


@pytest.mark.parametrize(
    "answer",
    [
        says("I think that it is fine."),
        says('{"allowed": true, "reason": ""'),
        says('{"allowed": "yes", "reason": "", "categories": []}'),
        says('{"reason": "", "categories": []}'),
        says('[{"allowed": true}]'),
        says("null"),
        says(""),
        says('{"allowed": true, "reason": "", "categories": []}', finish="MAX_TOKENS"),
        says('{"allowed": true, "reason": "", "categories": []}', finish="SOMETHING_NEW"),
        (200, {"candidates": []}),
        (200, {}),
        (200, {"candidates": [{"finishReason": "STOP"}]}),
        (200, b"<html>not json</html>"),
        (200, b""),
        (200, [1, 2]),
    ],
)
def test_nonsense_is_no_verdict_and_worth_a_few_attempts(gemini: GeminiServer, answer: Any) -> None:
    found = refusal(gemini, answer)
    assert (found.retryable, found.attempts) == (True, 3)


@pytest.mark.parametrize(
    "answer",
    [
        (200, {"promptFeedback": {"blockReason": "SAFETY"}}),
        (200, {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "candidates": []}),
        (200, {"candidates": [{"finishReason": "SAFETY", "index": 0}]}),
        (200, {"candidates": [{"finishReason": "IMAGE_SAFETY", "content": {"parts": []}}]}),
    ],
)
def test_blocked_by_the_providers_filters(gemini: GeminiServer, answer: Any) -> None:
    """No verdict: not a rejection, and not worth another attempt by itself."""
    found = refusal(gemini, answer)
    assert not found.retryable
    assert "refused" in found.public


def test_time_out(gemini: GeminiServer) -> None:
    gemini.delay = 1.0
    found = refusal(gemini, verdict(ALLOWED), seconds=0.2)
    assert found.retryable
    assert found.attempts is None


@pytest.mark.parametrize(
    ("answer", "retry_after"),
    [(quota("37s"), 37.0), (quota("0.75s"), 0.75), (error(429, "RESOURCE_EXHAUSTED"), None)],
)
def test_quota(gemini: GeminiServer, answer: Any, retry_after: float | None) -> None:
    found = refusal(gemini, answer)
    assert (found.retryable, found.retry_after) == (True, retry_after)


@pytest.mark.parametrize(
    "answer",
    [error(500, "INTERNAL"), error(503, "UNAVAILABLE"), error(504, "DEADLINE_EXCEEDED"), (502, b"<html>")],
)
def test_out_of_order(gemini: GeminiServer, answer: Any) -> None:
    assert refusal(gemini, answer).retryable


@pytest.mark.parametrize(
    "answer",
    [
        error(403, "PERMISSION_DENIED", "Method doesn't allow unregistered callers."),
        error(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."),
        error(401, "UNAUTHENTICATED"),
        error(404, "NOT_FOUND", "models/x is not found"),
    ],
)
def test_what_another_attempt_cannot_mend(gemini: GeminiServer, answer: Any) -> None:
    found = refusal(gemini, answer)
    assert not found.retryable
    assert "API key" not in found.public


def test_no_server() -> None:
    with pytest.raises(ReviewError) as info:
        GeminiReviewer(GeminiSettings("k", "http://127.0.0.1:9", seconds=1)).review(PHOTO, "image/webp")
    assert info.value.retryable


class TestSettings:
    def test_from_the_environment(self) -> None:
        found = GeminiSettings.from_env(
            {
                "GEMINI_API_KEY": " k ",
                "GEMINI_BASE_URL": "http://x",
                "GEMINI_MODEL": "m",
                "GEMINI_SECONDS": "7",
            }
        )
        assert found == GeminiSettings("k", "http://x", "m", 7.0)
        assert "k " not in repr(found)

    @pytest.mark.parametrize(
        "env", [{}, {"GEMINI_API_KEY": " "}, {"GEMINI_API_KEY": "k", "GEMINI_SECONDS": "x"}]
    )
    def test_wrong(self, env: dict[str, str]) -> None:
        with pytest.raises(ReviewError) as info:
            GeminiSettings.from_env(env)
        assert not info.value.retryable

    def test_unknown_provider(self) -> None:
        with pytest.raises(ReviewError, match="nobody"):
            Reviewers().get("nobody")

    def test_disabled(self) -> None:
        with pytest.raises(ReviewError) as info:
            Reviewers().get("disabled").review(b"", "image/webp")
        assert not info.value.retryable

    def test_sdk_is_not_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delitem(sys.modules, "worker.review.gemini", raising=False)
        monkeypatch.setitem(sys.modules, "google.genai", None)
        monkeypatch.setitem(sys.modules, "google", None)
        with pytest.raises(ReviewError, match=r"imageledger\[gemini\]"):
            Reviewers().get("gemini")
