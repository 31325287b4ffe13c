"""What happened is told with who did it, cannot be changed, and rebuilds what the gallery showed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.conftest import FreshDatabase
from tests.sql.scene import Scene, call, events, finish, new_listing, one, order, ready, rows, upload
from tests.support.roles import as_anon, as_service, as_user


def as_of(scene: Scene, at: Any, who: Any = None, listing: Any = None) -> list[Any]:
    with as_user(scene.conn, who or scene.owner):
        return rows(
            scene.conn,
            'select image_id::text, "position", alt_text, tags, is_public from public.gallery_as_of(%s, %s)',
            listing or scene.listing,
            at,
        )


def now(scene: Scene) -> Any:
    return one(scene.conn, "select clock_timestamp()")


def shown(*images: str, public: bool = False) -> list[Any]:
    """What as_of answers for these, the whole listing, without words."""
    return [(image, n, None, [], public) for n, image in enumerate(images)]


class TestAppendOnly:
    STATEMENTS = (
        "update public.{} set data = '{{}}'",
        "update public.{} set data = '{{}}' where false",
        "delete from public.{}",
        "truncate public.{}",
        "truncate public.{} cascade",
    )
    TABLES = ("image_events", "site_policy_events")

    @pytest.fixture
    def history(self, scene: Scene) -> Scene:
        ready(scene.conn, scene.owner, scene.listing)
        return scene

    @pytest.mark.parametrize("table", TABLES)
    @pytest.mark.parametrize("statement", STATEMENTS)
    def test_for_every_role(self, history: Scene, statement: str, table: str) -> None:
        text: Any = statement.format(table)
        before = one(history.conn, f"select jsonb_agg(e order by id) from public.{table} as e")
        for who in (as_anon(history.conn), as_user(history.conn, history.owner), as_service(history.conn)):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), who:
                history.conn.execute(text)
        with (
            pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"),
            history.conn.transaction(),
        ):
            history.conn.execute(text)
        assert one(history.conn, f"select jsonb_agg(e order by id) from public.{table} as e") == before

    @pytest.mark.parametrize("table", TABLES)
    def test_the_service_key_cannot_open_it(self, history: Scene, table: str) -> None:
        for statement in (
            f"alter table public.{table} disable trigger all",
            f"alter table public.{table} disable trigger tg_{table}__stay",
            f"alter table public.{table} disable row level security",
            f"drop trigger tg_{table}__stay on public.{table}",
            f"alter table public.{table} owner to service_role",
            f"drop table public.{table}",
            f"grant update on public.{table} to service_role",
            "set session_replication_role = replica",
            "create or replace function private.tg_image_events__stay() returns trigger"
            " language plpgsql as 'begin return null; end'",
            "alter table public.listing_images disable trigger user",
            f"insert into public.{table} (actor, data) values ('me', '{{}}')",
            "select setval('public.image_events_id_seq', 1)",
        ):
            # "grant" without the grant option only warns.
            if statement.startswith("grant"):
                with as_service(history.conn):
                    history.conn.execute(statement)  # type: ignore[arg-type]
                assert not one(
                    history.conn,
                    "select has_table_privilege('service_role', %s, 'update')",
                    f"public.{table}",
                )
                continue
            with pytest.raises(psycopg.errors.InsufficientPrivilege), as_service(history.conn):
                history.conn.execute(statement)  # type: ignore[arg-type]

    def test_a_session_that_replicates(self, fresh_db: FreshDatabase) -> None:
        """The switch that turns triggers off is a superuser's; it does not turn these off."""
        with fresh_db.connect() as conn:
            scene = Scene(conn)
            upload(conn, scene.owner, scene.listing)
            with pytest.raises(psycopg.errors.InsufficientPrivilege), conn.transaction():
                conn.execute("set local session_replication_role = replica")
        with psycopg.connect(fresh_db.admin_url, autocommit=True) as admin:
            admin.execute("set session_replication_role = replica")
            for table in self.TABLES:
                for statement in self.STATEMENTS:
                    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
                        admin.execute(statement.format(table))  # type: ignore[arg-type]


class TestActors:
    def test_user_worker_server_and_operator(self, fresh_db: FreshDatabase) -> None:
        with fresh_db.connect(autocommit=True) as conn, fresh_db.connect_worker() as worker:
            scene = Scene(conn)
            a, b = upload(conn, scene.owner, scene.listing, 2)
            job = one(conn, "select id from queue.jobs where args ->> 'image_id' = %s", a)
            token = one(
                conn,
                "update queue.jobs set state = 'running', lease_token = gen_random_uuid(), attempts = 1,"
                " started_at = now(), leased_until = now() + interval '1 minute' where id = %s returning lease_token",
                job,
            )
            worker.execute("select private.fail_image(%s, %s, %s, 'corrupt', 'Broken.')", [a, job, token])
            worker.commit()
            with as_service(conn):
                conn.execute("delete from public.listing_images where id = %s", [a])
            conn.execute("delete from public.listing_images where id = %s", [b])
            told = rows(
                conn,
                "select event, actor, actor_id from public.image_events where image_id = any(%s::uuid[]) order by id",
                [a, b],
            )
        me = scene.owner
        assert told == [
            ("reserved", "user", me),
            ("reserved", "user", me),
            ("uploaded", "user", me),
            ("uploaded", "user", me),
            ("failed", "worker", None),
            ("deleted", "service_role", None),
            ("deleted", "postgres", None),
        ]

    def test_early_delete_of_a_removed_one_is_the_owners(self, scene: Scene) -> None:
        (a,) = upload(scene.conn, scene.owner, scene.listing)
        call(scene.conn, scene.owner, "remove_image", a)
        with as_user(scene.conn, scene.owner):
            scene.conn.execute("delete from public.listing_images where id = %s", [a])
        assert events(scene.conn, a)[-2:] == ["removed", "deleted"]

    def test_policy(self, scene: Scene) -> None:
        scene.policy(tags_max=7, photo_review_enabled=True)
        scene.policy(tags_max=7)
        told = rows(scene.conn, "select actor, data from public.site_policy_events order by id")
        assert told[0][1]["tags_max"] == 20
        assert told[1:] == [
            ("service_role", {"tags_max": 7}),
            ("service_role", {"photo_review_enabled": True}),
        ]


class TestAsOf:
    def test_every_step(self, scene: Scene) -> None:
        conn, owner = scene.conn, scene.owner
        start = now(scene)
        a, b, c = ready(conn, owner, scene.listing, 3)
        moments = [(start, []), (now(scene), shown(a, b, c))]

        def step(*images: Any) -> None:
            moments.append((now(scene), list(images)))

        call(conn, owner, "remove_image", b)
        step((a, 0, None, [], False), (c, 1, None, [], False))
        call(conn, owner, "restore_image", b)
        step(*shown(a, b, c))
        with as_user(conn, owner):
            conn.execute("select public.reorder_images(%s, %s::uuid[])", [scene.listing, [c, a, b]])
            conn.execute("update public.listing_images set alt_text = 'A', tags = '{x,y}' where id = %s", [a])
        step((c, 0, None, [], False), (a, 1, "A", ["x", "y"], False), (b, 2, None, [], False))
        call(conn, owner, "publish_listing", scene.listing)
        call(conn, owner, "set_label", c, True)
        step((a, 1, "A", ["x", "y"], True), (b, 2, None, [], True))
        scene.policy(photo_review_enabled=True)
        step()
        conn.execute("update public.listing_images set review_state = 'allowed' where id = %s", [b])
        step((b, 2, None, [], True))
        scene.policy(photo_review_enabled=False)
        with as_user(conn, owner):
            conn.execute("update public.listings set status = 'archived' where id = %s", [scene.listing])
            conn.execute("delete from public.listing_images where id = %s", [a])
        step((b, 1, None, [], False))
        with as_user(conn, owner):
            conn.execute("delete from public.listings where id = %s", [scene.listing])
        step()
        for n, (at, expected) in enumerate(moments):
            assert as_of(scene, at) == expected, n

    def test_is_its_owners(self, scene: Scene) -> None:
        ready(scene.conn, scene.owner, scene.listing)
        at = now(scene)
        assert len(as_of(scene, at)) == 1
        assert as_of(scene, at, who=scene.other) == []
        assert as_of(scene, at, listing=uuid4()) == []
        assert as_of(scene, None) == []
        with pytest.raises(psycopg.errors.InsufficientPrivilege), as_anon(scene.conn):
            scene.conn.execute("select public.gallery_as_of(%s, now())", [scene.listing])

    def test_before_everything_and_in_the_future(self, scene: Scene) -> None:
        images = ready(scene.conn, scene.owner, scene.listing, 2)
        assert as_of(scene, datetime(2001, 1, 1, tzinfo=UTC)) == []
        assert as_of(scene, "infinity") == shown(*images)

    def test_imported_rows(self, scene: Scene) -> None:
        """Rows that came ready, as from another system, some of them out of order."""
        ids = [uuid4() for _ in range(4)]
        for states in ((0, "ready", False), (1, "ready", True), (None, "ready", False), (2, "failed", False)):
            position, state, is_label = states
            image = ids[[0, 1, None, 2].index(position)]
            scene.conn.execute(
                "insert into public.listing_images (id, listing_id, owner_id, position, is_label, original_path,"
                " file_name, mime_type, byte_size, width, height, sha256, thumbhash, state, error, error_code,"
                " upload_expires_at, deleted_at, alt_text) values (%s, %s, %s, %s, %s, %s, 'a.jpg', 'image/jpeg', 1, 1,"
                " 1, repeat('0', 64), 'A', %s, %s, %s, now(), %s, 'Old')",
                [
                    image,
                    scene.listing,
                    scene.owner,
                    position,
                    is_label,
                    f"{scene.owner}/listings/{scene.listing}/{image}.jpg",
                    state,
                    *(["x", "x"] if state == "failed" else [None, None]),
                    now(scene) if position is None else None,
                ],
            )
        assert as_of(scene, now(scene)) == [(str(ids[0]), 0, "Old", [], False)]

    def test_moves_of_a_server_are_enough_to_rebuild_the_order(self, scene: Scene) -> None:
        """A server may write positions itself; even one row that overtakes others is told."""
        a, b, c = ready(scene.conn, scene.owner, scene.listing, 3)
        with as_service(scene.conn):
            scene.conn.execute("update public.listing_images set position = 3 where id = %s", [a])
        scene.conn.execute("select private.close_gaps(%s)", [[scene.listing]])
        assert order(scene.conn, scene.listing) == [b, c, a]
        assert as_of(scene, now(scene)) == shown(b, c, a)

    def test_a_statement_has_one_moment(self, scene: Scene) -> None:
        """No moment shows half of a swap."""
        images = ready(scene.conn, scene.owner, scene.listing, 3)
        with as_user(scene.conn, scene.owner):
            scene.conn.execute("delete from public.listing_images where id = any(%s::uuid[])", [images[:2]])
        assert (
            len(set(rows(scene.conn, "select created_at from public.image_events where event = 'deleted'")))
            == 1
        )

    def test_a_published_insert_counts(self, scene: Scene) -> None:
        with as_service(scene.conn):
            listing = one(
                scene.conn,
                "insert into public.listings (owner_id, status) values (%s, 'published') returning id",
                scene.owner,
            )
        (image,) = ready(scene.conn, scene.owner, listing)
        assert as_of(scene, now(scene), listing=listing) == shown(image, public=True)

    def test_listings_do_not_mix(self, scene: Scene) -> None:
        second = new_listing(scene.conn, scene.owner)
        (a,), (b,) = ready(scene.conn, scene.owner, scene.listing), ready(scene.conn, scene.owner, second)
        at = now(scene)
        assert (as_of(scene, at), as_of(scene, at, listing=second)) == (shown(a), shown(b))

    def test_processed_again(self, scene: Scene) -> None:
        (a,) = ready(scene.conn, scene.owner, scene.listing)
        scene.conn.execute("update public.listing_images set state = 'uploaded' where id = %s", [a])
        hidden = now(scene)
        scene.conn.execute(
            "select private.enqueue_processing(i) from public.listing_images as i where id = %s", [a]
        )
        finish(scene.conn, a)
        assert (as_of(scene, hidden), as_of(scene, now(scene))) == ([], shown(a))


def test_order_of_policy_history(scene: Scene) -> None:
    """Before the history began, what it began with; then what was said last."""
    before = datetime(2001, 1, 1, tzinfo=UTC)
    moments = [now(scene)]
    for flag in (True, False, True):
        scene.policy(photo_review_enabled=flag)
        moments.append(now(scene))
    found = [one(scene.conn, "select private.review_required_at(%s)", at) for at in (before, *moments)]
    assert found == [False, False, True, False, True]
