"""What may be ordered: presets, rules for prompts, a day's and a minute's number; and in which order it is refused."""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.sql.generations import begin, fail, generate, generation, lease, made, submit
from tests.sql.scene import Scene, call, denied, one, refused, rows
from tests.support.roles import as_anon, as_service, as_user


def rule(scene: Scene, pattern: str, name: str = "r1", reason: str = "Not here.", **columns: Any) -> None:
    """A rule as an operator writes it."""
    values = {"name": name, "pattern": pattern, "reason": reason, **columns}
    marks = ", ".join(f"%({column})s" for column in values)
    with as_service(scene.conn):
        scene.conn.execute(f"insert into public.prompt_rules ({', '.join(values)}) values ({marks})", values)


class TestPresets:
    def test_everybody_reads_them(self, scene: Scene) -> None:
        with as_anon(scene.conn):
            kinds = dict(rows(scene.conn, "select kind, count(*) from public.presets group by kind"))
            assert set(kinds) == {"mode", "room_type", "style", "size", "param"}
            denied(scene.conn, "update public.presets set title = 'x'")

    def test_modes_say_what_submit_generation_takes(self, scene: Scene) -> None:
        """pictures, needs_prompt and takes_mask of each mode, against what is refused."""
        for name, data in rows(
            scene.conn, "select name, data from public.presets where kind = 'mode' order by position"
        ):
            wrong = one(
                scene.conn,
                "select private.generation_errors(%s, %s, null)",
                scene.owner,
                psycopg.types.json.Jsonb({"mode": name, "mask_asset_id": str(uuid4())}),
            )
            names = {error.split(":")[0] for error in wrong}
            assert ("inputs" in names) == (data["pictures"] > 0), name
            assert ("prompt" in names) == data["needs_prompt"], name
            assert ("mask_asset_id: only edit takes a mask." in wrong) != data["takes_mask"], name

    def test_params_say_what_is_taken(self, scene: Scene) -> None:
        found = rows(
            scene.conn,
            "select p.name, b.bound, private.params_errors(jsonb_build_object(p.name, p.data -> b.bound), s)"
            ", private.params_errors(jsonb_build_object(p.name, (p.data ->> b.bound)::numeric"
            " + case b.bound when 'low' then -1 else 1 end), s)"
            " from public.presets as p cross join public.site_policies as s"
            " cross join (values ('low'), ('high'), ('default')) as b (bound) where p.kind = 'param'",
        )
        assert len(found) == 12
        for name, bound, inside, outside in found:
            assert inside == [], name
            assert bound == "default" or len(outside) == 1, (name, bound)

    def test_unknown_and_switched_off_by_name(self, scene: Scene) -> None:
        with as_service(scene.conn):
            scene.conn.execute("update public.presets set is_enabled = false where name = 'rustic'")
            scene.conn.execute(
                "insert into public.presets (kind, name, title) values ('room_type', 'cave', 'Cave')"
            )
        with refused("generation_invalid", 422) as info, scene.conn.transaction():
            submit(scene.conn, scene.owner, room_type="attic", style="rustic", params={"size": "vast"})
        assert info.value.diag.message_primary == (
            "room_type: attic is not known. style: rustic is not offered. params.size: vast is not known."
        )
        assert submit(scene.conn, scene.owner, room_type="cave")["room_type"] == "cave"

    def test_a_size_becomes_its_numbers(self, scene: Scene) -> None:
        job = made(scene.conn, scene.owner, params={"size": "wide", "seed": 3})
        assert job["params"] == {"width": 1344, "height": 768, "seed": 3}
        with as_service(scene.conn):
            scene.conn.execute(
                "update public.presets set data = '{\"width\": 64, \"height\": 64}' where name = 'wide'"
            )
        assert call(scene.conn, scene.owner, "retry_generation", job["id"])["params"] == job["params"]

    @pytest.mark.parametrize(
        "values",
        [
            "('mode', 'paint', 'Paint', '{}')",
            "('size', 'flat', 'Flat', '{\"width\": 64}')",
            "('size', 'flat', 'Flat', '{\"width\": 64, \"height\": \"x\"}')",
            "('size', 'flat', 'Flat', '{\"width\": 64.5, \"height\": 64}')",
            "('style', 'Two words', 'x', '{}')",
        ],
    )
    def test_what_cannot_be_chosen_cannot_be_a_row(self, scene: Scene, values: str) -> None:
        with as_service(scene.conn), pytest.raises(psycopg.errors.CheckViolation), scene.conn.transaction():
            scene.conn.execute(f"insert into public.presets (kind, name, title, data) values {values}")


class TestPromptRules:
    @pytest.mark.parametrize(
        ("pattern", "prompt"),
        [
            ("pipe bomb*", "How to build PIPE-BOMBS at home"),
            ("pipe bomb", "pipe\u200b \t\n\u00adbomb"),
            ("pipe bomb", "p\u00edpe b\u00f6mb"),
            ("pipe bomb", "\uff50\uff49\uff50\uff45 \U0001d41b\U0001d428\U0001d426\U0001d41b"),
            ("pipe bomb", "рiре bоmb"),  # Cyrillic letters that look Latin
            ("pipe bomb", "pipe*bomb"),
            ("Бомба", "одна БОМБА здесь"),
            ("*bomb", "a pipebomb"),
            ("100% bad_word", "a 100 bad word"),
            ("child * nude", "a child, standing, nude"),
        ],
    )
    def test_however_it_is_dressed_up(self, scene: Scene, pattern: str, prompt: str) -> None:
        rule(scene, pattern, reason="No weapons.")
        with refused("prompt_refused", 422) as info, scene.conn.transaction():
            submit(scene.conn, scene.owner, prompt=prompt)
        assert info.value.diag.message_primary == "prompt: rule r1: No weapons."
        assert info.value.diag.message_hint == "Correct: prompt"
        assert rows(scene.conn, "select id from queue.jobs") == []

    @pytest.mark.parametrize(
        ("pattern", "prompt"),
        [("ass", "A glass of wine"), ("pipe bomb", "a bomb in a pipe"), ("bomb_", "bombs"), ("bomb", "%")],
    )
    def test_words_are_whole(self, scene: Scene, pattern: str, prompt: str) -> None:
        rule(scene, pattern)
        assert submit(scene.conn, scene.owner, prompt=prompt)["status"] == "queued"

    def test_where_it_counts(self, scene: Scene) -> None:
        conn, owner = scene.conn, scene.owner
        rule(scene, "nude", "one")
        submit(conn, owner, negative_prompt="nude")
        conn.execute("update public.prompt_rules set covers_negative = true")
        conn.execute("delete from public.generation_jobs")
        rule(scene, "lamp", "two", is_enabled=False)
        with refused("prompt_refused", 422) as info, conn.transaction():
            submit(conn, owner, prompt="A nude lamp", negative_prompt="nude")
        assert (
            info.value.diag.message_primary
            == "prompt: rule one: Not here. negative_prompt: rule one: Not here."
        )
        # Together with everything else that is wrong.
        with refused("generation_invalid", 422) as info, conn.transaction():
            submit(conn, owner, "edit", prompt="nude")
        assert info.value.diag.message_hint == "Correct: inputs, prompt"

    def test_repeats_are_asked_again(self, scene: Scene) -> None:
        conn, owner = scene.conn, scene.owner
        job = made(conn, owner)
        rule(scene, "lamp")
        for function in ("retry_generation", "replay_branch"):
            with refused("prompt_refused", 422), conn.transaction():
                call(conn, owner, function, job["id"])

    @pytest.mark.parametrize("pattern", ["", " ", "***", "*a*", "--", "a*b*c*d*e*f*g", "x" * 201])
    def test_a_pattern_has_words(self, scene: Scene, pattern: str) -> None:
        with pytest.raises(psycopg.errors.CheckViolation), scene.conn.transaction():
            rule(scene, pattern)

    def test_nobody_but_operators_reads_them(self, scene: Scene) -> None:
        for who in (as_anon(scene.conn), as_user(scene.conn, scene.owner)):
            with who:
                denied(scene.conn, "select * from public.prompt_rules")

    def test_nothing_takes_long(self, scene: Scene) -> None:
        """The longest prompt that a site can allow against the worst patterns that a rule can have."""
        scene.policy(generation_prompt_length_max=100000)
        for n, pattern in enumerate(("aa*aa*aa*aa*aa*b", "*aa*a*a*a*ab", "((aa+)+)+$", "a" * 200)):
            rule(scene, pattern, f"r{n}")
        begun = time.monotonic()
        assert submit(scene.conn, scene.owner, prompt="a" * 100000)["status"] == "queued"
        with refused("prompt_too_long", 422), scene.conn.transaction():
            submit(scene.conn, scene.other, prompt="a" * 5_000_000)
        assert time.monotonic() - begun < 10


class TestRates:
    def test_a_day(self, scene: Scene) -> None:
        conn, owner = scene.conn, scene.owner
        scene.policy(generation_daily_max=3)
        root = made(conn, owner)
        child = made(conn, owner, parent_job_id=root["id"])
        # Failed and deleted ones were ordered too.
        call(conn, owner, "delete_branch", child["id"])
        with refused("generation_daily_cap", 429), conn.transaction():
            scene.policy(generation_daily_max=2)
            submit(conn, owner)
        last = submit(conn, owner, parent_job_id=root["id"])
        call(conn, owner, "cancel_generation", last["id"])
        for act in (
            lambda: submit(conn, owner),
            lambda: call(conn, owner, "retry_generation", root["id"]),
            lambda: call(conn, owner, "replay_branch", last["id"]),
        ):
            with refused("generation_daily_cap", 429), conn.transaction():
                act()
        submit(conn, scene.other)
        # Tomorrow is another day.
        conn.execute(
            "update public.generation_jobs set created_at = date_trunc('day', now(), 'UTC') - interval '1 s'"
        )
        submit(conn, owner)

    def test_a_replay_needs_room_for_all_its_steps(self, scene: Scene) -> None:
        conn, owner = scene.conn, scene.owner
        root = made(conn, owner)
        child = made(conn, owner, parent_job_id=root["id"])
        scene.policy(generation_daily_max=3)
        with refused("generation_daily_cap", 429), conn.transaction():
            call(conn, owner, "replay_branch", child["id"])
        # Its steps are paced by themselves: a minute's number does not end it half way.
        scene.policy(generation_daily_max=4, generation_rate_max=3, generation_session_rate_max=3)
        first = call(conn, owner, "replay_branch", child["id"])
        parent = generate(conn, first["id"])
        assert (
            one(conn, "select status from public.generation_jobs where parent_job_id = %s", parent["id"])
            == "queued"
        )

    def test_a_minute(self, scene: Scene) -> None:
        conn, owner = scene.conn, scene.owner
        scene.policy(generation_rate_max=3, generation_session_rate_max=2)
        here = made(conn, owner)
        made(conn, owner, session_id=here["session_id"])
        for act in (
            lambda: submit(conn, owner, session_id=here["session_id"]),
            lambda: submit(conn, owner, parent_job_id=here["id"]),
            lambda: call(conn, owner, "retry_generation", here["id"]),
        ):
            with refused("session_rate_exceeded", 429), conn.transaction():
                act()
        made(conn, owner)
        with refused("generation_rate_exceeded", 429), conn.transaction():
            submit(conn, owner)
        submit(conn, scene.other)
        conn.execute("update public.generation_jobs set created_at = created_at - interval '1 minute'")
        submit(conn, owner, session_id=here["session_id"])

    def test_the_same_key_is_no_second_order(self, scene: Scene) -> None:
        scene.policy(generation_rate_max=1, generation_daily_max=1)
        job = submit(scene.conn, scene.owner, idempotency_key="k")
        assert submit(scene.conn, scene.owner, idempotency_key="k")["id"] == job["id"]

    def test_the_order_of_refusals(self, scene: Scene) -> None:
        """What is wrong, then one at a time, then the plan, then the day."""
        conn, owner = scene.conn, scene.owner
        conn.execute("insert into public.plans values ('none', 'None', 1, 1000000)")
        conn.execute("update public.profiles set price_id = 'none' where id = %s", [owner])
        made(conn, owner)
        scene.policy(generation_daily_max=0)
        codes = []
        for change, arguments in (
            (None, {"prompt": ""}),
            ("in flight", {}),
            ("ended", {}),
            ("update public.plans set monthly_generations = 9", {}),
        ):
            if change == "in flight":
                scene.policy(generation_daily_max=9)
                conn.execute("update public.plans set monthly_generations = 2 where price_id = 'none'")
                job = submit(conn, owner)
                scene.policy(generation_daily_max=0)
                conn.execute("update public.plans set monthly_generations = 1 where price_id = 'none'")
            elif change == "ended":
                held = lease(conn, job["id"])
                begin(conn, job["id"], held)
                fail(conn, job["id"], held)
                assert generation(conn, job["id"])["status"] == "failed"
            elif change:
                conn.execute(change)
            with pytest.raises(psycopg.Error) as info, conn.transaction():
                submit(conn, owner, **arguments)
            codes.append(info.value.diag.message_detail)
        assert codes == [
            "generation_invalid",
            "generation_in_flight",
            "generation_quota_spent",
            "generation_daily_cap",
        ]
