"""The documents and how each is made from a live, migrated database."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from cli.errors import CliError
from cli.stack.binaries import CHECKOUT, find_supabase
from cli.types.layout import lay_out
from cli.types.reference import reference

SCHEMAS = "public"
_SECONDS = 60


def typescript(url: str) -> str:
    """`Database`, `Tables`, `TablesInsert` and so on: what `supabase gen types` says, one member a line."""
    return (
        "// Made by `make types` (supabase gen types) from the database; do not edit.\n\n"
        + lay_out(_gen_types(url, "typescript")).strip()
        + "\n"
    )


def python(url: str) -> str:
    """Pydantic models of rows, TypedDicts of inserts and updates: what `supabase gen types` says."""
    text = _gen_types(url, "python").strip()
    return f'"""Made by `make types` (supabase gen types) from the database; do not edit."""\n\n{text}\n'


def markdown(url: str) -> str:
    """Every table, view, column and function with its comment, and every error's code."""
    try:
        with psycopg.connect(url, connect_timeout=10) as conn:
            return reference(conn)
    except psycopg.OperationalError as error:
        raise CliError(
            f"the database cannot be reached: {str(error).strip()}",
            remedy="check --db-url, or start the stack with `imageledger up`",
            code="database_unreachable",
        ) from error


#: Language → (the file it is checked in as, what makes it).
DOCUMENTS: dict[str, tuple[Path, Callable[[str], str]]] = {
    "typescript": (Path("supabase/types/database.types.ts"), typescript),
    "python": (Path("supabase/types/database.py"), python),
    "markdown": (Path("functions/REFERENCE.md"), markdown),
}


def outdated(url: str, root: Path = CHECKOUT) -> list[str]:
    """Files that are not what the database says."""
    return [
        file.as_posix()
        for file, make in DOCUMENTS.values()
        if not (root / file).is_file() or (root / file).read_text() != make(url)
    ]


def write(url: str, root: Path = CHECKOUT) -> list[str]:
    """Makes all files; answers those that changed."""
    changed = []
    for file, make in DOCUMENTS.values():
        text = make(url)
        if not (root / file).is_file() or (root / file).read_text() != text:
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_text(text)
            changed.append(file.as_posix())
    return changed


def _gen_types(url: str, language: str) -> str:
    # A server on this machine has no certificate; anything else must show one.
    local = urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
    remote = url if "sslmode=" in url or not local else f"{url}{'&' if '?' in url else '?'}sslmode=disable"
    command = [str(find_supabase()), "gen", "types", "--lang", language, "--schema", SCHEMAS, "--agent", "no"]
    try:
        done = subprocess.run(
            [*command, f"--remote={remote}"],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CliError(
            f"`supabase gen types` took longer than {_SECONDS} s",
            remedy="check that the database answers",
            code="types_failed",
        ) from error
    if done.returncode != 0 or not done.stdout.strip():
        last = done.stderr.replace(remote, "…").strip().splitlines()[-3:]
        raise CliError(
            "`supabase gen types` failed: " + " ".join(last),
            remedy="check that the database answers and is migrated",
            code="types_failed",
        )
    return done.stdout
