"""Worker processes and signals: killed, stopped, terminated, poisoned."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.conftest import FreshDatabase
from tests.support.stack import ROOT, clean_environment
from tests.worker.toys import create_effects, wait_for
from worker.identity import is_dead, worker_identity


@pytest.fixture
def db(fresh_db: FreshDatabase) -> Iterator[psycopg.Connection[Any]]:
    create_effects(fresh_db.url)
    with fresh_db.connect(autocommit=True) as connection:
        yield connection


@contextmanager
def process(
    fresh_db: FreshDatabase, program: str = "tests.worker.toys", **settings: str
) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        "WORKER_DB_URL": fresh_db.worker_url,
        "WORKER_THREADS": "2",
        "WORKER_LEASE_SECONDS": "20",
        "WORKER_POLL_SECONDS": "0.1",
        "WORKER_MAINTENANCE_SECONDS": "0.3",
        "WORKER_GRACE_SECONDS": "5",
        "SUPABASE_URL": "http://127.0.0.1:1",
        "SUPABASE_SERVICE_ROLE_KEY": "none",
    }
    child = subprocess.Popen(
        [sys.executable, "-m", program],
        cwd=ROOT,
        env=clean_environment(**(environment | settings)),
        stderr=subprocess.PIPE,
    )
    try:
        yield child
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGCONT)
            child.kill()
        child.communicate()


def states(db: psycopg.Connection[Any], actor: str = "effect") -> dict[str, int]:
    return dict(
        db.execute(
            "select state, count(*)::int from queue.jobs where actor = %s group by state", (actor,)
        ).fetchall()
    )


def hasten(db: psycopg.Connection[Any]) -> None:
    """What waits for its retry need not wait."""
    db.execute("update queue.jobs set run_at = now() where state = 'scheduled'")


def test_poison_ends_dead_and_starves_nobody(fresh_db: FreshDatabase, db: psycopg.Connection[Any]) -> None:
    db.execute("select queue.enqueue('poison', '{}', max_attempts => 3)")
    db.execute(
        "select queue.enqueue('effect', '{\"seconds\": 0}', max_attempts => 20) from generate_series(1, 100)"
    )
    starts = 0
    while states(db, "poison") != {"dead": 1} or states(db) != {"succeeded": 100}:
        starts += 1
        assert starts < 10
        with process(fresh_db, WORKER_THREADS="1") as worker:
            while worker.poll() is None and states(db) != {"succeeded": 100}:
                hasten(db)
                time.sleep(0.05)
            if worker.poll() is None:
                wait_for(
                    lambda: hasten(db) or worker.poll() is not None or states(db, "poison") == {"dead": 1}
                )
            assert worker.poll() in (None, 13)
    assert db.execute("select attempts from queue.jobs where actor = 'poison'").fetchone() == (3,)
    assert db.execute("select count(*), count(distinct job_id) from public.effects").fetchone() == (100, 100)


def test_killed_at_random_instants(fresh_db: FreshDatabase, db: psycopg.Connection[Any]) -> None:
    db.execute(
        "select queue.enqueue('effect', '{\"seconds\": 0.01}', max_attempts => 50)"
        " from generate_series(1, 200)"
    )
    for life in (0.05, 0.2, 0.1):
        before = states(db).get("succeeded", 0)
        with process(fresh_db) as worker:
            wait_for(lambda before=before: hasten(db) or states(db).get("succeeded", 0) > before)
            time.sleep(life)
            worker.kill()
            worker.wait()
    with process(fresh_db):
        wait_for(lambda: hasten(db) or states(db) == {"succeeded": 200}, 15)
    assert db.execute("select count(*), count(distinct job_id) from public.effects").fetchone() == (200, 200)


def test_terminated_worker_finishes_what_runs(
    fresh_db: FreshDatabase, db: psycopg.Connection[Any], tmp_path: Path
) -> None:
    for name in "abc":
        db.execute(
            "select queue.enqueue('effect', jsonb_build_object('seconds', 1, 'started', %s::text))",
            (str(tmp_path / name),),
        )
    with process(fresh_db) as worker:
        wait_for(lambda: len(list(tmp_path.iterdir())) == 2)
        worker.terminate()
        assert worker.wait(10) == 0
    assert states(db) == {"succeeded": 2, "ready": 1}


def test_terminated_worker_gives_back_what_takes_too_long(
    fresh_db: FreshDatabase, db: psycopg.Connection[Any], tmp_path: Path
) -> None:
    started = tmp_path / "started"
    db.execute(
        "select queue.enqueue('effect', jsonb_build_object('seconds', 30, 'started', %s::text))",
        (str(started),),
    )
    with process(fresh_db, WORKER_GRACE_SECONDS="0.5") as worker:
        wait_for(started.exists)
        worker.terminate()
        assert worker.wait(10) == 0
    assert db.execute("select state, attempts from queue.jobs").fetchone() == ("ready", 0)


def test_second_signal_ends_at_once(
    fresh_db: FreshDatabase, db: psycopg.Connection[Any], tmp_path: Path
) -> None:
    started = tmp_path / "started"
    db.execute(
        "select queue.enqueue('effect', jsonb_build_object('seconds', 30, 'started', %s::text))",
        (str(started),),
    )
    with process(fresh_db) as worker:
        wait_for(started.exists)
        worker.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert worker.poll() is None
        worker.send_signal(signal.SIGINT)
        assert worker.wait(2) == 128 + signal.SIGINT


def test_a_stopped_worker_that_wakes_up_late_has_no_effect(
    fresh_db: FreshDatabase, db: psycopg.Connection[Any], tmp_path: Path
) -> None:
    started = tmp_path / "started"
    db.execute(
        "select queue.enqueue('effect', jsonb_build_object('seconds', 1, 'started', %s::text))",
        (str(started),),
    )
    with process(fresh_db, WORKER_LEASE_SECONDS="1") as zombie:
        wait_for(started.exists)
        zombie.send_signal(signal.SIGSTOP)
        with process(fresh_db) as rescuer:
            wait_for(lambda: hasten(db) or states(db) == {"succeeded": 1})
            zombie.send_signal(signal.SIGCONT)
            time.sleep(1.5)
            zombie.terminate()
            rescuer.terminate()
            assert zombie.wait(10) == 0
            assert b"lease lost" in (zombie.stderr.read() if zombie.stderr else b"")
    assert db.execute("select attempt from public.effects").fetchall() == [(2,)]
    assert states(db) == {"succeeded": 1}


def test_a_slow_job_keeps_its_lease(fresh_db: FreshDatabase, db: psycopg.Connection[Any]) -> None:
    db.execute("select queue.enqueue('effect', '{\"seconds\": 2.5}')")
    with process(fresh_db, WORKER_LEASE_SECONDS="1"), process(fresh_db, WORKER_LEASE_SECONDS="1"):
        wait_for(lambda: states(db) == {"succeeded": 1})
    assert db.execute("select attempt from public.effects").fetchall() == [(1,)]


def test_identity_tells_the_dead_from_the_living() -> None:
    mine = worker_identity()
    assert not is_dead(mine)
    place, _, _ = mine.rsplit("/", 2)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert is_dead(f"{place}/{gone.pid}/1")
    assert is_dead(f"{place}/{os.getpid()}/1"), "the id was given to another process"
    assert not is_dead(f"elsewhere/boot/1/{gone.pid}/1")
    assert not is_dead("w")


def children_of(pid: int) -> set[int]:
    """Worker processes below a supervisor; multiprocessing's own helper is none."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rsplit(")", 1)[1].split()
            if int(fields[1]) == pid and fields[0] != "Z":
                command = (stat.parent / "cmdline").read_bytes()
                if b"spawn_main" in command:
                    found.add(int(stat.parent.name))
    return found


def test_supervisor_replaces_lost_children_and_leaves_none(
    fresh_db: FreshDatabase, db: psycopg.Connection[Any]
) -> None:
    """Two processes, one is killed; then the supervisor is told to stop, or killed itself."""
    for end in (signal.SIGTERM, signal.SIGKILL):
        with process(fresh_db, "worker.main", WORKER_PROCESSES="2") as parent:
            wait_for(lambda parent=parent: len(children_of(parent.pid)) == 2)
            victim, other = children_of(parent.pid)
            os.kill(victim, signal.SIGKILL)
            wait_for(
                lambda parent=parent, victim=victim: (
                    len(children_of(parent.pid)) == 2 and victim not in children_of(parent.pid)
                )
            )
            children = children_of(parent.pid)
            assert other in children
            time.sleep(1)
            parent.send_signal(end)
            parent.wait(15)
            assert parent.returncode == (0 if end == signal.SIGTERM else -signal.SIGKILL)
            wait_for(lambda children=children: not any(Path(f"/proc/{pid}").exists() for pid in children))
