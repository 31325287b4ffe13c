"""What must hold outside of the database: Auth, PostgREST, Storage, clocks, the disk."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, LiteralString

import httpx
from psycopg.rows import tuple_row

from cli.database import Connection
from cli.doctor.findings import Finding, finding
from cli.project import Project

#: Seconds that this machine's clock may differ from the database's.
SKEW_SECONDS = 5.0
#: Free bytes, and part of the disk, below which a stack should not go on.
DISK_BYTES, DISK_PART = 1024**3, 0.05
CLOSED = ("private", "queue", "analytics", "legacy")

# PostgREST tells the service key which relations it may use, as far as they are in its cache.
_RELATIONS: LiteralString = """
select c.relname from pg_class as c
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm')
  and has_table_privilege('service_role', c.oid, 'select, insert, update, delete')
"""
# What can be called by name: not triggers, not what is embedded (a function of a row), not what takes a raw body.
_FUNCTIONS: LiteralString = """
select p.proname, coalesce(p.proargnames[1:p.pronargs], '{}') from pg_proc as p
where p.pronamespace = 'public'::regnamespace and p.prokind = 'f'
  and p.prorettype not in ('trigger'::regtype, 'event_trigger'::regtype)
  and (p.pronargs = 0 or '' <> all(p.proargnames[1:p.pronargs]))
  and not exists (
    select from unnest(p.proargtypes) as a (oid) join pg_type as t on t.oid = a.oid where t.typtype = 'c'
  )
  and not exists (select from pg_depend as d where d.objid = p.oid and d.deptype = 'e')
order by 1
"""


def answers(project: Project, conn: Connection | None, timeout: float = 15) -> Iterator[Finding]:
    """Auth, PostgREST and Storage with both keys; whether PostgREST knows what the database has."""
    base = project.api_url.rstrip("/")
    anon = {"apikey": project.anon_key, "authorization": f"Bearer {project.anon_key}"}
    service = {"apikey": project.service_role_key, "authorization": f"Bearer {project.service_role_key}"}
    with httpx.Client(base_url=base, timeout=timeout) as client:
        yield from _ask(client, "auth_down", "/auth/v1/settings", anon, "the anon key")
        yield from _ask(client, "storage_down", "/storage/v1/bucket", service, "the service_role key")
        rest = list(_ask(client, "rest_down", "/rest/v1/", service, "the service_role key"))
        yield from rest
        if rest:
            return
        yield from _exposed(client, service)
        if conn is not None:
            yield from _stale(client, service, anon, conn)


def _ask(client: httpx.Client, code: str, path: str, headers: dict[str, str], key: str) -> Iterator[Finding]:
    try:
        answer = client.get(path, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        yield finding(code, f"{client.base_url}{path}: {error or type(error).__name__}")
        return
    # Storage answers 400 and tells the status in the body.
    refused = answer.status_code == 400 and any(word in answer.text for word in ('"403"', '"401"', "JWS"))
    if answer.status_code in (401, 403) or refused:
        yield finding("key_refused", f"{key} at {path}: {answer.status_code}")
    elif not answer.is_success:
        yield finding(code, f"{client.base_url}{path}: {answer.status_code} {answer.text[:120]}")


def _exposed(client: httpx.Client, service: dict[str, str]) -> Iterator[Finding]:
    for schema in CLOSED:
        answer = client.get("/rest/v1/", headers={**service, "accept-profile": schema})
        if answer.status_code != 406:
            yield finding("schema_exposed", schema)


def _stale(
    client: httpx.Client, service: dict[str, str], anon: dict[str, str], conn: Connection
) -> Iterator[Finding]:
    cursor = conn.cursor(row_factory=tuple_row)
    unknown = []
    paths: Any = client.get("/rest/v1/", headers=service).json().get("paths")
    if isinstance(paths, dict):  # else a project that serves no description of itself
        unknown += sorted(
            {row[0] for row in cursor.execute(_RELATIONS)} - {path.strip("/") for path in paths}
        )
    for name, arguments in cursor.execute(_FUNCTIONS).fetchall():
        # As a visitor, who may call next to nothing, and by GET, which is a read-only transaction: nothing happens.
        answer = client.get(f"/rest/v1/rpc/{name}", params=dict.fromkeys(arguments, ""), headers=anon)
        if answer.status_code == 404 and "PGRST202" in answer.text:
            unknown.append(f"rpc/{name}")
    if unknown:
        yield finding("rest_schema_stale", f"not known: {', '.join(unknown)}")


def clock(conn: Connection, now: Callable[[], float] = time.time) -> Iterator[Finding]:
    """This machine's clock against the database's; the time that the question took counts for neither."""
    began = now()
    row = conn.execute("select extract(epoch from clock_timestamp())::float as seconds").fetchone()
    ended = now()
    assert row is not None  # noqa: S101
    skew = max(began - row["seconds"], row["seconds"] - ended, 0.0)
    if skew > SKEW_SECONDS:
        direction = "behind" if row["seconds"] > ended else "ahead of"
        yield finding("clock_skew", f"this machine is {skew:.0f} s {direction} the database")


def disk(folder: Path, usage: Callable[[Path], Any] = shutil.disk_usage) -> Iterator[Finding]:
    """Space for the embedded stack's database and objects."""
    total, _, free = usage(folder)
    if free < DISK_BYTES or free < total * DISK_PART:
        yield finding("disk_low", f"{folder}: {free / 1024**3:.1f} GiB of {total / 1024**3:.1f} GiB are free")
