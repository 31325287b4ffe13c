"""types: what frontends know of the database."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from cli import project
from cli.commands import output
from cli.commands.stack import Json
from cli.errors import NotMigratedError, UsageError


class Language(StrEnum):
    typescript = "typescript"
    python = "python"
    markdown = "markdown"


def types(
    language: Annotated[
        Language | None, typer.Option("--lang", "-l", help="Print this one on stdout.")
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="Write all files of the checkout.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Only compare them; exit code 4 when one is not what it would be.")
    ] = False,
    db_url: Annotated[
        str | None, typer.Option(help="The database. Default: SUPABASE_DB_URL, or the local stack's.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Types for TypeScript and Python, and the API reference, from a migrated database.

    TypeScript and Python come from the pinned Supabase CLI (`supabase gen types`, no Docker needed); the reference in
    Markdown from the comments, grants and functions in the database. They are checked in as
    supabase/types/database.types.ts, supabase/types/database.py and functions/REFERENCE.md; `make types` makes
    them from an empty stack of its own.

    Examples:  imageledger types --lang typescript > database.types.ts    |    imageledger types --check
    """
    if sum((language is not None, write, check)) != 1:
        raise UsageError("say what to do", remedy="one of --lang, --write, --check")
    # The generator loads a database driver and starts the Supabase CLI; --help needs neither.
    from cli.types import generate  # noqa: PLC0415

    url = db_url or project.current(need=("db_url",)).db_url
    if language is not None:
        text = generate.DOCUMENTS[language.value][1](url)
        if as_json:
            output.print_json({"language": language.value, "text": text})
        else:
            sys.stdout.write(text)
        return
    files = generate.write(url) if write else generate.outdated(url)
    if as_json:
        output.print_json({"written" if write else "outdated": files})
    elif write:
        output.err.print(f"wrote {', '.join(files)}" if files else "nothing has changed", markup=False)
    if check and files:
        raise NotMigratedError(
            f"not what the database says: {', '.join(files)}",
            remedy="run `make types`",
            code="types_outdated",
        )
