"""PostgreSQL's disk is full, data and WAL: clear answers, nothing half written, and all goes on when there is space."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.support.audit import assert_ledger_is_storage
from tests.support.images import make_jpeg
from tests.support.people import Person
from tests.support.processes import wait_until
from tests.support.stack import Stack, run_cli, start_stack
from tests.support.worker import WorkerProcess

PHOTO = make_jpeg((64, 48))
MEGABYTES = 140


class Disk:
    """What PostgreSQL's folder lies on: small, and its own."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._ballast = folder, folder / "ballast"

    def mount(self) -> None:
        self._folder.mkdir(parents=True, mode=0o700)
        command = ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "imageledger-test", str(self._folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")

    def unmount(self) -> None:
        subprocess.run(["umount", str(self._folder)], check=True)

    def fill(self) -> None:
        with self._ballast.open("ab", buffering=0) as file:
            for size in (1 << 20, 1 << 12):
                with contextlib.suppress(OSError):
                    while file.write(bytes(size)) == size:
                        pass

    def free(self) -> None:
        self._ballast.unlink()


@pytest.fixture
def home() -> Iterator[Path]:
    """Where PostgreSQL's account may go: it may not enter the folders of the tests."""
    with tempfile.TemporaryDirectory(prefix="imageledger-disk-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "home"


@pytest.fixture
def disk(home: Path) -> Iterator[Disk]:
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small disk")
    disk = Disk(home / "postgres")
    disk.mount()
    try:
        yield disk
    finally:
        disk.unmount()


@pytest.fixture
def own_stack(disk: Disk, home: Path) -> Iterator[Stack]:
    """A stack whose database is on the small disk; Storage's files are elsewhere."""
    try:
        yield start_stack(home)
    finally:
        run_cli(home, "down")


def send(person: Person, row: dict[str, str]) -> httpx.Response:
    return person.storage(
        "POST",
        f"object/{row['bucket']}/{row['path']}",
        content=PHOTO,
        headers={"Content-Type": "image/jpeg"},
    )


def answers(stack: Stack) -> bool:
    try:
        with psycopg.connect(stack.db_url, connect_timeout=2) as conn:
            return conn.execute("select 1").fetchone() == (1,)
    except psycopg.OperationalError:
        return False


def test_a_full_disk(own_stack: Stack, disk: Disk) -> None:
    person = Person.sign_up(own_stack)
    listing = person.new_listing(title="Lamp")
    rows = person.reserve(listing, *[("a.jpg", "image/jpeg", len(PHOTO))] * 16)
    before, full = rows[:4], rows[4:10]
    acknowledged = [row["image_id"] for row in before if send(person, row).status_code == 200]
    assert len(acknowledged) == len(before)

    with WorkerProcess(own_stack, "--processes", "1", "--threads", "2") as worker:
        disk.fill()
        # Data: what needs more room is refused as a whole, with PostgreSQL's own code.
        many = [{"title": f"{n}", "description": "x" * 20_000} for n in range(2000)]
        refused = person.rest("POST", "listings", json=many)
        assert (refused.status_code, refused.json()["code"]) == (503, "53100")
        for row in full:
            answer = send(person, row)
            if answer.status_code == 200:
                acknowledged.append(row["image_id"])
            else:
                assert answer.json()["message"] == "database error, code: 53100", answer.text
        # WAL: PostgreSQL stops rather than lose a commit.
        with contextlib.suppress(psycopg.Error), psycopg.connect(own_stack.admin_db_url) as conn:
            for _ in range(20):
                conn.execute(
                    "select pg_logical_emit_message(false, 'test', repeat('x', 1000000)), pg_switch_wal()"
                )
        log = own_stack.home / "logs" / "postgres.log"
        wait_until(lambda: "PANIC" in log.read_text(), 10, "PostgreSQL stops for lack of WAL")
        # A connection that was open tells of the crash in its own way once.
        wait_until(lambda: person.rest("GET", "listings").status_code == 503, 10, "clients hear of it")

        disk.free()
        wait_until(lambda: answers(own_stack), 60, "PostgreSQL starts again")
        count: Any = person.client.table("listings").select("id", count="exact").execute()  # type: ignore[arg-type]
        assert count.count == 1
        # Who was refused tries again; nobody starts anything.
        for row in rows:
            if row["image_id"] not in acknowledged:
                answer = send(person, row)
                assert answer.status_code == 200, answer.text
        images = person.wait_until_settled(listing)
        assert worker.process is not None
        assert worker.process.poll() is None
    assert [image["state"] for image in images] == ["ready"] * len(rows), [i["error"] for i in images]
    with psycopg.connect(own_stack.db_url) as conn:
        live = "select count(*) from queue.jobs where state <> 'succeeded'"
        assert conn.execute(live).fetchone() == (0,)
        once = "select count(*), count(distinct image_id) from public.image_events where event = 'processed'"
        assert conn.execute(once).fetchone() == (len(rows), len(rows))
    assert_ledger_is_storage(own_stack)
