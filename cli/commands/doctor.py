"""doctor: what is wrong, and what to do."""

from __future__ import annotations

from collections import Counter

from cli import project
from cli.commands import output
from cli.commands.stack import Json
from cli.doctor import run
from cli.doctor.findings import CODES
from cli.errors import FindingsError
from cli.stack.home import Home


def doctor(as_json: Json = False) -> None:
    """Examine a project, and tell each thing that is wrong with its remedy; nothing is changed.

    The database is reachable and migrated; tables, constraints, indexes, functions, triggers, policies and grants are
    those of the files; row level security is on; roles are no more powerful than they must be; buckets have the site's
    limits; Auth, PostgREST and Storage answer, PostgREST with the schema of today; clocks agree; workers give signs of
    life; no jobs are dead, stuck or paused; the embedded stack's disk has space. With SUPABASE_URL and its keys set,
    that project is examined.

    Exit code 0: nothing found; 7: findings, errors or warnings.

    Examples:  imageledger doctor    |    imageledger doctor --json
    """
    here = project.current(need=() if project.is_supabase() else ("db_url",))
    if here.kind == "supabase":
        here = project.current(need=("anon_key", "service_role_key", "db_url"))
    elif here.kind == "embedded":
        here = project.current()
    folder = Home.find().root if here.kind == "embedded" else None
    with output.steps("Examining") as say:
        found = run.examine(here, folder, say)
    found.sort(key=lambda item: (item.severity, item.code, item.what))
    counts = Counter(item.severity for item in found)
    if as_json:
        output.print_json(
            {
                "healthy": not found,
                "errors": counts["error"],
                "warnings": counts["warning"],
                "findings": [item.as_json() for item in found],
            }
        )
    elif found:
        output.table(
            ("", "code", "what", "remedy"),
            [
                (
                    item.severity,
                    item.code,
                    item.what,
                    f"{item.remedy}: {item.command}" if item.command else item.remedy,
                )
                for item in found
            ],
        )
    else:
        output.err.print(f"nothing is wrong ({len(CODES)} kinds of findings looked for)")
    if found:
        raise FindingsError(
            f"{counts['error']} errors, {counts['warning']} warnings",
            remedy="follow the remedies; see cli/RUNBOOK.md",
        )
