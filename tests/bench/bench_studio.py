"""The studio at a million generations: latencies, what RLS costs, what the crowd costs, and index access only.

    python -m tests.bench.bench_studio [--jobs 1000000] [--rounds 5] [--explain] [--check] [--json]

As bench_ledger, on the requests of the generation studio: submit, a timeline of 200 generations, the lists, polling,
and the worker's claim with as many finished jobs in the queue and one waiting for every other user.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.bench import studio_crowd
from tests.bench.bench_ledger import OWNERS, Side, measure, missed, rows_of
from tests.bench.databases import Databases
from tests.bench.ledger_work import plans, sequential_scans
from tests.bench.studio_work import WORK, sample
from tests.support.stack import run_cli, start_stack

#: Eighty users, half of them with nothing in flight: as many as are asked for.
SMALL = 2 * OWNERS * studio_crowd.PER_OWNER


def bench(jobs: int, rounds: int, show_plans: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as closing:
        home = Path(folder) / "home"
        closing.callback(run_cli, home, "down")
        databases = Databases(start_stack(home))
        sides, seconds = [], 0.0
        for count in (SMALL, jobs):
            started = time.monotonic()
            database = closing.enter_context(
                databases.new(ledger=True, fill=lambda db, count=count: studio_crowd.load(db, count))  # type: ignore[misc]
            )
            seconds = time.monotonic() - started
            sides.append(Side(database, closing, sample))
        small, large = sides
        scans: dict[str, list[str]] = {}
        for work in WORK:
            told = plans(large.admin, work, large.people[0])
            scans[work.name] = sorted(set().union(*(sequential_scans(plan) for plan in told)))
            if show_plans:
                print(f"-- {work.name}", *told, sep="\n", file=sys.stderr)
        results = list(measure(small, large, rounds, WORK))
    return {
        "jobs": jobs,
        "owners": jobs // studio_crowd.PER_OWNER,
        "load_seconds": round(seconds),
        "results": [asdict(result) for result in results],
        "sequential_scans": scans,
        "missed": missed(results, scans),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5, help=f"of {OWNERS} owners each")
    parser.add_argument("--explain", action="store_true", help="print every plan to stderr")
    parser.add_argument("--check", action="store_true", help="exit 1 when a target is missed")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    result = bench(options.jobs, options.rounds, options.explain)
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        loaded = f"loaded in {result['load_seconds']} s; milliseconds"
        print(f"{result['jobs']} generations of {result['owners']} users, {loaded}")
        print(rows_of(result, small=f"at {SMALL:,}"))
    return 1 if options.check and result["missed"] else 0


if __name__ == "__main__":
    sys.exit(main())
