"""The stack of a test run, driven through the CLI as a person would drive it: embedded, outside, or in containers."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import psycopg
import pytest

from cli.stack.home import Home, exclusive, write_json
from cli.stack.keys import Keys
from cli.stack.processes import unprivileged_account

Kind = Literal["embedded", "outside", "docker"]
T = TypeVar("T")

#: Which stack this run is about: pytest --stack.
kind: Kind = "embedded"
#: Names the folder of the run's first cluster, see `begin`; without it every stack makes one of its own.
BEGINNING = "IMAGELEDGER_TEST_BEGINNING"
ROOT = Path(__file__).resolve().parents[2]
# What would point the CLI at somebody's real project must not reach a test.
_FOREIGN = ("SUPABASE_", "WORKER_DB_URL", "IMAGELEDGER_", "FAULT_AT", "PG")


def clean_environment(**extra: str) -> dict[str, str]:
    """This process's environment without settings of imageledger, Supabase and libpq."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(_FOREIGN)}
    return kept | extra


@dataclass(frozen=True)
class Stack:
    """Where a running stack is reached. `db_url` logs in as postgres, `admin_db_url` as the superuser.

    What an outside stack did not give skips the test that asks for it, with the reason: see `_ask`.
    """

    kind: Kind
    #: Of the tests: their workers' logs.
    folder: Path
    api_url: str
    anon_key: str
    service_role_key: str = field(repr=False)
    db_url: str = field(repr=False)
    worker_db_url: str = field(repr=False)
    given_jwt_secret: str = field(default="", repr=False)
    given_admin_db_url: str = field(default="", repr=False)
    given_analyst_db_url: str = field(default="", repr=False)

    @property
    def home(self) -> Path:
        """The embedded stack's state folder."""
        return self._ask(self.folder if self.kind == "embedded" else None, "its processes and files")

    @property
    def jwt_secret(self) -> str:
        return self._ask(self.given_jwt_secret, "SUPABASE_JWT_SECRET")

    @property
    def admin_db_url(self) -> str:
        return self._ask(self.given_admin_db_url, "a superuser and databases of the tests' own")

    @property
    def analyst_db_url(self) -> str:
        return self._ask(self.given_analyst_db_url, "ANALYST_DB_URL")

    def _ask(self, value: T | None, what: str) -> T:
        if not value:
            pytest.skip(f"the {self.kind} stack does not give {what}")
        return value

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to find this stack."""
        if self.kind == "embedded":
            return clean_environment(IMAGELEDGER_HOME=str(self.folder))
        return clean_environment(
            # A folder without a stack: a command that ignored the rest would find nothing to spoil.
            IMAGELEDGER_HOME=str(self.folder / "no-stack"),
            SUPABASE_URL=self.api_url,
            SUPABASE_ANON_KEY=self.anon_key,
            SUPABASE_SERVICE_ROLE_KEY=self.service_role_key,
            SUPABASE_DB_URL=self.db_url,
            WORKER_DB_URL=self.worker_db_url,
        )

    def cli(self, *arguments: str, check: bool = True, **extra: str) -> subprocess.CompletedProcess[str]:
        """Run `imageledger` with `arguments` against this stack."""
        return _run(arguments, self.environment | extra, check=check)


def run_cli(
    home: Path, *arguments: str, check: bool = True, **extra: str
) -> subprocess.CompletedProcess[str]:
    """Run `imageledger` as a process with its state in `home`; shows its output when it fails."""
    return _run(arguments, clean_environment(IMAGELEDGER_HOME=str(home), **extra), check=check)


def _run(
    arguments: tuple[str, ...], environment: dict[str, str], *, check: bool
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        env=environment,
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


def begin(home: Path) -> None:
    """Give `home` a copy of a cluster that `imageledger up` made and `down` stopped once in this run, with other keys.

    The copies do not fsync: that is for machines that lose their power. What PostgreSQL wrote outlives kill -9 all
    the same, as the kernel has it by then. A test about the making of a stack does without this.
    """
    if BEGINNING not in os.environ:
        return
    folder = Path(os.environ[BEGINNING])
    first, home_of_copy, account = Home(folder / "home"), Home(home), unprivileged_account()
    with exclusive(folder / "lock", 120, "making the first cluster"):
        if not (folder / "made").exists():
            run_cli(first.root, "up")
            state = json.loads(run_cli(first.root, "status", "--json").stdout)
            with psycopg.connect(state["ADMIN_DB_URL"], autocommit=True) as conn:
                conn.execute("alter system set fsync = off")
            run_cli(first.root, "down")
            (folder / "made").touch()
    keys = Keys.load(first.keys_file)
    assert keys is not None
    home_of_copy.prepare(account)
    subprocess.run(["cp", "-a", first.data_dir, home_of_copy.data_dir], check=True)
    # The superuser's password is in the cluster; `up` sets the others.
    own = dataclasses.replace(Keys.generate(), supabase_admin=keys.supabase_admin)
    write_json(home_of_copy.keys_file, dataclasses.asdict(own))
    write_json(home_of_copy.settings_file, {"host": "127.0.0.1"})


def start_stack(home: Path, *arguments: str) -> Stack:
    """`imageledger up` on free ports, from the run's first cluster; the caller stops it with `imageledger down`."""
    if kind != "embedded":
        pytest.skip("the test starts an embedded stack of its own, which says nothing about the outside one")
    begin(home)
    run_cli(home, "up", *arguments)
    status: dict[str, Any] = json.loads(run_cli(home, "status", "--json").stdout)
    return Stack(
        kind="embedded",
        folder=home,
        api_url=status["API_URL"],
        anon_key=status["ANON_KEY"],
        service_role_key=status["SERVICE_ROLE_KEY"],
        given_jwt_secret=status["JWT_SECRET"],
        db_url=status["DB_URL"],
        given_admin_db_url=status["ADMIN_DB_URL"],
        worker_db_url=status["WORKER_DB_URL"],
        given_analyst_db_url=status["ANALYST_DB_URL"],
    )
