"""Listings as CSV, in and out by the command, against a plain `insert … select` of the same rows.

    python -m tests.bench.bench_csv [--rows 100000] [--json]

Starts an embedded stack of its own. `import` creates the listings of one owner, `again` reads the file once more and
finds nothing to change, `export` writes it out; each is a process of its own, as an operator starts it, with the most
memory that it held. `plain` copies the rows that the import made into a table like public.listings (columns, checks,
indexes; no triggers), in one statement.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psycopg

from tests.support.people import Person
from tests.support.stack import ROOT, Stack, run_cli, start_stack

_WORDS = ["brass", "lamp", "oak", "desk", "linen", "blue", "wool", "coat", "used", "boxed", "signed", "1970s"]


@dataclass(frozen=True)
class Result:
    """Seconds, MiB of resident memory, and how many times as long as `plain` the import took."""

    rows: int
    file_mb: float
    import_seconds: float
    import_rss_mb: float
    again_seconds: float
    export_seconds: float
    export_rss_mb: float
    plain_seconds: float
    ratio: float
    is_equal: bool


def write(path: Path, rows: int) -> None:
    """A seller's file: every column that listings have, texts with commas, quotes and line breaks."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["sku", "title", "description", "price", "currency", "quantity", "brand", "condition"]
        )
        for n in range(rows):
            words = [_WORDS[(n * k) % len(_WORDS)] for k in (1, 3, 5, 7, 11)]
            writer.writerow(
                [
                    f"S{n:08}",
                    f"{words[0]} {words[1]} {n}".capitalize(),
                    f'A "{words[2]}" {words[3]},\n{words[4]}; ' * 2,
                    f"{n % 900 + 1}.{n % 100:02}",
                    "EUR",
                    n % 9 + 1,
                    words[4],
                    ("new", "used")[n % 2],
                ]
            )


def command(stack: Stack, *arguments: str) -> tuple[float, float]:
    """Seconds and MiB of `imageledger csv …`, as a process."""
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "csv", *arguments],
        env=stack.environment,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    _, status, used = os.wait4(process.pid, 0)
    assert process.stderr is not None
    if status:
        sys.exit(process.stderr.read().decode())
    process.returncode = 0
    return time.monotonic() - started, used.ru_maxrss / 1024


def plain(stack: Stack) -> float:
    """What an import has to do at least."""
    with psycopg.connect(stack.db_url, autocommit=True) as conn:
        conn.execute("create unlogged table rows as select * from public.listings")
        conn.execute("create table plain (like public.listings including all)")
        started = time.monotonic()
        conn.execute("insert into plain select * from rows")
        return time.monotonic() - started


def bench(rows: int) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        home, given, back = (Path(folder) / name for name in ("home", "given.csv", "back.csv"))
        try:
            stack = start_stack(home)
            owner = Person.sign_up(stack).id
            write(given, rows)
            import_seconds, import_rss = command(stack, "import", str(given), "--owner", owner)
            again, _ = command(stack, "import", str(given), "--owner", owner)
            export_seconds, export_rss = command(stack, "export", str(back), "--owner", owner)
            plain_seconds = plain(stack)
            return Result(
                rows=rows,
                file_mb=round(given.stat().st_size / 1e6, 1),
                import_seconds=round(import_seconds, 2),
                import_rss_mb=round(import_rss, 1),
                again_seconds=round(again, 2),
                export_seconds=round(export_seconds, 2),
                export_rss_mb=round(export_rss, 1),
                plain_seconds=round(plain_seconds, 2),
                ratio=round(import_seconds / plain_seconds, 1),
                is_equal=_same(given, back),
            )
        finally:
            run_cli(home, "down", "--destroy", "--yes")


def _same(given: Path, back: Path) -> bool:
    """Whether all cells that went in came out."""
    with given.open(newline="", encoding="utf-8") as a, back.open(newline="", encoding="utf-8") as b:
        return all(
            all(two[name].rstrip("0.") == value.rstrip("0.") for name, value in one.items())
            for one, two in zip(csv.DictReader(a), csv.DictReader(b), strict=True)
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    r = bench(options.rows)
    if options.json:
        print(json.dumps(asdict(r), indent=2))
        return 0
    print(
        f"{r.rows} rows, {r.file_mb} MB\n"
        f"import  {r.import_seconds:8.2f} s   {r.import_rss_mb:6.1f} MiB   {r.ratio} times plain\n"
        f"again   {r.again_seconds:8.2f} s\n"
        f"export  {r.export_seconds:8.2f} s   {r.export_rss_mb:6.1f} MiB   cells equal: {r.is_equal}\n"
        f"plain   {r.plain_seconds:8.2f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
