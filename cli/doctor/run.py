"""All examinations, one after another; each looks, none changes anything."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from cli.database import Connection, operator
from cli.doctor import catalog, rules, services
from cli.doctor.findings import Finding, finding
from cli.errors import CliError
from cli.migrate import requirements
from cli.migrate.apply import plan
from cli.migrate.files import schema_files
from cli.project import Project


@dataclass(frozen=True)
class Senses:
    """What a test may replace: this machine's clock and its disk."""

    now: Callable[[], float] = time.time
    disk_usage: Callable[[Path], Any] = shutil.disk_usage


def examine(
    project: Project, folder: Path | None, say: Callable[[str], None], senses: Senses | None = None
) -> list[Finding]:
    """Everything that is wrong. `folder` is the embedded stack's; None where there is none."""
    senses = senses or Senses()
    found: list[Finding] = []
    say("database")
    try:
        with operator(project.db_url, "doctor") as conn:
            found += database(conn, say)
            say("clock")
            found += services.clock(conn, senses.now)
            if project.api_url:
                say("services")
                found += services.answers(project, conn)
    except CliError as error:
        found.append(finding("database_down", error.message.removeprefix("the database cannot be reached: ")))
        if project.api_url:
            say("services")
            found += services.answers(project, None)
    if folder is not None:
        found += services.disk(folder, senses.disk_usage)
    return found


def database(conn: Connection, say: Callable[[str], None] = lambda _: None) -> Iterator[Finding]:
    """What can be seen with the database alone."""
    with conn.cursor(row_factory=psycopg.rows.tuple_row) as cursor:
        plain: psycopg.Connection[Any] = cursor.connection
        plain.row_factory, usual = psycopg.rows.tuple_row, conn.row_factory
        try:
            gaps = requirements.missing(plain)
            planned = plan(plain, schema_files())
        finally:
            plain.row_factory = usual
    for gap in gaps:
        yield finding("supabase_missing", gap)
    if gaps:
        return
    is_there = conn.execute("select to_regclass('public.listings') is not null as there").fetchone()
    if not (is_there and is_there["there"]):
        yield finding("not_migrated", "there is no table public.listings")
        return
    # `supabase db push` leaves no record of ours; then the catalog alone tells.
    waiting = [item.path for item in planned if item.state in ("new", "changed")]
    if waiting and len(waiting) < len(planned):
        shown = ", ".join(waiting[:5]) + (f" and {len(waiting) - 5} more" if len(waiting) > 5 else "")
        yield finding("migration_missing", shown)
    say("schema")
    wanted, version = catalog.expected()
    found = catalog.read(conn)
    drift = list(catalog.compare(wanted, found, same_version=conn.info.server_version // 10_000 == version))
    yield from drift
    say("roles and settings")
    yield from rules.roles(conn)
    yield from rules.settings(conn)
    say("buckets, jobs, workers")
    for examination in (rules.policy, rules.work, rules.notifications):
        try:
            yield from examination(conn)
        except psycopg.errors.ProgrammingError:
            # What it asks for is missing, which the catalog has told.
            if not drift:
                raise
