"""One embedded stack for a test run, driven through the CLI as a person would drive it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
# What would point the CLI at somebody's real project must not reach a test.
_FOREIGN = ("SUPABASE_", "WORKER_DB_URL", "IMAGELEDGER_", "FAULT_AT", "PG")


def clean_environment(**extra: str) -> dict[str, str]:
    """This process's environment without settings of imageledger, Supabase and libpq."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(_FOREIGN)}
    return kept | extra


@dataclass(frozen=True)
class Stack:
    """Where a running stack is reached. `db_url` logs in as postgres, `admin_db_url` as the superuser."""

    home: Path
    api_url: str
    anon_key: str
    service_role_key: str
    jwt_secret: str
    db_url: str
    admin_db_url: str
    worker_db_url: str
    analyst_db_url: str

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to find this stack."""
        return clean_environment(IMAGELEDGER_HOME=str(self.home))

    def cli(self, *arguments: str, check: bool = True, **extra: str) -> subprocess.CompletedProcess[str]:
        """Run `imageledger` with `arguments` against this stack."""
        return run_cli(self.home, *arguments, check=check, **extra)


def run_cli(
    home: Path, *arguments: str, check: bool = True, **extra: str
) -> subprocess.CompletedProcess[str]:
    """Run `imageledger` as a process with its state in `home`; shows its output when it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        env=clean_environment(IMAGELEDGER_HOME=str(home), **extra),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    if check and done.returncode != 0:
        command = " ".join(arguments)
        raise AssertionError(f"imageledger {command}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


def start_stack(home: Path, *arguments: str) -> Stack:
    """`imageledger up` on free ports; the caller stops it with `imageledger down`."""
    run_cli(home, "up", *arguments)
    status: dict[str, Any] = json.loads(run_cli(home, "status", "--json").stdout)
    return Stack(
        home=home,
        api_url=status["API_URL"],
        anon_key=status["ANON_KEY"],
        service_role_key=status["SERVICE_ROLE_KEY"],
        jwt_secret=status["JWT_SECRET"],
        db_url=status["DB_URL"],
        admin_db_url=status["ADMIN_DB_URL"],
        worker_db_url=status["WORKER_DB_URL"],
        analyst_db_url=status["ANALYST_DB_URL"],
    )
