"""kill -9 of each part at each step: every acknowledged upload is `ready` once, and bucket and rows agree."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg.rows import dict_row

from cli.doctor.rules import notifications
from tests.conftest import FreshDatabase
from tests.support.audit import assert_ledger_is_storage
from tests.support.images import make_jpeg
from tests.support.own_stack import stack_of_its_own
from tests.support.people import Person
from tests.support.processes import wait_until
from tests.support.stack import Stack, run_cli
from tests.support.worker import WorkerProcess
from tests.worker.test_worker_process import hasten, process
from tests.worker.toys import create_effects

ONE = ("--processes", "1", "--threads", "1")
PHOTO = ("lamp.jpg", "image/jpeg", make_jpeg())
STEPS = [
    "claimed",
    "downloaded",
    "decoding",
    *(f"uploaded:{role}" for role in ("detail_max", "detail", "preview", "card", "thumb")),
    "rows_written",
    "committed",
]


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of its own: other tests must not lose theirs to a kill."""
    home = tmp_path_factory.mktemp("faults") / "home"
    with stack_of_its_own(home) as stack:
        with psycopg.connect(stack.admin_db_url, autocommit=True) as conn:
            # From PostgreSQL's next start on: half a megabyte of notifications, instead of eight gigabytes.
            conn.execute("alter system set max_notify_queue_pages = 64")
        yield stack


def expire_leases(stack: Stack) -> None:
    """What the clock would do: the dead worker's leases run out now."""
    with psycopg.connect(stack.admin_db_url, autocommit=True) as conn:
        conn.execute(
            "update queue.jobs set leased_until = now() - interval '1 second' where state = 'running'"
        )


def hold_leases(stack: Stack) -> None:
    """The next worker to be killed must take its own photo, however slow this machine is."""
    with psycopg.connect(stack.admin_db_url, autocommit=True) as conn:
        conn.execute("update queue.jobs set leased_until = now() + interval '1 hour' where state = 'running'")


def upload_one(stack: Stack) -> tuple[Person, str]:
    person = Person.sign_up(stack)
    listing = person.new_listing(title="Lamp")
    person.upload(listing, PHOTO)
    return person, listing


def assert_ready_once(
    stack: Stack, person: Person, listing: str, *, expected_attempts: int | None = None
) -> None:
    images = person.wait_until_settled(listing)
    assert [image["state"] for image in images] == ["ready"] * len(images), [i["error"] for i in images]
    for image in images:
        assert len(image["image_variants"]) == 5
        with psycopg.connect(stack.db_url) as conn:
            processed = conn.execute(
                "select count(*) from public.image_events where image_id = %s and event = 'processed'",
                [image["id"]],
            ).fetchone()
            attempts = conn.execute(
                "select attempts from queue.jobs where actor = 'process_image' and args ->> 'image_id' = %s",
                [image["id"]],
            ).fetchall()
        assert processed == (1,)
        assert attempts == [(expected_attempts,)] or expected_attempts is None
    assert_ledger_is_storage(stack)


@pytest.fixture(scope="module")
def killed(own_stack: Stack) -> dict[str, tuple[Person, str]]:
    """By step: who uploaded the photo that a worker was killed with. One worker after them finds them all."""
    left = {}
    for step in STEPS:
        left[step] = upload_one(own_stack)
        with WorkerProcess(own_stack, *ONE, FAULT_AT=step) as doomed:
            assert doomed.wait(timeout=60) == -signal.SIGKILL
        hold_leases(own_stack)
    return left


@pytest.fixture(scope="module")
def successor(own_stack: Stack, killed: dict[str, tuple[Person, str]]) -> None:
    expire_leases(own_stack)
    with WorkerProcess(own_stack, *ONE):
        for person, listing in killed.values():
            person.wait_until_settled(listing)
        assert_ledger_is_storage(own_stack)


@pytest.mark.usefixtures("successor")
@pytest.mark.parametrize("step", STEPS)
def test_worker_is_killed(own_stack: Stack, killed: dict[str, tuple[Person, str]], step: str) -> None:
    assert_ready_once(own_stack, *killed[step])


@pytest.mark.usefixtures("successor")
def test_each_kill_cost_one_attempt(own_stack: Stack, killed: dict[str, tuple[Person, str]]) -> None:
    """But for the one after its commit; whose photo the next worker took is its affair."""
    with psycopg.connect(own_stack.db_url) as conn:
        attempts = (
            "select sum(attempts) from queue.jobs"
            " where actor = 'process_image' and args ->> 'listing_id' = any(%s)"
        )
        listings = [listing for _, listing in killed.values()]
        assert conn.execute(attempts, [listings]).fetchone() == (2 * len(STEPS) - 1,)


def pid_of(stack: Stack, part: str) -> int:
    status = json.loads(run_cli(stack.home, "status", "--json").stdout)
    return int(next(p["pid"] for p in status["parts"] if p["name"] == part))


def kill_part(stack: Stack, part: str) -> None:
    """kill -9, and the supervisor's new one."""
    victim = pid_of(stack, part)
    os.kill(victim, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while run_cli(stack.home, "status", "--json", check=False).returncode or pid_of(stack, part) == victim:
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.parametrize("part", ["postgres", "gateway", "postgrest"])
def test_part_of_the_stack_is_killed(own_stack: Stack, part: str) -> None:
    """Uploads go on while the part dies; what was acknowledged before is there afterwards."""
    people = [upload_one(own_stack) for _ in range(2)]
    with WorkerProcess(own_stack, "--processes", "1", "--threads", "2"):
        time.sleep(0.3)
        kill_part(own_stack, part)
        for person, listing in people:
            assert_ready_once(own_stack, person, listing)


def test_postgres_crashes_again_and_again(own_stack: Stack) -> None:
    """kill -9 of a server process ends all connections and what was not committed, as `pg_ctl restart -m immediate`
    does; a worker is in the middle of jobs, claims and commits."""
    database = FreshDatabase(own_stack, "postgres")
    create_effects(database.url)
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"seed {seed}")
    pauses = random.Random(seed)
    jobs = 200

    def ask(query: LiteralString) -> Any:
        """None while it recovers."""
        try:
            with database.connect(autocommit=True, connect_timeout=2) as conn:
                hasten(conn)
                row = conn.execute(query).fetchone()
                return row and row[0]
        except psycopg.OperationalError:
            return None

    with database.connect(autocommit=True) as conn:
        conn.execute(
            "select queue.enqueue('effect', '{\"seconds\": 0.02}', max_attempts => 50) from generate_series(1, %s)",
            [jobs],
        )
    with process(database, WORKER_LEASE_SECONDS="1", LOG_LEVEL="CRITICAL"):
        done: LiteralString = "select count(*) from public.effects"
        wait_until(lambda: bool(ask(done)), 20, "the first effects")
        for _ in range(4):
            before = ask(done)
            os.kill(ask("select pid from pg_stat_activity where backend_type = 'walwriter'"), signal.SIGKILL)
            wait_until(lambda before=before: (ask(done) or 0) > before, 20, "it goes on")
            time.sleep(pauses.uniform(0, 0.3))
        open_jobs: LiteralString = (
            "select count(*) from queue.jobs where actor = 'effect' and finished_at is null"
        )
        wait_until(lambda: ask(open_jobs) == 0, 30, "all jobs end")
    with database.connect(autocommit=True) as conn:
        effects = "select count(*), count(distinct job_id) from public.effects"
        assert conn.execute(effects).fetchone() == (jobs, jobs)
        states = "select distinct state from queue.jobs where actor = 'effect'"
        assert conn.execute(states).fetchall() == [("succeeded",)]
        conn.execute("drop table public.effects")


def test_notifications_that_nobody_takes_away(own_stack: Stack) -> None:
    """Somebody listens and leaves a transaction open until NOTIFY fails for all: photos are sold all the same."""
    with psycopg.connect(own_stack.admin_db_url, autocommit=True) as conn:
        is_small = conn.execute("show max_notify_queue_pages").fetchone() == ("64",)
    if not is_small:
        kill_part(own_stack, "postgres")
    with (
        psycopg.connect(own_stack.admin_db_url, autocommit=True, row_factory=dict_row) as admin,
        psycopg.connect(own_stack.db_url, autocommit=True, application_name="forgotten") as sleeper,
    ):
        sleeper.execute("listen anything")
        sleeper.execute("begin")
        sleeper.execute("select 1")
        fill = (
            "do $$begin for n in 1 .. 100 loop"
            " perform pg_notify('anything', rpad(n::text, 7900)); commit; end loop; end$$"
        )
        with pytest.raises(psycopg.errors.ProgramLimitExceeded, match="too many notifications"):
            admin.execute(fill)
        with WorkerProcess(own_stack, *ONE):
            assert_ready_once(own_stack, *upload_one(own_stack), expected_attempts=1)
            (found,) = notifications(admin)
            assert f"{sleeper.info.backend_pid} (postgres, forgotten, since" in found.what
            admin.execute("select pg_terminate_backend(%s, 5000)", [sleeper.info.backend_pid])
            sleeper.close()
            assert list(notifications(admin)) == []


def test_interrupted_upload_leaves_nothing(own_stack: Stack, tmp_path: Path) -> None:
    """A client that goes away in mid-upload: neither row nor bytes, and the reservation stays."""
    person = Person.sign_up(own_stack)
    listing = person.new_listing(title="Lamp")
    name, mime_type, data = PHOTO
    (row,) = person.reserve(listing, (name, mime_type, len(data)))
    host, port = own_stack.api_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as wire:
        head = (
            f"POST /storage/v1/object/private/{row['path']} HTTP/1.1\r\nHost: {host}\r\n"
            f"apikey: {own_stack.anon_key}\r\nAuthorization: Bearer {person.access_token}\r\n"
            f"Content-Type: {mime_type}\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        wire.sendall(head.encode() + data[: len(data) // 2])
    time.sleep(0.5)
    assert person.images(listing)[0]["state"] == "awaiting_upload"
    assert_ledger_is_storage(own_stack)
    person.client.storage.from_("private").upload(row["path"], data, {"content-type": mime_type})
    with WorkerProcess(own_stack, *ONE):
        assert_ready_once(own_stack, person, listing)
