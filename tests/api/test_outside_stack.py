"""The suite on a stack that it did not start: by URL and keys; in containers, as far as can be seen without Docker."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
import psycopg
import pytest

from tests.conftest import FreshDatabase
from tests.support import containers, outside
from tests.support.roles import new_user
from tests.support.stack import ROOT, Stack, clean_environment

NOWHERE = "tcp://127.0.0.1:1"


def run_pytest(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """pytest as a process, with nothing of this run's stack in its environment."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", *arguments],
        cwd=ROOT,
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def named(stack: Stack) -> dict[str, str]:
    """A stack as a stranger has it: addresses and keys."""
    return {
        "SUPABASE_URL": stack.api_url,
        "SUPABASE_ANON_KEY": stack.anon_key,
        "SUPABASE_SERVICE_ROLE_KEY": stack.service_role_key,
        "SUPABASE_DB_URL": stack.db_url,
        "WORKER_DB_URL": stack.worker_db_url,
    }


def test_the_suite_runs_on_a_stack_given_by_url_and_keys(stack: Stack) -> None:
    """The API with a worker, SQL that is rolled back, and what a project does not give."""
    done = run_pytest(
        "--stack=outside",
        "tests/api/test_media_life.py::test_every_function_once",
        "tests/sql/test_pairing.py::TestReservedPath",
        "tests/sql/test_races.py::test_storage_budget",
        "tests/api/test_gateway_auth.py",
        **named(stack),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    outcome = re.search(r"(\d+) passed, (\d+) skipped", done.stdout)
    assert outcome is not None, done.stdout
    assert int(outcome[1]) >= 10
    assert "the outside stack does not give a superuser and databases of the tests' own" in done.stdout
    assert "about the embedded stack itself" in done.stdout


def test_variables_that_are_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(pytest.UsageError, match="SUPABASE_ANON_KEY, SUPABASE_DB_URL"):
        outside.from_environment(tmp_path, {"SUPABASE_URL": "http://x", "SUPABASE_SERVICE_ROLE_KEY": "k"})
    given = {name: name.lower() for name in outside.REQUIRED}
    stack = outside.from_environment(tmp_path, given)
    assert stack.worker_db_url == stack.db_url == "supabase_db_url"
    with pytest.raises(pytest.skip.Exception, match="SUPABASE_JWT_SECRET"):
        _ = stack.jwt_secret
    assert "IMAGELEDGER_HOME" in stack.environment
    assert given.items() <= stack.environment.items()
    assert "supabase_service_role_key" not in repr(stack)


def test_a_project_with_users_of_its_own_is_refused(stack: Stack, fresh_db: FreshDatabase) -> None:
    empty = replace(stack, db_url=fresh_db.url)
    with psycopg.connect(fresh_db.admin_url, autocommit=True) as admin:
        for email in ("a@example.test", "b@shop.example", "c@example.com"):
            new_user(admin, email)
        outside.refuse_real_users(empty)
        new_user(admin, "anna@gmail.com")
    with pytest.raises(pytest.exit.Exception, match="1 users of this project are not the tests'"):
        outside.refuse_real_users(empty)


# Containers


def test_without_docker_the_run_is_skipped_in_one_line() -> None:
    done = run_pytest("--stack=docker", "tests/sql/test_pairing.py::TestReservedPath", DOCKER_HOST=NOWHERE)
    lines = [line for line in (done.stdout + done.stderr).splitlines() if "skipped" in line]
    assert (done.returncode, len(lines)) == (0, 1)
    assert "--stack=docker needs a Docker daemon" in lines[0]


def test_the_containers_agree_on_keys_and_names() -> None:
    made = containers.Secrets()
    env = containers.environments(made)
    config = containers.gateway_config(made)
    assert set(env) == set(containers.IMAGES) == set(containers.PORTS)
    assert all(re.fullmatch(r"[a-z/-]+:v?\d+(\.\d+)+", image) for image in containers.IMAGES.values())
    keys = {c["username"]: c["keyauth_credentials"][0]["key"] for c in config["consumers"]}
    for role in ("anon", "service_role"):
        assert keys[role] == made.key(role)
        assert jwt.decode(keys[role], env["rest"]["PGRST_JWT_SECRET"], algorithms=["HS256"])["role"] == role
    assert (env["storage"]["ANON_KEY"], env["storage"]["SERVICE_KEY"]) == (keys["anon"], keys["service_role"])
    assert {
        env[part][name] for part, name in (("auth", "GOTRUE_JWT_SECRET"), ("storage", "PGRST_JWT_SECRET"))
    } == {made.jwt_secret}
    # Every address inside names a container and its port.
    text = str(env) + str(config)
    for host, port in re.findall(r"(?:@|http://)([a-z]+):(\d+)", text):
        if host != "localhost":
            assert containers.PORTS[host] == int(port)
    logins = set(re.findall(r"postgresql://([a-z_]+):", text))
    assert logins == set(containers.SERVICE_LOGINS)
    assert {
        path: containers.ROUTES[path] for s in config["services"] for path in s["routes"][0]["paths"]
    } == (containers.ROUTES)
    assert made.password not in repr(made)


class _NoDaemon:
    """In the place of Docker's client, which asks a daemon for its version as soon as it is made."""

    def __init__(self, **_: Any) -> None:
        pass


def test_a_container_is_described_as_testcontainers_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("testcontainers.core.container.DockerClient", _NoDaemon)
    monkeypatch.setattr("testcontainers.core.network.DockerClient", _NoDaemon)
    made = containers.Secrets()
    env = containers.environments(made)
    for part in containers.IMAGES:
        described = containers.container(part, env[part], containers.Network(), {"/x/kong.json": "{}"})
        assert described.env == env[part]
        assert {int(port) for port in described.ports} == {containers.PORTS[part]}
        assert described._network_aliases == [part]
