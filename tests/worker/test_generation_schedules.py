"""Random schedules of everything that can go wrong with a paid generation; in the end the accounts agree.

One thread plays users, workers, the clock, Replicate and its webhooks, in an order from a seed, on the real database,
actor, SDK and wires. A worker dies at any step, or sleeps there until its job is somebody else's and then goes on.
IMAGELEDGER_SCHEDULES sets how many seeds are played; IMAGELEDGER_SEED repeats one.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.conftest import FreshDatabase
from tests.sql.generations import submit
from tests.sql.scene import call, store
from tests.sql.test_generation_providers import SECRET, add_secret, deliver, event, signed
from tests.support.provider_servers import BROKEN, BUSY, DROP_AFTER, PROXY_BROKEN, ProviderServer
from tests.support.roles import as_service, new_user
from tests.support.storage_server import StorageServer
from tests.support.storage_server import status as answer_with
from tests.worker.test_generation_actor import Studio, renderer
from tests.worker.toys import make_broker
from worker import faults
from worker.actors import ALL, generate, remove_objects
from worker.database import is_lease_lost
from worker.errors import LeaseLostError
from worker.generation import providers
from worker.generation.provider import GenerationRequest, Prediction, Provider
from worker.generation.providers.openai import OpenAIProvider
from worker.generation.providers.replicate import ReplicateProvider
from worker.imaging import Renderer
from worker.jobs import Job
from worker.ledger import ImageLedger
from worker.objects import ObjectStore
from worker.tools import Tools

__all__ = ["renderer"]

SCHEDULES = int(os.environ.get("IMAGELEDGER_SCHEDULES", "8"))
STEPS = 60
#: What the next paid call meets: lost after acceptance, refused, or an error that tells the truth or does not.
CALLS = [DROP_AFTER, BUSY, BROKEN, PROXY_BROKEN, {"answer": BROKEN}, {"answer": PROXY_BROKEN}]
#: Within a transaction, where nobody can take over.
ATOMIC = {"rows_written"}


class Killed(BaseException):
    """What kill -9 leaves of an attempt: nothing is told to anybody."""


class Schedule:
    """One seed. `model` is kept beside the rows: which generation was accepted how often."""

    def __init__(self, studio: Studio, wires: ProviderServer, tools: Tools, seed: int) -> None:
        self.random = random.Random(seed)
        self.db, self.studio, self.wires, self.tools = studio.db, studio, wires, tools
        self.owners = [new_user(self.db) for _ in range(2)]
        self.accepted: Counter[str] = Counter()
        self.maker: dict[str, str] = {}
        self.hit: Counter[str] = Counter()
        self.told: list[str] = []
        self.at: list[Job] = []
        self.doing: dict[int, str] = {}
        self.calm = False
        self.ends: Counter[str] = Counter()
        self.depth = 0
        self.log: list[str] = []

    # Users.

    def order(self) -> None:
        owner = self.random.choice(self.owners)
        recipe: dict[str, Any] = {"provider": "openai"}
        if self.random.random() < 0.7:
            # Few seeds: recipes repeat.
            recipe = {"provider": "replicate", "params": {"seed": self.random.randint(1, 4)}}
        self._refusable(lambda: submit(self.db, owner, **recipe))

    def again(self) -> None:
        self._with_one("retry_generation")

    def cancel(self) -> None:
        self._with_one("cancel_generation")

    def delete(self) -> None:
        if self.random.random() < 0.3:
            self._with_one("delete_branch")

    def _with_one(self, function: str) -> None:
        found = self.db.execute(
            "select id, owner_id from public.generation_jobs where owner_id = any(%s) and deleted_at is null"
            " order by created_at",
            [self.owners],
        ).fetchall()
        if found:
            job, owner = self.random.choice(found[-4:])
            self._refusable(lambda: call(self.db, owner, function, job))

    def _refusable(self, act: Callable[[], Any]) -> None:
        try:
            with self.db.transaction():
                act()
        except psycopg.Error as error:
            if not str(error.sqlstate).startswith("PT4"):
                raise

    # The clock.

    def wait(self) -> None:
        """Whatever waits is due."""
        self.db.execute("update queue.jobs set run_at = now() where state = 'scheduled'")
        self.db.execute("update public.generation_providers set paused_until = null")

    def age(self) -> None:
        """More than a call is looked for, sometimes more than a generation may take."""
        self.db.execute(
            "update public.generation_jobs set created_at = created_at - %(i)s::interval,"
            " submitted_at = submitted_at - %(i)s::interval where completed_at is null and owner_id = any(%(o)s)",
            {"i": self.random.choice(["70 seconds", "11 minutes"]), "o": self.owners},
        )
        self.db.execute("select private.expire_generations()")

    # The provider.

    def mishap(self) -> None:
        step = self.random.choice(CALLS)
        self.wires.script = [step]
        if step == {"answer": BROKEN}:
            # Who says that nothing was made is believed in the end: a list is only so late.
            self.wires.list_is_empty, self.wires.list_lag = False, self.random.randint(0, 2)

    def weather(self) -> None:
        if not self.wires.script:
            self.wires.list_is_empty = self.random.random() < 0.3
        self.wires.output = self.random.choice(["ok", "ok", "ok", "gone", "text"])

    def end_one(self) -> None:
        going = [p for p in self.wires.predictions.values() if p["status"] in {"starting", "processing"}]
        if going:
            status = self.random.choice(["succeeded"] * 4 + ["failed", "canceled", "aborted"])
            self.wires.finish(self.random.choice(going), status)

    def tell(self) -> None:
        """A webhook: early, late, once more, out of order, of something else."""
        known = [*self.wires.predictions, "nobodys"]
        status = self.random.choice(["succeeded", "succeeded", "failed", "processing"])
        body = event(self.random.choice(known), status)
        message = self.random.choice([*self.told, uuid4().hex])
        self.told.append(message)
        assert deliver(self.db, body, signed(body, message=message)) == "{'received': True}"

    # Workers.

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
        self.doing[job.id] = str(row[2].get("generation_id"))
        self.log.append(
            f"{'  ' * self.depth}take {job.actor} {row[2].get('generation_id')} attempt {job.attempt}"
        )
        try:
            self.tools.broker.get_actor(job.actor).fn(**row[2])
        except Killed:
            # Its memory is gone with it.
            providers.forget_providers()
        except Exception as error:
            if isinstance(error, LeaseLostError) or is_lease_lost(error):
                return
            # Of two who look at the same moment one has the prediction. Nothing else that the database says is usual.
            if isinstance(error, psycopg.Error) and not isinstance(error, psycopg.errors.UniqueViolation):
                raise
            self.hit[self.doing[job.id]] += 1
            self.log.append(f"{'  ' * self.depth}{error!r}")
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
        if job.actor != "generate" or self.calm:
            return
        if dice < 0.12:
            self.hit[self.doing[job.id]] += 1
            self.log.append(f"{'  ' * self.depth}killed at {step}")
            raise Killed
        if dice < 0.24 and step not in ATOMIC and self.depth < 2:
            self.hit[self.doing[job.id]] += 1
            self.log.append(f"{'  ' * self.depth}asleep at {step}")
            self.depth += 1
            self.at.remove(job)
            if self.random.random() < 0.6:
                self.reap()
            for _ in range(self.random.randint(1, 4)):
                self.step()
            self.at.append(job)
            self.depth -= 1
            self.log.append(f"{'  ' * self.depth}awake at {step}")

    def submitted(self, request: GenerationRequest, submit: Callable[[], Prediction]) -> Prediction:
        """Around the paid call: whose it was."""
        before, there = self.wires.calls.total(), set(self.wires.predictions)
        try:
            return submit()
        finally:
            self.maker |= dict.fromkeys(self.wires.predictions.keys() - there, request.generation_id)
            new = self.wires.calls.total() - before
            self.accepted[request.generation_id] += new
            self.log.append(f"{'  ' * self.depth}called for {request.generation_id}: {new}")

    def step(self) -> None:
        often = {self.work: 10, self.mishap: 4, self.end_one: 4, self.order: 3, self.again: 2, self.reap: 2}
        seldom = (self.wait, self.cancel, self.delete, self.age, self.weather, self.tell)
        weights = often | dict.fromkeys(seldom, 1)
        (action,) = self.random.choices([*weights], [*weights.values()])
        if action != self.work:
            self.log.append(f"{'  ' * self.depth}{action.__name__}")
        action()

    def run(self) -> None:
        for _ in range(STEPS):
            self.step()
        self.settle()
        self.check()

    def settle(self) -> None:
        """Nothing goes wrong any more, the provider ends what it has, and time passes."""
        self.wires.script, self.wires.list_is_empty, self.wires.output = [], False, "ok"
        self.calm, self.wires.held = True, False
        self.log.append("settle")
        for _ in range(60):
            self.reap()
            self.wait()
            self.db.execute(
                "update public.generation_jobs set submitted_at = submitted_at - interval '10 seconds'"
                " where prediction_id is null and owner_id = any(%s)", [self.owners]
            )  # fmt: skip
            self.work()
            live = "select 1 from queue.jobs where state in ('ready', 'running', 'scheduled')"
            if self.db.execute(live).fetchone() is None:
                return
        raise AssertionError(f"jobs without an end: {self.rows('queue.jobs', 'finished_at is null')}")

    def adopted(self, job: str, prediction: str | None) -> bool:
        """Made by an earlier call of the same owner and recipe, whose answer was lost: better used than wasted."""
        maker = self.maker.get(prediction or "")
        recipe = "select owner_id, prompt, params ->> 'seed' from public.generation_jobs where id = %s"
        return maker not in {None, job} and (
            self.db.execute(recipe, [maker]).fetchone() == self.db.execute(recipe, [job]).fetchone()
        )

    def rows(self, table: str, where: str = "true") -> Any:
        return self.db.execute(f"select t from {table} as t where {where}").fetchall()  # type: ignore[arg-type]

    def check(self) -> None:
        assert {job: calls for job, calls in self.accepted.items() if calls > 1} == {}
        found = self.db.execute(
            "select j.id, j.status, j.error, j.prediction_id, j.deleted_at is not null,"
            " (select coalesce(sum(units), 0) from public.usage_ledger as u where u.job_id = j.id),"
            " (select count(*) from public.renders as r where r.job_id = j.id),"
            " (select count(*) from public.image_generation_events as e"
            "   where e.job_id = j.id and e.event = 'succeeded')"
            " from public.generation_jobs as j where j.owner_id = any(%s)",
            [self.owners],
        ).fetchall()
        for job, status, error, prediction, deleted, units, renders, successes in found:
            won = status == "succeeded"
            assert status in {"succeeded", "failed", "canceled"}, job
            assert (units, successes) == (int(won), int(won)), (job, status, units, successes)
            assert renders == int(won and not deleted), (job, status, deleted, renders)
            assert not won or self.accepted[str(job)] == 1 or self.adopted(str(job), prediction), job
            if won and prediction in self.wires.predictions:
                assert self.wires.predictions[prediction]["status"] == "succeeded"
            if "several attempts" in (error or ""):
                assert self.hit[str(job)] >= 5, (job, "gave up too soon")
        self.ends = Counter(row[1] for row in found)
        told = [row[3] for row in found if row[3]]
        assert len(told) == len(set(told))
        rows = {
            path
            for row in self.db.execute("select image_path, thumb_path from public.render_variants")
            for path in row
        }
        odd = {path.split("/")[1] for path in rows ^ self.studio.pictures.keys()}
        assert rows == self.studio.pictures.keys(), [
            row[0] for row in self.rows("public.generation_jobs") if any(r in row[0] for r in odd)
        ] + self.rows("queue.jobs")


@pytest.fixture
def wires(monkeypatch: pytest.MonkeyPatch) -> Iterator[ProviderServer]:
    with ProviderServer() as server:
        server.held = True
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        providers.forget_providers()
        yield server
    providers.forget_providers()


@contextmanager
def played(studio: Studio, renderer: Renderer) -> Iterator[Tools]:
    """Actors whose attempts the schedule makes itself."""
    broker = make_broker(studio.fresh_db.worker_url, threads=4)
    broker.pool.open()
    with ObjectStore(studio.storage.url, "key", timeout=5) as objects:
        tools = Tools(broker, ImageLedger(broker.pool), objects, renderer)
        for actor in ALL:
            actor.declare(broker, tools)
        try:
            yield tools
        finally:
            broker.close()


def keep_books(storage: StorageServer, db: psycopg.Connection[Any]) -> None:
    """Storage writes its rows first, and keeps no picture that the database refuses."""

    def arrive(handler: Any) -> bool:
        try:
            store(db, handler.key()[1], bucket="public")
        except psycopg.Error:
            return answer_with(403, "no such render")(handler)
        return False

    def go(handler: Any) -> bool:
        paths = json.loads(handler.body)["prefixes"]
        with db.transaction():
            db.execute("set local storage.allow_delete_query = 'true'")
            db.execute("delete from storage.objects where bucket_id = 'public' and name = any(%s)", [paths])
        return False

    storage.on("POST", r"/object/public/renders/", arrive, times=10**9)
    storage.on("DELETE", r"/object/public", go, times=10**9)


def watched(schedule: Schedule, paid: Callable[..., Prediction]) -> Callable[..., Prediction]:
    """A provider's submit, told to the schedule."""

    def submit(self: Provider, request: GenerationRequest) -> Prediction:
        if self.name == "openai" and schedule.wires.script == [{"answer": BROKEN}]:
            # That it made nothing has to be believed: nobody can be asked.
            schedule.wires.script = [DROP_AFTER]
        return schedule.submitted(request, lambda: paid(self, request))

    return submit


def test_schedules(
    fresh_db: FreshDatabase, renderer: Renderer, wires: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with StorageServer() as storage:
        studio = Studio(fresh_db, storage, renderer)
        keep_books(storage, fresh_db.connect(autocommit=True))
        with as_service(studio.db):
            studio.db.execute("update public.site_policies set generation_providers = '{replicate,openai}'")
        add_secret(studio.db, SECRET)
        studio.db.execute("update public.plans set monthly_generations = 1000")
        studio.db.execute(
            "update public.generation_providers set concurrency_max = null, calls_per_minute_max = null"
        )
        first = int(os.environ.get("IMAGELEDGER_SEED", "0"))
        seeds = [first] if first else range(1, SCHEDULES + 1)
        ends: Counter[str] = Counter()
        monkeypatch.setattr(generate, "DENIED_LOOKS", (0.0, 0.0, 0.0))
        submits = {provider: provider.submit for provider in (ReplicateProvider, OpenAIProvider)}
        with played(studio, renderer) as tools:
            for seed in seeds:
                wires.reset()
                wires.held = True
                schedule = Schedule(studio, wires, tools, seed)
                monkeypatch.setattr(faults, "reach", schedule.reach)
                for module in (generate, remove_objects):
                    monkeypatch.setattr(module, "current_job", lambda s=schedule: s.at[-1])
                for provider, paid in submits.items():
                    monkeypatch.setattr(provider, "submit", watched(schedule, paid))
                try:
                    schedule.run()
                except BaseException:
                    print(f"IMAGELEDGER_SEED={seed}", *schedule.log, sep="\n")
                    raise
                ends += schedule.ends
        assert first or all(ends[end] >= SCHEDULES / 4 for end in ("succeeded", "failed", "canceled")), ends
        studio.db.close()
