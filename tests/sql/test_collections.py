"""Smart collections, tags, and who writes into the community."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.conftest import FreshDatabase
from tests.sql.generations import input_of, made
from tests.sql.scene import Conn, Scene, denied, one, refused, rows
from tests.support.roles import as_service, as_user, new_user

ADD = "insert into public.collection_items (collection_id, render_id) values (%s, %s)"


def smart(conn: Conn, owner: Any, rule: Any, name: str | None = None) -> Any:
    with as_user(conn, owner):
        return one(
            conn,
            "insert into public.collections (name, rule) values (%s, %s) returning id",
            name or str(uuid4()),
            Jsonb(rule),
        )


def shown(conn: Conn, owner: Any, collection: Any) -> list[Any]:
    with as_user(conn, owner):
        return rows(
            conn,
            "select render_id from public.smart_collection_renders where collection_id = %s order by created_at",
            collection,
        )


class TestSmart:
    def test_the_rule_decides(self, scene: Scene) -> None:
        conn, owner = scene.conn, scene.owner
        path = input_of(conn, owner)
        lamp = made(conn, owner)["render_id"]
        room = made(conn, owner, "redesign", input1_path=path, style="modern", room_type="kitchen")[
            "render_id"
        ]
        bath = made(conn, owner, "staging", input1_path=path, style="rustic")["render_id"]
        theirs = made(conn, scene.other)["render_id"]
        with as_user(conn, owner):
            conn.execute("update public.renders set tags = '{best,\"for sale\"}' where id = %s", [room])
            conn.execute("update public.renders set tags = '{old}' where id = %s", [bath])
        conn.execute("update public.renders set created_at = '2026-01-31T23:30:00Z' where id = %s", [bath])
        for rule, expected in (
            ({}, [bath, lamp, room]),
            ({"mode": "imagine"}, [lamp]),
            ({"mode": ["imagine", "staging"]}, [bath, lamp]),
            ({"style": ["modern", "rustic"]}, [bath, room]),
            ({"style": "modern", "mode": "staging"}, []),
            ({"room_type": "kitchen"}, [room]),
            ({"model": "m-1"}, [bath, lamp, room]),
            ({"model": "other"}, []),
            ({"tag": "for sale"}, [room]),
            ({"tag": ["old", "best"]}, [bath, room]),
            ({"days": 1}, [lamp, room]),
            ({"days": 1.0}, [lamp, room]),
            ({"from": "2026-02-01T00:00:00Z"}, [lamp, room]),
            ({"from": "2026-02-01T00:00:00+01:00", "to": "2026-02-01T00:00:00Z"}, [bath]),
            ({"to": "2026-02-01T00:00:00Z", "days": 1}, []),
        ):
            collection = smart(conn, owner, rule)
            assert shown(conn, owner, collection) == expected, rule
            assert shown(conn, scene.other, collection) == []
        assert shown(conn, scene.other, smart(conn, scene.other, {})) == [theirs]

    @pytest.mark.parametrize(
        ("rule", "wrong"),
        [
            ([], "rule"),
            ("x", "rule"),
            ({"mode": "paint", "colour": 1}, "rule.colour, rule.mode"),
            (
                {"mode": [], "style": "", "model": 5, "tag": [1], "room_type": None},
                "rule.mode, rule.model, rule.room_type, rule.style, rule.tag",
            ),
            ({"from": "yesterday", "to": "infinity"}, "rule.from, rule.to"),
            ({"from": "2026-02-30T00:00:00Z", "to": 5}, "rule.from, rule.to"),
            ({"from": "2026-02-01T00:00:00"}, "rule.from"),
            ({"from": "2026-02-02T00:00:00Z", "to": "2026-02-01T00:00:00Z"}, "rule.to"),
            ({"days": 0}, "rule.days"),
            ({"days": 1.5}, "rule.days"),
            ({"days": 1e300}, "rule.days"),
            ({"days": "7"}, "rule.days"),
            ({"tag": ["x"] * 51, "style": "x" * 201}, "rule.style, rule.tag"),
        ],
    )
    def test_all_that_is_wrong(self, scene: Scene, rule: Any, wrong: str) -> None:
        with refused("rule_invalid", 422) as info, scene.conn.transaction():
            smart(scene.conn, scene.owner, rule)
        assert info.value.diag.message_hint == f"Correct: {wrong}"

    def test_nothing_by_hand(self, scene: Scene) -> None:
        conn, owner = scene.conn, scene.owner
        render = made(conn, owner)["render_id"]
        collection = smart(conn, owner, {"mode": "imagine"})
        with as_user(conn, owner):
            with refused("collection_is_smart", 409), conn.transaction():
                conn.execute(ADD, [collection, render])
            with refused("rule_invalid", 422), conn.transaction():
                conn.execute("update public.collections set rule = '{\"x\": 1}' where id = %s", [collection])
            conn.execute("update public.collections set rule = null where id = %s", [collection])
            conn.execute(ADD, [collection, render])
            with refused("collection_has_items", 409), conn.transaction():
                conn.execute("update public.collections set rule = '{}' where id = %s", [collection])
            with refused("default_collection_stays", 403), conn.transaction():
                conn.execute("update public.collections set rule = '{}' where is_default")
        assert shown(conn, owner, collection) == []

    def test_a_page_is_read_by_index(self, fresh_db: FreshDatabase) -> None:
        """The newest of 2,000 renders, by rule: the owner's renders by time, and no more than the page needs."""
        with fresh_db.connect(autocommit=True) as conn:
            owners = [new_user(conn) for _ in range(5)]
            conn.execute(
                "insert into public.generation_jobs (owner_id, mode, provider, style, status, completed_at,"
                " render_id, created_at)"
                " select o, 'imagine', 'local', case when n %% 4 = 0 then 'modern' else 'rustic' end, 'succeeded',"
                " now(), gen_random_uuid(), now() - n * interval '1 minute'"
                " from unnest(%s::uuid[]) as o, generate_series(1, case when o = %s then 2000 else 100 end) as n",
                [owners, owners[3]],
            )
            conn.execute(
                "insert into public.renders (id, owner_id, job_id, created_at)"
                " select render_id, owner_id, id, created_at from public.generation_jobs"
            )
            conn.execute(
                "analyze public.renders, public.generation_jobs, public.collections, public.render_variants"
            )
            collection = smart(conn, owners[3], {"style": "modern", "days": 30})
            with as_user(conn, owners[3]):
                plan = one(
                    conn,
                    "explain (analyze, buffers, format json) select * from public.smart_collection_renders"
                    " where collection_id = %s order by created_at desc limit 24",
                    collection,
                )
            text = json.dumps(plan)
            assert "renders_owner_id_created_at_idx" in text
            assert plan[0]["Plan"]["Actual Rows"] == 24
            read = sum(
                node["Actual Rows"] * node["Actual Loops"]
                for node in walk(plan[0]["Plan"])
                if node.get("Relation Name") in {"renders", "generation_jobs"}
            )
            assert read < 1000, text


def walk(node: dict[str, Any]) -> list[dict[str, Any]]:
    return [node] + [below for child in node.get("Plans", []) for below in walk(child)]


def test_a_rule_and_an_item_at_once(fresh_db: FreshDatabase) -> None:
    """Whatever the order, a collection never has both."""
    with fresh_db.connect(autocommit=True) as conn:
        owner = new_user(conn)
        render = made(conn, owner)["render_id"]

    for _ in range(6):
        with fresh_db.connect(autocommit=True) as conn, as_user(conn, owner):
            collection = one(
                conn, "insert into public.collections (name) values (%s) returning id", str(uuid4())
            )

        def act(n: int) -> str:
            with fresh_db.connect(autocommit=True) as conn:
                try:
                    with as_user(conn, owner):
                        if n:
                            conn.execute(ADD, [collection, render])  # noqa: B023
                        else:
                            conn.execute(
                                "update public.collections set rule = '{}' where id = %s",
                                [collection],  # noqa: B023
                            )
                except psycopg.Error as error:
                    return str(error.diag.message_detail)
            return "ok"

        with ThreadPoolExecutor(2) as pool:
            results = list(pool.map(act, range(2)))
        assert sorted(results) in (["collection_has_items", "ok"], ["collection_is_smart", "ok"])


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        (["x"] * 21, "too_many_tags"),
        (["x" * 51], "tag_too_long"),
        ([" "], "empty_tag"),
        ([None], "empty_tag"),
    ],
)
def test_tags(scene: Scene, tags: list[Any], code: str) -> None:
    made(scene.conn, scene.owner)
    with as_user(scene.conn, scene.owner):
        with refused(code, 422), scene.conn.transaction():
            scene.conn.execute("update public.renders set tags = %s", [tags])
        assert scene.conn.execute("update public.renders set tags = '{ok}'").rowcount == 1
        denied(scene.conn, "update public.renders set created_at = now()")


class TestAdministrators:
    ADMIN = {"app_metadata": {"role": "admin"}}  # noqa: RUF012
    FORGED = (  # what a user can write, or claims that mean something else
        {"user_metadata": {"role": "admin"}},
        {"user_metadata": {"app_metadata": {"role": "admin"}}},
        {"app_metadata": {"role": "Admin"}},
        {"app_metadata": {"roles": ["admin"]}},
        {"app_metadata": "admin"},
        {"app_role": "admin"},
        {},
    )

    def test_an_administrator_writes(self, scene: Scene) -> None:
        conn = scene.conn
        render = made(conn, scene.owner)["render_id"]
        with as_user(conn, scene.other, **self.ADMIN):
            best = one(conn, "insert into public.community_collections (name) values ('Best') returning id")
            conn.execute("update public.community_collections set is_featured = true")
            item = one(
                conn,
                "insert into public.community_items (collection_id, render_id) values (%s, %s) returning id",
                best,
                render,
            )
            conn.execute("update public.community_items set title = 'x' where id = %s", [item])
            denied(conn, "update public.community_items set image_path = 'elsewhere'")
            denied(conn, "insert into public.presets (kind, name, title) values ('style', 'x', 'x')")
            denied(conn, "select public.adjust_credits(%s, 5, 'mine')", scene.other)
            conn.execute("delete from public.community_items")
            conn.execute("delete from public.community_collections")
        assert one(conn, "select count(*) from public.renders") == 1
        with as_user(conn, scene.owner):
            assert one(conn, "select count(*) from public.render_variants") == 1

    @pytest.mark.parametrize("claims", FORGED, ids=str)
    def test_nobody_else(self, scene: Scene, claims: dict[str, Any]) -> None:
        conn = scene.conn
        with as_service(conn):
            best = one(conn, "insert into public.community_collections (name) values ('Best') returning id")
            conn.execute(
                "insert into public.community_items (collection_id, image_url) values (%s, 'https://a.test/x')",
                [best],
            )
        with as_user(conn, scene.owner, **claims):
            denied(conn, "insert into public.community_collections (name) values ('x')")
            denied(
                conn,
                "insert into public.community_items (collection_id, image_url) values (%s, 'https://a.test/y')",
                best,
            )
            for table in ("community_collections", "community_items"):
                assert conn.execute(f"delete from public.{table}").rowcount == 0
            assert conn.execute("update public.community_collections set name = 'x'").rowcount == 0
            assert conn.execute("update public.community_items set title = 'x'").rowcount == 0

    @pytest.mark.parametrize(
        "url",
        [
            "https://user:pass@a.test/x",
            "https://localhost/x",
            "https://10.0.0.1/x",
            "https://[::1]/x",
            "https://printer.local/x",
            "https://a.test/x\ny",
            "https://a.test/\u202ex",
            "https://a.test\\@b.test/",
            "https://-a.test/x",
            "//a.test/x",
            "HTTPS ://a.test",
            "https://a.test/" + "x" * 2000,
        ],
    )
    def test_other_addresses(self, scene: Scene, url: str) -> None:
        with as_service(scene.conn):
            best = one(
                scene.conn, "insert into public.community_collections (name) values ('B') returning id"
            )
            insert = "insert into public.community_items (collection_id, image_url, apply_settings) values (%s, %s, %s)"
            with refused("community_item_invalid", 422) as info, scene.conn.transaction():
                scene.conn.execute(insert, [best, url, Jsonb({"x": 1, "params": {"steps": 0}})])
            assert info.value.diag.message_hint == (
                "Correct: image_url, apply_settings.params.steps, apply_settings.x"
            )
            with refused("community_item_invalid", 422), scene.conn.transaction():
                scene.conn.execute("insert into public.community_items (collection_id) values (%s)", [best])
            scene.conn.execute(insert, [best, "https://cdn.a-b.test:8443/x%20y.jpg?size=1#a", Jsonb({})])
