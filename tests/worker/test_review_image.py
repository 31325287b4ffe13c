"""review_image as a worker runs it: real photo, database and SDK; a reviewer and a Storage that misbehave."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.conftest import FreshDatabase
from tests.support.gemini_server import REJECTED, GeminiServer, error, quota, says, verdict
from tests.support.storage_server import StorageServer, status
from tests.worker.test_actors import Shop
from tests.worker.toys import make_broker, working
from worker.actors import ALL
from worker.imaging import Renderer
from worker.ledger import ImageLedger
from worker.objects import ObjectStore
from worker.review import Reviewers
from worker.review.disabled import DisabledReviewer
from worker.review.gemini import GeminiReviewer, GeminiSettings
from worker.tools import Tools

WAITING = "select 1 from queue.jobs where state in ('ready', 'running', 'scheduled')"


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    with Renderer(2) as renderer:
        yield renderer


class Reviewed(Shop):
    """A shop whose photos are reviewed."""

    def __init__(
        self, fresh_db: FreshDatabase, storage: StorageServer, renderer: Renderer, gemini: GeminiServer
    ) -> None:
        super().__init__(fresh_db, storage, renderer)
        self.gemini = gemini
        self.switch("true, photo_review_provider = 'gemini'")

    def switch(self, to: str) -> None:
        self.db.execute(f"update public.site_policies set photo_review_enabled = {to}")  # type: ignore[arg-type]

    @contextmanager
    def working(self) -> Iterator[None]:
        broker = make_broker(self.fresh_db.worker_url, threads=2, poll_seconds=0.05)
        settings = GeminiSettings("a-key", self.gemini.url, seconds=1)
        reviewers = Reviewers({"gemini": lambda: GeminiReviewer(settings), "disabled": DisabledReviewer})
        with ObjectStore(self.storage.url, "key", timeout=5) as objects:
            tools = Tools(broker, ImageLedger(broker.pool), objects, self._renderer, reviewers)
            for actor in ALL:
                actor.declare(broker, tools)
            with working(broker):
                yield

    def review(self, image: str) -> Any:
        return self.db.execute(
            "select review_state, review_reason from public.listing_images where id = %s", (image,)
        ).fetchone()

    def attempts(self) -> Any:
        """Attempts and end of the review's job."""
        return self.db.execute(
            "select attempts, state from queue.jobs where actor = 'review_image'"
        ).fetchone()


@pytest.fixture
def shop(fresh_db: FreshDatabase, renderer: Renderer) -> Iterator[Reviewed]:
    with StorageServer() as storage, GeminiServer() as gemini:
        shop = Reviewed(fresh_db, storage, renderer, gemini)
        yield shop
        shop.db.close()


def test_allowed(shop: Reviewed) -> None:
    image = shop.upload()
    shop.process()
    assert shop.review(image) == ("allowed", None)
    assert shop.attempts() == (1, "succeeded")
    assert len(shop.gemini.requests) == 1
    assert shop.variants() >= {"preview"}


def test_rejected_has_a_reason_and_no_renderings(shop: Reviewed) -> None:
    image = shop.upload()
    shop.gemini.standing = verdict(REJECTED)
    shop.process()
    assert shop.review(image) == ("rejected", "The photo shows a phone number.")
    assert shop.variants() == set()
    shop.assert_ledger_is_storage()


@pytest.mark.parametrize(
    "answer",
    [quota("0.1s"), error(503, "UNAVAILABLE"), says("Nice lamp!")],
    ids=["quota", "out-of-order", "nonsense"],
)
def test_what_passes_is_tried_again(shop: Reviewed, answer: Any) -> None:
    image = shop.upload()
    shop.gemini.answers = [answer]
    shop.process()
    assert shop.review(image) == ("allowed", None)
    assert shop.attempts() == (2, "succeeded")


def test_quota_is_waited_for(shop: Reviewed) -> None:
    shop.upload()
    shop.gemini.answers = [quota("600s")]
    with shop.working():
        found = None
        while not found:
            found = shop.db.execute(
                "select run_at - now() > interval '9 minutes' from queue.jobs"
                " where actor = 'review_image' and state = 'scheduled'"
            ).fetchone()
    assert found == (True,)


def test_time_out_and_then_an_answer(shop: Reviewed) -> None:
    image = shop.upload()
    shop.gemini.delay = 1.5

    def hurry() -> None:
        if len(shop.gemini.requests) > 1:
            shop.gemini.delay = 0.0

    shop.gemini.before = hurry
    shop.process()
    assert shop.review(image) == ("allowed", None)


def test_nonsense_is_final_in_the_end(shop: Reviewed) -> None:
    image = shop.upload()
    shop.gemini.standing = says("Nice lamp!")
    shop.process()
    state, reason = shop.review(image)
    assert (state, "lamp" in reason, shop.attempts()) == ("error", False, (3, "succeeded"))


@pytest.mark.parametrize(
    "answer",
    [error(403, "PERMISSION_DENIED", "a-key is bad"), (200, {"promptFeedback": {"blockReason": "SAFETY"}})],
    ids=["bad-key", "blocked"],
)
def test_what_cannot_pass_ends_at_once_and_can_be_retried(shop: Reviewed, answer: Any) -> None:
    image = shop.upload()
    shop.gemini.answers = [answer]
    shop.process()
    state, reason = shop.review(image)
    assert (state, "key" in reason, shop.attempts()) == ("error", False, (1, "succeeded"))
    shop.db.execute("update public.listing_images set review_state = 'pending'")  # as retry_image does
    shop.process()
    assert shop.review(image)[0] == "allowed"


def test_never_an_answer_ends_dead_with_a_reason(shop: Reviewed) -> None:
    image = shop.upload()
    shop.gemini.standing = error(500, "INTERNAL")
    shop.process()
    assert shop.attempts() == (10, "dead")
    state, reason = shop.review(image)
    assert (state, reason.startswith("This photo could not be reviewed")) == ("error", True)


def test_disabled_provider(shop: Reviewed) -> None:
    shop.switch("true, photo_review_provider = 'disabled'")
    image = shop.upload()
    shop.process()
    state, reason = shop.review(image)
    assert (state, reason) == ("error", "No photo review is set up at the moment. Try again later.")
    # The operator sets one up: nobody has to ask again.
    shop.switch("true, photo_review_provider = 'gemini'")
    shop.process()
    assert shop.review(image) == ("allowed", None)


def test_switched_on_reviews_what_is_there(shop: Reviewed) -> None:
    shop.switch("false")
    images = [shop.upload() for _ in range(3)]
    shop.process()
    assert {shop.review(image)[0] for image in images} == {"not_required"}
    shop.switch("true")
    shop.process()
    assert {shop.review(image)[0] for image in images} == {"allowed"}
    assert len(shop.gemini.requests) == 3


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ("delete from public.listing_images", None),
        ("update public.listing_images set deleted_at = now(), position = null", "allowed"),
        ("update public.listing_images set is_label = true", "allowed"),
        ("update public.site_policies set photo_review_enabled = false", "allowed"),
    ],
    ids=["deleted", "removed", "labelled", "switched-off"],
)
def test_edit_while_the_reviewer_looks(shop: Reviewed, change: str, state: str | None) -> None:
    image = shop.upload()
    shop.gemini.before = lambda: shop.db.execute(change)  # type: ignore[arg-type,assignment,return-value]
    shop.process()
    found = shop.review(image)
    assert (found and found[0]) == state
    if "is_label" in change or "delete from" in change:
        assert shop.variants() == set()
    shop.assert_ledger_is_storage()


def test_rendering_that_cannot_be_read(shop: Reviewed) -> None:
    image = shop.upload()
    shop.storage.on("GET", "/media/", status(404), times=100)
    shop.process()
    state, reason = shop.review(image)
    assert (state, "read" in reason) == ("error", True)
    assert shop.gemini.requests == []


class TestLabels:
    """The renderings of a label, with reviews off."""

    def mark(self, shop: Reviewed, image: str, is_label: bool) -> None:
        shop.db.execute("update public.listing_images set is_label = %s where id = %s", (is_label, image))

    def test_go_and_come_back(self, shop: Reviewed) -> None:
        shop.switch("false")
        image = shop.upload()
        shop.process()
        self.mark(shop, image, True)
        shop.process()
        assert shop.variants() == set()
        shop.assert_ledger_is_storage()
        self.mark(shop, image, False)
        shop.process()
        assert shop.variants() == {"thumb", "card", "preview", "detail", "detail_max"}
        assert shop.image(image)[0] == "ready"
        shop.assert_ledger_is_storage()

    def test_uploaded_as_one(self, shop: Reviewed) -> None:
        image = shop.upload()
        self.mark(shop, image, True)
        shop.process()
        assert shop.image(image)[0] == "ready"
        size = shop.db.execute(
            "select width > 0, length(thumbhash) > 0 from public.listing_images"
        ).fetchone()
        assert size == (True, True)
        assert not [
            request
            for request in shop.storage.requests
            if request.startswith("POST") and "/media/" in request and "/list/" not in request
        ]
        assert shop.gemini.requests == []

    def test_marked_while_it_is_rendered(self, shop: Reviewed) -> None:
        image = shop.upload()
        shop.storage.on("POST", "card.webp", lambda _: self.mark(shop, image, True) or False)  # type: ignore[func-returns-value]
        shop.process()
        assert shop.variants() == set()
        shop.assert_ledger_is_storage()

    def test_taken_back_while_its_renderings_are_removed(self, shop: Reviewed) -> None:
        shop.switch("false")
        image = shop.upload()
        shop.process()
        shop.storage.on("DELETE", ".", lambda _: self.mark(shop, image, False) or False)  # type: ignore[func-returns-value]
        self.mark(shop, image, True)
        shop.process()
        assert len(shop.variants()) == 5
        shop.assert_ledger_is_storage()

    def test_back_and_forth_with_a_storage_that_fails(self, shop: Reviewed) -> None:
        shop.switch("false")
        image = shop.upload()
        shop.process()
        shop.storage.on("DELETE", ".", status(503), times=2)
        with shop.working():
            for n in range(12):
                self.mark(shop, image, n % 2 == 0)
            shop.settle()
        assert len(shop.variants()) == 5
        shop.assert_ledger_is_storage()
