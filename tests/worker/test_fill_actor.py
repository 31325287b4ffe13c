"""fill_listing as a worker runs it: real photos, database and SDK; providers and a Storage that misbehave."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import psycopg
import pytest

from tests.conftest import FreshDatabase
from tests.sql.fills import ask, fill_of
from tests.sql.scene import call, new_listing, one, rows
from tests.support import openai_server
from tests.support.openai_server import OpenAIServer
from tests.support.roles import as_user
from tests.support.stack import Stack
from tests.support.storage_server import StorageServer, status
from tests.support.worker import WorkerProcess
from tests.worker.test_actors import Shop
from tests.worker.toys import make_broker, working
from worker.actors import ALL
from worker.fill import PROVIDERS, FillProviders
from worker.fill.openai import OpenAIFiller
from worker.fill.wire import Settings
from worker.imaging import Renderer
from worker.ledger import ImageLedger
from worker.objects import ObjectStore
from worker.tools import Tools

TEXTS = {
    "title": "Red lamp",
    "brand": None,
    "photos": [{"photo": 1, "alt_text": "A lamp.", "tags": ["lamp"]}],
}


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    with Renderer(1) as renderer:
        yield renderer


class Filled(Shop):
    """A shop with one listing that has a ready photo and no texts."""

    def __init__(
        self, fresh_db: FreshDatabase, storage: StorageServer, renderer: Renderer, openai: OpenAIServer
    ) -> None:
        super().__init__(fresh_db, storage, renderer)
        self.openai = openai
        self.db.execute("update public.site_policies set fill_providers = '{openai,local,toy}'")
        self.image_id = self.upload()
        self.process()
        self.owner = one(self.db, "select owner_id from public.listings")
        self.listing = one(self.db, "select id from public.listings")
        openai.standing = openai_server.answers(TEXTS)

    @contextmanager
    def working(self) -> Iterator[None]:
        broker = make_broker(self.fresh_db.worker_url, threads=2, poll_seconds=0.05)
        settings = Settings("a-key", self.openai.url, "gpt-4.1-mini", seconds=1)
        fillers = FillProviders(PROVIDERS | {"openai": lambda: OpenAIFiller(settings)})
        with ObjectStore(self.storage.url, "key", timeout=5) as objects:
            tools = Tools(broker, ImageLedger(broker.pool), objects, self._renderer, fillers=fillers)
            for actor in ALL:
                actor.declare(broker, tools)
            with working(broker):
                yield

    def ask(self, *fields: str, **arguments: Any) -> Any:
        names = list(fields) or ["title", "brand", "alt_text", "tags"]
        return ask(self.db, self.owner, self.listing, names, **arguments)["id"]

    def fill(self, *fields: str, **arguments: Any) -> dict[str, Any]:
        """Asks, works, and answers the row."""
        fill = self.ask(*fields, **arguments)
        self.process()
        return fill_of(self.db, fill)

    def texts(self) -> Any:
        return self.db.execute(
            "select l.title, l.brand, i.alt_text, i.tags"
            " from public.listings as l join public.listing_images as i on i.listing_id = l.id"
        ).fetchone()

    def assert_untouched(self) -> None:
        assert self.texts() == (None, None, None, [])

    def attempts(self) -> Any:
        """Attempts and end of the fill's job."""
        return self.db.execute(
            "select attempts, state from queue.jobs where actor = 'fill_listing'"
        ).fetchone()


@pytest.fixture
def shop(fresh_db: FreshDatabase, renderer: Renderer) -> Iterator[Filled]:
    with StorageServer() as storage, OpenAIServer() as openai:
        shop = Filled(fresh_db, storage, renderer, openai)
        yield shop
        shop.db.close()


def test_texts_from_photos(shop: Filled) -> None:
    done = shop.fill()
    assert (done["status"], done["model"]) == ("succeeded", "gpt-4.1-mini-2025-04-14")
    assert done["usage"] == {"input_tokens": 300, "output_tokens": 20}
    assert done["skipped"] == {"brand": "no_value"}
    assert shop.texts() == ("Red lamp", None, "A lamp.", ["lamp"])
    assert (len(shop.openai.requests), shop.attempts()) == (1, (1, "succeeded"))
    photos = [
        part for part in shop.openai.requests[0][2]["input"][0]["content"] if part["type"] == "input_image"
    ]
    assert len(photos) == 1


def test_local_needs_no_service(shop: Filled) -> None:
    done = shop.fill("color", "alt_text", provider="local")
    assert (done["status"], done["model"]) == ("succeeded", "local-rules-1")
    assert one(shop.db, "select color from public.listings") == done["applied"]["color"]
    assert shop.openai.requests == []


FAILURES = [
    (openai_server.refuses(), "content_refused"),
    (openai_server.says("Nice lamp!"), "answer_malformed"),
    (openai_server.error(500, "server_error"), "outcome_unknown"),
    (openai_server.error(401, "invalid_api_key"), "provider_refused"),
    (openai_server.answers(TEXTS | {"title": "x" * 501}), "value_refused"),
    (openai_server.answers(TEXTS | {"title": "a\0b"}), "answer_malformed"),
]


def test_any_failure_leaves_every_field(shop: Filled) -> None:
    with shop.working():
        for n, (answer, code) in enumerate(FAILURES, 1):
            shop.openai.standing = answer
            fill = shop.ask()
            shop.settle()
            done = fill_of(shop.db, fill)
            assert (done["status"], done["error_code"]) == ("failed", code)
            assert "a-key" not in str(done)
            shop.assert_untouched()
            assert len(shop.openai.requests) == n
    assert rows(shop.db, "select distinct attempts, state from queue.jobs where actor = 'fill_listing'") == [
        (1, "succeeded")
    ]


def test_in_doubt_it_is_not_asked_again(shop: Filled) -> None:
    shop.openai.delay = 1.5
    done = shop.fill()
    assert (done["error_code"], done["is_retryable"]) == ("outcome_unknown", True)
    shop.assert_untouched()
    assert len(shop.openai.requests) == 1


def test_busy_is_asked_again_and_not_for_ever(shop: Filled) -> None:
    busy = openai_server.error(429, "rate_limit_exceeded", retry_after="0.1")
    shop.openai.answers = [busy]
    assert shop.fill()["status"] == "succeeded"
    assert len(shop.openai.requests) == 2
    shop.openai.standing = busy
    done = shop.fill("size")
    assert (done["error_code"], done["submitted_at"]) == ("fill_gave_up", None)
    assert len(shop.openai.requests) == 2 + 5


def test_storage_out_of_order(shop: Filled) -> None:
    shop.storage.on("GET", r"/preview\.webp", status(503), times=2)
    assert shop.fill()["status"] == "succeeded"


def test_a_lost_photo(shop: Filled) -> None:
    for bucket, path in list(shop.storage.objects):
        if path.endswith("/preview.webp"):
            del shop.storage.objects[bucket, path]
    done = shop.fill()
    assert (done["error_code"], done["is_retryable"]) == ("photo_missing", True)
    assert shop.openai.requests == []


def test_meanwhile(shop: Filled) -> None:
    """What happens while the provider is thinking."""

    def fill_while(statement: str, who: Any = None, overwrite: bool = False) -> Any:
        def act() -> None:
            with shop.fresh_db.connect(autocommit=True) as conn:
                (fill,) = rows(conn, "select id from public.listing_fills where status = 'processing'")
                with as_user(conn, who) if who else nullcontext():
                    conn.execute(statement.format(fill=fill))  # type: ignore[arg-type]

        shop.openai.requests.clear()
        shop.openai.before = act
        fill = shop.ask(overwrite=overwrite)
        shop.settle()
        assert len(shop.openai.requests) == 1
        found = rows(shop.db, "select to_jsonb(f) from public.listing_fills as f where id = %s", fill)
        return found[0] if found else None

    with shop.working():
        assert fill_while("select public.cancel_fill('{fill}')", shop.owner)["status"] == "canceled"
        shop.assert_untouched()
        row = fill_while("update public.listings set title = 'Mine'", shop.owner)
        assert row["skipped"] == {"title": "edited", "brand": "no_value"}
        assert shop.texts() == ("Mine", None, "A lamp.", ["lamp"])
        label = f"select public.set_label('{shop.image_id}', true)"
        row = fill_while(label, shop.owner, overwrite=True)
        assert row["skipped"][f"images/{shop.image_id}/alt_text"] == "photo_gone"
        assert (row["applied"], shop.texts()[0]) == ({"title": "Red lamp"}, "Red lamp")
        row = fill_while("delete from public.listings", shop.owner, overwrite=True)
        assert (row["status"], row["listing_id"], row["result"]) == ("canceled", None, None)
        shop.listing = new_listing(shop.db, shop.owner)
        assert fill_while(f"delete from auth.users where id = '{shop.owner}'", overwrite=True) is None
    assert rows(shop.db, "select distinct attempts, state from queue.jobs where actor = 'fill_listing'") == [
        (1, "succeeded")
    ]


def test_a_label_is_never_sent(shop: Filled) -> None:
    fill = shop.ask("title")
    call(shop.db, shop.owner, "set_label", shop.image_id, True)
    shop.process()
    assert fill_of(shop.db, fill)["status"] == "succeeded"
    (request,) = shop.openai.requests
    assert [part["type"] for part in request[2]["input"][0]["content"]] == ["input_text"]


def test_a_provider_that_this_worker_lacks(shop: Filled) -> None:
    assert shop.fill("title", provider="toy")["error_code"] == "provider_unknown"


def test_out_of_time(shop: Filled) -> None:
    def expire() -> None:
        with shop.fresh_db.connect(autocommit=True) as conn:
            conn.execute("update public.listing_fills set created_at = now() - interval '1 hour'")
            assert one(conn, "select private.expire_fills()") == 1

    shop.openai.before = expire
    assert shop.fill()["error_code"] == "timed_out"
    shop.assert_untouched()


def test_given_up_with_its_job(shop: Filled) -> None:
    fill = shop.ask()
    shop.db.execute("update queue.jobs set attempts = max_attempts - 1 where actor = 'fill_listing'")
    shop.openai.standing = openai_server.error(503, "overloaded")
    shop.process()
    assert fill_of(shop.db, fill)["error_code"] == "fill_gave_up"


STEPS = {
    "claimed": (1, "succeeded"),
    "downloaded": (1, "succeeded"),
    "submitting": (0, "outcome_unknown"),
    "answered": (1, "outcome_unknown"),
    "rows_written": (1, "outcome_unknown"),
    "committed": (1, "succeeded"),
}


def test_killed(shop: Filled, stack: Stack) -> None:
    """kill -9 at each step, and another worker after it: the provider is asked once at most."""
    environment = {
        "SUPABASE_URL": shop.storage.url,
        "SUPABASE_ANON_KEY": "key",
        "SUPABASE_SERVICE_ROLE_KEY": "key",
        "SUPABASE_DB_URL": shop.fresh_db.url,
        "WORKER_DB_URL": shop.fresh_db.worker_url,
        "OPENAI_API_KEY": "a-key",
        "OPENAI_BASE_URL": shop.openai.url,
    }
    for step, (calls, end) in STEPS.items():
        shop.openai.requests.clear()
        fill = shop.ask()
        with WorkerProcess(
            stack, "--processes", "1", "--threads", "1", **environment, FAULT_AT=step
        ) as doomed:
            assert doomed.wait(timeout=60) == -signal.SIGKILL
        shop.db.execute(
            "update queue.jobs set leased_until = now() - interval '1 second' where state = 'running'"
        )
        with psycopg.connect(shop.fresh_db.worker_url, autocommit=True) as conn:
            conn.execute("select * from queue.reap()")
        shop.process()
        row = fill_of(shop.db, fill)
        assert (step, row["error_code"] or row["status"]) == (step, end)
        assert (step, len(shop.openai.requests)) == (step, calls)
        if end == "succeeded":
            assert shop.texts() == ("Red lamp", None, "A lamp.", ["lamp"])
            call(shop.db, shop.owner, "undo_fill", fill)
        shop.assert_untouched()
