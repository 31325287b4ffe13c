"""Decisions about labels as a CSV file: what `review ls --csv` writes, edited, comes back to `review correct --csv`."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from cli.errors import UsageError

COLUMNS = (
    "schema",
    "product",
    "verdict",
    "label",
    "suggested",
    "confidence",
    "image_count",
    "speaks_for",
    "speaks_against",
    "label_url",
)


def write(rows: Iterable[dict[str, Any]], file: TextIO) -> int:
    """One row a product; the column `verdict` is empty and to be filled. Answers how many."""
    out = csv.writer(file, lineterminator="\n")
    out.writerow(COLUMNS)
    count = 0
    for row in rows:
        cells = row | {
            "verdict": "",
            "speaks_for": " ".join(row["speaks_for"]),
            "speaks_against": " ".join(row["speaks_against"]),
        }
        out.writerow(["" if cells[name] is None else _plain(str(cells[name])) for name in COLUMNS])
        count += 1
    return count


def _plain(cell: str) -> str:
    """A cell that a spreadsheet does not run; `read` takes the apostrophe away."""
    return f"'{cell}" if cell[:1] in {"=", "+", "-", "@", "\t", "\r"} else cell


def read(path: Path) -> list[dict[str, str]]:
    """Decisions of a file with the columns schema, product and verdict: ok, none, or the label's index.

    Rows without a verdict are left out. Raises UsageError naming the line.
    """
    try:
        return list(_decisions(path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: {error}", remedy="give a CSV file in UTF-8") from error


def _decisions(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.DictReader(file)
        if missing := {"schema", "product", "verdict"} - set(lines.fieldnames or ()):
            raise UsageError(
                f"{path} has no column {', '.join(sorted(missing))}",
                remedy="write the file with `imageledger legacy review ls --csv`, and fill the column verdict",
            )
        for line in lines:
            verdict = (line["verdict"] or "").strip().lower()
            if not verdict:
                continue
            if verdict not in {"ok", "none"} and not (verdict.isascii() and verdict.isdigit()):
                raise UsageError(
                    f"{path}, line {lines.line_num}: the verdict {verdict!r} is none",
                    remedy="write ok, none, or the index of the label in the JSONB array, from 0",
                )
            yield {
                "schema": _bare(line["schema"] or ""),
                "product": _bare(line["product"] or ""),
                "label": verdict,
            }


def _bare(cell: str) -> str:
    return cell[1:] if cell[:1] == "'" and cell[1:2] in {"=", "+", "-", "@", "\t", "\r"} else cell
