"""The `imageledger` command."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import click
import typer

from cli.commands import demo, migrate, output, stack, worker
from cli.errors import CliError

INTERRUPTED = 130

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 failed, 2 wrong use, 3 not running, 4 not migrated, 5 not healthy, "
    "6 not a Supabase database, 130 interrupted.",
)


def _version(wanted: bool) -> None:
    if wanted:
        try:
            typer.echo(version("imageledger"))
        except PackageNotFoundError:
            typer.echo("unknown")
        raise typer.Exit


@app.callback()
def root(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """An image backend where Postgres is the ledger."""


app.command()(stack.up)
app.command()(stack.down)
app.command()(stack.status)
app.command()(stack.logs)
app.command()(migrate.migrate)
app.command(hidden=True)(migrate.links)
app.command()(worker.worker)
app.command()(demo.demo)


def main() -> None:
    """Entry point of the `imageledger` script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command; answers its exit code."""
    try:
        code = app(arguments, standalone_mode=False)
    except CliError as error:
        output.print_error(error, as_json="--json" in arguments)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        output.err.print("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        sys.stdout = None  # the reader is gone; nothing may be flushed to it
        return 0
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    main()
