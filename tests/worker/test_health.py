"""/healthz, /readyz and /metrics of real worker processes; what they count, and what they keep to themselves."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families
from psycopg.rows import dict_row

from cli.watch.figures import _QUEUES
from tests.conftest import FreshDatabase, throw_away
from tests.sql.generations import generation, submit
from tests.support.images import png_bomb
from tests.support.roles import new_user
from tests.support.stack import ROOT, Stack
from tests.support.storage_server import StorageServer
from tests.support.worker import WorkerProcess
from tests.worker.test_actors import Shop
from tests.worker.test_worker_process import children_of, process
from tests.worker.toys import wait_for
from worker import metrics
from worker.health import HealthServer, kept

SECRET = "a-service-key-that-nobody-may-read"


def port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/readyz", timeout=10).status_code == 200
    except httpx.TransportError:
        return False


class Figures:
    """The samples of one scrape."""

    def __init__(self, address: str) -> None:
        response = httpx.get(f"{address}/metrics", timeout=10)
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/plain; version=")
        self.text = response.text
        self._samples = [s for f in text_string_to_metric_families(self.text) for s in f.samples]

    def sum(self, name: str, **labels: str) -> float:
        """Of all samples with these labels, of others too."""
        return sum(
            s.value for s in self._samples if s.name == name and labels.items() <= dict(s.labels).items()
        )


class Work:
    """What one worker has done before the tests look: a photo, a bomb, a generation; and a queue nobody serves."""

    def __init__(self, address: str, shop: Shop, owner: str) -> None:
        self.address, self.shop, self.owner = address, shop, owner
        self.figures = Figures(address)


@pytest.fixture(scope="module")
def work(stack: Stack, template: str) -> Iterator[Work]:
    number = port()
    with throw_away(stack, template) as database, StorageServer() as storage:
        shop = Shop(database, storage, None)  # type: ignore[arg-type] - the process has its own renderer
        owner = new_user(shop.db)
        shop.db.execute(
            "select queue.enqueue('nobody', '{}', queue => 'unserved') from generate_series(1, 3)"
        )
        shop.db.execute("update queue.jobs set run_at = now() - interval '100 s' where queue = 'unserved'")
        photo, bomb = shop.upload(), shop.upload(png_bomb())
        job = submit(shop.db, owner, params={"width": 96, "height": 64})["id"]
        with process(
            database,
            "worker.main",
            WORKER_HTTP_PORT=number,
            SUPABASE_URL=storage.url,
            SUPABASE_SERVICE_ROLE_KEY=SECRET,
        ):
            address = f"http://127.0.0.1:{number}"
            wait_for(lambda: answers(address))
            wait_for(lambda: shop.image(photo)[0] == "ready" and shop.image(bomb)[0] == "failed")
            wait_for(lambda: generation(shop.db, job)["status"] == "succeeded")
            wait_for(lambda: Figures(address).sum("imageledger_jobs_total", actor="generate") >= 1)
            yield Work(address, shop, str(owner))
        shop.db.close()


def test_probes_of_a_healthy_stack(stack: Stack) -> None:
    number = port()
    with WorkerProcess(stack, WORKER_HTTP_PORT=number):
        address = f"http://127.0.0.1:{number}"
        wait_for(lambda: answers(address))
        alive, ready = httpx.get(f"{address}/healthz"), httpx.get(f"{address}/readyz")
        assert alive.status_code == 200
        assert alive.json() == {"status": "ok", "checks": {"heartbeat": True}}
        assert ready.json()["checks"] == {
            "heartbeat": True,
            "database": True,
            "storage": True,
            "takes_jobs": True,
        }
        assert httpx.get(f"{address}/jobs").status_code == 404
        assert httpx.get(f"{address}/healthz/").status_code == 404
        assert httpx.post(f"{address}/healthz").status_code == 405
        head = httpx.head(f"{address}/readyz")
        assert (head.status_code, head.content) == (200, b"")


def test_ready_names_the_part_that_is_away(fresh_db: FreshDatabase) -> None:
    number = port()
    address = f"http://127.0.0.1:{number}"
    with process(fresh_db, "worker.main", WORKER_HTTP_PORT=number, SUPABASE_URL="http://127.0.0.1:1"):

        def checks() -> Any:
            try:
                return httpx.get(f"{address}/readyz", timeout=10).json()["checks"]
            except httpx.TransportError:
                return None

        wait_for(lambda: checks() and checks()["database"])
        answer = httpx.get(f"{address}/readyz")
        assert answer.status_code == 503
        assert answer.json() == {
            "status": "unavailable",
            "checks": {"heartbeat": True, "database": True, "storage": False, "takes_jobs": True},
        }
        # The process is well: to restart it would help nobody.
        assert httpx.get(f"{address}/healthz").status_code == 200


def test_ready_without_a_database(fresh_db: FreshDatabase) -> None:
    number = port()
    away = fresh_db.worker_url.replace(f"/{fresh_db.name}", "/no_such_database")
    with StorageServer() as storage:
        environment = {"WORKER_DB_URL": away, "SUPABASE_URL": storage.url, "WORKER_HTTP_PORT": number}
        with process(fresh_db, "worker.main", **environment):
            found: list[httpx.Response] = []

            def answered() -> bool:
                try:
                    found[:] = [httpx.get(f"http://127.0.0.1:{number}/readyz", timeout=20)]
                except httpx.TransportError:
                    return False
                return bool(found[0].json()["checks"]["storage"])

            wait_for(answered)
            assert found[0].status_code == 503
            assert found[0].json()["checks"]["database"] is False
            assert "no_such_database" not in found[0].text
            # Metrics are there, without figures that nobody knows.
            figures = Figures(f"http://127.0.0.1:{number}")
            assert "imageledger_queue_jobs{" not in figures.text


def test_jobs_are_counted_by_actor_and_outcome(work: Work) -> None:
    jobs = work.figures.sum
    # The bomb's job has succeeded too: it has told the seller why.
    assert jobs("imageledger_jobs_total", actor="process_image", outcome="succeeded") == 2
    assert jobs("imageledger_jobs_total", outcome="retry") == 0
    assert jobs("imageledger_job_seconds_count", actor="process_image") == 2
    assert 0 < jobs("imageledger_job_seconds_sum", actor="process_image") < 60
    assert jobs("imageledger_renders_refused_total") == 1


def test_time_and_memory_by_format(work: Work) -> None:
    assert work.figures.sum("imageledger_render_seconds_count", format="image/jpeg") == 1
    seconds = work.figures.sum("imageledger_render_seconds_sum", format="image/jpeg")
    assert 0.001 < seconds < 30
    memory = work.figures.sum("imageledger_render_memory_bytes_sum", format="image/jpeg")
    assert 20 * 1024**2 < memory < 1536 * 1024**2


def test_calls_to_storage_and_providers(work: Work) -> None:
    count = work.figures.sum
    assert count("imageledger_storage_seconds_count", operation="download", outcome="ok") == 2
    assert count("imageledger_storage_seconds_count", operation="upload", outcome="ok") >= 7
    assert count("imageledger_storage_seconds_count", outcome="error") == 0
    for operation in ("submit", "collect"):
        found = count(
            "imageledger_provider_seconds_count", provider="local", operation=operation, outcome="ok"
        )
        assert found == 1, operation
    assert 'imageledger_provider_cost_dollars_total{model="local' in work.figures.text
    assert count("imageledger_provider_cost_dollars_total", provider="local") == 0


def test_the_queue_is_measured(work: Work) -> None:
    wait_for(lambda: Figures(work.address).sum("imageledger_queue_jobs", state="ready") == 3)
    figures = Figures(work.address)
    assert figures.sum("imageledger_queue_jobs", queue="unserved", state="ready") == 3
    assert 100 <= figures.sum("imageledger_queue_lag_seconds", queue="unserved") < 200


def test_nothing_that_is_anybodys_business(work: Work, stack: Stack) -> None:
    """Whoever reaches the port may read it."""
    texts = Figures(work.address).text + httpx.get(f"{work.address}/readyz").text
    for secret in (
        SECRET,
        work.owner,
        "media_worker",
        "@example.test",
        ".jpg",
        str(stack.home),
        "postgresql:",
    ):
        assert secret not in texts
    assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}", texts), "no id of a row"


def test_every_metric_is_in_the_readme(work: Work) -> None:
    readme = (ROOT / "worker/README.md").read_text()
    listed = set(re.findall(r"^\| `(imageledger_[a-z_]+)` \|", readme, re.MULTILINE))
    found = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in text_string_to_metric_families(Figures(work.address).text)
        if family.name.startswith("imageledger_") and not family.name.endswith("_created")
    }
    assert listed == found


def test_processes_add_up_and_outlive_their_children(fresh_db: FreshDatabase, tmp_path: Path) -> None:
    number = port()
    address = f"http://127.0.0.1:{number}"
    folders = tmp_path / "temporary"
    folders.mkdir()

    def done() -> float:
        return Figures(address).sum("imageledger_jobs_total", actor="process_image", outcome="succeeded")

    with StorageServer() as storage:
        shop = Shop(fresh_db, storage, None)  # type: ignore[arg-type]
        with process(
            fresh_db,
            "worker.main",
            WORKER_PROCESSES="2",
            WORKER_THREADS="1",
            WORKER_HTTP_PORT=number,
            SUPABASE_URL=storage.url,
            TMPDIR=str(folders),
        ) as parent:
            wait_for(lambda: answers(address))
            for _ in range(4):
                shop.upload()
            wait_for(lambda: done() == 4)
            counting = list(folders.glob("imageledger-metrics-*/counter_*.db"))
            assert len(counting) == 2, "a file of each process"
            victim = min(children_of(parent.pid))
            os.kill(victim, signal.SIGKILL)
            wait_for(lambda: len(children_of(parent.pid) - {victim}) == 2)
            assert httpx.get(f"{address}/healthz").status_code == 200
            assert done() == 4
            shop.upload()
            wait_for(lambda: done() == 5)
            parent.terminate()
            assert parent.wait(20) == 0
        assert list(folders.glob("imageledger-metrics-*")) == []
        shop.db.close()


def test_a_file_that_a_child_has_just_made(tmp_path: Path) -> None:
    """prometheus_client opens it first and gives it a size then: a scrape may come in between."""
    counting = "from worker import metrics; metrics.MAINTENANCE.labels('requeue').inc(3)"
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", counting], cwd=ROOT, env=environment, check=True)
    for kind in ("counter", "histogram"):
        (tmp_path / f"{kind}_1.db").touch()
    text = metrics.render(metrics.expose(lambda: [], tmp_path)).decode()
    assert 'imageledger_maintenance_rows_total{function="requeue"} 3.0' in text


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_port_that_is_taken(fresh_db: FreshDatabase, processes: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = str(taken.getsockname()[1])
        with process(fresh_db, "worker.main", WORKER_HTTP_PORT=number, WORKER_PROCESSES=processes) as worker:
            assert worker.wait(20) == 2
            assert worker.stderr
            said = worker.stderr.read().decode()
    assert f"WORKER_HTTP_PORT: cannot listen on 127.0.0.1:{number}" in said
    assert "Traceback" not in said


def test_the_child_that_decodes_stays_small() -> None:
    """What it imports, every picture pays for in memory."""
    program = "import sys, worker.imaging.child, worker.imaging.render; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "PIL" in loaded
    assert loaded & {"prometheus_client", "psycopg", "dramatiq", "httpx"} == set()


def test_figures_of_the_queue_are_the_workers_alone(db: psycopg.Connection[Any]) -> None:
    db.execute("select queue.enqueue('later', '{}', run_at => now() + interval '1 hour')")
    found = db.execute(
        "select state, job_count, lag_seconds from queue.figures() where state = 'scheduled'"
    ).fetchall()
    assert found == [("scheduled", 1, 0)]
    # As many, in the same states, as what `imageledger status` shows: it asks here.
    db.execute("select queue.enqueue('later', '{}', run_at => 'infinity')")
    db.execute("select queue.enqueue('now', '{}') from generate_series(1, 3)")
    db.execute("select queue.pause('queue', 'idle')")
    counted = {state: count for _, state, count, _ in db.execute("select * from queue.figures()")}
    assert counted == {"scheduled": 1, "paused": 1, "ready": 3}
    with db.cursor(row_factory=dict_row) as rows:
        shown = rows.execute(_QUEUES).fetchall()
    assert [
        (q["queue"], q["is_paused"], q["ready"], q["scheduled"], q["paused"], q["dead"]) for q in shown
    ] == [
        ("default", False, 3, 1, 1, 0),
        ("idle", True, 0, 0, 0, 0),
    ]
    may = db.execute(
        "select r from unnest('{anon,authenticated,service_role,analyst,media_worker}'::text[]) as r"
        " where has_function_privilege(r, 'queue.figures()', 'execute')"
    ).fetchall()
    assert may == [("media_worker",)]


def test_a_check_is_asked_once_for_many_probes() -> None:
    asked: list[int] = []

    def check() -> bool:
        asked.append(1)
        raise OSError("away")

    ask = kept(check, 60)
    with pytest.raises(OSError, match="away"):
        ask()
    assert [ask() for _ in range(3)] == [False] * 3
    assert asked == [1]


def test_a_process_whose_heart_has_stopped() -> None:
    """503 at both: restart it."""
    registry = metrics.expose(list)
    with HealthServer(
        "127.0.0.1", int(port()), alive={"heartbeat": lambda: False}, ready={}, registry=registry
    ) as server:
        for path in ("healthz", "readyz"):
            answer = httpx.get(f"http://127.0.0.1:{server.port}/{path}")
            assert (answer.status_code, answer.json()["checks"]) == (503, {"heartbeat": False})
