"""Random schedules: one thread plays users, workers and the clock, in an order from a seed.

The database, the actors and the wires are real. A worker dies at any step, or sleeps there until its job is somebody
else's and then goes on. IMAGELEDGER_SEED repeats one seed; IMAGELEDGER_SCHEDULES sets how many are played, from there.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, ClassVar
from uuid import UUID

import psycopg
import pytest

from tests.support.roles import new_user
from tests.worker.toys import make_broker
from worker import faults
from worker.actors import ALL
from worker.database import is_lease_lost
from worker.errors import LeaseLostError
from worker.imaging import Renderer
from worker.jobs import Job
from worker.ledger import ImageLedger
from worker.objects import ObjectStore
from worker.review import Reviewers
from worker.tools import Tools

FIRST = int(os.environ.get("IMAGELEDGER_SEED", "0"))
SCHEDULES = int(os.environ.get("IMAGELEDGER_SCHEDULES", "1" if FIRST else "8"))
Action = Callable[[], None]


class Killed(BaseException):
    """What kill -9 leaves of an attempt: nothing is told to anybody."""


class Schedule:
    """One seed. A subclass says what users do, what else can go wrong, and what has to be true in the end."""

    steps = 60
    #: Whose attempts die or fall asleep, and the name of what they work on among their arguments.
    fragile: ClassVar[dict[str, str]]
    #: Within a transaction, where nobody can take over.
    atomic: ClassVar[set[str]] = {"rows_written"}
    #: Errors of the database with which an attempt may fail.
    usual: tuple[type[psycopg.Error], ...] = ()

    def __init__(self, db: psycopg.Connection[Any], tools: Tools, seed: int) -> None:
        self.random = random.Random(seed)
        self.db, self.tools = db, tools
        self.owners: list[UUID] = [new_user(db) for _ in range(2)]
        #: Attempts at something that went wrong.
        self.hit: Counter[str] = Counter()
        self.at: list[Job] = []
        #: What those work on who sleep just now.
        self.asleep: list[str] = []
        self.doing: dict[int, str] = {}
        self.calm = False
        self.depth = 0
        self.log: list[str] = []

    def actions(self) -> dict[Action, int]:
        """What may happen next, each with its weight."""
        raise NotImplementedError

    def calm_down(self) -> None:
        """From here on nothing goes wrong any more."""

    def pass_time(self) -> None:
        """Between two attempts while everything comes to its end."""

    def was_killed(self) -> None:
        """A process is gone, and its memory with it."""

    def check(self) -> None:
        """All has ended."""
        raise NotImplementedError

    def note(self, text: str) -> None:
        self.log.append("  " * self.depth + text)

    def run(self) -> None:
        for _ in range(self.steps):
            self.step()
        self.settle()
        self.check()

    def step(self) -> None:
        weights = self.actions()
        (action,) = self.random.choices([*weights], [*weights.values()])
        if action != self.work:
            self.note(action.__name__)
        action()

    def settle(self) -> None:
        """Until no job is left."""
        self.calm = True
        self.calm_down()
        self.note("settle")
        for _ in range(120):
            self.reap()
            self.wait()
            self.pass_time()
            self.work()
            live = "select 1 from queue.jobs where state in ('ready', 'running', 'scheduled')"
            if self.db.execute(live).fetchone() is None:
                return
        raise AssertionError(f"jobs without an end: {self.rows('queue.jobs', 'finished_at is null')}")

    def rows(self, table: str, where: str = "true") -> Any:
        return self.db.execute(f"select t from {table} as t where {where}").fetchall()  # type: ignore[arg-type]

    def refusable(self, act: Callable[[], Any]) -> None:
        """What a client does may be refused."""
        try:
            with self.db.transaction():
                act()
        except psycopg.Error as error:
            if not str(error.sqlstate).startswith("PT4"):
                raise
            self.note(f"refused: {error.diag.message_detail}")

    def wait(self) -> None:
        """Whatever waits is due."""
        self.db.execute("update queue.jobs set run_at = now() where state = 'scheduled'")

    def reap(self) -> None:
        """The leases of all who do not work just now run out."""
        self.db.execute(
            "update queue.jobs set leased_until = now() - interval '1 second'"
            " where state = 'running' and not (id = any(%s))",
            [[job.id for job in self.at]],
        )
        self.db.execute("select queue.reap()")

    def work(self) -> None:
        """One attempt at what is due, or made due."""
        if self.random.random() < 0.7:
            self.wait()
        row = self.db.execute(
            "select id, actor, args, owner_id, attempts, max_attempts, lease_token"
            " from queue.take('default', 'one', 1, '1 hour')"
        ).fetchone()
        if row is None:
            return
        job = Job(row[0], "default", row[1], row[3], row[4], row[5], row[6], 0.0, 0.0)
        self.at.append(job)
        self.doing[job.id] = str(row[2].get(self.fragile.get(job.actor)))
        self.note(f"take {job.actor} {self.doing[job.id]} attempt {job.attempt}")
        try:
            self.tools.broker.get_actor(job.actor).fn(**row[2])
        except Killed:
            self.was_killed()
        except Exception as error:
            if isinstance(error, LeaseLostError) or is_lease_lost(error):
                return
            if isinstance(error, psycopg.Error) and not isinstance(error, self.usual):
                raise
            self.hit[self.doing[job.id]] += 1
            self.note(repr(error))
            self._end("select queue.fail(%s, %s, %s, %s)", job, str(error), getattr(error, "retryable", True))
        else:
            if not job.settled:
                self._end("select queue.complete(%s, %s)", job)
        finally:
            self.at.remove(job)

    def _end(self, sql: str, job: Job, *values: Any) -> None:
        try:
            self.db.execute(sql, [job.id, job.token, *values])  # type: ignore[arg-type]
        except psycopg.Error as error:
            if not is_lease_lost(error):
                raise

    def reach(self, step: str) -> None:
        """In place of worker.faults.reach."""
        job, dice = self.at[-1], self.random.random()
        if job.actor not in self.fragile or self.calm:
            return
        if dice < 0.12:
            self.hit[self.doing[job.id]] += 1
            self.note(f"killed at {step}")
            raise Killed
        if dice < 0.24 and step not in self.atomic and self.depth < 2:
            self.hit[self.doing[job.id]] += 1
            self.note(f"asleep at {step}")
            self.depth += 1
            self.at.remove(job)
            self.asleep.append(self.doing[job.id])
            if self.random.random() < 0.6:
                self.reap()
            for _ in range(self.random.randint(1, 4)):
                self.step()
            self.at.append(job)
            self.asleep.pop()
            self.depth -= 1
            self.note(f"awake at {step}")


def seeds() -> list[int]:
    """Those to play."""
    return [*range(FIRST or 1, (FIRST or 1) + SCHEDULES)]


@contextmanager
def tools_of(
    worker_url: str, storage_url: str, renderer: Renderer, reviewers: Reviewers | None = None
) -> Iterator[Tools]:
    """Actors whose attempts a schedule makes itself."""
    broker = make_broker(worker_url, threads=4)
    broker.pool.open()
    with ObjectStore(storage_url, "key", timeout=5) as objects:
        tools = Tools(broker, ImageLedger(broker.pool), objects, renderer, reviewers or Reviewers())
        for actor in ALL:
            actor.declare(broker, tools)
        try:
            yield tools
        finally:
            broker.close()


def play(schedule: Schedule, seed: int, actors: list[ModuleType], monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs it in place of the worker's loop; a failure tells the seed and the story."""
    monkeypatch.setattr(faults, "reach", schedule.reach)
    for module in actors:
        monkeypatch.setattr(module, "current_job", lambda: schedule.at[-1])
    try:
        schedule.run()
    except BaseException:
        print(f"IMAGELEDGER_SEED={seed}", *schedule.log, sep="\n")
        raise
