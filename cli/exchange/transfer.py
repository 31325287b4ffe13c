"""The whole of an import and of an export of listings as CSV."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from cli.errors import UsageError
from cli.exchange.account import Account, RefusedError, Row
from cli.exchange.csv_text import COLUMNS, CsvFile, Problem, line

Progress = Callable[[int], None]


def import_csv(account: Account, path: Path, *, dry_run: bool, progress: Progress) -> dict[str, Any]:
    """Import a file, all of it or nothing. Answers {rows, created, updated, unchanged}; raises CsvError.

    `progress` is told how many bytes have been read.
    """
    try:
        return _import(account, path, dry_run=dry_run, progress=progress)
    except RefusedError as refused:
        # The API raises what it found as one text; asked again without writing, it answers each problem by itself.
        if refused.code == "csv_invalid" and not dry_run:
            _import(account, path, dry_run=True, progress=progress)
        raise


def _import(account: Account, path: Path, *, dry_run: bool, progress: Progress) -> dict[str, Any]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise UsageError(
            f"{path}: {error.strerror}", remedy="check the file's name", code="file_unreadable"
        ) from error
    with file:
        csv = CsvFile(file)

        def rows() -> Iterator[Row]:
            for n, row in enumerate(csv.rows()):
                if n % 500 == 0:
                    progress(csv.bytes_read)
                yield row
            progress(csv.bytes_read)

        report = account.import_rows(csv.header, rows(), dry_run=lambda: dry_run or bool(csv.problems))
    found = [Problem(**(problem | {"line": csv.line_of(problem["line"])})) for problem in report["problems"]]
    csv.finish(found, more=report["has_more_problems"])
    return {name: report[name] for name in ("rows", "created", "updated", "unchanged")} | {"dry_run": dry_run}


def export_csv(account: Account, out: TextIO, progress: Progress) -> dict[str, int]:
    """Write all listings by sku, a row at a time. Answers {rows, without_sku}."""
    out.write(line(COLUMNS))
    count = without_sku = 0
    for row in account.rows():
        out.write(line(row))
        count += 1
        without_sku += not row[0]
        if count % 500 == 0:
            progress(count)
    progress(count)
    return {"rows": count, "without_sku": without_sku}
