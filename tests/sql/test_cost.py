"""What a client calls touches its own listing's rows, however many others there are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.bench import crowd as crowd_data
from tests.bench.ledger_work import WORK, Work, plans, sample, sequential_scans
from tests.conftest import FreshDatabase
from tests.sql.scene import Scene, call, file, finish, one, ready, reserve, rows, upload
from tests.support.roles import as_anon, as_user


@pytest.fixture
def crowd(scene: Scene) -> Scene:
    """The scene among six thousand ready images of sixty other users, in listings of five."""
    scene.conn.execute(
        "insert into auth.users (id, email)"
        " select gen_random_uuid(), n || '@crowd.test' from generate_series(1, 60) as n"
    )
    scene.conn.execute(
        "insert into public.listings (owner_id, title)"
        " select p.id, 'x' from public.profiles as p, generate_series(1, 20)"
        " where p.id not in (%s, %s)",
        [scene.owner, scene.other],
    )
    scene.conn.execute("alter table public.listing_images disable trigger user")
    scene.conn.execute(
        "insert into public.listing_images (id, listing_id, owner_id, position, original_path, file_name, mime_type,"
        " byte_size, width, height, sha256, thumbhash, state, upload_expires_at)"
        " select x.id, l.id, l.owner_id, x.n, l.owner_id || '/listings/' || l.id || '/' || x.id || '.jpg', 'a.jpg',"
        " 'image/jpeg', 1, 1, 1, repeat('0', 64), 'A', 'ready', now() from public.listings as l"
        " cross join lateral (select gen_random_uuid() as id, n, l.id as own from generate_series(0, 4) as n) as x"
        " where l.owner_id not in (%s, %s)",
        [scene.owner, scene.other],
    )
    scene.conn.execute("alter table public.listing_images enable trigger user")
    scene.conn.execute(
        "insert into public.image_variants (image_id, role, owner_id, listing_id, path, width, height, byte_size)"
        " select i.id, r, i.owner_id, i.listing_id, private.variant_path(i.owner_id, i.listing_id, i.id, r), 1, 1, 1"
        " from public.listing_images as i, unnest(private.variant_roles()) as r"
    )
    scene.conn.execute(
        "analyze public.listings, public.listing_images, public.image_variants, public.profiles"
    )
    return scene


def touched(scene: Scene) -> dict[str, int]:
    """Rows read so far in this transaction, by table."""
    found = rows(
        scene.conn,
        "select relname::text, (seq_tup_read + coalesce(idx_tup_fetch, 0))::int from pg_stat_xact_user_tables"
        " where relname in ('listings', 'listing_images', 'image_variants', 'image_events')",
    )
    return dict(found)


def actions(scene: Scene) -> Iterator[tuple[str, Callable[[], object]]]:
    """Everything a seller and a visitor do, on a listing of a few images."""
    conn, owner, listing = scene.conn, scene.owner, scene.listing
    ids: list[str] = []

    def read(query: str, *args: object) -> None:
        with as_user(conn, owner):
            conn.execute(query, args)  # type: ignore[arg-type]

    yield "reserve", lambda: reserve(conn, owner, listing, *[file()] * 5)
    yield "process", lambda: ids.extend(ready(conn, owner, listing, 4))
    yield "label", lambda: call(conn, owner, "set_label", ids[3], True)
    yield "publish", lambda: read("select public.publish_listing(%s)", listing)
    yield (
        "gallery",
        lambda: read("select * from public.gallery where listing_id = %s order by position", listing),
    )
    yield "cover", lambda: read("select * from public.listing_covers where listing_id = %s", listing)
    yield "own rows", lambda: read("select * from public.listing_images")
    yield "tray", lambda: read("select * from public.media_tray")
    yield "history", lambda: read("select * from public.listing_history(%s)", listing)
    path = f"{owner}/{listing}/%s/card.webp"
    yield "object", lambda: read("select private.may_read_object('media', %s)", path % ids[0])
    yield "remove", lambda: call(conn, owner, "remove_image", ids[0])
    yield "restore", lambda: call(conn, owner, "restore_image", ids[0])
    yield "replace", lambda: read("select public.reserve_replacement(%s, %s)", ids[0], Jsonb(file()))
    everything = "(select array_agg(id) from public.listing_images where position is not null)"
    yield "reorder", lambda: read(f"select public.reorder_images(%s, {everything})", listing)
    yield "tag", lambda: read("update public.listing_images set tags = '{a}' where listing_id = %s", listing)
    yield "delete", lambda: read("delete from public.listing_images where id = %s", ids[1])
    yield "delete listing", lambda: read("delete from public.listings where id = %s", listing)
    yield "references", lambda: rows(conn, "select private.referenced_paths('media', %s)", [path % ids[0]])
    yield "delete user", lambda: conn.execute("delete from auth.users where id = %s", [owner])


def test_a_crowd_of_others_costs_nothing(crowd: Scene) -> None:
    for name, action in actions(crowd):
        before = touched(crowd)
        action()
        after = touched(crowd)
        # A single full scan would read six thousand.
        reading = {table: after[table] - before.get(table, 0) for table in after}
        assert reading["listing_images"] < 1500, (name, reading)
        assert reading["image_variants"] < 1500, (name, reading)
        assert reading["listings"] < 250, (name, reading)


def test_a_visitor_reads_by_index(crowd: Scene) -> None:
    ready(crowd.conn, crowd.owner, crowd.listing, 2)
    call(crowd.conn, crowd.owner, "publish_listing", crowd.listing)
    path = one(crowd.conn, "select path from public.image_variants where owner_id = %s limit 1", crowd.owner)
    before = touched(crowd)
    with as_anon(crowd.conn):
        assert (
            len(rows(crowd.conn, "select id from public.gallery where listing_id = %s", crowd.listing)) == 2
        )
        assert rows(crowd.conn, "select bucket_id from storage.objects where name = %s", path) == ["media"]
    after = touched(crowd)
    assert after["listing_images"] - before["listing_images"] < 20
    assert after["image_variants"] - before["image_variants"] < 40


def test_maintenance_reads_what_is_due(crowd: Scene) -> None:
    images = upload(crowd.conn, crowd.owner, crowd.listing, 3)
    reserve(crowd.conn, crowd.owner, crowd.listing, file())
    finish(crowd.conn, images[0])
    call(crowd.conn, crowd.owner, "remove_image", images[1])
    crowd.conn.execute(
        "update public.listing_images set upload_expires_at = now() where state = 'awaiting_upload'"
    )
    crowd.policy(undo_seconds=0)
    crowd.conn.execute("update public.listing_images set deleted_at = now() where deleted_at is not null")
    before = touched(crowd)
    assert one(crowd.conn, "select private.expire_reservations(100)") == 1
    assert one(crowd.conn, "select private.purge_removed(100)") == 1
    assert touched(crowd)["listing_images"] - before["listing_images"] < 200


@pytest.fixture(scope="module")
def twenty_thousand(shared_db: FreshDatabase) -> Iterator[psycopg.Connection[Any]]:
    """A superuser's connection that sees twenty thousand ready photos; rolled back."""
    with psycopg.connect(shared_db.admin_url) as conn:
        crowd_data.load(conn, 20_000, rebuild_indexes=False)
        yield conn
        conn.rollback()


@pytest.mark.parametrize("work", WORK, ids=lambda work: work.name)
def test_plans_are_index_access_only(twenty_thousand: psycopg.Connection[Any], work: Work) -> None:
    """Every plan of every statement, those inside functions and triggers too."""
    (who,) = sample(twenty_thousand, 1)
    told = plans(twenty_thousand, work, who)
    assert any("image" in plan for plan in told)
    for plan in told:
        # Two hundred profiles are two pages.
        assert not sequential_scans(plan) - {"profiles"}, plan
        assert "passes_gate" not in plan, plan  # inlined


def test_a_page_gathers_variants_for_its_rows_only(twenty_thousand: psycopg.Connection[Any]) -> None:
    work = next(w for w in WORK if "page of 50" in w.name)
    (who,) = sample(twenty_thousand, 1)
    plan = "".join(plans(twenty_thousand, work, who))
    loops = re.search(r"on image_variants v .*loops=(\d+)", plan)
    assert loops, plan
    assert loops[1] == "50", plan
