"""Many connections at once: limits hold, the order stays dense, nobody deadlocks."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.conftest import FreshDatabase
from tests.sql.scene import (
    Scene,
    call,
    file,
    finish,
    lease,
    new_listing,
    one,
    order,
    reserve,
    rows,
    store,
    upload,
)
from tests.sql.test_duplicates import finish_with
from tests.support.roles import as_user, new_user

WORKERS = 8
NO_JOB = "no job waits for this image"


class World:
    """A committed scene in a database of its own."""

    def __init__(self, database: FreshDatabase) -> None:
        self.database = database
        with database.connect() as conn:
            scene = Scene(conn)
        self.owner, self.listing = scene.owner, scene.listing

    def connect(self) -> psycopg.Connection[Any]:
        return self.database.connect(autocommit=True)

    def at_once(self, actions: list[Callable[[psycopg.Connection[Any]], Any]]) -> list[str]:
        """Run each on a connection of its own, WORKERS at a time; answers 'ok', or the error's code."""

        def run(action: Callable[[psycopg.Connection[Any]], Any]) -> str:
            with self.connect() as conn:
                try:
                    action(conn)
                except AssertionError as error:
                    return str(error).splitlines()[0]
                except psycopg.Error as error:
                    expected = error.sqlstate == "42501" or (error.sqlstate or "").startswith("PT")
                    return (expected and error.diag.message_detail) or str(error)
            return "ok"

        with ThreadPoolExecutor(WORKERS) as pool:
            return list(pool.map(run, actions))


@pytest.fixture
def world(fresh_db: FreshDatabase) -> Iterator[World]:
    return World(fresh_db)


def test_images_per_listing(world: World) -> None:
    with world.connect() as conn:
        conn.execute("update public.site_policies set images_per_listing_max = 7")
    results = world.at_once([lambda c: reserve(c, world.owner, world.listing, file(), file())] * 20)
    assert Counter(results) == {"ok": 3, "too_many_images": 17}
    with world.connect() as conn:
        assert len(order(conn, world.listing)) == 6


def test_storage_budget(world: World) -> None:
    """Twenty reservations over several listings, room for five."""
    with world.connect() as conn:
        conn.execute("insert into public.plans values ('small', 'Small', 0, 5500)")
        conn.execute("update public.profiles set price_id = 'small'")
        listings = [new_listing(conn, world.owner) for _ in range(5)]
    results = world.at_once(
        [lambda c, n=n: reserve(c, world.owner, listings[n % 5], file()) for n in range(20)]
    )
    assert Counter(results) == {"ok": 5, "storage_budget_exceeded": 15}


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_another_isolation_is_refused(world: World, isolation: str) -> None:
    """Under repeatable read the lock of the owner would let more through than there is room for."""

    def otherwise(conn: psycopg.Connection[Any]) -> None:
        conn.execute("select set_config('default_transaction_isolation', %s, false)", [isolation])
        reserve(conn, world.owner, world.listing, file())

    assert Counter(world.at_once([otherwise] * 3)) == {"isolation_not_supported": 3}
    with world.connect() as conn:
        assert one(conn, "select count(*) from public.listing_images") == 0


def test_one_label_by_reservation(world: World) -> None:
    results = world.at_once([lambda c: reserve(c, world.owner, world.listing, file(is_label=True))] * 20)
    assert Counter(results) == {"ok": 1, "label_exists": 19}


def test_one_label_by_flag(world: World) -> None:
    with world.connect() as conn:
        images = upload(conn, world.owner, world.listing, 20)
    results = world.at_once([lambda c, i=i: call(c, world.owner, "set_label", i, True) for i in images])
    assert Counter(results) == {"ok": 1, "label_exists": 19}
    with world.connect() as conn:
        assert one(conn, "select count(*) from public.listing_images where is_label") == 1


def test_one_upload_a_reservation(world: World) -> None:
    """Twenty writes to one reserved path, as a signed URL allows: one object, one job."""
    with world.connect() as conn:
        (row,) = reserve(conn, world.owner, world.listing, file())
    results = world.at_once([lambda c: store(c, row["path"], world.owner)] * 20)
    assert results.count("ok") == 1
    with world.connect() as conn:
        assert rows(conn, "select actor from queue.jobs") == ["process_image"]
        assert one(conn, "select count(*) from storage.objects") == 1


def delete(conn: psycopg.Connection[Any], owner: UUID, images: list[str]) -> None:
    with as_user(conn, owner):
        conn.execute("delete from public.listing_images where id = any(%s::uuid[])", [images])


def tag_all(conn: psycopg.Connection[Any], owner: UUID) -> None:
    with as_user(conn, owner):
        conn.execute("update public.listing_images set tags = array[md5(random()::text)]")


def reorder(conn: psycopg.Connection[Any], owner: UUID, listing: UUID, seed: int) -> None:
    """A shuffle of what is there now; what changed meanwhile is refused, not a deadlock."""
    with as_user(conn, owner):
        images = rows(
            conn,
            "select id from public.listing_images where listing_id = %s and position is not null",
            listing,
        )
        random.Random(seed).shuffle(images)
        conn.execute("select public.reorder_images(%s, %s)", [listing, images])


@pytest.mark.parametrize("seed", range(3))
def test_inserts_deletes_reorders_edits_and_processing(world: World, seed: int) -> None:
    """Forty and more at once on one listing: dense, no deadlock, every refusal one that a client understands."""
    rng = random.Random(seed)
    with world.connect() as conn:
        images = upload(conn, world.owner, world.listing, 30)
    deletable = images[:12]
    rng.shuffle(deletable)
    actions: list[Callable[[psycopg.Connection[Any]], Any]] = [
        *[lambda c: reserve(c, world.owner, world.listing, file(), file())] * 8,
        *[lambda c, n=n: reorder(c, world.owner, world.listing, n) for n in range(14)],
        *[lambda c, n=n: delete(c, world.owner, deletable[n : n + 3]) for n in range(0, 12, 3)],
        *[lambda c, i=i: call(c, world.owner, "remove_image", i) for i in images[12:18]],
        *[lambda c, i=i: call(c, world.owner, "set_label", i, True) for i in images[18:22]],
        *[lambda c: tag_all(c, world.owner)] * 8,
        *[lambda c, i=i: finish(c, i) for i in images[22:30]],
        *[lambda c: one(c, "select private.expire_reservations(100)")] * 3,
        *[lambda c: one(c, "select private.purge_removed(100)")] * 3,
    ]
    rng.shuffle(actions)
    results = world.at_once(actions)
    assert set(results) <= {"ok", "not_a_permutation", "label_exists"}, Counter(results)
    with world.connect() as conn:
        assert len(order(conn, world.listing)) == 30 + 16 - 12 - 6
        assert (
            rows(conn, "select from public.listing_images where is_label and position is not null").__len__()
            <= 1
        )
        assert one(conn, "select count(*) from public.listing_images where state = 'ready'") == 8


def test_listings_and_users_deleted_under_load(world: World) -> None:
    """Cascades take the locks in the same order as everybody else."""
    with world.connect() as conn:
        owners = [new_user(conn) for _ in range(4)]
        listings = {owner: [new_listing(conn, owner) for _ in range(3)] for owner in owners}
        images = {owner: upload(conn, owner, listings[owner][0], 8) for owner in owners}

    def delete_listing(conn: psycopg.Connection[Any], owner: UUID, listing: UUID) -> None:
        with as_user(conn, owner):
            conn.execute("delete from public.listings where id = %s", [listing])

    actions: list[Callable[[psycopg.Connection[Any]], Any]] = []
    for owner in owners:
        first, second, third = listings[owner]
        actions += [
            *[lambda c, o=owner, x=first, n=n: reorder(c, o, x, n) for n in range(6)],
            *[lambda c, o=owner, x=second: reserve(c, o, x, file())] * 3,
            *[lambda c, o=owner, i=images[owner][n : n + 2]: delete(c, o, i) for n in (0, 2)],
            *[lambda c, o=owner, i=i: finish(c, i) for i in images[owner][4:6]],
            lambda c, o=owner, x=third: delete_listing(c, o, x),
            lambda c, o=owner, x=first: delete_listing(c, o, x),
            lambda c, o=owner: tag_all(c, o),
        ]
    random.Random(1).shuffle(actions)
    actions[len(actions) // 2 : len(actions) // 2] = [
        lambda c, o=owner: c.execute("delete from auth.users where id = %s", [o]) for owner in owners[:2]
    ]
    results = world.at_once(actions)
    deadlocks = [r for r in results if "deadlock" in r]
    assert not deadlocks, "\n".join(deadlocks)
    with world.connect() as conn:
        for owner in owners[:2]:
            for table in ("listings", "listing_images", "image_variants", "image_events"):
                assert rows(conn, f"select from public.{table} where owner_id = %s", owner) == [], table
        for owner in owners[2:]:
            for listing in listings[owner]:
                order(conn, listing)


def test_a_deleted_image_and_its_finish_agree(world: World) -> None:
    """Whichever comes first: either it was ready and all its objects are ordered away, or it is gone."""
    with world.connect() as conn:
        images = upload(conn, world.owner, world.listing, 12)
    actions = [lambda c, i=i: finish(c, i) for i in images] + [
        lambda c, i=i: delete(c, world.owner, [i]) for i in images
    ]
    random.Random(2).shuffle(actions)
    world.at_once(actions)
    with world.connect() as conn:
        assert order(conn, world.listing) == []
        assert rows(conn, "select from public.image_variants") == []
        left = set(rows(conn, "select bucket_id, name from storage.objects"))
        ordered = set(
            rows(
                conn,
                "select args ->> 'bucket', p from queue.jobs, jsonb_array_elements_text(args -> 'paths') as p"
                " where actor = 'remove_objects'",
            )
        )
        assert left <= ordered


def test_retry_is_one_job(world: World) -> None:
    with world.connect() as conn:
        (image,) = upload(conn, world.owner, world.listing)
        conn.execute("select private.abandon_image(%s, 'x')", [image])
        conn.execute("delete from queue.jobs")
    results = world.at_once([lambda c: call(c, world.owner, "retry_image", image)] * 10)
    assert Counter(results) == {"ok": 1, "image_not_failed": 9}
    with world.connect() as conn:
        assert rows(conn, "select args ->> 'image_id' from queue.jobs") == [image]


def test_replacements_of_one_image(world: World) -> None:
    with world.connect() as conn:
        (image,) = upload(conn, world.owner, world.listing)
        finish(conn, image)

    def replace(conn: psycopg.Connection[Any]) -> None:
        with as_user(conn, world.owner):
            conn.execute("select public.reserve_replacement(%s, %s)", [image, Jsonb(file())])

    assert Counter(world.at_once([replace] * 10)) == {"ok": 1, "replacement_exists": 9}


def test_processing_waits_for_a_mover_before_it_holds_the_row(world: World) -> None:
    """Rewriting a row re-checks its place against uncommitted moves: whoever held the row first would deadlock."""
    with world.connect() as conn:
        a, b, c = upload(conn, world.owner, world.listing, 3)
        job, token = lease(conn, a)
    with world.database.connect() as mover, world.connect() as worker, ThreadPoolExecutor(1) as pool:
        mover.execute("select 1")
        call(mover, world.owner, "remove_image", c)
        with as_user(mover, world.owner):
            mover.execute("select public.reorder_images(%s, %s::uuid[])", [world.listing, [b, a]])
        begun = pool.submit(one, worker, "select private.begin_image(%s, %s, %s)", a, job, token)
        with pytest.raises(TimeoutError):
            begun.result(timeout=0.3)
        call(mover, world.owner, "set_label", a, True)
        mover.commit()
        assert begun.result(timeout=5)["image_id"] == a


def test_copies_that_finish_at_once(world: World) -> None:
    """Ten uploads of the same bytes: one is the photo, nine are its duplicates, whoever was first."""
    with world.connect() as conn:
        conn.execute("update public.site_policies set duplicate_images = 'refuse'")
        images = upload(conn, world.owner, world.listing, 10)
    assert set(world.at_once([lambda c, i=i: finish_with(c, i, "a") for i in images])) == {"ok"}
    with world.connect() as conn:
        found = rows(conn, "select id, state, error_code, duplicate_of from public.listing_images")
    (photo,) = [row[0] for row in found if row[1] == "ready"]
    assert Counter(row[1:] for row in found) == {
        ("ready", None, None): 1,
        ("failed", "duplicate_image", photo): 9,
    }


def test_copies_and_what_they_name_deleted_at_once(world: World) -> None:
    with world.connect() as conn:
        first = upload(conn, world.owner, world.listing, 6)
        for image, sha in zip(first, "abcdef", strict=True):
            finish_with(conn, image, sha)
        again = upload(conn, world.owner, world.listing, 6)
    actions = [
        *[lambda c, i=i, s=s: finish_with(c, i, s) for i, s in zip(again, "abcdef", strict=True)],
        *[lambda c, i=i: delete(c, world.owner, [i]) for i in first[:3]],
        *[lambda c, i=i: call(c, world.owner, "remove_image", i) for i in first[3:]],
        *[lambda c, n=n: reorder(c, world.owner, world.listing, n) for n in range(6)],
    ]
    random.Random(3).shuffle(actions)
    assert set(world.at_once(actions)) <= {"ok", "not_a_permutation"}
    with world.connect() as conn:
        assert set(order(conn, world.listing)) == set(again)


@pytest.mark.parametrize("seed", range(3))
def test_replacements_finish_while_everything_moves(world: World, seed: int) -> None:
    """Swaps, removals, deletes and reorders of the same images: each place has one photo, and nobody deadlocks."""
    with world.connect() as conn:
        images = upload(conn, world.owner, world.listing, 12)
        for image in images:
            finish(conn, image)
        new = []
        for image in images:
            with as_user(conn, world.owner):
                row = one(conn, "select public.reserve_replacement(%s, %s)", image, Jsonb(file()))
            store(conn, row["path"], world.owner)
            new.append(row["image_id"])
    actions: list[Callable[[psycopg.Connection[Any]], Any]] = [
        *[lambda c, i=i: finish(c, i) for i in new[:10]],
        *[lambda c, i=i: call(c, world.owner, "remove_image", i) for i in images[:3]],
        *[lambda c, i=i: delete(c, world.owner, [i]) for i in images[3:6]],
        *[lambda c, i=i: call(c, world.owner, "restore_image", i) for i in images[:6]],
        *[lambda c, i=i: delete(c, world.owner, [i]) for i in new[6:8]],
        *[lambda c, i=i: call(c, world.owner, "set_label", i, True) for i in images[8:10]],
        *[lambda c, n=n: reorder(c, world.owner, world.listing, n) for n in range(8)],
        *[lambda c: one(c, "select private.settle_replacements(10)")] * 2,
    ]
    random.Random(seed).shuffle(actions)
    results = world.at_once(actions)
    assert set(results) <= {
        "ok",
        "not_a_permutation",
        "image_not_found",
        "image_not_live",
        "label_exists",
        # Deleted between the worker's beginning and its uploads.
        "no_such_image",
        NO_JOB,
    }, Counter(results)
    with world.connect() as conn:
        live = order(conn, world.listing)
        # What was touched by nobody else was swapped; what nobody finished was not.
        assert images[8] not in live or new[8] not in live
        assert {images[10], images[11]} <= set(live)
        assert not {new[10], new[11]} & set(live)
        swapped = rows(
            conn,
            "select i.replaces_id::text from public.listing_images as i"
            " where i.position is not null and i.replaces_id is not null",
        )
        assert not (set(swapped) - set(images[:6])) & set(live)


def test_finish_of_a_replacement_and_removal_of_its_photo(world: World) -> None:
    """Either it took the place and the old one is removed, or both are removed; over and over."""
    for _ in range(6):
        with world.connect() as conn:
            (old,) = upload(conn, world.owner, world.listing)
            finish(conn, old)
            with as_user(conn, world.owner):
                row = one(conn, "select public.reserve_replacement(%s, %s)", old, Jsonb(file()))
            store(conn, row["path"], world.owner)
        new = row["image_id"]
        world.at_once(
            [lambda c, i=new: finish(c, i), lambda c, i=old: call(c, world.owner, "remove_image", i)]
        )
        with world.connect() as conn:
            live = order(conn, world.listing)
            assert old not in live
            removed = one(conn, "select deleted_at is not null from public.listing_images where id = %s", new)
            assert removed is (new not in live)


def switch_off(conn: psycopg.Connection[Any]) -> None:
    conn.execute("update public.site_policies set photo_review_enabled = false")


def test_the_switch_and_the_last_step_of_a_replacement(world: World) -> None:
    """Whichever commits first: after one round of maintenance, what the gate lets in has its place."""
    for _ in range(5):
        with world.connect() as conn:
            conn.execute("update public.site_policies set photo_review_enabled = false")
            (old,) = upload(conn, world.owner, world.listing)
            finish(conn, old)
            with as_user(conn, world.owner):
                row = one(conn, "select public.reserve_replacement(%s, %s)", old, Jsonb(file()))
            store(conn, row["path"], world.owner)
            conn.execute("update public.site_policies set photo_review_enabled = true")
        new = row["image_id"]
        assert world.at_once([lambda c, i=new: finish(c, i), switch_off]) == ["ok", "ok"]
        with world.connect() as conn:
            conn.execute("select private.settle_replacements(10)")
            assert new in order(conn, world.listing)
            assert old not in order(conn, world.listing)
