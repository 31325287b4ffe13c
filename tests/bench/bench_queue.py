"""The queue against its peers, on one PostgreSQL, in one run: jobs a second and idle pick-up latency.

python -m tests.bench.bench_queue [--jobs 20000] [--json]

Starts an embedded stack of its own. procrastinate is a development dependency; dramatiq on Redis takes part
when `redis-server` is on PATH and the Python package redis is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.support.stack import ROOT, Stack, clean_environment, run_cli, start_stack

MILLION = 1_000_000
#: A slow peer need not work for minutes; fewer jobs are to its advantage.
PEER_JOBS = 4_000

_FINISHED = """
insert into queue.jobs (queue, actor, args, priority, tag, run_at, state, attempts, max_attempts, finished_at)
select 'default', 'noop', '{}', 0, n, now(), 'succeeded', 1, 10, now() - n * interval '1 ms'
from generate_series(1, %s) as n
"""
_FUTURE = """
insert into queue.jobs (queue, actor, args, priority, run_at, state, max_attempts)
select 'default', 'noop', '{}', 0, now() + interval '1 day' + n * interval '1 ms', 'scheduled', 10
from generate_series(1, %s) as n
"""


class Databases:
    """Throw-away databases in the stack's cluster."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._count = 0

    def _at(self, url: str, name: str) -> str:
        return make_conninfo(**(conninfo_to_dict(url) | {"dbname": name}))

    @contextmanager
    def new(self, *, ledger: bool, fill: str = "") -> Iterator[tuple[str, str]]:
        """(address as postgres, address as media_worker) of an empty or a migrated database."""
        self._count += 1
        name = f"bench_{self._count}"
        with psycopg.connect(self._stack.admin_db_url, autocommit=True) as admin:
            admin.execute(sql.SQL("create database {} owner postgres").format(sql.Identifier(name)))
            url = self._at(self._stack.db_url, name)
            if ledger:
                with psycopg.connect(self._at(self._stack.admin_db_url, name), autocommit=True) as db:
                    db.execute((ROOT / "supabase/local/bootstrap.sql").read_text())  # type: ignore[arg-type]
                self._stack.cli("migrate", "--db-url", url)
            if fill:
                with psycopg.connect(url, autocommit=True) as db:
                    db.execute(fill, (MILLION,))  # type: ignore[arg-type]
                    db.execute("vacuum analyze queue.jobs")
                    admin.execute("checkpoint")
            try:
                yield url, self._at(self._stack.worker_db_url, name)
            finally:
                admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def measure(peer: str, address: str, what: str, count: int) -> Any:
    """One peer in a process of its own; see tests.bench.queue_peers."""
    done = subprocess.run(
        [sys.executable, "-m", f"tests.bench.queue_peers.{peer}", address, what, str(count)],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{peer} {what}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


@contextmanager
def redis() -> Iterator[str | None]:
    """The address of a Redis without persistence; None when there is none to be had."""
    program = shutil.which("redis-server")
    if program is None or importlib.util.find_spec("redis") is None:
        yield None
        return
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen(
            [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder],
            stdout=subprocess.DEVNULL,
        )
        try:
            time.sleep(0.5)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.terminate()
            server.wait()


def percentiles(times: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(times, n=20)
    return {"idle_p50_ms": round(statistics.median(times), 1), "idle_p95_ms": round(cuts[18], 1)}


def bench(stack: Stack, jobs: int, pings: int, repeat: int) -> dict[str, Any]:
    databases = Databases(stack)
    peers: dict[str, dict[str, float]] = {}

    with databases.new(ledger=True) as (_, worker_url):
        peers["imageledger"] = percentiles(measure("ours", worker_url, "idle", pings))
    with databases.new(ledger=False) as (url, _):
        peers["procrastinate"] = percentiles(measure("procrastinate_app", url, "idle", pings)) | {
            "jobs_per_second": round(measure("procrastinate_app", url, "drain", min(jobs, PEER_JOBS)))
        }
    with redis() as address:
        if address:
            peers["dramatiq on Redis"] = percentiles(
                measure("dramatiq_redis", address, "idle", min(pings, 20))
            ) | {"jobs_per_second": round(measure("dramatiq_redis", address, "drain", jobs))}

    # In turns, and the best of each: what else the machine does can only slow a run down.
    rates: dict[str, list[float]] = {"empty": [], "million_finished": [], "million_future": []}
    with (
        databases.new(ledger=True) as (_, empty),
        databases.new(ledger=True, fill=_FINISHED) as (_, finished),
        databases.new(ledger=True, fill=_FUTURE) as (_, future),
    ):
        for _ in range(repeat):
            for name, address in zip(rates, (empty, finished, future), strict=True):
                rates[name].append(measure("ours", address, "drain", jobs))
    ours = {name: max(values) for name, values in rates.items()}
    peers["imageledger"]["jobs_per_second"] = round(ours["empty"])
    return {
        "jobs": jobs,
        "peers": peers,
        "ratios": {
            f"jobs_per_second / {name}": round(ours["empty"] / peer["jobs_per_second"], 1)
            for name, peer in peers.items()
            if name != "imageledger"
        },
        "idle_p50 / procrastinate": round(
            peers["imageledger"]["idle_p50_ms"] / peers["procrastinate"]["idle_p50_ms"], 2
        ),
        "volume": {name: round(rate) for name, rate in ours.items()},
        "slower_with_million_finished": round(ours["empty"] / ours["million_finished"], 2),
        "slower_with_million_future": round(ours["empty"] / ours["million_future"], 2),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--pings", type=int, default=60)
    parser.add_argument("--repeat", type=int, default=3, help="runs of each volume; the best counts")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        try:
            result = bench(start_stack(home), options.jobs, options.pings, options.repeat)
        finally:
            run_cli(home, "down")
    if options.json:
        print(json.dumps(result, indent=2))
        return 0
    for name, figures in result["peers"].items():
        print(
            f"{name:<20} {figures['jobs_per_second']:>7} jobs/s   idle pick-up"
            f" p50 {figures['idle_p50_ms']:>6} ms   p95 {figures['idle_p95_ms']:>6} ms"
        )
    for key in ("ratios", "idle_p50 / procrastinate", "volume"):
        print(f"{key}: {result[key]}")
    for key in ("slower_with_million_finished", "slower_with_million_future"):
        print(f"{key}: {result[key]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
