"""Traces of a real worker process at a real OTLP receiver; a collector that is away; and no traces at all."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.conftest import FreshDatabase, throw_away
from tests.sql.generations import generation, submit
from tests.support.collector import Collector, SentSpan
from tests.support.images import png_bomb
from tests.support.roles import new_user
from tests.support.stack import ROOT, Stack, clean_environment
from tests.support.storage_server import StorageServer
from tests.worker.test_actors import Shop
from tests.worker.test_worker_process import process
from tests.worker.toys import wait_for
from worker import tracing
from worker.errors import ConfigError

TRACE, CLIENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SECRET = "a-service-key-that-nobody-may-read"
PROMPT = "a prompt that nobody may read"
SERVER, CLIENT_KIND, CONSUMER = 2, 3, 5


@dataclass
class Traced:
    """What a worker sent about a photo, a file that is none, and a generation; and when it had stopped."""

    collector: Collector
    shop: Shop
    owner: str

    def job(self, actor: str, trace: str | None = None) -> SentSpan:
        (span,) = [s for s in self.collector.named(f"job {actor}") if trace in (None, s.trace)]
        return span


@pytest.fixture(scope="module")
def traced(stack: Stack, template: str) -> Iterator[Traced]:
    with throw_away(stack, template) as database, StorageServer() as storage, Collector() as collector:
        shop = Shop(database, storage, None)  # type: ignore[arg-type] - the process has its own renderer
        owner = new_user(shop.db)
        photo = shop.upload()
        shop.db.execute(
            "update queue.jobs set trace_parent = %s, correlation_id = 'checkout-4711',"
            " run_at = now() - interval '90 s'",
            [f"00-{TRACE}-{CLIENT}-01"],
        )
        bomb = shop.upload(png_bomb())
        job = submit(shop.db, owner, prompt=PROMPT, params={"width": 96, "height": 64})["id"]
        with process(
            database,
            "worker.main",
            SUPABASE_URL=storage.url,
            SUPABASE_SERVICE_ROLE_KEY=SECRET,
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
            OTEL_EXPORTER_OTLP_HEADERS="x-tenant=blue",
            OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=test",
            # Nothing but the end of the worker sends what is left.
            OTEL_BSP_SCHEDULE_DELAY="60000",
        ) as worker:
            wait_for(lambda: shop.image(photo)[0] == "ready" and shop.image(bomb)[0] == "failed")
            wait_for(lambda: generation(shop.db, job)["status"] == "succeeded")
            # An image's end orders a removal, as a child of its job.
            shop.settle()
            worker.terminate()
            assert worker.wait(20) == 0
        yield Traced(collector, shop, str(owner))
        shop.db.close()


def test_a_jobs_span_hangs_below_the_clients(traced: Traced) -> None:
    job = traced.job("process_image", TRACE)
    assert (job.trace, job.parent, job.kind, job.is_error) == (TRACE, CLIENT, CONSUMER, False)
    said = {name.removeprefix("imageledger."): value for name, value in job.attributes.items()}
    assert said["correlation_id"] == "checkout-4711"
    assert 90 <= said["job.wait_seconds"] < 150
    assert (said["job.actor"], said["job.attempt"], said["job.outcome"]) == ("process_image", 1, "succeeded")
    assert job.resource["service.name"] == "imageledger-worker"
    assert job.resource["deployment.environment.name"] == "test"
    assert {"service.version", "service.instance.id", "host.name"} <= job.resource.keys()
    assert traced.collector.headers[0]["x-tenant"] == "blue"


def test_below_it_is_all_that_it_waited_for(traced: Traced) -> None:
    job = traced.job("process_image", TRACE)
    parts = traced.collector.below(job)
    assert sorted(part.name for part in parts) == [
        "db private.begin_image",
        "db private.finish_image",
        "render",
        "storage download",
        *["storage upload"] * 5,
    ]
    (render,) = [part for part in parts if part.name == "render"]
    assert render.attributes["imageledger.format"] == "image/jpeg"
    assert {p.attributes["imageledger.bucket"] for p in parts if p.name == "storage upload"} == {"media"}
    assert sum(part.seconds for part in parts) <= job.seconds


def test_what_fails_says_so_by_type_only(traced: Traced) -> None:
    refused = [span for span in traced.collector.named("render") if span.is_error]
    assert [span.attributes["error.type"] for span in refused] == ["ImageRejected"]
    assert refused[0].attributes["imageledger.refused"]
    # The job did what it could: the image has failed with a reason.
    (job,) = [s for s in traced.collector.named("job process_image") if s.id == refused[0].parent]
    assert not job.is_error


def test_calls_of_a_provider_are_spans(traced: Traced) -> None:
    (job,) = {s.id: s for s in traced.collector.named("job generate")}.values()
    calls = [span for span in traced.collector.below(job) if span.name.startswith("provider ")]
    assert {span.attributes["imageledger.provider"] for span in calls} == {"local"}
    assert {"provider submit", "provider collect"} <= {span.name for span in calls}


def test_nobody_reads_in_traces_what_is_nobodys_business(traced: Traced) -> None:
    for hidden in (PROMPT, SECRET, "example.test", "postgresql://", "http", "original", ".webp", "token"):
        assert hidden.encode() not in traced.collector.raw.replace(b"opentelemetry", b""), hidden


def test_jobs_that_a_job_leads_to_are_in_its_trace(stack: Stack, fresh_db: FreshDatabase) -> None:
    with StorageServer() as storage, Collector() as collector:
        shop = Shop(fresh_db, storage, None)  # type: ignore[arg-type]
        image = shop.upload()
        # Its owner removes it while it is being processed: the worker's end finds it gone.
        shop.db.execute(
            "update queue.jobs set trace_parent = %s, correlation_id = 'checkout-4711'",
            [f"00-{TRACE}-{CLIENT}-01"],
        )
        shop.db.execute(
            "update public.site_policies set photo_review_enabled = true, photo_review_provider = 'disabled'"
        )
        with process(
            fresh_db,
            "worker.main",
            SUPABASE_URL=storage.url,
            OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{collector.url}/v1/traces",
            OTEL_BSP_SCHEDULE_DELAY="100",
        ):
            wait_for(lambda: collector.named("job review_image") and collector.named("job process_image"))
        (first,), (second, *_) = collector.named("job process_image"), collector.named("job review_image")
        (end,) = [s for s in collector.below(first) if s.name == "db private.finish_image"]
        assert (second.trace, second.parent) == (TRACE, end.id)
        assert second.attributes["imageledger.correlation_id"] == "checkout-4711"
        assert shop.image(image)[0] == "ready"
        shop.db.close()


def test_a_collector_that_is_away_delays_nobody(fresh_db: FreshDatabase) -> None:
    """One refuses connections; one takes them and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent, StorageServer() as storage:
        shop = Shop(fresh_db, storage, None)  # type: ignore[arg-type]
        for endpoint in ("http://127.0.0.1:1", f"http://127.0.0.1:{silent.getsockname()[1]}"):
            image = shop.upload()
            with process(
                fresh_db,
                "worker.main",
                SUPABASE_URL=storage.url,
                OTEL_EXPORTER_OTLP_ENDPOINT=endpoint,
                OTEL_BSP_SCHEDULE_DELAY="100",
            ) as worker:
                wait_for(lambda image=image: shop.image(image)[0] == "ready")
                began = time.monotonic()
                worker.terminate()
                assert worker.wait(15) == 0
                assert time.monotonic() - began < 5, "the exporter's own patience is ten seconds and more"
        shop.db.close()


def test_without_a_collector_nothing_is_imported_and_spans_are_nothing() -> None:
    program = (
        "import sys, worker.main, worker.actors; from worker import tracing; tracing.start('w');"
        "assert not tracing.is_on() and tracing.parent() is None;"
        "s = tracing.span('x', a=1).__enter__(); s.set('b', 2);"
        "assert not [m for m in sys.modules if m.startswith('opentelemetry')], 'imported'"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=clean_environment(), check=True)


@pytest.mark.parametrize(
    ("env", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "True"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "otlp"}, True),
    ],
)
def test_the_environment_decides(env: dict[str, str], wanted: bool) -> None:
    assert tracing.is_wanted(env) is wanted


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_TRACES_EXPORTER", "jaeger"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
    ],
)
def test_what_it_cannot_do_is_said_at_once(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=value):
        tracing.is_wanted({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", name: value})


def test_a_worker_without_the_extra_says_what_to_install() -> None:
    hide = (
        "import sys; sys.modules['opentelemetry'] = None; from worker import tracing;"
        "from worker.errors import ConfigError\n"
        "try: tracing.start('w')\nexcept ConfigError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", hide],
        cwd=ROOT,
        env=clean_environment(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1"),
        check=True,
        capture_output=True,
        text=True,
    )
    assert "install imageledger[otel]" in done.stdout
