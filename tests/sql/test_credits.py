"""Credits, and the ledger's sum over random histories."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.conftest import FreshDatabase
from tests.sql.generations import begin, fail, finish, lease, submit, write
from tests.sql.scene import Conn, Scene, call, denied, one, refused, rows
from tests.support.roles import as_role, as_service, as_user, new_user


def adjust(
    conn: Conn, owner: Any, amount: int | None, reason: str | None = "Sorry.", key: str | None = None
) -> Any:
    with as_service(conn), conn.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        return cursor.execute(
            "select * from public.adjust_credits(%s, %s, %s, %s)", [owner, amount, reason, key]
        ).fetchone()


def usage(conn: Conn, owner: Any) -> dict[str, Any]:
    found: dict[str, Any] = call(conn, owner, "usage_summary")["usage_summary"]
    return found


class TestAdjust:
    def test_give_and_take(self, scene: Scene) -> None:
        conn, owner = scene.conn, scene.owner
        entry = adjust(conn, owner, 10)
        assert (entry["kind"], entry["units"], entry["reason"], entry["adjusted_by"]) == (
            "adjustment",
            -10,
            "Sorry.",
            "service_role",
        )
        assert (usage(conn, owner)["remaining"], usage(conn, owner)["credits"]) == (35, 10)
        adjust(conn, owner, -35)
        found = usage(conn, owner)
        assert (found["used"], found["credits"], found["remaining"]) == (0, -25, 0)
        with refused("not_enough_credits", 409), conn.transaction():
            adjust(conn, owner, -1)
        with refused("generation_quota_spent", 402), conn.transaction():
            submit(conn, owner)
        adjust(conn, owner, 1)
        submit(conn, owner)
        # What is under way may be debited yet.
        with refused("not_enough_credits", 409), conn.transaction():
            adjust(conn, owner, -1)
        with as_user(conn, owner):
            assert rows(conn, "select units from public.usage_ledger order by id") == [-10, 35, -1]
            denied(conn, "select public.adjust_credits(%s, 5, 'mine')", owner)
            denied(conn, "select private.adjust_credits(%s, 5, 'mine', null)", owner)
        with as_user(conn, scene.other):
            assert rows(conn, "select units from public.usage_ledger") == []

    @pytest.mark.parametrize(
        ("amount", "reason", "key", "code"),
        [
            (0, "x", None, "amount_invalid"),
            (None, "x", None, "amount_invalid"),
            (1000001, "x", None, "amount_invalid"),
            (-1000001, "x", None, "amount_invalid"),
            (1, None, None, "reason_missing"),
            (1, "  ", None, "reason_missing"),
            (1, "x" * 501, None, "reason_missing"),
            (1, "x", "", "idempotency_key_length"),
            (1, "x", "x" * 201, "idempotency_key_length"),
        ],
    )
    def test_refused(self, scene: Scene, amount: Any, reason: Any, key: Any, code: str) -> None:
        with refused(code, 422), scene.conn.transaction():
            adjust(scene.conn, scene.owner, amount, reason, key)
        with refused("user_not_found", 404):
            adjust(scene.conn, uuid4(), amount, reason, key)

    def test_the_same_key_adjusts_once(self, scene: Scene) -> None:
        first = adjust(scene.conn, scene.owner, 5, key="k")
        assert adjust(scene.conn, scene.owner, 5, key="k") == first
        for amount, reason in ((6, "Sorry."), (5, "Again.")):
            with refused("idempotency_key_reused", 422), scene.conn.transaction():
                adjust(scene.conn, scene.owner, amount, reason, "k")
        assert adjust(scene.conn, scene.other, 5, key="k")["id"] != first["id"]
        assert usage(scene.conn, scene.owner)["remaining"] == 30


def test_many_at_once(fresh_db: FreshDatabase) -> None:
    """Takes that would go below zero, and one key by many: as if one after another."""
    with fresh_db.connect(autocommit=True) as conn:
        owner = new_user(conn)

    def act(n: int) -> str:
        with fresh_db.connect(autocommit=True) as conn:
            try:
                adjust(conn, owner, *((-10, "take") if n % 2 else (5, "give", "k")))
            except psycopg.Error as error:
                return str(error.diag.message_detail)
        return "ok"

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(act, range(16)))
    with fresh_db.connect(autocommit=True) as conn:
        taken = one(conn, "select count(*) from public.usage_ledger where units = 10")
        assert taken == 3 if usage(conn, owner)["remaining"] == 0 else taken == 2
        assert one(conn, "select count(*) from public.usage_ledger where units = -5") == 1
        assert usage(conn, owner)["remaining"] == 30 - 10 * taken
    assert results.count("not_enough_credits") == 8 - taken


class Ledger(RuleBasedStateMachine):
    """A user who orders, cancels and repeats, a worker who succeeds, fails and is late, an operator who adjusts."""

    conn: Conn

    def __init__(self) -> None:
        super().__init__()
        self.conn.execute("begin")
        self.conn.execute("insert into public.plans values ('six', 'Six', 6, 1000000)")
        self.owner: UUID = new_user(self.conn)
        self.conn.execute("update public.profiles set price_id = 'six' where id = %s", [self.owner])
        self.succeeded = 0
        self.credits = 0
        self.limit = 6
        self.held: dict[Any, Any] = {}

    def teardown(self) -> None:
        self.conn.execute("rollback")

    @property
    def left(self) -> int:
        return max(0, self.limit + self.credits - self.succeeded)

    def in_flight(self) -> Any:
        found = rows(
            self.conn,
            "select id from public.generation_jobs where owner_id = %s"
            " and status in ('queued', 'starting', 'processing')",
            self.owner,
        )
        return found[0] if found else None

    def attempt(self, act: Any) -> str:
        try:
            with self.conn.transaction():
                act()
        except psycopg.Error as error:
            return str(error.diag.message_detail)
        return "ok"

    @rule(again=st.booleans())
    def order(self, again: bool) -> None:
        jobs = rows(
            self.conn, "select id from public.generation_jobs where deleted_at is null order by created_at"
        )
        expected = (
            "generation_in_flight"
            if self.in_flight()
            else "ok"
            if self.left > 0
            else "generation_quota_spent"
        )
        if again and jobs:
            got = self.attempt(lambda: call(self.conn, self.owner, "retry_generation", jobs[0]))
        else:
            got = self.attempt(lambda: submit(self.conn, self.owner))
        assert got == expected

    @rule()
    def work(self) -> None:
        job = self.in_flight()
        if job and job not in self.held:
            held = lease(self.conn, job)
            work = begin(self.conn, job, held)
            assert work is not None
            self.held[job] = (held, work["render_id"])

    @rule(how=st.sampled_from(["finish", "fail"]), newest=st.booleans())
    def end(self, how: str, newest: bool) -> None:
        if not self.held:
            return
        job = list(self.held)[-1 if newest else 0]
        held, render = self.held.pop(job)
        if how == "fail":
            fail(self.conn, job, held)
            return
        outputs = []
        if one(
            self.conn, "select private.may_take_render(j) from public.generation_jobs as j where id = %s", job
        ):
            outputs = write(self.conn, render)
        self.succeeded += finish(self.conn, job, held, outputs) == "succeeded"

    @rule()
    def cancel(self) -> None:
        if job := self.in_flight():
            call(self.conn, self.owner, "cancel_generation", job)

    @rule()
    def run_out_of_time(self) -> None:
        self.conn.execute(
            "update public.generation_jobs set created_at = created_at - interval '1 hour'"
            " where status in ('queued', 'starting', 'processing')"
        )
        with as_role(self.conn, "service_role"):
            self.conn.execute("select private.expire_generations()")

    @rule()
    def delete_everything(self) -> None:
        with as_user(self.conn, self.owner):
            self.conn.execute("delete from public.image_sessions")

    @rule(amount=st.integers(-4, 4), key=st.sampled_from([None, "a", "b"]))
    def adjust(self, amount: int, key: str | None) -> None:
        known = dict(
            rows(
                self.conn,
                "select idempotency_key, units from public.usage_ledger where idempotency_key is not null",
            )
        )
        left = self.limit + self.credits - self.succeeded - (self.in_flight() is not None)
        if amount == 0:
            expected = "amount_invalid"
        elif key in known:
            expected = "ok" if known[key] == -amount else "idempotency_key_reused"
        else:
            expected = "not_enough_credits" if amount < 0 and left + amount < 0 else "ok"
        assert self.attempt(lambda: adjust(self.conn, self.owner, amount, "why", key)) == expected
        if expected == "ok" and key not in known:
            self.credits += amount

    @rule(limit=st.integers(0, 8))
    def change_plan(self, limit: int) -> None:
        self.conn.execute("update public.plans set monthly_generations = %s where price_id = 'six'", [limit])
        self.limit = limit

    @invariant()
    def the_ledger_adds_up(self) -> None:
        total, renders_ever = self.conn.execute(
            "select (select coalesce(sum(units), 0) from public.usage_ledger where owner_id = %s),"
            " (select count(*) from public.generation_jobs where owner_id = %s and status = 'succeeded')",
            [self.owner, self.owner],
        ).fetchone()  # type: ignore[misc]
        assert total == self.succeeded - self.credits
        assert renders_ever == self.succeeded
        found = usage(self.conn, self.owner)
        assert (found["used"], found["credits"], found["remaining"]) == (
            self.succeeded,
            self.credits,
            self.left,
        )


@pytest.fixture
def ledger_connection(fresh_db: FreshDatabase) -> Iterator[Conn]:
    with fresh_db.connect(autocommit=True) as conn:
        yield conn


def test_random_histories(ledger_connection: Conn) -> None:
    machine = type("BoundLedger", (Ledger,), {"conn": ledger_connection})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
