"""`imageledger up`, `down`, `status`: started once, survives crashes, leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import jwt
import psycopg
import pytest

from cli.stack.control import inspect
from cli.stack.home import Home
from tests.support.processes import processes_of, wait_until
from tests.support.stack import ROOT, begin, clean_environment, run_cli

PATIENCE = 60.0
Status = dict[str, Any]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A state folder; whatever the test did, its stack is stopped and its data deleted in the end."""
    folder = tmp_path / "home"
    yield folder
    run_cli(folder, "down", "--destroy", "--yes")
    assert processes_of(folder) == {}


@pytest.fixture
def made(home: Path) -> Path:
    """A state folder whose stack was up before: for what is not about the making."""
    begin(home)
    return home


def status(home: Path) -> Status:
    return json.loads(run_cli(home, "status", "--json", check=False).stdout)  # type: ignore[no-any-return]


def pids(state: Status) -> dict[str, int]:
    return {part["name"]: part["pid"] for part in state["parts"]}


def gallery(state: Status) -> int:
    """What a client gets who asks for something that needs gateway, PostgREST and PostgreSQL."""
    headers = {"apikey": state["ANON_KEY"]}
    try:
        url = f"{state['API_URL']}/rest/v1/gallery?limit=1"
        return httpx.get(url, headers=headers, timeout=5).status_code
    except httpx.HTTPError:
        return 0


def error_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The error object of a `--json` run: the last line on stderr."""
    return json.loads(done.stderr.splitlines()[-1])["error"]  # type: ignore[no-any-return]


def test_up_crash_recover_down(home: Path) -> None:
    run_cli(home, "up", "--worker")
    first = status(home)
    assert first["healthy"]
    assert list(pids(first)) == ["postgres", "postgrest", "gateway", "worker"]
    assert gallery(first) == 200

    # Again: the same processes, the same answer.
    run_cli(home, "up", "--worker")
    assert pids(status(home)) == pids(first)

    for name in ("worker", "gateway", "postgrest", "postgres"):
        before = pids(status(home))[name]
        os.kill(before, signal.SIGKILL)

        def recovered(name: str = name, before: int = before) -> bool:
            now = inspect(Home(home))
            there = {part.name: part.pid for part in now.parts}[name] not in (None, before)
            return there and now.healthy and gallery(first) == 200

        wait_until(recovered, PATIENCE, f"{name} is back after kill -9")
        part = next(part for part in status(home)["parts"] if part["name"] == name)
        assert part["restarts"] >= 1
        assert part["last_exit"] == "signal SIGKILL"
    assert "ended with signal SIGKILL" in (home / "logs/supervisor.log").read_text()

    stopped = json.loads(run_cli(home, "down", "--json").stdout)["stopped"]
    assert stopped == ["gateway", "postgres", "postgrest", "worker"]
    assert processes_of(home) == {}
    assert json.loads(run_cli(home, "down", "--json").stdout)["stopped"] == []
    gone = run_cli(home, "status", "--json", check=False)
    assert gone.returncode == 3
    assert error_of(gone)["code"] == "not_running"


def test_keys_and_ports_stay(home: Path) -> None:
    # Not the usual ones, which another test's stack would take as soon as this one is down.
    with ExitStack() as usual:
        for port in (54321, 54322):
            with suppress(OSError):
                usual.enter_context(socket.create_server(("127.0.0.1", port)))
        run_cli(home, "up")
    first = status(home)
    names = ("API_URL", "ANON_KEY", "SERVICE_ROLE_KEY", "DB_URL", "JWT_SECRET", "WORKER_DB_URL", "STATE_DIR")
    assert all(first[name] for name in names)
    for name, role in (("ANON_KEY", "anon"), ("SERVICE_ROLE_KEY", "service_role")):
        assert jwt.decode(first[name], first["JWT_SECRET"], algorithms=["HS256"])["role"] == role
    assert (home / "keys.json").stat().st_mode & 0o777 == 0o600
    assert home.stat().st_mode & 0o066 == 0
    logins = (("DB_URL", "postgres"), ("WORKER_DB_URL", "media_worker"), ("ANALYST_DB_URL", "analyst"))
    for name, role in logins:
        with psycopg.connect(first[name]) as conn:
            assert conn.execute("select current_user").fetchone() == (role,)
    # Nobody comes in without a password.
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        psycopg.connect(
            first["ADMIN_DB_URL"].replace(first["ADMIN_DB_URL"].split("@")[0], "postgresql://postgres")
        )

    run_cli(home, "down")
    # As made before there was a login for analysts.
    keys = json.loads((home / "keys.json").read_text())
    del keys["analyst"]
    (home / "keys.json").write_text(json.dumps(keys))
    run_cli(home, "up", "--worker")
    second = status(home)
    assert {name: second[name] for name in names} == {name: first[name] for name in names}
    with psycopg.connect(second["ANALYST_DB_URL"]) as conn:
        assert conn.execute("select current_user").fetchone() == ("analyst",)
    assert second["healthy"]


def test_taken_ports_give_way_but_a_given_one_is_an_error(made: Path) -> None:
    run_cli(made, "up")
    port = int(status(made)["API_URL"].rsplit(":", 1)[1])
    joined = run_cli(made, "up", "--port", str(port))
    assert joined.returncode == 0
    elsewhere = run_cli(made, "up", "--port", "1", "--json", check=False)
    assert (elsewhere.returncode, error_of(elsewhere)["code"]) == (2, "usage")
    run_cli(made, "down")
    with socket.create_server(("127.0.0.1", port)) as squatter:
        refused = run_cli(made, "up", "--port", str(port), "--json", check=False)
        assert (refused.returncode, error_of(refused)["code"]) == (1, "port_taken")
        done = run_cli(made, "up")
        assert f"port {port} is taken" in done.stderr
        now = status(made)
        assert now["healthy"]
        assert not now["API_URL"].endswith(f":{port}")
        assert gallery(now) == 200
        assert squatter.getsockname()[1] == port


def test_a_killed_supervisor_takes_its_parts_along(made: Path) -> None:
    run_cli(made, "up", "--worker")
    state = status(made)
    os.kill(state["supervisor_pid"], signal.SIGKILL)
    wait_until(lambda: processes_of(made) == {}, PATIENCE, "all parts end with their supervisor")
    assert run_cli(made, "status", check=False).returncode == 3
    run_cli(made, "up")
    assert status(made)["healthy"]


def test_a_frozen_part_is_unhealthy_and_down_ends_it(made: Path) -> None:
    run_cli(made, "up")
    gateway = pids(status(made))["gateway"]
    os.kill(gateway, signal.SIGSTOP)
    done = run_cli(made, "status", "--json", check=False)
    assert (done.returncode, error_of(done)["code"]) == (5, "unhealthy")
    run_cli(made, "down")
    assert processes_of(made) == {}


def test_recycled_pids_and_stale_locks_do_no_harm(made: Path) -> None:
    """After a power cut the files name processes that are somebody else's now."""
    run_cli(made, "up")
    os.kill(status(made)["supervisor_pid"], signal.SIGKILL)
    wait_until(lambda: processes_of(made) == {}, PATIENCE, "all parts end with their supervisor")
    stranger = subprocess.Popen(["sleep", "300"])
    try:
        remembered = json.loads((made / "status.json").read_text())
        for part in remembered["parts"]:
            part["pid"] = stranger.pid
        remembered["supervisor"]["pid"] = stranger.pid
        (made / "status.json").write_text(json.dumps(remembered))
        lock = (made / "postgres").resolve() / "data" / "postmaster.pid"
        lock.write_text(f"{stranger.pid}\n{lock.parent}\n1\n5432\n\n127.0.0.1\n0 0\nready\n")
        run_cli(made, "down")
        assert stranger.poll() is None
        run_cli(made, "up")
        assert status(made)["healthy"]
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_two_ups_at_once_are_one_stack(home: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        done = list(
            pool.map(lambda arguments: run_cli(home, *arguments), [("up",), ("up", "--worker"), ("up",)])
        )
    assert [one.returncode for one in done] == [0, 0, 0]
    state = status(home)
    assert state["healthy"]
    assert "worker" in pids(state)
    assert sum("cli.stack.supervisor" in command for command in processes_of(home).values()) == 1


def test_stacks_that_start_at_once_share_no_port(home: Path, tmp_path: Path) -> None:
    homes = [home, tmp_path / "second", tmp_path / "third"]
    for each in homes:
        begin(each)
    try:
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda each: run_cli(each, "up"), homes))
        states = [status(each) for each in homes]
        assert all(state["healthy"] for state in states)
        assert len({state["API_URL"] for state in states}) == 3
        assert len({state["DB_URL"].rpartition("@")[2] for state in states}) == 3
        # Each gateway answers for its own database: another stack's key is nothing here.
        for state in states:
            assert gallery(state) == 200
            other = next(each for each in states if each is not state)
            assert gallery(state | {"ANON_KEY": other["ANON_KEY"]}) == 401
    finally:
        for each in homes[1:]:
            run_cli(each, "down", "--destroy", "--yes")


def test_a_part_that_cannot_start_is_named_with_its_log(home: Path, tmp_path: Path) -> None:
    broken = tmp_path / "postgrest"
    broken.write_text("#!/bin/sh\necho 'no bread today' >&2\nexit 3\n")
    broken.chmod(0o755)
    began = time.monotonic()
    done = run_cli(home, "up", "--json", check=False, IMAGELEDGER_POSTGREST=str(broken))
    error = error_of(done)
    assert done.returncode == 1
    assert error["code"] == "postgrest_start_failed"
    assert "ended with status 3" in error["message"]
    assert "no bread today" in error["message"]
    assert str(home / "logs/postgrest.log") in error["remedy"]
    assert time.monotonic() - began < PATIENCE
    assert processes_of(home) == {}
    missing = run_cli(home, "up", "--json", check=False, IMAGELEDGER_POSTGRES_BIN="/nowhere")
    assert error_of(missing)["code"] == "binary_missing"
    assert processes_of(home) == {}


def test_foreground_ends_with_ctrl_c(made: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "up", "--foreground", "--json"],
        env=clean_environment(IMAGELEDGER_HOME=str(made)),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        wait_until(lambda: _phase(made) == "ready", PATIENCE, "ready in the foreground")
        assert gallery(status(made)) == 200
        second = run_cli(made, "up", "--foreground", "--json", check=False)
        assert (second.returncode, error_of(second)["code"]) == (2, "usage")
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
        assert json.loads(out)["healthy"]
        assert processes_of(made) == {}
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()


def test_ctrl_c_while_starting_leaves_nothing(home: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "up"],
        env=clean_environment(IMAGELEDGER_HOME=str(home)),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: _phase(home) == "starting", PATIENCE, "the supervisor is at work")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, said
    assert processes_of(home) == {}


def test_destroy_asks_and_deletes_only_its_own(made: Path) -> None:
    run_cli(made, "up")
    data = (made / "postgres").resolve()
    (made / "mine.txt").write_text("keep me")
    refused = run_cli(made, "down", "--destroy", "--json", check=False)
    assert (refused.returncode, error_of(refused)["code"]) == (2, "usage")
    assert status(made)["healthy"]
    run_cli(made, "down", "--destroy", "--yes")
    assert [path.name for path in made.iterdir()] == ["mine.txt"]
    assert not data.exists()


def _phase(home: Path) -> str | None:
    try:
        return str(json.loads((home / "status.json").read_text())["phase"])
    except (OSError, ValueError):
        return None
