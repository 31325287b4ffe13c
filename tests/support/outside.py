"""A stack that is there already, named by the environment: a Supabase project for tests, or any other."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.stack import Stack

REQUIRED = ("SUPABASE_URL", "SUPABASE_ANON_KEY", "SUPABASE_SERVICE_ROLE_KEY", "SUPABASE_DB_URL")
OPTIONAL = ("WORKER_DB_URL", "ANALYST_DB_URL", "SUPABASE_JWT_SECRET")

#: Files about the embedded stack itself, its gateway's inside and this machine's processes.
EMBEDDED_ONLY = (
    "tests/api/test_gateway_",
    "tests/api/test_outside_stack.py",
    "tests/api/test_stack_",
    "tests/e2e/test_demo.py",
    "tests/e2e/test_doctor.py",
    "tests/e2e/test_operators.py",
)

#: Addresses below names that belong to nobody (RFC 2606, RFC 6761).
_RESERVED = r"[@.](test|example|invalid|localhost|example[.](com|net|org))$"


def from_environment(folder: Path, env: Mapping[str, str] | None = None) -> Stack:
    """The stack of the environment. Raises UsageError naming the variables that are missing."""
    env = os.environ if env is None else env
    if missing := [name for name in REQUIRED if not env.get(name, "").strip()]:
        raise pytest.UsageError(f"--stack=outside needs {', '.join(missing)} in the environment")
    return Stack(
        kind="outside",
        folder=folder,
        api_url=env["SUPABASE_URL"].strip().rstrip("/"),
        anon_key=env["SUPABASE_ANON_KEY"].strip(),
        service_role_key=env["SUPABASE_SERVICE_ROLE_KEY"].strip(),
        db_url=env["SUPABASE_DB_URL"].strip(),
        worker_db_url=env.get("WORKER_DB_URL", "").strip() or env["SUPABASE_DB_URL"].strip(),
        given_jwt_secret=env.get("SUPABASE_JWT_SECRET", "").strip(),
        given_analyst_db_url=env.get("ANALYST_DB_URL", "").strip(),
    )


def refuse_real_users(stack: Stack) -> None:
    """Tests write listings, change the site's policy and cancel jobs: never where somebody's users are."""
    with psycopg.connect(stack.db_url, connect_timeout=10) as conn:
        row = conn.execute(
            "select count(*) from auth.users where coalesce(email, '') !~ %s", [_RESERVED]
        ).fetchone()
    if row and row[0]:
        pytest.exit(
            f"{row[0]} users of this project are not the tests': they run on a project of their own only",
            returncode=4,
        )


def empty(conn: psycopg.Connection[Any]) -> None:
    """For this transaction, which is rolled back, a project in which nobody has done anything yet."""
    conn.execute("set local storage.allow_delete_query = 'true'")
    conn.execute("delete from auth.users")
    conn.execute("delete from storage.objects")
    # What outlives its user, and may go once the user has gone.
    for table in ("image_events", "image_generation_events"):
        conn.execute(f"delete from public.{table}".encode())
    conn.execute("truncate queue.jobs, queue.interventions, queue.pauses, queue.heartbeats, private.erasures")
    conn.execute("reset storage.allow_delete_query")


def skip_reason(nodeid: str) -> str | None:
    """Why a test says nothing about a stack that is not ours to start."""
    return "about the embedded stack itself" if nodeid.startswith(EMBEDDED_ONLY) else None
