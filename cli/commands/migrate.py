"""migrate, and the links that the Supabase CLI follows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from cli import project
from cli.commands import output
from cli.commands.stack import Json
from cli.errors import CliError, NotMigratedError, UsageError
from cli.migrate import apply, clashes, requirements
from cli.migrate.files import schema_files, unlinked, write_links


def migrate(  # noqa: PLR0917 - each is an option
    plan: Annotated[
        bool, typer.Option("--plan", help="Only show what would be applied; exit code 4 when anything would.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Run everything, then roll back.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Apply all files even if none changed.")] = False,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="What is there under our names is ours, applied without a record.")
    ] = False,
    db_url: Annotated[
        str | None, typer.Option(help="The database. Default: SUPABASE_DB_URL, or the local stack's.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make the database's schema that of sql/ and functions/: one transaction, as often as you like.

    A file that fails is named with line, column and statement, and nothing is applied. A database that lacks
    what Supabase provides is refused with the list of what is missing, and one that uses our names for things of
    its own with the list of those; --plan and --dry-run tell the same.

    Examples:  imageledger migrate --plan    |    imageledger migrate --dry-run    |    imageledger migrate
    """
    if plan and (dry_run or force):
        raise UsageError("--plan applies nothing; it does not go with --dry-run or --force")
    url = db_url or project.current(need=("db_url",)).db_url
    files = schema_files()
    if plan:
        with apply.connect(url) as conn:
            requirements.check(conn)
            if not adopt:
                clashes.check(conn, files)
            planned = apply.plan(conn, files)
        _show_plan(apply.Outcome(planned), as_json=as_json)
        return
    with _bar() as progress:
        outcome = apply.migrate(url, files, dry_run=dry_run, force=force, adopt=adopt, progress=progress)
    if as_json:
        output.print_json(_outcome(outcome))
    elif not outcome.applied:
        output.err.print(f"up to date: {len(files)} files, {outcome.milliseconds} ms")
    else:
        verb = "applied" if outcome.committed else "tried and rolled back"
        output.err.print(f"{verb} {len(outcome.applied)} files in {outcome.milliseconds} ms")
    for item in outcome.plan:
        if item.state == "removed":
            output.err.print(
                f"[yellow]note[/]: {item.path} is no file any more; what it made is still in the database"
            )


def links(
    check: Annotated[bool, typer.Option("--check", help="Only tell whether they are complete.")] = False,
) -> None:
    """Make supabase/migrations/ link to every file of sql/ and functions/, for `supabase db push`."""
    if check:
        if gaps := unlinked():
            raise CliError(
                "supabase/migrations/ is incomplete: " + ", ".join(gaps),
                remedy="run `make links`",
                code="migration_not_linked",
            )
        return
    added, removed = write_links()
    for sign, names in (("+", added), ("-", removed)):
        for name in names:
            output.err.print(f"{sign} supabase/migrations/{name}", markup=False)


def _outcome(outcome: apply.Outcome) -> dict[str, object]:
    return {
        "up_to_date": outcome.up_to_date,
        "applied": outcome.applied,
        "committed": outcome.committed,
        "milliseconds": outcome.milliseconds,
        "files": [{"path": item.path, "state": item.state} for item in outcome.plan],
        "unlinked": unlinked(),
    }


def _show_plan(outcome: apply.Outcome, *, as_json: bool) -> None:
    if as_json:
        output.print_json(_outcome(outcome))
    else:
        output.table(("state", "file"), [(item.state, item.path) for item in outcome.plan])
        if gaps := unlinked():
            output.err.print(
                f"[yellow]note[/]: `supabase db push` misses {', '.join(gaps)}: run `make links`",
                soft_wrap=True,
            )
    waiting = [item for item in outcome.plan if item.state != "unchanged"]
    if waiting:
        raise NotMigratedError(
            f"{len(waiting)} of {len(outcome.plan)} files differ from what was applied",
            remedy="run `imageledger migrate`; it applies all files in one transaction",
        )


@contextmanager
def _bar() -> Iterator[apply.Progress]:
    columns = (TextColumn("applying"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=output.err, transient=True, disable=not output.err.is_terminal) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total, path: bar.update(task, completed=done, total=total, description=path)
