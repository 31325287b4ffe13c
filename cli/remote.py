"""Does a Supabase project answer: its Auth, REST and Storage with both keys, its database with ours in it?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import httpx

from cli.errors import CliError
from cli.migrate import requirements
from cli.migrate.apply import connect, plan
from cli.migrate.files import schema_files
from cli.project import Project


@dataclass(frozen=True)
class Check:
    name: str
    ok: bool
    detail: str


def check(project: Project, say: Callable[[str], None]) -> list[Check]:
    """One Check for each service; never raises for what is wrong with the project."""
    anon = {"apikey": project.anon_key, "authorization": f"Bearer {project.anon_key}"}
    service = {"apikey": project.service_role_key, "authorization": f"Bearer {project.service_role_key}"}
    checks = []
    for name, path, headers in (
        ("auth", "/auth/v1/settings", anon),
        # The root of the API is for the service key only, on Supabase.
        ("rest", "/rest/v1/", service),
        ("storage", "/storage/v1/bucket", service),
    ):
        say(name)
        checks.append(_get(name, project.api_url.rstrip("/") + path, headers))
    say("database")
    checks.append(_database(project.db_url))
    return checks


def _get(name: str, url: str, headers: dict[str, str]) -> Check:
    try:
        answer = httpx.get(url, headers=headers, timeout=15)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Check(name, ok=False, detail=f"{url}: {error or type(error).__name__}")
    detail = f"{url}: {answer.status_code}"
    return Check(name, answer.is_success, detail if answer.is_success else f"{detail} {answer.text[:200]}")


def _database(url: str) -> Check:
    try:
        with connect(url) as conn:
            requirements.check(conn)
            waiting = [item for item in plan(conn, schema_files()) if item.state != "unchanged"]
    except CliError as error:
        return Check("database", ok=False, detail=error.message)
    detail = (
        f"{len(waiting)} SQL files to apply: run `imageledger migrate`" if waiting else "schema is up to date"
    )
    return Check("database", ok=True, detail=detail)
