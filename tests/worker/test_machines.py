"""Several worker machines on one table, each a group of processes with a network of its own, one of them cut off.

A "machine" reaches the database, and in outbox mode the message broker, through proxies of its own that can fall
silent; or, as root on Linux, lives in a network and a process namespace whose link can be taken down.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.conftest import FreshDatabase
from tests.support.brokers import Redis, running
from tests.support.stack import ROOT, clean_environment
from tests.support.tcp import Proxy
from tests.worker.toys import create_effects, wait_for

JOBS = 120


class Machine:
    """A worker process, and the way from it to the world."""

    def __init__(self, db_url: str, folder: Path, broker_url: str = "", **environment: str) -> None:
        self._db_url, self._broker_url = db_url, broker_url
        self.log = folder / f"machine-{uuid4().hex[:6]}.log"
        self._environment = environment
        self._stack = contextlib.ExitStack()
        self._proxies: list[Proxy] = []
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Machine:
        database = self._proxy(self._db_url)
        environment = {
            "WORKER_DB_URL": database.url,
            "WORKER_THREADS": "3",
            "WORKER_LEASE_SECONDS": "2",
            "WORKER_POLL_SECONDS": "0.1",
            "WORKER_MAINTENANCE_SECONDS": "0.3",
            "SUPABASE_URL": "http://127.0.0.1:1",
            "SUPABASE_SERVICE_ROLE_KEY": "none",
        }
        if self._broker_url:
            parts = urlsplit(self._broker_url)
            broker = self._proxy(make_conninfo(host=parts.hostname, port=parts.port))
            there = conninfo_to_dict(broker.url)
            environment["BROKER_URL"] = urlunsplit(parts._replace(netloc=f"{there['host']}:{there['port']}"))
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [*self.prefix(), sys.executable, "-m", "tests.worker.toys"],
                cwd=ROOT,
                env=clean_environment(**(environment | self._environment)),
                stderr=out,
                start_new_session=True,
            )
        return self

    def _proxy(self, url: str) -> Proxy:
        proxy = self._stack.enter_context(Proxy(url, self.host()))
        self._proxies.append(proxy)
        return proxy

    def __exit__(self, *_: Any) -> None:
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._stack.close()

    def host(self) -> str:
        """Where this machine finds the others."""
        return "127.0.0.1"

    def prefix(self) -> list[str]:
        """What the command runs in."""
        return []

    def cut(self) -> None:
        """Nothing comes through any more, in either direction, and nobody is told."""
        for proxy in self._proxies:
            proxy.pause()

    def heal(self) -> None:
        for proxy in self._proxies:
            proxy.heal()

    def said(self, text: str) -> bool:
        return text in self.log.read_text()

    def name(self) -> str:
        """As it calls itself in the table."""
        wait_for(lambda: self.said("worker="))
        return self.log.read_text().split("worker=", 1)[1].split()[0]


class Namespace(Machine):
    """In namespaces of the kernel: no other process is in sight, and the network is a cable that can be pulled."""

    _number = 0

    def __enter__(self) -> Machine:
        Namespace._number += 1
        self._name = f"il{os.getpid() % 100000}{chr(96 + Namespace._number)}"
        self._net = f"10.231.{os.getpid() % 250}.{4 * Namespace._number}"
        end = self._net.rsplit(".", 1)
        self._here, there = (f"{end[0]}.{int(end[1]) + n}" for n in (1, 2))
        self._ip("netns", "add", self._name)
        self._stack.callback(self._ip, "netns", "del", self._name)
        self._ip("link", "add", self._name, "type", "veth", "peer", "name", "up0", "netns", self._name)
        self._ip("addr", "add", f"{self._here}/30", "dev", self._name)
        self._ip("link", "set", self._name, "up")
        self._ip("-n", self._name, "addr", "add", f"{there}/30", "dev", "up0")
        self._ip("-n", self._name, "link", "set", "up0", "up")
        return super().__enter__()

    @staticmethod
    def _ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True, timeout=10)

    def host(self) -> str:
        return self._here

    def prefix(self) -> list[str]:
        inside = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--uts"]
        return ["ip", "netns", "exec", self._name, *inside]

    def cut(self) -> None:
        self._ip("link", "set", self._name, "down")

    def heal(self) -> None:
        self._ip("link", "set", self._name, "up")


def why_no_namespaces() -> str | None:
    """None where this test may make networks."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "network namespaces need root on Linux"
    if not (shutil.which("ip") and shutil.which("unshare")):
        return "network namespaces need ip and unshare (apt-get install iproute2 util-linux)"
    name = f"il{os.getpid()}probe"
    made = subprocess.run(
        ["unshare", "--net", "--pid", "--fork", "--mount-proc", "ip", "link", "add", name, "type", "veth"],
        capture_output=True,
        check=False,
        timeout=10,
    )
    return None if made.returncode == 0 else "this machine lets nobody make network namespaces"


@pytest.fixture
def db(fresh_db: FreshDatabase) -> Iterator[psycopg.Connection[Any]]:
    create_effects(fresh_db.url)
    with fresh_db.connect(autocommit=True) as connection:
        yield connection


@pytest.mark.parametrize("way", ["table", "outbox", "namespaces"])
def test_one_of_three_machines_is_cut_off(
    fresh_db: FreshDatabase, db: psycopg.Connection[Any], tmp_path: Path, way: str
) -> None:
    """Nothing is lost, nothing is done twice, its late effects are refused, and it goes on once it is back."""
    kind, options = Machine, {}
    with contextlib.ExitStack() as stack:
        if way == "namespaces":
            kind = Namespace
            if reason := why_no_namespaces():
                pytest.skip(reason)
        if way == "outbox":
            if reason := Redis.missing():
                pytest.skip(reason)
            options["BROKER_REPUBLISH_SECONDS"] = "1"
            options["broker_url"] = stack.enter_context(running(Redis, tmp_path / "redis")).url

        def of(machine: str, condition: str) -> int:
            row = db.execute(
                f"select count(*) from queue.jobs where worker = %s and {condition}",  # type: ignore[arg-type]
                (machine,),
            ).fetchone()
            return row[0] if row else 0

        def left() -> int:
            db.execute("update queue.jobs set run_at = now() where state = 'scheduled'")
            row = db.execute("select count(*) from queue.jobs where state <> 'succeeded'").fetchone()
            return row[0] if row else 0

        machines = [
            stack.enter_context(kind(fresh_db.worker_url, tmp_path, **options))  # type: ignore[arg-type]
            for _ in range(3)
        ]
        lost, *others = machines
        names = [machine.name() for machine in machines]
        wait_for(lambda: all(machine.said("worker is ready") for machine in machines))
        total = 0

        def enqueue(count: int) -> None:
            nonlocal total
            total += count
            job = "queue.enqueue('effect', '{\"seconds\": 0.2}', max_attempts => 50)"
            db.execute(f"select {job} from generate_series(1, %s)", (count,))  # type: ignore[arg-type]

        def caught() -> bool:
            """Cut off in the middle of a job; on a slow machine it may just have ended its last one."""
            lost.cut()
            time.sleep(0.3)
            if of(names[0], "state = 'running'"):
                return True
            lost.heal()
            enqueue(30)
            return False

        enqueue(JOBS)
        wait_for(lambda: of(names[0], "state = 'succeeded'") > 3)
        wait_for(caught)
        wait_for(lambda: left() == 0, 40)
        assert all(of(name, "state = 'succeeded'") for name in names[1:])
        done_by_lost = of(names[0], "true")
        lost.heal()
        # By the heartbeat, an acknowledgement, or an attempt's end: whichever comes first.
        wait_for(lambda: any(map(lost.said, ("lease lost", "too late", "state=lost"))), 40)
        assert not any(machine.said("lease lost") for machine in others)
        # It goes on: the others are told to stop, and it does what comes now by itself.
        for machine in others:
            assert machine.process is not None
            os.killpg(machine.process.pid, signal.SIGKILL)
        enqueue(5)
        wait_for(lambda: left() == 0, 40)
        assert of(names[0], "true") > done_by_lost
    assert db.execute("select count(*), count(distinct job_id) from public.effects").fetchone() == (
        total,
        total,
    )
