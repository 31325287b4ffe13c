"""The ledger at a million images of ten thousand owners: latencies, what RLS costs, and index access only.

    python -m tests.bench.bench_ledger [--images 1000000] [--rounds 5] [--explain] [--check] [--json]

Starts an embedded stack of its own with two databases: of 10,000 images and of `--images`, a hundred an owner. Each
request runs as the API role with claims and, written by hand, as the tables' owner without row security, by turns on
both databases; what writes is rolled back. `server` is the execution time that EXPLAIN ANALYZE reports,
`prepared` and `unprepared` are round trips of psycopg, result included; PostgREST prepares. Rows were read once before.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, LiteralString

import psycopg

from tests.bench import crowd
from tests.bench.databases import Database, Databases
from tests.bench.ledger_work import WORK, Work, claims, plans, sample, sequential_scans
from tests.support.stack import run_cli, start_stack

SMALL = 10_000
MODES = ("server", "prepared", "unprepared")
#: Targets: what RLS may cost, and what the crowd may.
RLS_MAX, CROWD_MAX = 1.2, 1.5
#: Less than this many milliseconds more is no miss: reading the claims takes 0.01, a colder cache as much.
NOISE = 0.03
OWNERS = 40


@dataclass(frozen=True)
class Result:
    """One request in one way of measuring, in milliseconds; ratios are of medians."""

    work: str
    mode: str
    p50: float
    p95: float
    small_p50: float
    plain_p50: float
    rls_ratio: float
    crowd_ratio: float


class Side:
    """One database: connections for RLS and for none, and whom to ask for."""

    def __init__(
        self, database: Database, stack: ExitStack, sampled: Callable[..., list[dict[str, Any]]] = sample
    ) -> None:
        self.admin = stack.enter_context(psycopg.connect(database.admin_url, autocommit=True))
        # Of their own, so that a prepared statement always runs as the same role.
        self._connections = {
            key: stack.enter_context(psycopg.connect(database.admin_url, autocommit=True))
            for key in ("anon", "authenticated", "media_worker", "plain")
        }
        self.people = sampled(self.admin, OWNERS)

    def run(self, work: Work, mode: str, *, plain: bool, who: dict[str, Any]) -> float:
        """Milliseconds of one request."""
        conn = self._connections["plain" if plain else work.role]
        query: LiteralString = work.plain if plain else work.query
        # Row security does not hold the tables' owner.
        with claims(conn, work, who["owner"], role="postgres" if plain else None):
            if mode == "server":
                row = conn.execute(f"explain (analyze, timing off, format json) {query}", who).fetchone()
                assert row is not None
                return float(row[0][0]["Execution Time"])
            started = time.perf_counter()
            cursor = conn.execute(query, who, prepare=mode == "prepared")
            rows = cursor.fetchall() if cursor.description else []
            took = (time.perf_counter() - started) * 1000
        assert work.rows in (None, len(rows)), (work.name, plain, len(rows))
        return took


def measure(small: Side, large: Side, rounds: int, works: Sequence[Work] = WORK) -> Iterable[Result]:
    shuffle = random.Random(1).shuffle
    for work in works:
        modes = ("server", "unprepared") if work.writes else MODES
        times: defaultdict[tuple[str, bool, bool], list[float]] = defaultdict(list)
        for turn in range(rounds + 1):
            for a, b in zip(small.people, large.people, strict=True):
                runs = [
                    (mode, is_large, plain)
                    for mode in modes
                    for is_large in (False, True)
                    for plain in (False, True)
                ]
                shuffle(runs)
                for mode, is_large, plain in runs:
                    side, who = (large, b) if is_large else (small, a)
                    took = side.run(work, mode, plain=plain, who=who)
                    if turn:  # the first one warms up
                        times[mode, is_large, plain].append(took)
        for mode in modes:
            ours, plain = times[mode, True, False], times[mode, True, True]
            p50, small_p50 = statistics.median(ours), statistics.median(times[mode, False, False])
            yield Result(
                work=work.name,
                mode=mode,
                p50=round(p50, 3),
                p95=round(statistics.quantiles(ours, n=20)[18], 3),
                small_p50=round(small_p50, 3),
                plain_p50=round(statistics.median(plain), 3),
                rls_ratio=round(p50 / statistics.median(plain), 2),
                crowd_ratio=round(p50 / small_p50, 2),
            )


def bench(images: int, rounds: int, show_plans: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as closing:
        home = Path(folder) / "home"
        closing.callback(run_cli, home, "down")
        databases = Databases(start_stack(home))
        sides, seconds = [], 0.0
        for count in (SMALL, images):
            started = time.monotonic()
            database = closing.enter_context(
                databases.new(ledger=True, fill=lambda db, count=count: crowd.load(db, count))  # type: ignore[misc]
            )
            seconds = time.monotonic() - started
            sides.append(Side(database, closing))
        small, large = sides
        scans: dict[str, list[str]] = {}
        for work in WORK:
            told = plans(large.admin, work, large.people[0])
            scans[work.name] = sorted(set().union(*(sequential_scans(plan) for plan in told)))
            if show_plans:
                print(f"-- {work.name}", *told, sep="\n", file=sys.stderr)
        results = list(measure(small, large, rounds))
    return {
        "images": images,
        "owners": images // crowd.PER_OWNER,
        "load_seconds": round(seconds),
        "results": [asdict(result) for result in results],
        "sequential_scans": scans,
        "missed": missed(results, scans),
    }


def missed(results: Iterable[Result], scans: dict[str, list[str]]) -> list[str]:
    """Targets that were not met."""
    found = [f"{name}: reads all of {', '.join(tables)}" for name, tables in scans.items() if tables]
    for result in results:
        if result.rls_ratio > RLS_MAX and result.p50 - result.plain_p50 > NOISE:
            found.append(f"{result.work}, {result.mode}: RLS costs {result.rls_ratio} times")
        if result.crowd_ratio > CROWD_MAX and result.p50 - result.small_p50 > NOISE:
            found.append(f"{result.work}, {result.mode}: the crowd costs {result.crowd_ratio} times")
    return found


def table(result: dict[str, Any]) -> str:
    """For reading."""
    return (
        f"{result['images']} images of {result['owners']} owners, loaded in {result['load_seconds']} s; milliseconds\n"
        + rows_of(result, small="at 10,000")
    )


def rows_of(result: dict[str, Any], small: str) -> str:
    """The measurements, a line each, and the targets that were missed."""
    lines = [
        f"{'':52} {'':10} {'p50':>8} {'p95':>8} {'without RLS':>12} {'ratio':>6} {small:>10} {'ratio':>6}"
    ]
    for r in result["results"]:
        lines.append(
            f"{r['work']:52} {r['mode']:10} {r['p50']:8.3f} {r['p95']:8.3f} {r['plain_p50']:12.3f}"
            f" {r['rls_ratio']:6.2f} {r['small_p50']:10.3f} {r['crowd_ratio']:6.2f}"
        )
    lines += [f"missed: {line}" for line in result["missed"]] or ["every target is met; index access only"]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5, help=f"of {OWNERS} owners each")
    parser.add_argument("--explain", action="store_true", help="print every plan to stderr")
    parser.add_argument("--check", action="store_true", help="exit 1 when a target is missed")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    result = bench(options.images, options.rounds, options.explain)
    print(json.dumps(result, indent=2) if options.json else table(result))
    return 1 if options.check and result["missed"] else 0


if __name__ == "__main__":
    sys.exit(main())
