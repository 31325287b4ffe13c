"""Random schedules of everything that can go wrong with a paid generation; in the end the accounts agree.

Replicate and its webhooks are played too, on the real SDK and wires.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, ClassVar
from uuid import uuid4

import psycopg
import pytest

from tests.conftest import FreshDatabase
from tests.sql.generations import submit
from tests.sql.scene import call, store
from tests.sql.test_generation_providers import SECRET, add_secret, deliver, event, signed
from tests.support.provider_servers import BROKEN, BUSY, DROP_AFTER, PROXY_BROKEN, ProviderServer
from tests.support.roles import as_service
from tests.support.storage_server import StorageServer
from tests.support.storage_server import status as answer_with
from tests.worker import schedules
from tests.worker.schedules import SCHEDULES, play, seeds, tools_of
from tests.worker.test_generation_actor import Studio, renderer
from worker.actors import generate, remove_objects
from worker.generation import providers
from worker.generation.provider import GenerationRequest, Prediction, Provider
from worker.generation.providers.openai import OpenAIProvider
from worker.generation.providers.replicate import ReplicateProvider
from worker.imaging import Renderer
from worker.tools import Tools

__all__ = ["renderer"]

#: What the next paid call meets: lost after acceptance, refused, or an error that tells the truth or does not.
CALLS = [DROP_AFTER, BUSY, BROKEN, PROXY_BROKEN, {"answer": BROKEN}, {"answer": PROXY_BROKEN}]


class Schedule(schedules.Schedule):
    """Kept beside the rows: which generation was accepted how often."""

    fragile: ClassVar[dict[str, str]] = {"generate": "generation_id"}
    # Of two who look at the same moment one has the prediction.
    usual = (psycopg.errors.UniqueViolation,)

    def __init__(self, studio: Studio, wires: ProviderServer, tools: Tools, seed: int) -> None:
        super().__init__(studio.db, tools, seed)
        self.studio, self.wires = studio, wires
        self.accepted: Counter[str] = Counter()
        self.maker: dict[str, str] = {}
        self.told: list[str] = []
        self.ends: Counter[str] = Counter()

    # Users.

    def order(self) -> None:
        owner = self.random.choice(self.owners)
        recipe: dict[str, Any] = {"provider": "openai"}
        if self.random.random() < 0.7:
            # Few seeds: recipes repeat.
            recipe = {"provider": "replicate", "params": {"seed": self.random.randint(1, 4)}}
        self.refusable(lambda: submit(self.db, owner, **recipe))

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
            self.refusable(lambda: call(self.db, owner, function, job))

    # The clock.

    def wait(self) -> None:
        super().wait()
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

    def was_killed(self) -> None:
        providers.forget_providers()

    def submitted(self, request: GenerationRequest, submit: Callable[[], Prediction]) -> Prediction:
        """Around the paid call: whose it was."""
        before, there = self.wires.calls.total(), set(self.wires.predictions)
        try:
            return submit()
        finally:
            self.maker |= dict.fromkeys(self.wires.predictions.keys() - there, request.generation_id)
            new = self.wires.calls.total() - before
            self.accepted[request.generation_id] += new
            self.note(f"called for {request.generation_id}: {new}")

    def actions(self) -> dict[schedules.Action, int]:
        often = {self.work: 10, self.mishap: 4, self.end_one: 4, self.order: 3, self.again: 2, self.reap: 2}
        return often | dict.fromkeys(
            (self.wait, self.cancel, self.delete, self.age, self.weather, self.tell), 1
        )

    def calm_down(self) -> None:
        """The provider ends what it has."""
        self.wires.script, self.wires.list_is_empty, self.wires.output = [], False, "ok"
        self.wires.held = False

    def pass_time(self) -> None:
        self.db.execute(
            "update public.generation_jobs set submitted_at = submitted_at - interval '10 seconds'"
            " where prediction_id is null and owner_id = any(%s)", [self.owners]
        )  # fmt: skip

    def adopted(self, job: str, prediction: str | None) -> bool:
        """Made by an earlier call of the same owner and recipe, whose answer was lost: better used than wasted."""
        maker = self.maker.get(prediction or "")
        recipe = "select owner_id, prompt, params ->> 'seed' from public.generation_jobs where id = %s"
        return maker not in {None, job} and (
            self.db.execute(recipe, [maker]).fetchone() == self.db.execute(recipe, [job]).fetchone()
        )

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
        ends: Counter[str] = Counter()
        monkeypatch.setattr(generate, "DENIED_LOOKS", (0.0, 0.0, 0.0))
        submits = {provider: provider.submit for provider in (ReplicateProvider, OpenAIProvider)}
        with tools_of(fresh_db.worker_url, storage.url, renderer) as tools:
            for seed in seeds():
                wires.reset()
                wires.held = True
                schedule = Schedule(studio, wires, tools, seed)
                for provider, paid in submits.items():
                    monkeypatch.setattr(provider, "submit", watched(schedule, paid))
                play(schedule, seed, [generate, remove_objects], monkeypatch)
                ends += schedule.ends
        if len(seeds()) > 1:
            assert all(ends[end] >= SCHEDULES / 4 for end in ("succeeded", "failed", "canceled")), ends
