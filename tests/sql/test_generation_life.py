"""What becomes of generations: results, failures, deletion, erasure; collections and the community."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.sql.generations import (
    asset_of,
    begin,
    fail,
    finish,
    generate,
    generation,
    input_of,
    lease,
    made,
    output,
    submit,
    write,
)
from tests.sql.scene import Conn, Scene, call, denied, one, refused, removals, rows, store
from tests.support.roles import as_anon, as_role, as_service, as_user, new_user
from tests.support.stack import ROOT


def objects_of(render: Any, count: int = 1) -> set[tuple[str, str]]:
    return {
        ("public", made[name])
        for idx in range(count)
        for made in [output(render, idx)]
        for name in ("image_path", "thumb_path")
    }


def report(conn: Conn, job: Any, held: tuple[int, UUID], *facts: Any) -> str:
    with as_role(conn, "service_role"):
        marks = ", ".join(["%s"] * (3 + len(facts)))
        answer: str = one(conn, f"select private.report_generation({marks})", job, *held, *facts)
    return answer


class TestWork:
    def test_the_way_of_a_generation(self, scene: Scene) -> None:
        conn = scene.conn
        job = submit(conn, scene.owner)["id"]
        held = lease(conn, job)
        work = begin(conn, job, held)
        assert work is not None
        assert (work["mode"], work["inputs"], work["prediction_id"]) == ("imagine", [], None)
        assert generation(conn, job)["status"] == "starting"
        assert report(conn, job, held, None, None, True) == "go"
        assert report(conn, job, held, 0, "p-1") == "go"
        assert report(conn, job, held, 70) == "go"
        assert report(conn, job, held, 30) == "go"
        row = generation(conn, job)
        assert (row["status"], row["progress"], row["prediction_id"]) == ("processing", 70, "p-1")
        assert row["submitted_at"] is not None
        assert finish(conn, job, held, write(conn, work["render_id"])) == "succeeded"
        assert rows(conn, "select event from public.image_generation_events order by id") == [
            "submitted",
            "started",
            "accepted",
            "succeeded",
        ]
        assert rows(conn, "select kind, units from public.usage_ledger") == [("debit", 1)]

    def test_a_lost_lease_has_no_effect(self, scene: Scene) -> None:
        conn = scene.conn
        job = submit(conn, scene.owner)["id"]
        zombie = lease(conn, job)
        held = lease(conn, job)
        work = begin(conn, job, held)
        assert work is not None
        outputs = write(conn, work["render_id"])
        for act in (
            lambda: begin(conn, job, zombie),
            lambda: report(conn, job, zombie, 50),
            lambda: finish(conn, job, zombie, outputs),
            lambda: fail(conn, job, zombie),
        ):
            with pytest.raises(psycopg.Error) as info, conn.transaction():
                act()
            assert info.value.sqlstate == "IL001"
        assert finish(conn, job, held, outputs) == "succeeded"
        with pytest.raises(psycopg.Error), conn.transaction():
            finish(conn, job, held, outputs)
        assert one(conn, "select sum(units) from public.usage_ledger") == 1

    def test_a_result_without_a_picture(self, scene: Scene) -> None:
        job = submit(scene.conn, scene.owner)["id"]
        held = lease(scene.conn, job)
        begin(scene.conn, job, held)
        with pytest.raises(psycopg.Error) as info, scene.conn.transaction():
            finish(scene.conn, job, held, [])
        assert info.value.sqlstate == "IL003"
        assert generation(scene.conn, job)["status"] == "starting"

    def test_canceled_meanwhile(self, scene: Scene) -> None:
        conn = scene.conn
        job = submit(conn, scene.owner)["id"]
        held = lease(conn, job)
        work = begin(conn, job, held)
        assert work is not None
        call(conn, scene.owner, "cancel_generation", job)
        assert report(conn, job, held, 10) == "canceled"
        assert finish(conn, job, held, write(conn, work["render_id"])) == "canceled"
        assert generation(conn, job)["status"] == "canceled"
        assert removals(conn) == objects_of(work["render_id"])
        assert rows(conn, "select id from public.usage_ledger") == []

    def test_failure(self, scene: Scene) -> None:
        conn = scene.conn
        job = submit(conn, scene.owner)["id"]
        held = lease(conn, job)
        begin(conn, job, held)
        assert fail(conn, job, held, "content_refused") == "failed"
        row = generation(conn, job)
        assert (row["status"], row["error_code"], row["error"]) == ("failed", "content_refused", "No.")
        assert rows(conn, "select id from public.usage_ledger") == []
        submit(conn, scene.owner)

    def test_what_a_failed_attempt_has_stored_is_removed_with_its_end(self, scene: Scene) -> None:
        """The worker may die right after it: nothing is left to do."""
        conn = scene.conn
        job = submit(conn, scene.owner)["id"]
        held = lease(conn, job)
        work = begin(conn, job, held)
        assert work is not None
        write(conn, work["render_id"])
        call(conn, scene.owner, "cancel_generation", job)
        assert fail(conn, job, held, "canceled") == "canceled"
        assert removals(conn) == objects_of(work["render_id"])

    def test_dead_job(self, scene: Scene) -> None:
        conn = scene.conn
        job = submit(conn, scene.owner)["id"]
        held = lease(conn, job)
        work = begin(conn, job, held)
        assert work is not None
        write(conn, work["render_id"])
        with as_role(conn, "postgres"):
            assert one(conn, "select queue.fail(%s, %s, 'boom', false)", *held) == "dead"
        row = generation(conn, job)
        assert (row["status"], row["error_code"], row["is_retryable"]) == (
            "failed",
            "generation_gave_up",
            True,
        )
        assert removals(conn) == objects_of(work["render_id"])


class TestTime:
    def expire(self, conn: Conn) -> int:
        with as_service(conn):
            conn.execute("update public.site_policies set generation_seconds_max = 10")
        conn.execute("update public.generation_jobs set created_at = now() - interval '11 seconds'")
        with as_role(conn, "service_role"):
            count: int = one(conn, "select private.expire_generations()")
        return count

    def test_a_stuck_one_fails_and_a_late_success_counts(self, scene: Scene) -> None:
        conn = scene.conn
        job = submit(conn, scene.owner)["id"]
        held = lease(conn, job)
        work = begin(conn, job, held)
        assert work is not None
        assert self.expire(conn) == 1
        row = generation(conn, job)
        assert (row["status"], row["error_code"], row["is_retryable"]) == ("failed", "timed_out", True)
        submit(conn, scene.owner)
        outputs = write(conn, work["render_id"])
        path = outputs[0]["image_path"]
        assert one(conn, "select private.referenced_paths('public', %s)", [path]) == path
        assert finish(conn, job, held, outputs) == "succeeded"
        assert generation(conn, job)["error"] is None
        assert one(conn, "select count(*) from public.usage_ledger") == 1

    def test_nobody_is_left_who_could_be_late(self, scene: Scene) -> None:
        conn = scene.conn
        job = submit(conn, scene.owner)["id"]
        held = lease(conn, job)
        begin(conn, job, held)
        assert self.expire(conn) == 1
        assert begin(conn, job, lease(conn, job)) is None
        assert generation(conn, job)["error_code"] == "generation_gave_up"


class TestStorage:
    def test_only_pictures_of_unfinished_generations(self, scene: Scene) -> None:
        conn = scene.conn
        job = submit(conn, scene.owner)["id"]
        render = generation(conn, job)["render_id"]
        path = f"renders/{render}/0.webp"
        with refused("no_such_render", sqlstate="42501"), conn.transaction():
            store(conn, path, bucket="public")
        begin(conn, job, lease(conn, job))
        store(conn, path, bucket="public")
        for wrong, uploader in (
            (f"renders/{render}/0.html", None),
            (f"renders/{render}/../x.webp", None),
            (f"renders/{uuid4()}/0.webp", None),
            ("renders/x", None),
            (f"renders/{render}/1.webp", scene.owner),
        ):
            with refused("no_such_render", sqlstate="42501"), conn.transaction():
                store(conn, wrong, uploader, bucket="public")
        call(conn, scene.owner, "delete_branch", job)
        with refused("no_such_render", sqlstate="42501"), conn.transaction():
            store(conn, path, bucket="public")

    def test_what_is_referenced(self, scene: Scene) -> None:
        job = made(scene.conn, scene.owner)
        paths = sorted(p for _, p in objects_of(job["render_id"]))
        asked = [*paths, f"renders/{uuid4()}/0.webp", f"renders/{job['render_id']}/7.webp"]
        with as_role(scene.conn, "service_role"):
            kept = rows(scene.conn, "select private.referenced_paths('public', %s)", asked)
        assert sorted(kept) == paths


class TestDeletion:
    def test_render(self, scene: Scene) -> None:
        conn, owner = scene.conn, scene.owner
        job = made(conn, owner, count=2, params={"count": 2})
        child = made(
            conn, owner, "redesign", source_asset_id=asset_of(conn, job["id"]), parent_job_id=job["id"]
        )
        with as_user(conn, scene.other):
            assert conn.execute("delete from public.renders").rowcount == 0
        with as_user(conn, owner):
            conn.execute("delete from public.renders where job_id = %s", [job["id"]])
        assert removals(conn) == objects_of(job["render_id"], 2)
        assert generation(conn, job["id"])["status"] == "succeeded"
        assert generation(conn, child["id"])["source_asset_id"] is None
        assert one(conn, "select count(*) from public.image_assets where job_id = %s", job["id"]) == 0
        assert "render_deleted" in rows(conn, "select event from public.image_generation_events")
        assert one(conn, "select sum(units) from public.usage_ledger") == 2

    def test_branch(self, scene: Scene) -> None:
        conn, owner = scene.conn, scene.owner
        root = made(conn, owner)
        left = made(conn, owner, parent_job_id=root["id"])
        leaf = made(conn, owner, parent_job_id=left["id"])
        right = made(conn, owner, parent_job_id=root["id"])
        running = submit(conn, owner, parent_job_id=leaf["id"])
        with as_user(conn, owner):
            gone = rows(conn, "select public.delete_branch(%s)", left["id"])
        assert set(gone) == {left["id"], leaf["id"], running["id"]}
        assert removals(conn) == objects_of(left["render_id"]) | objects_of(leaf["render_id"])
        assert generation(conn, running["id"])["status"] == "canceled"
        timeline = call(conn, owner, "session_timeline", root["session_id"])["session_timeline"]
        assert [j["id"] for j in timeline["jobs"]] == [str(root["id"]), str(right["id"])]
        with refused("generation_not_found", 404):
            call(conn, owner, "delete_branch", left["id"])

    def test_session(self, scene: Scene) -> None:
        conn, owner = scene.conn, scene.owner
        job = made(conn, owner)
        kept = made(conn, owner)
        running = submit(conn, owner, session_id=job["session_id"])
        with as_user(conn, owner):
            conn.execute("delete from public.image_sessions where id = %s", [job["session_id"]])
        assert removals(conn) == objects_of(job["render_id"])
        row = generation(conn, running["id"])
        assert (row["status"], row["session_id"], row["deleted_at"] is None) == ("canceled", None, False)
        assert generation(conn, job["id"])["status"] == "succeeded"
        assert generation(conn, kept["id"])["deleted_at"] is None
        assert one(conn, "select sum(units) from public.usage_ledger") == 2
        assert "session_deleted" in rows(conn, "select event from public.image_generation_events")

    def test_user(self, scene: Scene) -> None:
        conn, owner = scene.conn, scene.owner
        path = input_of(conn, owner)
        root = made(conn, owner, "redesign", input1_path=path)
        child = made(conn, owner, parent_job_id=root["id"])
        collection = one(conn, "select id from public.collections where owner_id = %s", owner)
        with as_user(conn, owner):
            conn.execute(
                "insert into public.collection_items (collection_id, render_id) values (%s, %s)",
                [collection, root["render_id"]],
            )
        submit(conn, owner)
        conn.execute("delete from auth.users where id = %s", [owner])
        assert removals(conn) == (
            objects_of(root["render_id"]) | objects_of(child["render_id"]) | {("private", path)}
        )
        for table in (
            "image_sessions",
            "image_assets",
            "generation_jobs",
            "image_generation_events",
            "renders",
            "render_variants",
            "usage_ledger",
            "collections",
            "collection_items",
        ):
            assert one(conn, f"select count(*) from public.{table} where owner_id = %s", owner) == 0

    def test_history_and_ledger_stay(self, scene: Scene) -> None:
        made(scene.conn, scene.owner)
        for statement in (
            "update public.usage_ledger set units = 0",
            "delete from public.usage_ledger",
            "truncate public.usage_ledger",
            "update public.image_generation_events set event = 'failed'",
            "delete from public.image_generation_events",
            "truncate public.image_generation_events",
            "delete from public.generation_jobs",
        ):
            with refused("history_is_append_only", sqlstate="42501"), scene.conn.transaction():
                scene.conn.execute(statement)


def test_timeline(scene: Scene) -> None:
    conn, owner = scene.conn, scene.owner
    photo = input_of(conn, owner)
    root = made(conn, owner, "redesign", input1_path=photo, params={"seed": 5, "count": 2}, count=2)
    child = made(
        conn,
        owner,
        "edit",
        prompt="red",
        source_asset_id=asset_of(conn, root["id"]),
        parent_job_id=root["id"],
    )
    with as_user(conn, owner):
        conn.execute("update public.image_sessions set title = 'Kitchen'")
    timeline = call(conn, owner, "session_timeline", root["session_id"])["session_timeline"]
    assert timeline["session"]["title"] == "Kitchen"
    assert timeline["session"]["thumbnail_path"] == output(child["render_id"])["thumb_path"]
    first, second = timeline["jobs"]
    assert (first["params"]["seed"], first["cost"]) == (5, 0.25)
    assert [v["idx"] for v in first["render"]["variants"]] == [0, 1]
    assert [a["role"] for a in first["assets"]] == ["input", "output", "output"]
    assert second["parent_job_id"] == str(root["id"])
    assert second["source_asset_id"] == first["render"]["variants"][0]["asset_id"]
    assert second["completed_at"]
    with as_user(conn, owner):
        conn.execute("delete from public.renders where job_id = %s", [child["id"]])
    timeline = call(conn, owner, "session_timeline", root["session_id"])["session_timeline"]
    assert timeline["jobs"][1]["render"] is None
    # The last picture that there is stands for the session.
    assert timeline["session"]["thumbnail_path"] == output(root["render_id"])["thumb_path"]
    with as_user(conn, owner):
        conn.execute("delete from public.renders where job_id = %s", [root["id"]])
    timeline = call(conn, owner, "session_timeline", root["session_id"])["session_timeline"]
    assert timeline["session"]["thumbnail_path"] is None


class TestCollections:
    def test_favourites_stay(self, scene: Scene) -> None:
        conn, owner = scene.conn, scene.owner
        assert rows(conn, "select name, is_default from public.collections where owner_id = %s", owner) == [
            ("My Favorites", True)
        ]
        for statement in ("delete from public.collections", "update public.collections set name = 'x'"):
            for who in (as_user(conn, owner), as_role(conn, "postgres")):
                with refused("default_collection_stays", 403), conn.transaction(), who:
                    conn.execute(statement)
        with as_user(conn, owner):
            denied(conn, "insert into public.collections (name, is_default) values ('x', true)")
            denied(conn, "update public.collections set is_default = true")
            denied(conn, "update public.collections set owner_id = %s", scene.other)
            denied(conn, "insert into public.collections (name, owner_id) values ('x', %s)", scene.other)
            for name in ("my favorites ", "MY FAVORITES"):
                with pytest.raises(psycopg.errors.UniqueViolation), conn.transaction():
                    conn.execute("insert into public.collections (name) values (%s)", [name])
            mine = one(conn, "insert into public.collections (name) values ('Lamps') returning id")
            with pytest.raises(psycopg.errors.UniqueViolation), conn.transaction():
                conn.execute("update public.collections set name = 'My favorites' where id = %s", [mine])
            conn.execute("update public.collections set name = 'Lights' where id = %s", [mine])
            conn.execute("delete from public.collections where id = %s", [mine])

    def test_items_are_ones_own(self, scene: Scene) -> None:
        conn, owner = scene.conn, scene.owner
        job, theirs = made(conn, owner), made(conn, scene.other)
        mine = one(conn, "select id from public.collections where owner_id = %s", owner)
        foreign = one(conn, "select id from public.collections where owner_id = %s", scene.other)
        add = "insert into public.collection_items (collection_id, render_id) values (%s, %s)"
        taken = (foreign, theirs["render_id"])
        with as_user(conn, scene.other):
            conn.execute(add, taken)
        with as_user(conn, owner):
            # What stands in somebody else's collection answers as what does not.
            for pair in ((mine, theirs["render_id"]), (foreign, job["render_id"]), (mine, uuid4()), taken):
                with pytest.raises(psycopg.errors.ForeignKeyViolation), conn.transaction():
                    conn.execute(add, pair)
            conn.execute(add, [mine, job["render_id"]])
            conn.execute("delete from public.collection_items")
            assert one(conn, "select count(*) from public.renders") == 1
            conn.execute(add, [mine, job["render_id"]])
            conn.execute("delete from public.renders")
            assert rows(conn, "select render_id from public.collection_items") == []

    def test_users_from_before_get_theirs(self, scene: Scene) -> None:
        conn = scene.conn
        conn.execute("alter table public.profiles disable trigger tg_profiles__create_favorites")
        late = new_user(conn)
        conn.execute("alter table public.profiles enable trigger tg_profiles__create_favorites")
        conn.execute((ROOT / "sql/95_collections.sql").read_text())  # type: ignore[arg-type]
        assert one(conn, "select count(*) from public.collections where owner_id = %s", late) == 1
        assert one(conn, "select count(*) from public.collections where owner_id = %s", scene.owner) == 1


class TestCommunity:
    @pytest.fixture
    def best(self, scene: Scene) -> Any:
        with as_service(scene.conn):
            return one(
                scene.conn, "insert into public.community_collections (name) values ('Best') returning id"
            )

    def test_everybody_reads_and_operators_write(self, scene: Scene, best: Any) -> None:
        conn = scene.conn
        job = made(conn, scene.owner, count=2)
        with as_service(conn):
            conn.execute(
                "insert into public.community_items (collection_id, render_id, variant_idx) values (%s, %s, 1)",
                [best, job["render_id"]],
            )
            conn.execute(
                "insert into public.community_items (collection_id, image_url) values (%s, 'https://a.test/x.jpg')",
                [best],
            )
        for who in (as_anon(conn), as_user(conn, scene.other)):
            with who:
                seen = rows(conn, "select image_path, image_url from public.community_items order by 1")
                assert seen == [
                    (output(job["render_id"], 1)["image_path"], None),
                    (None, "https://a.test/x.jpg"),
                ]
                denied(conn, "insert into public.community_collections (name) values ('x')")
        with as_service(conn):
            conn.execute("delete from public.community_items where image_url is not null")
            conn.execute("delete from public.community_items")
        assert one(conn, "select count(*) from public.renders") == 1

    def test_owner_deletes_the_render(self, scene: Scene, best: Any) -> None:
        conn = scene.conn
        job = made(conn, scene.owner)
        with as_service(conn):
            conn.execute(
                "insert into public.community_items (collection_id, render_id) values (%s, %s)",
                [best, job["render_id"]],
            )
        with as_user(conn, scene.owner):
            conn.execute("delete from public.renders")
        assert rows(conn, "select id from public.community_items") == []
        told = one(conn, "select data from public.image_generation_events where event = 'render_deleted'")
        assert told["community_items"] == 1

    @pytest.mark.parametrize(
        ("settings", "is_right"),
        [
            ({}, True),
            ({"mode": "redesign", "style": "modern", "params": {"strength": 0.5}}, True),
            ({"mode": "hack"}, False),
            ({"params": {"strength": 2}}, False),
            ({"owner_id": "x"}, False),
            ({"prompt": 1}, False),
            ([], False),
        ],
    )
    def test_apply_settings(self, scene: Scene, best: Any, settings: Any, is_right: bool) -> None:
        insert = (
            "insert into public.community_items (collection_id, image_url, apply_settings)"
            " values (%s, 'https://a.test/x', %s)"
        )
        with as_service(scene.conn):
            if is_right:
                scene.conn.execute(insert, [best, Jsonb(settings)])
            else:
                with refused("community_item_invalid", 422), scene.conn.transaction():
                    scene.conn.execute(insert, [best, Jsonb(settings)])

    @pytest.mark.parametrize(
        "url", ["http://a.test/x", "javascript:alert(1)", "https://a b", "https://a'<x>"]
    )
    def test_image_url(self, scene: Scene, best: Any, url: str) -> None:
        with as_service(scene.conn), refused("community_item_invalid", 422), scene.conn.transaction():
            scene.conn.execute(
                "insert into public.community_items (collection_id, image_url) values (%s, %s)", [best, url]
            )


def test_generate_is_once_even_for_two_finishers(scene: Scene) -> None:
    """A second queue job for the same generation finds it done."""
    conn = scene.conn
    job = submit(conn, scene.owner)["id"]
    row = generation(conn, job)
    one(
        conn,
        "select queue.enqueue('generate', %s)",
        Jsonb({"generation_id": str(job), "render_id": str(row["render_id"])}),
    )
    held = [
        (r[0], r[1])
        for r in conn.execute(
            "update queue.jobs set state = 'running', lease_token = gen_random_uuid(), started_at = now(),"
            " leased_until = now() + interval '1 minute' where actor = 'generate' returning id, lease_token"
        ).fetchall()
    ]
    assert all(begin(conn, job, lease_) for lease_ in held)
    outputs = write(conn, row["render_id"])
    assert [finish(conn, job, lease_, outputs) for lease_ in held] == ["succeeded", "succeeded"]
    assert one(conn, "select sum(units) from public.usage_ledger") == 1
    assert removals(conn) == set()
    with pytest.raises(AssertionError):
        generate(conn, job)
