"""What ends by itself: failed generations, idle sessions, uploads that nobody reads; and what must not."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.conftest import FreshDatabase
from tests.sql.generations import asset_of, begin, fail, input_of, lease, made, submit
from tests.sql.scene import Conn, Scene, call, one, refused, removals, rows, store
from tests.support.roles import as_role, as_service, as_user, new_user
from tests.support.stack import ROOT
from worker.maintenance import HOUSEKEEPING


def maintain(conn: Conn, function: str) -> int:
    """One round of maintenance, as the worker's role; that the worker knows the function too."""
    (sql,) = [text for name, text, _ in HOUSEKEEPING if name == f"private.{function}(int)"]
    with as_role(conn, "service_role"):
        count: int = one(conn, sql, 100)
    return count


def failed(conn: Conn, owner: Any, **arguments: Any) -> Any:
    job = submit(conn, owner, **arguments)
    held = lease(conn, job["id"])
    begin(conn, job["id"], held)
    fail(conn, job["id"], held)
    return job


class TestFailed:
    def age(self, conn: Conn) -> None:
        conn.execute("update public.generation_jobs set completed_at = completed_at - interval '31 days'")

    def test_they_go_from_the_tips(self, scene: Scene) -> None:
        conn, owner = scene.conn, scene.owner
        kept = made(conn, owner)
        gone = failed(conn, owner, session_id=kept["session_id"], idempotency_key="k")
        stem = failed(conn, owner, session_id=kept["session_id"])
        tip = failed(conn, owner, parent_job_id=stem["id"])
        child = made(conn, owner, parent_job_id=stem["id"])
        queued = submit(conn, owner)
        canceled = call(conn, owner, "cancel_generation", queued["id"])
        assert maintain(conn, "prune_generations") == 0
        self.age(conn)
        fresh = failed(conn, owner)
        assert maintain(conn, "prune_generations") == 3
        left = rows(conn, "select id from public.generation_jobs")
        assert set(left) == {kept["id"], stem["id"], child["id"], fresh["id"]}
        told = rows(conn, "select job_id from public.image_generation_events where event = 'pruned'")
        assert set(told) == {gone["id"], tip["id"], canceled["id"]}
        assert one(conn, "select count(*) from public.usage_ledger") == 2
        assert maintain(conn, "prune_generations") == 0

    def test_the_policy_says_when(self, scene: Scene) -> None:
        failed(scene.conn, scene.owner)
        scene.conn.execute(
            "update public.generation_jobs set completed_at = completed_at - interval '2 days'"
        )
        assert maintain(scene.conn, "prune_generations") == 0
        scene.policy(generation_failed_seconds=90000)
        assert maintain(scene.conn, "prune_generations") == 1
        with pytest.raises(psycopg.errors.CheckViolation), scene.conn.transaction():
            scene.policy(generation_failed_seconds=3600)


class TestSessions:
    def test_idle_ones_leave_the_list_and_come_back(self, scene: Scene) -> None:
        conn, owner = scene.conn, scene.owner
        old, new = made(conn, owner), made(conn, owner)
        busy = submit(conn, owner)
        conn.execute("alter table public.image_sessions disable trigger tg_image_sessions__stamp")
        conn.execute(
            "update public.image_sessions set updated_at = now() - interval '181 days' where id <> %s",
            [new["session_id"]],
        )
        conn.execute("alter table public.image_sessions enable trigger tg_image_sessions__stamp")
        before = one(conn, "select updated_at from public.image_sessions where id = %s", old["session_id"])
        assert maintain(conn, "archive_sessions") == 1
        assert maintain(conn, "archive_sessions") == 0
        with as_user(conn, owner):
            listed = rows(conn, "select id from public.active_sessions")
            assert set(listed) == {new["session_id"], busy["session_id"]}
            row = conn.execute(
                "select archived_at, updated_at from public.image_sessions where id = %s", [old["session_id"]]
            )
            archived_at, updated_at = row.fetchone()  # type: ignore[misc]
        assert archived_at is not None
        assert updated_at == before
        # Nothing is gone, and it is nobody else's.
        timeline = call(conn, owner, "session_timeline", old["session_id"])["session_timeline"]
        assert timeline["jobs"][0]["render"]["variants"]
        for unknown in (uuid4(), old["session_id"]):
            with refused("session_not_found", 404), conn.transaction():
                call(conn, scene.other, "restore_session", unknown)
        restored = call(conn, owner, "restore_session", old["session_id"])
        assert restored["archived_at"] is None
        assert restored["updated_at"] > before
        assert call(conn, owner, "restore_session", old["session_id"])["updated_at"] == restored["updated_at"]
        assert maintain(conn, "archive_sessions") == 0
        told = rows(
            conn, "select event from public.image_generation_events where event like 'session%%' order by id"
        )
        assert told == ["session_archived", "session_restored"]

    def test_a_generation_brings_it_back(self, scene: Scene) -> None:
        conn, owner = scene.conn, scene.owner
        job = made(conn, owner)
        scene.policy(session_idle_seconds=3600)
        conn.execute("alter table public.image_sessions disable trigger tg_image_sessions__stamp")
        conn.execute("update public.image_sessions set updated_at = now() - interval '2 hours'")
        conn.execute("alter table public.image_sessions enable trigger tg_image_sessions__stamp")
        assert maintain(conn, "archive_sessions") == 1
        submit(conn, owner, session_id=job["session_id"])
        assert one(conn, "select count(*) from public.active_sessions") == 1


class TestInputs:
    def age(self, conn: Conn) -> None:
        conn.execute("update public.image_assets set idle_since = idle_since - interval '8 days'")

    def kept(self, conn: Conn, *paths: str) -> set[str]:
        """Which paths a removal job would leave alone."""
        with as_role(conn, "service_role"):
            return set(rows(conn, "select private.referenced_paths('private', %s)", list(paths)))

    def test_an_upload_has_its_row(self, scene: Scene) -> None:
        path = input_of(scene.conn, scene.owner)
        with as_user(scene.conn, scene.owner):
            found = rows(
                scene.conn, "select role, path, byte_size, idle_since is null from public.image_assets"
            )
        assert found == [("input", path, 1000, False)]
        store(scene.conn, path, size=2000)
        assert rows(scene.conn, "select byte_size from public.image_assets") == [2000]
        # One from before.
        scene.conn.execute("delete from public.image_assets")
        scene.conn.execute((ROOT / "sql/98_retention.sql").read_text())  # type: ignore[arg-type]
        assert rows(scene.conn, "select path from public.image_assets") == [path]

    def test_what_nobody_reads_goes(self, scene: Scene) -> None:
        conn, owner = scene.conn, scene.owner
        used, used_too, idle, source, mask, late = (input_of(conn, owner) for _ in range(6))
        made(conn, owner, "compose", input1_path=used, input2_path=used_too)
        asset = call(conn, owner, "add_asset", source, "input")["id"]
        cover = call(conn, owner, "add_asset", mask, "mask")["id"]
        made(conn, owner, "edit", prompt="x", source_asset_id=asset, mask_asset_id=cover)
        assert maintain(conn, "remove_unused_inputs") == 0
        self.age(conn)
        call(conn, owner, "add_asset", late, "input")
        assert maintain(conn, "remove_unused_inputs") == 1
        assert removals(conn) == {("private", idle)}
        assert self.kept(conn, used, used_too, idle, source, mask, late) == {
            used,
            used_too,
            source,
            mask,
            late,
        }
        assert one(conn, "select count(*) from public.image_assets where role <> 'output'") == 5

    def test_with_the_last_generation_that_read_it(self, scene: Scene) -> None:
        conn, owner = scene.conn, scene.owner
        shared, own = input_of(conn, owner), input_of(conn, owner)
        mask = call(conn, owner, "add_asset", own, "mask")["id"]
        root = made(conn, owner, "redesign", input1_path=shared)
        edit = made(
            conn, owner, "edit", prompt="x", source_asset_id=asset_of(conn, root["id"]), mask_asset_id=mask
        )
        other = made(conn, owner, "redesign", input1_path=shared)
        call(conn, owner, "delete_branch", root["id"])
        self.age(conn)
        assert maintain(conn, "remove_unused_inputs") == 0
        assert one(conn, "select idle_since from public.image_assets where path = %s", shared) is None
        with as_user(conn, owner):
            conn.execute(
                "delete from public.image_sessions where id in (%s, %s)",
                [other["session_id"], edit["session_id"]],
            )
        assert {("private", shared), ("private", own)}.isdisjoint(removals(conn))
        self.age(conn)
        assert maintain(conn, "remove_unused_inputs") == 2
        assert {("private", shared), ("private", own)} <= removals(conn)

    def test_with_a_pruned_generation(self, scene: Scene) -> None:
        conn, owner = scene.conn, scene.owner
        path = input_of(conn, owner)
        failed(conn, owner, mode="redesign", input1_path=path)
        conn.execute("update public.generation_jobs set completed_at = completed_at - interval '31 days'")
        assert maintain(conn, "prune_generations") == 1
        self.age(conn)
        assert maintain(conn, "remove_unused_inputs") == 1

    def test_named_again_before_the_removal(self, scene: Scene) -> None:
        conn, owner = scene.conn, scene.owner
        path = input_of(conn, owner)
        self.age(conn)
        assert maintain(conn, "remove_unused_inputs") == 1
        assert self.kept(conn, path) == set()
        submit(conn, owner, "redesign", input1_path=path)
        assert self.kept(conn, path) == {path}


def test_a_removal_and_a_submit_take_turns(fresh_db: FreshDatabase) -> None:
    """While an upload is being removed nobody can name it; whoever names it first keeps it."""
    with fresh_db.connect(autocommit=True) as conn:
        owner = new_user(conn)
        path = input_of(conn, owner)
        conn.execute("update public.image_assets set idle_since = now() - interval '8 days'")
        assert maintain(conn, "remove_unused_inputs") == 1

    def order() -> str:
        with fresh_db.connect(autocommit=True) as conn:
            try:
                submit(conn, owner, "redesign", input1_path=path)
            except psycopg.Error as error:
                return str(error.diag.message_detail)
        return "ok"

    remover = fresh_db.connect_worker()
    gone = remover.execute("select * from private.lock_removable('private', %s)", [[path]]).fetchall()
    assert gone == [(path,)]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(order)
        with pytest.raises(TimeoutError):
            waiting.result(0.3)
        with fresh_db.connect(autocommit=True) as conn, as_service(conn):
            conn.execute("select set_config('storage.allow_delete_query', 'true', true)")
            conn.execute("delete from storage.objects where name = %s", [path])
        remover.commit()
        assert waiting.result(10) == "generation_invalid"

    with fresh_db.connect(autocommit=True) as conn:
        path = input_of(conn, owner)
        conn.execute("update public.image_assets set idle_since = now() - interval '8 days'")
        assert maintain(conn, "remove_unused_inputs") == 1
    with fresh_db.connect() as busy:
        busy.execute("select 1")  # a transaction that stays open
        with as_user(busy, owner):
            busy.execute("select public.submit_generation('redesign', input1_path => %s)", [path])
        with pytest.raises(psycopg.errors.LockNotAvailable):
            remover.execute("select * from private.lock_removable('private', %s)", [[path]])
        remover.rollback()
        busy.commit()
    assert remover.execute("select * from private.lock_removable('private', %s)", [[path]]).fetchall() == []
    remover.close()
