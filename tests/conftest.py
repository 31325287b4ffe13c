"""Fixtures: a stack a run, embedded unless --stack says otherwise; rolled-back transactions; throw-away databases."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from tests.support import outside, sql_coverage
from tests.support import stack as stacks
from tests.support.own_stack import stack_of_its_own
from tests.support.people import Person
from tests.support.stack import Stack
from tests.support.worker import WorkerProcess

TEMPLATE = "imageledger_template"

# A run starts many hundred Python processes; without compiled files each compiles the project's modules anew.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--stack",
        choices=("embedded", "outside", "docker"),
        default=os.environ.get("IMAGELEDGER_TEST_STACK", "embedded"),
        help="what the tests run against: an embedded stack, the one that SUPABASE_URL, its keys and SUPABASE_DB_URL "
        "name, or Supabase's images in Docker. Default: IMAGELEDGER_TEST_STACK, or embedded.",
    )


def pytest_configure(config: pytest.Config) -> None:
    stacks.kind = config.getoption("--stack")
    if stacks.kind == "docker":
        from tests.support import containers  # noqa: PLC0415 - others need not wait for Docker's client

        if reason := containers.unavailable():
            pytest.exit(reason, returncode=0)
    config.pluginmanager.register(sql_coverage.SqlCoverage())
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A script's `pytest &` has it ignored, and so would all that tests start and press Ctrl-C on.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput") and not config.option.collectonly:
        # Once a run: pytest-xdist's processes inherit it. PostgreSQL's account has to pass through.
        os.environ[stacks.BEGINNING] = tempfile.mkdtemp(prefix="imageledger-tests-")
        Path(os.environ[stacks.BEGINNING]).chmod(0o711)
        if stacks.kind == "embedded":
            # Nothing here speaks TLS; every HTTP client would read the world's certificates first, for 20 ms of CPU.
            nobodys = Path(os.environ[stacks.BEGINNING], "certificates")
            nobodys.mkdir()
            os.environ.pop("SSL_CERT_FILE", None)
            os.environ["SSL_CERT_DIR"] = str(nobodys)


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput") and stacks.BEGINNING in os.environ:
        shutil.rmtree(os.environ.pop(stacks.BEGINNING), ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that wait for processes first, quick ones last: so the last worker has little left to do alone."""
    slow_first = ("test_stack_lifecycle", "tests/e2e/", "tests/worker/", "tests/api/")
    if stacks.kind != "embedded":
        for item in items:
            if reason := outside.skip_reason(item.nodeid):
                item.add_marker(pytest.mark.skip(reason=reason))
    items.sort(key=lambda item: next((n for n, part in enumerate(slow_first) if part in item.nodeid), 9))


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack of the run, migrated, without a worker."""
    folder = tmp_path_factory.mktemp("stack")
    if stacks.kind == "outside":
        running = outside.from_environment(folder)
        outside.refuse_real_users(running)
        running.cli("migrate")
        yield running
    elif stacks.kind == "docker":
        from tests.support import containers  # noqa: PLC0415 - others need not wait for Docker's client

        with containers.supabase(folder) as running:
            yield running
    else:
        with stack_of_its_own(folder / "home") as running:
            yield running


def on_database(url: str, name: str) -> str:
    """The same login on another database of the cluster."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


@pytest.fixture(scope="session")
def template(stack: Stack) -> str:
    """A migrated database that others are copied from; nobody stays connected to it."""
    with psycopg.connect(stack.admin_db_url, autocommit=True) as admin:
        admin.execute(sql.SQL("create database {} owner postgres").format(sql.Identifier(TEMPLATE)))
    bootstrap = (Path(__file__).parents[1] / "supabase/local/bootstrap.sql").read_text()
    with psycopg.connect(on_database(stack.admin_db_url, TEMPLATE), autocommit=True) as admin:
        admin.execute(bootstrap)  # type: ignore[arg-type]
    stack.cli("migrate", "--db-url", on_database(stack.db_url, TEMPLATE))
    return TEMPLATE


class FreshDatabase:
    """A throw-away migrated database, with logins as postgres, superuser, media_worker, analyst."""

    def __init__(self, stack: Stack, name: str) -> None:
        self._stack = stack
        self.name = name
        self.url = on_database(stack.db_url, name)
        self.worker_url = on_database(stack.worker_db_url, name)

    @property
    def admin_url(self) -> str:
        return on_database(self._stack.admin_db_url, self.name)

    @property
    def analyst_url(self) -> str:
        return on_database(self._stack.analyst_db_url, self.name)

    def connect(self, **kwargs: Any) -> psycopg.Connection[Any]:
        return psycopg.connect(self.url, **kwargs)

    def connect_worker(self, **kwargs: Any) -> psycopg.Connection[Any]:
        return psycopg.connect(self.worker_url, **kwargs)


@contextmanager
def throw_away(stack: Stack, template: str) -> Iterator[FreshDatabase]:
    """A migrated database until the end of the block."""
    name = f"t_{uuid4().hex[:12]}"
    with psycopg.connect(stack.admin_db_url, autocommit=True) as admin:
        admin.execute(
            sql.SQL("create database {} template {} owner postgres").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
    database = FreshDatabase(stack, name)
    yield database
    sql_coverage.record(database.admin_url)
    with psycopg.connect(stack.admin_db_url, autocommit=True) as admin:
        admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture
def fresh_db(stack: Stack, template: str) -> Iterator[FreshDatabase]:
    """For tests where commit, NOTIFY or two connections matter."""
    with throw_away(stack, template) as database:
        yield database


@pytest.fixture(scope="session")
def shared_db(request: pytest.FixtureRequest, stack: Stack) -> Iterator[FreshDatabase]:
    """One database for all tests that roll back: on a stack that is not ours, its own."""
    if stack.kind != "embedded":
        yield FreshDatabase(stack, urlsplit(stack.db_url).path.removeprefix("/"))
        return
    template: str = request.getfixturevalue("template")
    name = "t_shared"
    with psycopg.connect(stack.admin_db_url, autocommit=True) as admin:
        admin.execute(
            sql.SQL("create database {} template {} owner postgres").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
    database = FreshDatabase(stack, name)
    yield database
    sql_coverage.record(database.admin_url)


@pytest.fixture
def db(shared_db: FreshDatabase) -> Iterator[psycopg.Connection[Any]]:
    """A connection as postgres, rolled back afterwards; tests.support.roles acts as others on it."""
    with psycopg.connect(shared_db.url) as conn:
        if stacks.kind != "embedded":
            outside.empty(conn)
        yield conn
        conn.rollback()


@pytest.fixture(scope="session")
def worker(stack: Stack) -> Iterator[WorkerProcess]:
    """A worker on the stack's own database, for tests from the outside."""
    # Pictures to fetch come from servers of the tests, on loopback.
    with WorkerProcess(stack, LEGACY_FETCH_NETWORKS="127.0.0.1/32") as process:
        yield process


@pytest.fixture
def person(stack: Stack) -> Person:
    return Person.sign_up(stack)


@pytest.fixture
def other(stack: Stack) -> Person:
    """Somebody else."""
    return Person.sign_up(stack)
