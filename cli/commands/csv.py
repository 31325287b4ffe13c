"""csv: listings out to a file and in from one."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from cli import project
from cli.commands import output
from cli.commands.stack import Json
from cli.errors import UsageError
from cli.exchange.account import Account, OperatorAccount, UserAccount
from cli.exchange.transfer import export_csv, import_csv

csv = typer.Typer(
    no_args_is_help=True,
    help="Listings as a CSV file: export, import.\n\n"
    "Examples:  imageledger csv export mine.csv    |    imageledger csv import mine.csv --dry-run",
)

Owner = Annotated[UUID | None, typer.Option(help="Operators: this user's listings, through the database.")]
Email = Annotated[
    str, typer.Option(envvar="IMAGELEDGER_EMAIL", help="Your address; the password is IMAGELEDGER_PASSWORD.")
]


@csv.command("export")
def export_(
    file: Annotated[
        Path | None, typer.Argument(help="Where to; without it, or -, stdout.", dir_okay=False)
    ] = None,
    owner: Owner = None,
    email: Email = "",
    as_json: Annotated[bool, typer.Option("--json", help="The report as JSON; needs a FILE.")] = False,
) -> None:
    """Write your listings as CSV (RFC 4180, UTF-8), by sku.

    Cells that a spreadsheet would run (= + - @) get an apostrophe in front; an import takes it off again. A file is
    there whole or not at all.

    Who you are: IMAGELEDGER_ACCESS_TOKEN; or --email with IMAGELEDGER_PASSWORD; or, for operators, --owner.

    Examples:  imageledger csv export mine.csv --email me@example.com  |  imageledger csv export --owner 6f1c… > a.csv
    """
    to_stdout = file is None or str(file) == "-"
    if as_json and to_stdout:
        raise UsageError("stdout can hold the file or the report", remedy="name a FILE, or leave out --json")
    with account(owner, email) as listings, _bar("Exporting", listings.count()) as (move, _):
        if file is None or to_stdout:
            sys.stdout.reconfigure(newline="", encoding="utf-8")  # type: ignore[union-attr]
            report = export_csv(listings, sys.stdout, move)
        else:
            with whole_file(file) as part, part.open("w", newline="", encoding="utf-8") as out:
                report = export_csv(listings, out, move)
    if report["without_sku"]:
        output.err.print(
            f"{report['without_sku']} listings have no sku: give them one before you import the file."
        )
    if as_json:
        output.print_json(report)
    elif file is not None and not to_stdout:
        output.err.print(f"{report['rows']} listings written to {file}.")


@csv.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="The CSV file.", dir_okay=False)],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check all of it, write nothing.")] = False,
    owner: Owner = None,
    email: Email = "",
    as_json: Json = False,
) -> None:
    """Create and update listings by sku from a CSV file: all rows, or none.

    The header names the columns; sku is needed. A column that is not there is left alone, as is a cell that says NULL;
    an empty cell empties it. Photos are not changed: the column images may be left out, or must be as exported.
    What is wrong is told all at once, by row, column, value and rule (exit code 7).

    Who you are: IMAGELEDGER_ACCESS_TOKEN; or --email with IMAGELEDGER_PASSWORD; or, for operators, --owner, which is
    also the way for very large files.

    Examples:  imageledger csv import listings.csv --dry-run --email me@example.com    |
    imageledger csv import listings.csv --owner 6f1c… --json
    """
    if not file.is_file():
        raise UsageError(f"{file} is not a file", remedy="check its name", code="file_unreadable")
    with account(owner, email) as listings, _bar("Importing", file.stat().st_size) as (move, say):
        report = import_csv(
            listings, file, dry_run=dry_run, progress=lambda done: _read(done, file, move, say)
        )
    if as_json:
        output.print_json(report)
    else:
        output.pairs({k: v for k, v in report.items() if k != "dry_run"})
        if dry_run:
            output.err.print("Nothing was written (--dry-run).")


def _read(done: int, file: Path, move: Any, say: Any) -> None:
    move(done)
    if done >= file.stat().st_size:
        say("Checking and writing")


@contextmanager
def account(owner: UUID | None, email: str, need: tuple[str, ...] = ()) -> Iterator[Account]:
    """Who the caller is; `need` names what an operator's project must have beside its database."""
    token = os.environ.get("IMAGELEDGER_ACCESS_TOKEN", "").strip()
    opened: Account
    if owner is not None:
        opened = OperatorAccount(project.current(need=("db_url", *need)), owner)
    elif token and not email:
        opened = UserAccount(project.current(need=("api_url", "anon_key")), token)
    elif email:
        password = os.environ.get("IMAGELEDGER_PASSWORD", "")
        if not password and not sys.stdin.isatty():
            raise UsageError(
                "there is no terminal to ask for the password", remedy="set IMAGELEDGER_PASSWORD"
            )
        password = password or typer.prompt("Password", hide_input=True, err=True)
        opened = UserAccount.sign_in(project.current(need=("api_url", "anon_key")), email, password)
    else:
        raise UsageError(
            "whose listings?",
            remedy="set IMAGELEDGER_ACCESS_TOKEN, or --email and IMAGELEDGER_PASSWORD, or, as an operator, --owner",
        )
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """A file beside `target` that takes its place at the end, or is gone when something fails."""
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    os.close(handle)
    part = Path(name)
    try:
        yield part
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _bar(title: str, total: int) -> Iterator[tuple[Any, Any]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(
        *columns, console=output.err, disable=not output.err.is_terminal, transient=True
    ) as progress:
        task = progress.add_task(title, total=total)
        yield (
            lambda done: progress.update(task, completed=done),
            lambda text: progress.update(task, description=text),
        )
