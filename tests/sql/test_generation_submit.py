"""submit_generation and its relatives: what is refused, what is remembered, who may."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.conftest import FreshDatabase
from tests.sql.generations import asset_of, begin, fail, generate, generation, input_of, lease, made, submit
from tests.sql.scene import Scene, call, denied, one, refused, removals, rows
from tests.support.roles import as_anon, as_service, as_user, new_user


class TestSubmit:
    def test_a_prompt_is_enough(self, scene: Scene) -> None:
        job = submit(scene.conn, scene.owner, prompt="A  lamp\non a table")
        assert (job["status"], job["progress"], job["mode"]) == ("queued", 0, "imagine")
        assert job["provider"] == "local"
        assert 0 <= job["params"]["seed"] < 2**31
        title = one(scene.conn, "select title from public.image_sessions where id = %s", job["session_id"])
        assert title == "A lamp on a table"
        assert rows(scene.conn, "select args ->> 'generation_id' from queue.jobs") == [str(job["id"])]
        events = rows(scene.conn, "select event from public.image_generation_events")
        assert events == ["submitted"]

    def test_all_that_is_wrong_in_one_answer(self, scene: Scene) -> None:
        with refused("generation_invalid", 422) as info:
            submit(
                scene.conn,
                scene.owner,
                "edit",
                provider="nobody",
                params={"width": 10, "steps": 1.5, "colour": "red", "seed": "x", "scheduler": "a;b"},
                input1_path=f"{scene.other}/inputs/{uuid4()}.jpg",
                input2_path="x",
                mask_asset_id=uuid4(),
                session_id=uuid4(),
                parent_job_id=uuid4(),
            )
        assert info.value.diag.message_hint == (
            "Correct: prompt, provider, inputs, input1_path, input2_path, mask_asset_id, session_id, parent_job_id, "
            "params.colour, params.scheduler, params.seed, params.steps, params.width"
        )
        assert rows(scene.conn, "select id from public.image_sessions") == []

    @pytest.mark.parametrize(
        ("arguments", "wrong"),
        [
            ({"mode": "paint"}, "mode"),
            ({"mode": "imagine", "prompt": "  "}, "prompt"),
            ({"mode": "edit", "prompt": "x" * 4001}, "prompt, inputs"),
            ({"mode": "edit", "prompt": "x", "negative_prompt": "x" * 4001}, "negative_prompt, inputs"),
            ({"mode": "imagine", "style": "brutal"}, "style"),
            (
                {"mode": "imagine", "room_type": "kitchen ", "params": {"size": "vast"}},
                "room_type, params.size",
            ),
            ({"mode": "imagine", "params": {"size": "square", "width": 64}}, "params.size"),
            ({"mode": "imagine", "input1_path": "own"}, "inputs"),
            ({"mode": "redesign"}, "inputs"),
            ({"mode": "staging", "input1_path": "own", "input2_path": "own"}, "inputs"),
            ({"mode": "compose", "input1_path": "own"}, "inputs"),
            ({"mode": "redesign", "input1_path": "own", "mask_asset_id": "own"}, "mask_asset_id"),
            ({"mode": "imagine", "params": {"width": 1e308}}, "params.width"),
            ({"mode": "imagine", "params": {"count": -1}}, "params.count"),
            ({"mode": "imagine", "params": []}, "params"),
            ({"mode": "imagine", "room_type": "x" * 101}, "room_type"),
            ({"mode": "imagine", "style": "x" * 101}, "style"),
            ({"mode": "imagine", "model": "x" * 201}, "model"),
            ({"mode": "imagine", "idempotency_key": ""}, "idempotency_key"),
        ],
    )
    def test_modes(self, scene: Scene, arguments: dict[str, Any], wrong: str) -> None:
        path = input_of(scene.conn, scene.owner)
        asset = call(scene.conn, scene.owner, "add_asset", path, "mask")["id"]
        own = {"input1_path": path, "input2_path": path, "mask_asset_id": asset}
        arguments = {name: own[name] if value == "own" else value for name, value in arguments.items()}
        with refused("generation_invalid", 422) as info:
            submit(scene.conn, scene.owner, **arguments)
        assert info.value.diag.message_hint == f"Correct: {wrong}"

    @pytest.mark.parametrize(
        ("column", "value", "arguments", "wrong", "code"),
        [
            ("generation_side_max", 256, {"params": {"width": 257}}, "params.width", "picture_too_large"),
            ("generation_count_max", 2, {"params": {"count": 3}}, "params.count", "too_many_pictures"),
            ("generation_prompt_length_max", 3, {"prompt": "four"}, "prompt", "prompt_too_long"),
            ("generation_providers", ["other"], {"provider": "local"}, "provider", "provider_not_offered"),
        ],
    )
    def test_the_sites_limits(
        self, scene: Scene, column: str, value: Any, arguments: dict[str, Any], wrong: str, code: str
    ) -> None:
        scene.policy(**{column: value})
        with refused(code, 422) as info, scene.conn.transaction():
            submit(scene.conn, scene.owner, **arguments)
        assert info.value.diag.message_hint == f"Correct: {wrong}"
        # With something else wrong, all is told in one answer.
        with refused("generation_invalid", 422) as info, scene.conn.transaction():
            submit(scene.conn, scene.owner, **(arguments | {"session_id": uuid4()}))
        assert set(str(info.value.diag.message_hint)[9:].split(", ")) == {wrong, "session_id"}
        scene.policy(generation_prompt_length_max=100)
        assert submit(scene.conn, scene.owner)["provider"] == ("other" if wrong == "provider" else "local")

    def test_every_mode_can_be_right(self, scene: Scene) -> None:
        conn, owner = scene.conn, scene.owner
        one_, two = input_of(conn, owner), input_of(conn, owner)
        mask = call(conn, owner, "add_asset", two, "mask")["id"]
        room = made(conn, owner, "redesign", input1_path=one_, room_type="kitchen", style="modern")
        assert one(conn, "select title from public.image_sessions") == "Redesign, kitchen, modern"
        session = room["session_id"]
        made(conn, owner, "staging", input1_path=one_, session_id=session)
        made(conn, owner, "compose", input1_path=one_, input2_path=two, session_id=session)
        last = made(
            conn,
            owner,
            "edit",
            prompt="red",
            source_asset_id=asset_of(conn, room["id"]),
            mask_asset_id=mask,
            parent_job_id=room["id"],
        )
        assert (last["session_id"], last["parent_job_id"]) == (session, room["id"])
        roles = rows(conn, "select role from public.image_assets where job_id is null order by role")
        assert roles == ["input", "mask"]

    def test_parent_is_the_last_success(self, scene: Scene) -> None:
        conn, owner = scene.conn, scene.owner
        first = made(conn, owner)
        session = first["session_id"]
        failed = submit(conn, owner, session_id=session)
        assert failed["parent_job_id"] == first["id"]
        held = lease(conn, failed["id"])
        begin(conn, failed["id"], held)
        assert fail(conn, failed["id"], held) == "failed"
        second = submit(conn, owner, session_id=session)
        assert second["parent_job_id"] == first["id"]
        generate(conn, second["id"])
        elsewhere = made(conn, owner)
        assert elsewhere["session_id"] != session
        with refused("generation_invalid", 422) as info:
            submit(conn, owner, session_id=session, parent_job_id=elsewhere["id"])
        assert info.value.diag.message_hint == "Correct: parent_job_id"

    def test_nothing_of_others(self, scene: Scene) -> None:
        conn = scene.conn
        theirs = made(conn, scene.other)
        path = input_of(conn, scene.other)
        for arguments in (
            {"session_id": theirs["session_id"]},
            {"parent_job_id": theirs["id"]},
            {"mode": "redesign", "input1_path": path},
            {"mode": "edit", "prompt": "x", "source_asset_id": asset_of(conn, theirs["id"])},
        ):
            with refused("generation_invalid", 422), conn.transaction():
                submit(conn, scene.owner, **arguments)
        with refused("input_not_found", 404), conn.transaction():
            call(conn, scene.owner, "add_asset", path, "input")
        with refused("role_not_known", 422), conn.transaction():
            call(conn, scene.owner, "add_asset", path, "output")
        for function in ("cancel_generation", "retry_generation", "replay_branch", "delete_branch"):
            for unknown in (theirs["id"], uuid4()):
                with refused("generation_not_found", 404), conn.transaction():
                    call(conn, scene.owner, function, unknown)
        for unknown in (theirs["session_id"], uuid4()):
            with refused("session_not_found", 404), conn.transaction():
                call(conn, scene.owner, "session_timeline", unknown)
        # Not even the server can: the keys carry the owner.
        with pytest.raises(psycopg.errors.ForeignKeyViolation), conn.transaction():
            conn.execute(
                "insert into public.generation_jobs (owner_id, session_id, mode, provider)"
                " values (%s, %s, 'imagine', 'x')",
                [scene.owner, theirs["session_id"]],
            )
        with pytest.raises(psycopg.errors.CheckViolation), conn.transaction():
            conn.execute(
                "insert into public.generation_jobs (owner_id, input1_path, mode, provider)"
                " values (%s, %s, 'redesign', 'x')",
                [scene.owner, path],
            )
        with as_user(conn, scene.owner):
            assert rows(conn, "select id from public.generation_jobs") == []

    def test_not_signed_in(self, scene: Scene) -> None:
        with as_anon(scene.conn):
            denied(scene.conn, "select public.submit_generation('imagine')")
            denied(scene.conn, "select public.usage_summary()")
            denied(scene.conn, "select * from public.generation_jobs")
        with as_user(scene.conn, scene.owner):
            denied(scene.conn, "update public.generation_jobs set status = 'succeeded'")
            denied(scene.conn, "update public.image_sessions set owner_id = %s", scene.other)


class TestKeys:
    def test_same_key_same_generation(self, scene: Scene) -> None:
        first = submit(scene.conn, scene.owner, idempotency_key="k")
        assert submit(scene.conn, scene.owner, idempotency_key="k") == first
        generate(scene.conn, first["id"])
        assert submit(scene.conn, scene.owner, idempotency_key="k")["status"] == "succeeded"
        with refused("idempotency_key_reused", 422), scene.conn.transaction():
            submit(scene.conn, scene.owner, prompt="Other", idempotency_key="k")
        assert submit(scene.conn, scene.other, idempotency_key="k")["id"] != first["id"]

    def test_one_at_a_time(self, scene: Scene) -> None:
        running = submit(scene.conn, scene.owner)
        with refused("generation_in_flight", 409) as info, scene.conn.transaction():
            submit(scene.conn, scene.owner)
        assert info.value.diag.message_hint is not None
        assert info.value.diag.message_hint.endswith(str(running["id"]))
        submit(scene.conn, scene.other)

    def test_quota(self, scene: Scene) -> None:
        conn, owner = scene.conn, scene.owner
        conn.execute("insert into public.plans values ('two', 'Two', 2, 1000000)")
        conn.execute("update public.profiles set price_id = 'two' where id = %s", [owner])
        made(conn, owner)
        made(conn, owner)
        with refused("generation_quota_spent", 402), conn.transaction():
            submit(conn, owner)
        usage = call(conn, owner, "usage_summary")["usage_summary"]
        assert (usage["used"], usage["remaining"], usage["plan"]) == (2, 0, "Two")
        with as_service(conn):
            denied(conn, "delete from public.usage_ledger")
        conn.execute(
            "insert into public.usage_ledger (owner_id, kind, units, reason) values (%s, 'adjustment', -1, 'sorry')",
            [owner],
        )
        submit(conn, owner)

    def test_last_months_debits_do_not_count(self, scene: Scene) -> None:
        job = made(scene.conn, scene.owner)
        scene.conn.execute("alter table public.usage_ledger disable trigger user")
        scene.conn.execute(
            "update public.usage_ledger set created_at = date_trunc('month', now(), 'UTC') - interval '1 second'"
            " where job_id = %s",
            [job["id"]],
        )
        assert call(scene.conn, scene.owner, "usage_summary")["usage_summary"]["used"] == 0


def test_fifty_at_once_with_quota_for_one(fresh_db: FreshDatabase) -> None:
    with fresh_db.connect(autocommit=True) as conn:
        owner = new_user(conn)
        conn.execute("insert into public.plans values ('one', 'One', 1, 1000000)")
        conn.execute("update public.profiles set price_id = 'one'")

    def attempt(n: int) -> str:
        with fresh_db.connect(autocommit=True) as conn:
            try:
                submit(conn, owner, prompt=f"Lamp {n}")
            except psycopg.Error as error:
                return str(error.diag.message_detail)
        return "ok"

    with ThreadPoolExecutor(10) as pool:
        results = Counter(pool.map(attempt, range(50)))
    assert results == {"ok": 1, "generation_in_flight": 49}
    with fresh_db.connect(autocommit=True) as conn:
        job = one(conn, "select id from public.generation_jobs")
        assert one(conn, "select count(*) from queue.jobs") == 1
        assert one(conn, "select count(*) from public.image_sessions") == 1
        generate(conn, job)
        with ThreadPoolExecutor(10) as pool:
            assert set(pool.map(attempt, range(20))) == {"generation_quota_spent"}
        assert one(conn, "select sum(units) from public.usage_ledger") == 1


def test_same_key_at_once(fresh_db: FreshDatabase) -> None:
    with fresh_db.connect(autocommit=True) as conn:
        owner = new_user(conn)

    def attempt(_: int) -> Any:
        with fresh_db.connect(autocommit=True) as conn:
            return submit(conn, owner, idempotency_key="k")["id"]

    with ThreadPoolExecutor(10) as pool:
        assert len(set(pool.map(attempt, range(20)))) == 1


class TestCancelAndRetry:
    def test_queued_at_once(self, scene: Scene) -> None:
        conn, owner = scene.conn, scene.owner
        job = submit(conn, owner)
        assert call(conn, owner, "cancel_generation", job["id"])["status"] == "canceled"
        assert call(conn, owner, "cancel_generation", job["id"])["status"] == "canceled"
        assert begin(conn, job["id"], lease(conn, job["id"])) is None
        assert rows(conn, "select event from public.image_generation_events order by id") == [
            "submitted",
            "cancel_requested",
            "canceled",
        ]
        submit(conn, owner)

    def test_ended(self, scene: Scene) -> None:
        job = made(scene.conn, scene.owner)
        with refused("generation_ended", 409):
            call(scene.conn, scene.owner, "cancel_generation", job["id"])

    def test_retry_repeats_the_recipe(self, scene: Scene) -> None:
        conn, owner = scene.conn, scene.owner
        root = made(conn, owner)
        job = made(conn, owner, params={"seed": 7, "width": 128}, session_id=root["session_id"])
        again = call(conn, owner, "retry_generation", job["id"])
        assert (again["params"], again["parent_job_id"]) == ({"seed": 7, "width": 128}, root["id"])
        assert again["retry_of_id"] == job["id"]
        with refused("generation_in_flight", 409), conn.transaction():
            call(conn, owner, "retry_generation", job["id"])
        call(conn, owner, "cancel_generation", again["id"])
        other = call(conn, owner, "retry_generation", job["id"], True)
        assert other["params"]["width"] == 128
        assert other["params"]["seed"] != 7


def test_replay_runs_the_branch_again(scene: Scene) -> None:
    conn, owner = scene.conn, scene.owner
    root = made(conn, owner, params={"seed": 1, "count": 2}, count=2)
    child = made(
        conn, owner, "redesign", source_asset_id=asset_of(conn, root["id"], 1), parent_job_id=root["id"]
    )
    leaf = made(
        conn,
        owner,
        "edit",
        prompt="red",
        source_asset_id=asset_of(conn, child["id"]),
        parent_job_id=child["id"],
    )
    made(conn, owner, parent_job_id=root["id"])
    new_root = call(conn, owner, "replay_branch", leaf["id"])
    assert (new_root["parent_job_id"], new_root["params"], new_root["session_id"]) == (
        None,
        root["params"],
        root["session_id"],
    )
    parent = generate(conn, new_root["id"], 2)
    for template in (child, leaf):
        step = generation(
            conn, one(conn, "select id from public.generation_jobs where parent_job_id = %s", parent["id"])
        )
        assert step["params"] == template["params"]
        assert step["source_asset_id"] == asset_of(conn, parent["id"], 1 if template is child else 0)
        parent = generate(conn, step["id"])
    assert parent["replay_job_ids"] == []
    assert one(conn, "select count(*) from public.generation_jobs") == 7
    # No room for three more.
    conn.execute("insert into public.plans values ('nine', 'Nine', 9, 1000000)")
    conn.execute("update public.profiles set price_id = 'nine'")
    with refused("generation_quota_spent", 402), conn.transaction():
        call(conn, owner, "replay_branch", leaf["id"])


def test_replay_stops_when_it_cannot_go_on(scene: Scene) -> None:
    conn, owner = scene.conn, scene.owner
    root = made(conn, owner)
    child = made(
        conn, owner, "redesign", source_asset_id=asset_of(conn, root["id"]), parent_job_id=root["id"]
    )
    again = call(conn, owner, "replay_branch", child["id"])
    conn.execute("delete from public.renders where job_id = %s", [root["id"]])
    assert generate(conn, again["id"])["status"] == "succeeded"
    assert rows(
        conn, "select data ->> 'reason' from public.image_generation_events where event = 'replay_stopped'"
    ) == ["inputs: redesign takes 1 of source_asset_id, input1_path and input2_path, not 0."]
    assert removals(conn)
