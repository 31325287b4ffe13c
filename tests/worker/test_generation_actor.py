"""The actor with the real renderer and database, a Storage that obeys, and providers that do not always."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from PIL import Image
from prometheus_client import REGISTRY

from tests.conftest import FreshDatabase
from tests.sql.generations import asset_of, generation, submit
from tests.sql.scene import call, one, rows, store
from tests.support.images import jpeg_bomb, make_jpeg, png_bomb, truncated
from tests.support.roles import as_service, new_user
from tests.support.storage_server import StorageServer
from tests.worker.toys import make_broker, wait_for, working
from worker.actors import ALL
from worker.generation import providers
from worker.generation.errors import ContentRefusedError, OutcomeUnknownError, ProviderError
from worker.generation.provider import GenerationRequest, Outputs, Prediction
from worker.generation.providers.local import LocalProvider
from worker.imaging import Renderer
from worker.imaging.samples import exif_block
from worker.ledger import ImageLedger
from worker.objects import ObjectStore
from worker.tools import Tools


class Toy(LocalProvider):
    """A paid provider: counts its calls, and fails as told."""

    name = "toy"
    repeats_safely = False
    collects_from_inputs = False
    calls: list[str]
    failures: list[Exception]
    polls: int
    canceled: list[str]
    output: bytes | None

    @classmethod
    def reset(cls) -> None:
        cls.calls, cls.failures, cls.polls, cls.canceled, cls.output = [], [], 0, [], None

    def submit(self, request: GenerationRequest) -> Prediction:
        self.calls.append(request.generation_id)
        if self.failures:
            raise self.failures.pop()
        return Prediction(f"toy-{request.generation_id}")

    def find(self, request: GenerationRequest, since: float) -> Prediction | None:
        raise OutcomeUnknownError

    def poll(self, request: GenerationRequest, prediction_id: str) -> Prediction:
        type(self).polls -= 1
        return Prediction(prediction_id, is_done=type(self).polls <= 0, progress=40)

    def collect(self, request: GenerationRequest, prediction_id: str, folder: Path) -> Outputs:
        if self.output is not None:
            (folder / "x.png").write_bytes(self.output)
            return Outputs((folder / "x.png",), "toy-1", 0.04)
        made = super().collect(request, prediction_id, folder)
        return Outputs(made.files, "toy-1", 0.04)

    def cancel(self, prediction_id: str) -> None:
        self.canceled.append(prediction_id)


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    with Renderer(1) as renderer:
        yield renderer


class Studio:
    """A database, a Storage and a worker between them."""

    def __init__(self, fresh_db: FreshDatabase, storage: StorageServer, renderer: Renderer) -> None:
        self.fresh_db, self.storage, self._renderer = fresh_db, storage, renderer
        self.db: psycopg.Connection[Any] = fresh_db.connect(autocommit=True)
        self.owner = new_user(self.db)
        with as_service(self.db):
            self.db.execute("update public.site_policies set generation_providers = '{local,toy}'")

    @contextmanager
    def working(self) -> Iterator[None]:
        broker = make_broker(self.fresh_db.worker_url, threads=2, poll_seconds=0.05)
        with ObjectStore(self.storage.url, "key", timeout=5) as objects:
            tools = Tools(broker, ImageLedger(broker.pool), objects, self._renderer)
            for actor in ALL:
                actor.declare(broker, tools)
            with working(broker):
                yield

    def submit(self, mode: str = "imagine", **arguments: Any) -> UUID:
        job: UUID = submit(self.db, self.owner, mode, **arguments)["id"]
        return job

    def upload(self, data: bytes) -> str:
        """An input, its bytes and its row."""
        path = f"{self.owner}/inputs/{uuid4()}.jpg"
        self.storage.objects["private", path] = data
        store(self.db, path, self.owner, size=len(data))
        return path

    def settle(self) -> None:
        def is_empty() -> bool:
            self.db.execute("update queue.jobs set run_at = now() where state = 'scheduled'")
            live = "select 1 from queue.jobs where state in ('ready', 'running', 'scheduled')"
            return self.db.execute(live).fetchone() is None

        wait_for(is_empty, 20)

    def generate(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Submits, works, and answers the row."""
        job = self.submit(*args, **kwargs)
        with self.working():
            self.settle()
        return generation(self.db, job)

    @property
    def pictures(self) -> dict[str, bytes]:
        return {path: data for (bucket, path), data in self.storage.objects.items() if bucket == "public"}

    def debits(self) -> int:
        return int(one(self.db, "select coalesce(sum(units), 0) from public.usage_ledger"))


@pytest.fixture
def studio(fresh_db: FreshDatabase, renderer: Renderer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Studio]:
    Toy.reset()
    monkeypatch.setitem(providers.PROVIDERS, "toy", Toy)
    with StorageServer() as storage:
        studio = Studio(fresh_db, storage, renderer)
        yield studio
        studio.db.close()


def test_prompt_in_pictures_out(studio: Studio) -> None:
    job = studio.generate(params={"width": 96, "height": 64, "seed": 3, "count": 2})
    assert (job["status"], job["progress"], job["error"]) == ("succeeded", 100, None)
    assert job["model"] == "local-shapes-1"
    assert job["duration_ms"] >= 0
    variants = studio.db.execute(
        "select v.image_path, v.thumb_path, v.width, v.height, a.sha256, a.byte_size"
        " from public.render_variants as v join public.image_assets as a on a.id = v.asset_id order by v.idx"
    ).fetchall()
    assert {path for row in variants for path in row[:2]} == studio.pictures.keys()
    for path, _, width, height, sha256, byte_size in variants:
        with Image.open(io.BytesIO(studio.pictures[path])) as image:
            assert (image.format, image.size) == ("WEBP", (96, 64))
            assert (width, height) == image.size
            assert not image.info.get("exif")
        assert hashlib.sha256(studio.pictures[path]).hexdigest() == sha256
        assert len(studio.pictures[path]) == byte_size
    assert studio.debits() == 1
    assert one(studio.db, "select thumbnail_path from public.image_sessions") == variants[0][1]


def test_inputs_masks_and_iteration(studio: Studio) -> None:
    photo, mask = studio.upload(make_jpeg()), studio.upload(make_jpeg())
    mask_asset = call(studio.db, studio.owner, "add_asset", mask, "mask")["id"]
    room = studio.generate("redesign", input1_path=photo, params={"seed": 1})
    assert room["status"] == "succeeded", room["error"]
    measured = studio.db.execute(
        "select width, height, length(sha256) from public.image_assets where path = %s", [photo]
    ).fetchone()
    with Image.open(io.BytesIO(make_jpeg())) as image:
        assert measured == (*image.size, 64)
    for mode, arguments in (
        (
            "edit",
            {"prompt": "x", "source_asset_id": asset_of(studio.db, room["id"]), "mask_asset_id": mask_asset},
        ),
        ("compose", {"input1_path": photo, "input2_path": mask}),
    ):
        job = studio.generate(mode, session_id=room["session_id"], **arguments)
        assert (job["status"], job["error"]) == ("succeeded", None)
    # The source of an edit is a picture in bucket public.
    assert studio.debits() == 3


@pytest.mark.parametrize(
    ("data", "code"), [(b"no picture", "unsupported_type"), (make_jpeg()[:500], None)], ids=["text", "cut"]
)
def test_bad_input_fails_with_a_reason(studio: Studio, data: bytes, code: str | None) -> None:
    job = studio.generate("redesign", input1_path=studio.upload(data))
    assert job["status"] == "failed"
    assert job["error_code"] == code or code is None
    assert studio.debits() == 0
    assert studio.pictures == {}


def test_missing_input(studio: Studio) -> None:
    path = studio.upload(make_jpeg())
    del studio.storage.objects["private", path]
    job = studio.generate("redesign", input1_path=path)
    assert (job["status"], job["error_code"]) == ("failed", "input_missing")


def _dollars() -> float:
    """What the metrics say that the toy has cost."""
    labels = {"provider": "toy", "model": "toy-1"}
    return REGISTRY.get_sample_value("imageledger_provider_cost_dollars_total", labels) or 0.0


class TestProviders:
    def test_paid_once(self, studio: Studio) -> None:
        before = _dollars()
        job = studio.generate(provider="toy")
        assert (job["status"], float(job["cost"]), job["model"]) == ("succeeded", 0.04, "toy-1")
        assert _dollars() - before == pytest.approx(0.04)
        assert job["prediction_id"] == f"toy-{job['id']}"
        assert Toy.calls == [str(job["id"])]

    def test_refused(self, studio: Studio) -> None:
        Toy.failures = [ContentRefusedError()]
        job = studio.generate(provider="toy")
        assert (job["status"], job["error_code"]) == ("failed", "content_refused")
        assert studio.debits() == 0

    def test_answer_lost_is_not_sent_again(self, studio: Studio) -> None:
        Toy.failures = [ProviderError("connection reset")]
        job = studio.generate(provider="toy")
        assert (job["status"], job["error_code"]) == ("failed", "outcome_unknown")
        assert len(Toy.calls) == 1

    def test_output_that_is_no_picture(self, studio: Studio) -> None:
        Toy.output = b"<html>"
        job = studio.generate(provider="toy")
        assert (job["status"], job["error_code"]) == ("failed", "unsupported_type")
        assert studio.debits() == 0

    def test_unknown_to_this_worker(self, studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delitem(providers.PROVIDERS, "toy")
        assert studio.generate(provider="toy")["error_code"] == "provider_unknown"

    def test_canceled_on_the_way(self, studio: Studio) -> None:
        Toy.polls = 1000
        job = studio.submit(provider="toy")
        with studio.working():
            wait_for(lambda: generation(studio.db, job)["progress"] == 40, 10)
            assert generation(studio.db, job)["status"] == "processing"
            assert call(studio.db, studio.owner, "cancel_generation", job)["status"] == "processing"
            studio.settle()
        assert generation(studio.db, job)["status"] == "canceled"
        assert Toy.canceled == [f"toy-{job}"]
        assert studio.debits() == 0
        assert studio.pictures == {}

    def test_deleted_on_the_way(self, studio: Studio) -> None:
        Toy.polls = 1000
        job = studio.submit(provider="toy")
        with studio.working():
            wait_for(lambda: generation(studio.db, job)["progress"] == 40, 10)
            studio.db.execute("delete from auth.users where id = %s", [studio.owner])
            studio.settle()
        assert rows(studio.db, "select id from public.generation_jobs") == []
        assert studio.pictures == {}

    def test_gives_up_in_the_end(self, studio: Studio) -> None:
        studio.storage.objects.clear()
        Toy.repeats_safely = True
        Toy.failures = [ProviderError("busy") for _ in range(9)]
        try:
            job = studio.generate(provider="toy")
        finally:
            Toy.repeats_safely = False
        assert (job["status"], job["error_code"], job["is_retryable"]) == (
            "failed",
            "generation_gave_up",
            True,
        )
        assert len(Toy.calls) == 5


class TestWhatComesBack:
    """A provider's file is no better than an upload: the same code decides, and nothing but pixels is kept."""

    def test_metadata_is_stripped_and_the_size_bounded(self, studio: Studio) -> None:
        photo = Image.new("RGB", (2600, 1300), "teal")
        raw = io.BytesIO()
        photo.save(raw, "JPEG", exif=exif_block(6), comment=b"made by somebody")
        assert b"Exif" in raw.getvalue()
        Toy.output = raw.getvalue()
        job = studio.generate(provider="toy")
        assert (job["status"], job["error"]) == ("succeeded", None)
        assert len(studio.pictures) == 2
        for data in studio.pictures.values():
            assert b"Exif" not in data
            assert b"made by somebody" not in data
            with Image.open(io.BytesIO(data)) as image:
                assert not image.getexif()
                # Upright, and no larger than the site allows.
                assert image.height > image.width
        sizes = studio.db.execute("select width, height from public.render_variants").fetchall()
        assert sizes == [(1024, 2048)]

    @pytest.mark.parametrize(
        "data",
        [
            png_bomb(),
            jpeg_bomb(),
            truncated(make_jpeg()),
            b'<svg xmlns="http://www.w3.org/2000/svg"><script/></svg>',
        ],
        ids=["png bomb", "jpeg bomb", "cut", "svg"],
    )
    def test_what_is_no_good_picture(self, studio: Studio, data: bytes) -> None:
        Toy.output = data
        job = studio.generate(provider="toy")
        assert (job["status"], bool(job["error_code"]), bool(job["error"])) == ("failed", True, True)
        assert studio.debits() == 0
        assert studio.pictures == {}


def test_a_source_that_is_deleted_while_it_waits(studio: Studio) -> None:
    """Nobody is asked, and nobody pays, for a redesign of nothing."""
    root = studio.generate(params={"width": 96, "height": 64})
    asset = asset_of(studio.db, root["id"])
    job = studio.submit("redesign", source_asset_id=asset, provider="toy", parent_job_id=root["id"])
    studio.db.execute("delete from public.renders where job_id = %s", [root["id"]])
    row = generation(studio.db, job)
    assert (row["status"], row["error_code"], row["is_retryable"]) == ("failed", "input_missing", False)
    with studio.working():
        studio.settle()
    assert Toy.calls == []
    assert generation(studio.db, job)["status"] == "failed"
    assert studio.debits() == 1
