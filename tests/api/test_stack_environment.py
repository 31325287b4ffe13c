"""Which project a command talks to: the embedded stack, an existing PostgreSQL, a whole Supabase project."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from cli.stack.binaries import find_postgres, runnable
from cli.stack.home import Home
from cli.stack.ports import Ports, choose
from cli.stack.postgres import Postgres
from cli.stack.processes import unprivileged_account
from tests.support.processes import processes_of
from tests.support.stack import ROOT, Stack, clean_environment, run_cli


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """Somebody's PostgreSQL, without anything of Supabase; `boss` is a superuser of it, `clerk` is not."""
    place = Home(tmp_path_factory.mktemp("bare") / "home")
    account = unprivileged_account()
    place.prepare(account)
    place.settings_file.write_text("{}")
    server = Postgres(
        runnable(find_postgres(), account, place.postgres.resolve()),
        place.data_dir,
        port=choose(Ports(), host="127.0.0.1", api=None).rest,
        password="initial",
        log_file=place.log("postgres"),
        account=account,
    )
    server.init()
    server.start()
    try:
        server.wait_ready()
        with psycopg.connect(server.url(), autocommit=True) as conn:
            conn.execute("create role boss superuser login password 'p@ss w/rd'")
            conn.execute("create role clerk login password 'clerk'")
            conn.execute("create database shop owner boss")
        yield server
    finally:
        server.stop("immediate")
        place.destroy()


def test_an_existing_postgres_is_used_and_left_running(bare: Postgres, tmp_path: Path) -> None:
    home = tmp_path / "home"
    url = bare.url("boss", "p@ss w/rd", "shop")
    try:
        done = run_cli(home, "up", "--worker", SUPABASE_DB_URL=url)
        assert "using the PostgreSQL at 127.0.0.1" in done.stderr
        # Later commands need not be told again.
        state = json.loads(run_cli(home, "status", "--json").stdout)
        assert [part["name"] for part in state["parts"]] == ["postgrest", "gateway", "worker"]
        answer = httpx.get(f"{state['API_URL']}/rest/v1/gallery", headers={"apikey": state["ANON_KEY"]})
        assert (answer.status_code, answer.json()) == (200, [])
        with psycopg.connect(state["WORKER_DB_URL"]) as conn:
            row = conn.execute("select current_user, current_database()").fetchone()
            assert row == ("media_worker", "shop")
        with psycopg.connect(url) as conn:
            owner = conn.execute(
                "select relowner::regrole::text from pg_class where oid = 'public.listings'::regclass"
            ).fetchone()
            assert owner == ("postgres",)
        again = json.loads(run_cli(home, "migrate", "--json", SUPABASE_DB_URL=url).stdout)
        assert again["up_to_date"]
        other = run_cli(home, "up", "--json", check=False, SUPABASE_DB_URL=bare.url())
        assert other.returncode == 2
        run_cli(home, "down")
        assert processes_of(home) == {}
        with psycopg.connect(url) as conn:
            assert conn.execute("select 1").fetchone() == (1,)
    finally:
        run_cli(home, "down", "--destroy", "--yes")


def test_an_existing_postgres_needs_a_superuser(bare: Postgres, tmp_path: Path) -> None:
    home = tmp_path / "home"
    url = bare.url("clerk", "clerk", "postgres")
    done = run_cli(home, "up", "--json", check=False, SUPABASE_DB_URL=url)
    error = json.loads(done.stderr.splitlines()[-1])["error"]
    assert (done.returncode, error["code"]) == (1, "not_superuser")
    assert "clerk" not in done.stdout + done.stderr.replace("'clerk'", "")
    assert processes_of(home) == {}
    # A migration is refused with the list of what is missing, roles included unless the other test was first.
    refused = run_cli(home, "migrate", "--json", check=False, SUPABASE_DB_URL=url)
    assert refused.returncode == 6
    assert "table auth.users" in json.loads(refused.stderr)["error"]["data"]["missing"]
    run_cli(home, "down", "--destroy", "--yes")


def remote_environment(stack: Stack, **changes: str) -> dict[str, str]:
    given = {
        "SUPABASE_URL": stack.api_url,
        "SUPABASE_ANON_KEY": stack.anon_key,
        "SUPABASE_SERVICE_ROLE_KEY": stack.service_role_key,
        "SUPABASE_DB_URL": stack.db_url,
    }
    return {name: value for name, value in (given | changes).items() if value}


def test_a_whole_project_is_checked_and_nothing_is_started(stack: Stack, tmp_path: Path) -> None:
    home = tmp_path / "home"
    for command in ("up", "status"):
        done = run_cli(home, command, "--json", **remote_environment(stack))
        checks = json.loads(done.stdout)["checks"]
        assert [check["name"] for check in checks] == ["auth", "rest", "storage", "database"]
        assert all(check["ok"] for check in checks)
        assert "up to date" in checks[-1]["detail"]
    migrated = run_cli(home, "migrate", "--json", **remote_environment(stack))
    assert json.loads(migrated.stdout)["up_to_date"]
    assert not home.exists()


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"SUPABASE_ANON_KEY": "", "SUPABASE_DB_URL": ""}, 2, "SUPABASE_ANON_KEY, SUPABASE_DB_URL"),
        ({"SUPABASE_SERVICE_ROLE_KEY": "wrong"}, 5, "rest, storage"),
        ({"SUPABASE_DB_URL": "postgresql://x:y@127.0.0.1:1/postgres"}, 5, "database"),
        ({"SUPABASE_URL": "http://127.0.0.1:1"}, 5, "auth, rest, storage"),
    ],
)
def test_an_incomplete_or_wrong_project_is_named(
    stack: Stack, tmp_path: Path, changes: dict[str, str], code: int, said: str
) -> None:
    done = run_cli(tmp_path / "home", "up", "--json", check=False, **remote_environment(stack, **changes))
    assert done.returncode == code
    assert said in json.loads(done.stderr.splitlines()[-1])["error"]["message"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["nonsense"], 2),
        (["up", "--port", "abc"], 2),
        (["migrate", "--plan", "--force"], 2),
        (["logs", "x"], 2),
    ],
)
def test_wrong_use_has_its_exit_code(tmp_path: Path, arguments: list[str], code: int) -> None:
    done = run_cli(tmp_path / "home", *arguments, check=False)
    assert done.returncode == code
    assert "Traceback" not in done.stderr


def test_help_shows_the_examples(tmp_path: Path) -> None:
    """That every command has some is proved without a process for each."""
    assert "Examples:" in run_cli(tmp_path, "up", "--help").stdout


def test_logs_show_one_part_or_all(stack: Stack) -> None:
    assert "database system is ready" in stack.cli("logs", "postgres", "-n", "100000").stdout
    everything = stack.cli("logs", "-n", "1").stdout
    assert {line.split(" | ")[0].strip() for line in everything.splitlines()} >= {"postgres", "supervisor"}
    assert stack.cli("logs", "gateway", "-n", "0").stdout == ""


def _can_run(program: str, uid: int) -> bool:
    try:
        return subprocess.run([program, "--version"], cwd="/", user=uid, check=False).returncode == 0
    except OSError:
        return False


@pytest.mark.skipif(os.geteuid() != 0, reason="not root: every other test is this one")
def test_somebody_who_is_not_root(tmp_path: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    folder = Path(tempfile.mkdtemp(prefix="imageledger-"))
    home = folder / "home"

    # An interpreter below /root is out of nobody's reach; the system's own of the same version will do.
    system = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    python = sys.executable if _can_run(sys.executable, nobody.pw_uid) else system
    libraries = os.pathsep.join(path for path in sys.path if path.endswith("site-packages"))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [python, "-m", "cli.main", *arguments],
            env=clean_environment(IMAGELEDGER_HOME=str(home), HOME=str(folder), PYTHONPATH=libraries),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
            user=nobody.pw_uid,
            group=nobody.pw_gid,
            extra_groups=[],
        )

    try:
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        try:
            run("--version").check_returncode()
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("the interpreter or the checkout is out of nobody's reach")
        started = run("up")
        assert started.returncode == 0, started.stderr
        state: dict[str, Any] = json.loads(run("status", "--json").stdout)
        assert state["healthy"]
        owners = {Path(f"/proc/{part['pid']}").stat().st_uid for part in state["parts"]}
        assert owners == {nobody.pw_uid}
        assert home.stat().st_mode & 0o077 == 0
        assert run("down").returncode == 0
        assert processes_of(home) == {}
    finally:
        run("down", "--destroy", "--yes")
        shutil.rmtree(folder)
