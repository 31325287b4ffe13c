"""The `imageledger` command."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from inspect import cleandoc
from typing import Annotated

import typer

from cli.errors import CliError, UsageError

INTERRUPTED = 130
PROGRAM = "imageledger"
# Set by the shell while it completes a line, with the line's words in COMP_WORDS or _TYPER_COMPLETE_ARGS.
COMPLETING = "_IMAGELEDGER_COMPLETE"

# Panel of the help → command → the module in cli.commands that holds a function of its name, or a typer.Typer for a
# group such as `queue ls`. Only the module of the command that runs is imported: `status` must not wait for what
# `demo` needs.
PANELS = {
    "The stack": {
        "up": "stack",
        "down": "stack",
        "status": "stack",
        "logs": "stack",
        "migrate": "migrate",
        "links": "migrate",
        "demo": "demo",
    },
    "Work": {"worker": "worker", "relay": "relay", "queue": "queue"},
    "What is wrong, and what must not be lost": {
        "doctor": "doctor",
        "sweep": "sweep",
        "erasure": "sweep",
        "snapshot": "snapshot",
        "restore": "snapshot",
        "bucket": "bucket",
    },
    "The site": {"policy": "policy", "credit": "credit", "community": "community", "keys": "keys"},
    "In and out": {"csv": "csv", "export": "export", "legacy": "legacy"},
    "For developers": {"types": "types", "completion": "completion"},
}
COMMANDS = {name: module for panel in PANELS.values() for name, module in panel.items()}
_HIDDEN = {"links"}
_HELP = {"help_option_names": ["-h", "--help"]}


def _version(wanted: bool) -> None:
    if wanted:
        try:
            typer.echo(version("imageledger"))
        except PackageNotFoundError:
            typer.echo("unknown")
        raise typer.Exit


def root(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """An image backend where Postgres is the ledger."""


def build(arguments: Sequence[str]) -> typer.Typer:
    """The application with the command that the arguments name; with all of them for help and for a typo."""
    app = typer.Typer(
        no_args_is_help=True,
        add_completion=True,
        pretty_exceptions_enable=False,
        context_settings=_HELP,
        epilog="Exit codes: 0 done, 1 failed, 2 wrong use, 3 not running, 4 not migrated, 5 not healthy, "
        "6 not a Supabase database, 7 findings, 130 interrupted.",
    )
    app.callback()(root)
    words = arguments or (_line() if COMPLETING in os.environ else [])
    named = words[0] if words else ""
    for panel, names in PANELS.items():
        for name in names if named not in COMMANDS else names.keys() & {named}:
            command = getattr(import_module(f"cli.commands.{COMMANDS[name]}"), name)
            if isinstance(command, typer.Typer):
                _fold_help(command)
                app.add_typer(command, name=name, context_settings=_HELP, rich_help_panel=panel)
            else:
                register = app.command(
                    name, hidden=name in _HIDDEN, help=folded(command.__doc__), rich_help_panel=panel
                )
                register(command)
    return app


def folded(docstring: str | None) -> str:
    """A docstring as help that is as wide as the terminal: paragraphs without line ends, examples a line each."""
    paragraphs = []
    for paragraph in cleandoc(docstring or "").split("\n\n"):
        text = " ".join(paragraph.split())
        if text.startswith("Examples: "):
            text = "\n".join(["Examples:", *text.removeprefix("Examples: ").split(" | ")])
        # Brackets are no markup.
        paragraphs.append(text.replace("[", "\\["))
    return "\n\n".join(paragraphs)


def _fold_help(group: typer.Typer) -> None:
    if isinstance(group.info.help, str) and "Examples: " in group.info.help:  # not folded yet
        group.info.help = folded(group.info.help)
    for command in group.registered_commands:
        command.help = command.help or folded(command.callback.__doc__ if command.callback else None)
    for inner in group.registered_groups:
        if inner.typer_instance is not None:
            _fold_help(inner.typer_instance)


def _line() -> list[str]:
    """The words after the program's name on the line that a shell completes, but not the one being written first."""
    line = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS") or ""
    words = line.split()[1:]
    return words if len(words) > 1 or line.endswith((" ", "\n")) else []


def run(arguments: Sequence[str]) -> int:
    """Run one command; answers its exit code."""
    as_json = "--json" in arguments
    try:
        if arguments[:1] == ["--version"]:
            _version(wanted=True)
        with _told_as_json() if as_json else nullcontext():
            ended = build(arguments)(list(arguments), prog_name=PROGRAM, standalone_mode=not as_json)
    except typer.Exit as done:
        return done.exit_code
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else int(done.code is not None)
    except CliError as error:
        from cli.commands.output import print_error  # noqa: PLC0415

        print_error(error, as_json=as_json)
        return error.exit_code
    except OSError as error:
        if error.filename is None:
            raise
        from cli.commands.output import print_error  # noqa: PLC0415

        told = CliError(
            f"{error.filename}: {error.strerror}",
            remedy="check the path, and who may use it",
            code="file_error",
        )
        print_error(told, as_json=as_json)
        return told.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    return ended if isinstance(ended, int) else 0


@contextmanager
def _told_as_json() -> Iterator[None]:
    """What typer refuses, such as an unknown option, as an error of ours."""
    try:
        yield
    except typer.TyperException as error:
        command = getattr(getattr(error, "ctx", None), "command_path", PROGRAM)
        raise UsageError(error.format_message(), remedy=f"see `{command} --help`") from error


def main() -> None:
    """Entry point of the `imageledger` script."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
