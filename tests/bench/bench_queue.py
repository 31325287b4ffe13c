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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from tests.bench.databases import Databases
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


def filled(statement: str) -> Callable[[psycopg.Connection[Any]], None]:
    """What puts a million rows into a new database."""

    def fill(conn: psycopg.Connection[Any]) -> None:
        conn.execute(statement, (MILLION,))  # type: ignore[arg-type]
        conn.execute("vacuum analyze queue.jobs")

    return fill


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

    with databases.new(ledger=True) as db:
        peers["imageledger"] = percentiles(measure("ours", db.worker_url, "idle", pings))
    with databases.new(ledger=False) as db:
        peers["procrastinate"] = percentiles(measure("procrastinate_app", db.url, "idle", pings)) | {
            "jobs_per_second": round(measure("procrastinate_app", db.url, "drain", min(jobs, PEER_JOBS)))
        }
    with redis() as address:
        if address:
            peers["dramatiq on Redis"] = percentiles(
                measure("dramatiq_redis", address, "idle", min(pings, 20))
            ) | {"jobs_per_second": round(measure("dramatiq_redis", address, "drain", jobs))}

    # By turns, in changing order; every round is compared with itself, so that what else the machine does at the time
    # hits all three, and the median of the rounds counts. Beside it the best of each: a
    # busy machine only ever slows a run down.
    rates: dict[str, list[float]] = {"empty": [], "million_finished": [], "million_future": []}
    with (
        databases.new(ledger=True) as empty,
        databases.new(ledger=True, fill=filled(_FINISHED)) as finished,
        databases.new(ledger=True, fill=filled(_FUTURE)) as future,
    ):
        volumes = list(zip(rates, (empty, finished, future), strict=True))
        for turn in range(repeat + 1):
            for name, db in volumes[turn % 3 :] + volumes[: turn % 3]:
                rate = measure("ours", db.worker_url, "drain", jobs)
                if turn:  # the first one warms up
                    rates[name].append(rate)
    ours = {name: statistics.median(values) for name, values in rates.items()}
    slower = {
        name: [base / rate for base, rate in zip(rates["empty"], rates[name], strict=True)]
        for name in ("million_finished", "million_future")
    }
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
        "slower_with_million_finished": round(statistics.median(slower["million_finished"]), 2),
        "slower_with_million_future": round(statistics.median(slower["million_future"]), 2),
        "slower_at_best": {
            name: round(max(rates["empty"]) / max(rates[name]), 2)
            for name in ("million_finished", "million_future")
        },
        "rounds": {name: [round(ratio, 2) for ratio in ratios] for name, ratios in slower.items()},
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--pings", type=int, default=60)
    parser.add_argument("--repeat", type=int, default=15, help="rounds over the three volumes")
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
    for key in ("ratios", "idle_p50 / procrastinate", "volume", "rounds", "slower_at_best"):
        print(f"{key}: {result[key]}")
    for key in ("slower_with_million_finished", "slower_with_million_future"):
        print(f"{key}: {result[key]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
