"""Buyers' lists: references to what is published; what they show is asked of the gate each time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.conftest import FreshDatabase
from tests.sql.scene import Conn, Scene, call, denied, new_listing, new_user, one, ready, refused, rows
from tests.support.roles import as_anon, as_user


def new_list(conn: Conn, owner: UUID, name: str = "Wishes") -> UUID:
    with as_user(conn, owner):
        found: UUID = one(conn, "insert into public.saved_lists (name) values (%s) returning id", name)
    return found


def save(conn: Conn, owner: UUID, saved: UUID, *listings: UUID) -> None:
    with as_user(conn, owner):
        for listing in listings:
            conn.execute(
                "insert into public.saved_list_items (list_id, listing_id) values (%s, %s)", [saved, listing]
            )


def cover(conn: Conn, owner: UUID, saved: UUID) -> tuple[str, str] | None:
    """(listing, image) of the list's picture, through both ways of asking."""
    with as_user(conn, owner):
        found: list[Any] = rows(
            conn,
            "select listing_id::text, image_id::text from public.saved_list_covers where list_id = %s",
            saved,
        )
        embedded: list[Any] = rows(
            conn,
            "select c.listing_id::text, c.image_id::text from public.saved_lists as s, public.list_cover(s) as c"
            " where s.id = %s",
            saved,
        )
    assert found == embedded
    assert len(found) <= 1
    return found[0] if found else None


def for_sale(scene: Scene, count: int = 1, **columns: Any) -> tuple[UUID, list[str]]:
    """A published listing of the seller `scene.owner`, and its photos."""
    listing = new_listing(
        scene.conn, scene.owner, **({"title": "Lamp", "price": 1, "currency": "EUR"} | columns)
    )
    photos = ready(scene.conn, scene.owner, listing, count)
    assert call(scene.conn, scene.owner, "publish_listing", listing)
    return listing, photos


class TestCover:
    def test_the_first_item_that_has_a_photo_today(self, scene: Scene) -> None:
        conn, buyer = scene.conn, scene.other
        first, photos = for_sale(scene, 2)
        second, others = for_sale(scene)
        saved = new_list(conn, buyer)
        assert cover(conn, buyer, saved) is None
        save(conn, buyer, saved, first, second)
        assert cover(conn, buyer, saved) == (str(first), photos[0])
        call(conn, scene.owner, "set_label", photos[0], True)
        assert cover(conn, buyer, saved) == (str(first), photos[1])
        call(conn, scene.owner, "remove_image", photos[1])
        assert cover(conn, buyer, saved) == (str(second), others[0])

    def test_off_sale_shows_nothing_and_comes_back(self, scene: Scene) -> None:
        conn, buyer = scene.conn, scene.other
        listing, (photo,) = for_sale(scene)
        saved = new_list(conn, buyer)
        save(conn, buyer, saved, listing)
        for status in ("archived", "draft"):
            with as_user(conn, scene.owner):
                conn.execute("update public.listings set status = %s where id = %s", [status, listing])
            assert cover(conn, buyer, saved) is None
            with as_user(conn, buyer):
                assert one(conn, "select count(*) from public.saved_list_items") == 1
                assert rows(conn, "select id from public.listings where id = %s", listing) == []
        call(conn, scene.owner, "publish_listing", listing)
        assert cover(conn, buyer, saved) == (str(listing), photo)

    def test_a_sellers_own_list_does_not_show_the_own_draft(self, scene: Scene) -> None:
        conn = scene.conn
        listing, (photo,) = for_sale(scene)
        saved = new_list(conn, scene.owner)
        save(conn, scene.owner, saved, listing)
        assert cover(conn, scene.owner, saved) == (str(listing), photo)
        with as_user(conn, scene.owner):
            conn.execute("update public.listings set status = 'draft' where id = %s", [listing])
        assert cover(conn, scene.owner, saved) is None

    def test_with_the_site_s_review(self, scene: Scene) -> None:
        conn, buyer = scene.conn, scene.other
        listing, _ = for_sale(scene)
        saved = new_list(conn, buyer)
        save(conn, buyer, saved, listing)
        scene.policy(photo_review_provider="gemini", photo_review_enabled=True)
        assert cover(conn, buyer, saved) is None

    def test_deleted_listing_user_and_list(self, scene: Scene) -> None:
        conn, buyer = scene.conn, scene.other
        gone, _ = for_sale(scene)
        kept, (photo,) = for_sale(scene)
        saved = new_list(conn, buyer)
        save(conn, buyer, saved, gone, kept)
        with as_user(conn, scene.owner):
            conn.execute("delete from public.listings where id = %s", [gone])
        assert cover(conn, buyer, saved) == (str(kept), photo)
        with as_user(conn, buyer):
            conn.execute("delete from public.saved_lists where id = %s", [saved])
        assert one(conn, "select count(*) from public.saved_list_items") == 0
        assert one(conn, "select count(*) from public.listings where id = %s", kept) == 1
        again = new_list(conn, buyer)
        save(conn, buyer, again, kept)
        conn.execute("delete from auth.users where id = %s", [buyer])
        assert one(conn, "select count(*) from public.saved_lists") == 0


class TestOwnership:
    def test_lists_are_their_owners(self, scene: Scene) -> None:
        conn, buyer = scene.conn, scene.other
        listing, _ = for_sale(scene)
        saved = new_list(conn, buyer)
        save(conn, buyer, saved, listing)
        for table in ("saved_lists", "saved_list_items", "saved_list_covers"):
            with as_user(conn, scene.owner):
                assert rows(conn, f"select 1 from public.{table}") == []
            with as_anon(conn):
                denied(conn, f"select 1 from public.{table}")
        with as_user(conn, scene.owner):
            denied(conn, "insert into public.saved_lists (name, owner_id) values ('x', %s)", buyer)
            denied(conn, "update public.saved_lists set owner_id = %s", scene.owner)
            denied(conn, "update public.saved_list_items set listing_id = %s", listing)
            # Somebody else's list and one that does not exist answer alike.
            told = []
            for target in (saved, uuid4()):
                with pytest.raises(psycopg.errors.ForeignKeyViolation) as info, conn.transaction():
                    conn.execute(
                        "insert into public.saved_list_items (list_id, listing_id) values (%s, %s)",
                        [target, listing],
                    )
                told.append((info.value.diag.constraint_name, info.value.diag.message_primary))
            assert told[0] == told[1]

    def test_a_hidden_listing_and_none_answer_alike(self, scene: Scene) -> None:
        conn, buyer = scene.conn, scene.other
        saved = new_list(conn, buyer)
        hidden = new_listing(conn, scene.owner, title="Draft")
        told = []
        for listing in (hidden, uuid4()):
            with pytest.raises(psycopg.errors.InsufficientPrivilege) as info, conn.transaction():
                save(conn, buyer, saved, listing)
            told.append(str(info.value.diag.message_primary))
        assert told[0] == told[1]

    def test_names(self, scene: Scene) -> None:
        conn, buyer = scene.conn, scene.other
        new_list(conn, buyer, "Lamps")
        new_list(conn, scene.owner, "Lamps")
        with as_user(conn, buyer):
            for name, error in (
                (" LAMPS ", psycopg.errors.UniqueViolation),
                (" ", psycopg.errors.CheckViolation),
                ("x" * 101, psycopg.errors.CheckViolation),
            ):
                with pytest.raises(error), conn.transaction():
                    conn.execute("insert into public.saved_lists (name) values (%s)", [name])
            conn.execute("update public.saved_lists set name = 'Lights'")
            assert rows(conn, "select name from public.saved_lists") == ["Lights"]


class TestLimits:
    def test_lists(self, scene: Scene) -> None:
        scene.policy(saved_lists_max=2)
        for name in "ab":
            new_list(scene.conn, scene.other, name)
        new_list(scene.conn, scene.owner, "mine do not count")
        with refused("too_many_saved_lists", 409), scene.conn.transaction():
            new_list(scene.conn, scene.other, "c")

    def test_items(self, scene: Scene) -> None:
        conn, buyer = scene.conn, scene.other
        scene.policy(saved_list_items_max=1)
        (first, _), (second, _) = for_sale(scene), for_sale(scene)
        saved, more = new_list(conn, buyer), new_list(conn, buyer, "More")
        save(conn, buyer, saved, first)
        save(conn, buyer, more, first)
        with refused("too_many_saved_listings", 409), conn.transaction():
            save(conn, buyer, saved, second)

    def test_two_at_once_do_not_pass_the_limit(self, fresh_db: FreshDatabase) -> None:
        with fresh_db.connect() as one_way, fresh_db.connect() as other_way:
            buyer = new_user(one_way)
            one_way.execute("update public.site_policies set saved_lists_max = 1")
            one_way.commit()
            other_way.execute("set lock_timeout = '200ms'")
            other_way.commit()
            with one_way.transaction():
                new_list(one_way, buyer, "a")
                with pytest.raises(psycopg.errors.LockNotAvailable):
                    new_list(other_way, buyer, "b")  # waits for its turn
            with refused("too_many_saved_lists"):
                new_list(other_way, buyer, "b")


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A plan's nodes, from the top."""
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def test_among_many_it_reads_by_index(scene: Scene) -> None:
    conn, buyer = scene.conn, scene.other
    conn.execute(
        "insert into public.listings (owner_id, title, status) select %s, 'x', 'published'"
        " from generate_series(1, 20000)",
        [scene.owner],
    )
    lists = [new_list(conn, buyer, str(n)) for n in range(10)]
    conn.execute(
        "insert into public.saved_list_items (list_id, listing_id, owner_id)"
        " select l, i.id, %s from unnest(%s::uuid[]) as l,"
        " lateral (select id from public.listings where status = 'published' and l is not null limit 500) as i",
        [buyer, lists],
    )
    conn.execute("analyze public.listings, public.saved_lists, public.saved_list_items")
    listing, (photo,) = for_sale(scene)
    save(conn, buyer, lists[0], listing)
    assert cover(conn, buyer, lists[0]) == (str(listing), photo)
    with as_user(conn, buyer):
        plan = one(
            conn,
            "explain (format json) select * from public.saved_list_covers where list_id = %s",
            lists[0],
        )
    scans = {
        (node["Node Type"], node["Relation Name"])
        for node in nodes(plan[0]["Plan"])
        if "Relation Name" in node
    }
    whole = {name for kind, name in scans if kind == "Seq Scan"}
    assert not whole & {"listings", "saved_list_items"}, scans
