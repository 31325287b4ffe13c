"""How commands speak: data to stdout, messages and progress to stderr, errors as code, message, remedy."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from cli.errors import CliError
from cli.stack.control import Say

# What rows and files say is shown as it is: `:x:` is no emoji.
err = Console(stderr=True, highlight=False, emoji=False)
out = Console(highlight=False, soft_wrap=True, emoji=False)


def print_json(data: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False, default=str) + "\n")


def print_error(error: CliError, *, as_json: bool) -> None:
    if as_json:
        sys.stderr.write(json.dumps({"error": error.as_dict()}, ensure_ascii=False) + "\n")
        return
    err.print(f"[bold red]error[/] [red]{escape(error.code)}[/]: {escape(error.message)}", soft_wrap=True)
    if error.remedy:
        err.print(f"[bold]remedy[/]: {escape(error.remedy)}", soft_wrap=True)


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str | None = None) -> None:
    """A table on stdout; cells are shown whole, folded where a terminal is too narrow for them."""
    shown = Table(title=title, title_justify="left", box=None, pad_edge=False)
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    for number, column in enumerate(columns):
        words = [word for row in cells for word in row[number].split()] + [column]
        # What a row is known by, its first cell, stays in one piece; of the others, short words do.
        longest = min(max(map(len, words)), 20 if number else 40)
        shown.add_column(column, overflow="fold", no_wrap=not out.is_terminal, min_width=longest)
    for row in cells:
        shown.add_row(*map(escape, row))
    _whole(shown)


def tree(shown: Tree) -> None:
    """A tree on stdout; lines are shown whole."""
    _whole(shown)


def _whole(shown: Table | Tree) -> None:
    if out.is_terminal:
        # What it is too narrow for all the same, it wraps by itself.
        out.print(shown, crop=False, soft_wrap=False)
    else:
        # A pipe has no width.
        Console(highlight=False, width=2000, soft_wrap=True, emoji=False).print(shown, crop=False)


def pairs(items: Mapping[str, Any]) -> None:
    """Names and values on stdout, aligned."""
    width = max(len(name) for name in items)
    for name, value in items.items():
        out.print(f"[green]{escape(name.rjust(width))}[/]: {escape(str(value))}")


@contextmanager
def steps(title: str) -> Iterator[Say]:
    """A spinner with the current step on a terminal, one line a step elsewhere; on stderr."""
    if not err.is_terminal:

        def say_line(step: str) -> None:
            err.print(escape(step))

        yield say_line
        return
    with err.status(escape(title)) as status:

        def say(step: str) -> None:
            status.update(f"{escape(title)}: {escape(step)}")

        yield say
