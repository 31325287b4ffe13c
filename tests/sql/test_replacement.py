"""Every end that a replacement can have; what waits never changes what is shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from psycopg.types.json import Jsonb

from tests.sql.scene import Scene, call, events, file, finish, lease, one, order, ready, refused, rows, store
from tests.support.roles import as_user


@pytest.fixture
def live(scene: Scene) -> list[str]:
    return ready(scene.conn, scene.owner, scene.listing, 3)


def reserve_replacement(scene: Scene, image: str, **more: Any) -> dict[str, str]:
    with as_user(scene.conn, scene.owner):
        row: dict[str, str] = one(
            scene.conn, "select public.reserve_replacement(%s, %s)", image, Jsonb(file("b.jpg", **more))
        )
    return row


def replace(scene: Scene, image: str, **more: Any) -> str:
    """Reserved and uploaded."""
    row = reserve_replacement(scene, image, **more)
    store(scene.conn, row["path"], scene.owner)
    return row["image_id"]


def row_of(scene: Scene, image: str) -> Any:
    return call_one(scene, "select to_jsonb(i) from public.listing_images as i where id = %s", image)


def call_one(scene: Scene, query: str, *args: Any) -> Any:
    with as_user(scene.conn, scene.owner):
        return one(scene.conn, query, *args)


def gallery(scene: Scene) -> list[str]:
    with as_user(scene.conn, scene.owner):
        return rows(
            scene.conn,
            "select id::text from public.gallery where listing_id = %s order by position",
            scene.listing,
        )


def delete(scene: Scene, image: str) -> None:
    with as_user(scene.conn, scene.owner):
        scene.conn.execute("delete from public.listing_images where id = %s", [image])


def review(scene: Scene, image: str, state: str) -> bool:
    """A verdict, as the review's job gives it."""
    scene.conn.execute("update public.listing_images set review_state = %s where id = %s", [state, image])
    return bool(one(scene.conn, "select private.cut_over(%s)", image))


def fail(scene: Scene, image: str) -> None:
    job, token = lease(scene.conn, image)
    one(scene.conn, "select private.fail_image(%s, %s, %s, 'corrupt', 'Broken.')", image, job, token)


def expire(scene: Scene, image: str) -> None:
    scene.conn.execute("update public.listing_images set upload_expires_at = now() where id = %s", [image])
    assert one(scene.conn, "select private.expire_reservations(10)") == 1


def reject(scene: Scene, image: str) -> None:
    scene.policy(photo_review_enabled=True)
    scene.conn.execute("update public.listing_images set review_state = 'allowed' where state = 'ready'")
    finish(scene.conn, image)
    assert not review(scene, image, "rejected")


def remove(scene: Scene, image: str) -> None:
    call(scene.conn, scene.owner, "remove_image", image)


@pytest.mark.parametrize("end", [fail, reject, remove, delete, expire])
def test_one_that_comes_to_nothing_leaves_the_old_one(
    scene: Scene, live: list[str], end: Callable[[Scene, str], None]
) -> None:
    before = row_of(scene, live[1])
    row = reserve_replacement(scene, live[1])
    if end is not expire:
        store(scene.conn, row["path"], scene.owner)
    end(scene, row["image_id"])
    after = row_of(scene, live[1])
    ignored = {"updated_at", "review_state"}
    assert {k: v for k, v in after.items() if k not in ignored} == {
        k: v for k, v in before.items() if k not in ignored
    }
    assert gallery(scene) == live
    # And another try is open.
    new = replace(scene, live[1])
    finish(scene.conn, new)
    review(scene, new, "allowed")
    assert order(scene.conn, scene.listing) == gallery(scene) == [live[0], new, live[2]]


@pytest.mark.parametrize("end", [fail, reject])
def test_one_that_ended_gives_way_to_the_next(
    scene: Scene, live: list[str], end: Callable[[Scene, str], None]
) -> None:
    first = replace(scene, live[0])
    end(scene, first)
    replace(scene, live[0])
    assert row_of(scene, first)["deleted_at"] is not None
    with refused("image_not_failed", 409):
        call(scene.conn, scene.owner, "retry_image", first)
    with refused("replacement_not_restorable", 409):
        call(scene.conn, scene.owner, "restore_image", first)


@pytest.mark.parametrize("state", ["awaiting_upload", "uploaded", "awaiting_review"])
def test_one_that_is_on_its_way_does_not(scene: Scene, live: list[str], state: str) -> None:
    scene.policy(photo_review_enabled=state == "awaiting_review")
    row = reserve_replacement(scene, live[0])
    if state != "awaiting_upload":
        store(scene.conn, row["path"], scene.owner)
    if state == "awaiting_review":
        finish(scene.conn, row["image_id"])
    with refused("replacement_exists", 409):
        reserve_replacement(scene, live[0])


def test_a_reservation_that_expired_does_not_block(scene: Scene, live: list[str]) -> None:
    first = reserve_replacement(scene, live[0])["image_id"]
    scene.conn.execute("update public.listing_images set upload_expires_at = now() where id = %s", [first])
    second = replace(scene, live[0])
    assert finish(scene.conn, second) == "ready"
    assert order(scene.conn, scene.listing) == [second, *live[1:]]
    # The first one's photo is gone from its place; it is swept as every reservation.
    assert one(scene.conn, "select private.expire_reservations(10)") == 1


def test_chain(scene: Scene, live: list[str]) -> None:
    """Replaced again and again; every step can be brought back, beside its successors."""
    second = replace(scene, live[0])
    with refused("image_not_live", 409):
        reserve_replacement(scene, second)
    finish(scene.conn, second)
    third = replace(scene, second)
    finish(scene.conn, third)
    assert gallery(scene) == [third, *live[1:]]
    for image in (live[0], second):
        assert call(scene.conn, scene.owner, "restore_image", image)["position"] == 0
    assert gallery(scene) == [second, live[0], third, *live[1:]]


def test_several_at_once_on_several_images(scene: Scene, live: list[str]) -> None:
    new = [replace(scene, image) for image in live]
    call(scene.conn, scene.owner, "reorder_images", scene.listing, [UUID(live[n]) for n in (2, 0, 1)])
    for image in new:
        assert finish(scene.conn, image) == "ready"
    assert gallery(scene) == [new[2], new[0], new[1]]


def test_of_the_cover(scene: Scene, live: list[str]) -> None:
    new = replace(scene, live[0])
    cover = "select image_id::text from public.listing_covers where listing_id = %s"
    assert call_one(scene, cover, scene.listing) == live[0]
    finish(scene.conn, new)
    assert call_one(scene, cover, scene.listing) == new


class TestLabel:
    def test_waits_for_no_review(self, scene: Scene, live: list[str]) -> None:
        call(scene.conn, scene.owner, "set_label", live[1], True)
        scene.policy(photo_review_enabled=True)
        scene.conn.execute("update public.listing_images set review_state = 'allowed'")
        new = replace(scene, live[1])
        finish(scene.conn, new)
        assert order(scene.conn, scene.listing) == [live[0], new, live[2]]
        assert row_of(scene, new)["is_label"] is True
        assert gallery(scene) == [live[0], live[2]]
        # Nobody reviewed it: as a photo it does not pass.
        call(scene.conn, scene.owner, "set_label", new, False)
        assert gallery(scene) == [live[0], live[2]]

    def test_flag_of_the_moment(self, scene: Scene, live: list[str]) -> None:
        new = replace(scene, live[0], is_label=True)
        assert row_of(scene, new)["is_label"] is False
        call(scene.conn, scene.owner, "set_label", live[0], True)
        finish(scene.conn, new)
        assert row_of(scene, new)["is_label"] is True
        newer = replace(scene, new)
        call(scene.conn, scene.owner, "set_label", new, False)
        call(scene.conn, scene.owner, "set_label", live[2], True)
        finish(scene.conn, newer)
        assert row_of(scene, newer)["is_label"] is False
        # Its predecessor was no label when it went, the first one was.
        call(scene.conn, scene.owner, "restore_image", new)
        with refused("label_exists", 409):
            call(scene.conn, scene.owner, "restore_image", live[0])

    def test_of_the_waiting_one(self, scene: Scene, live: list[str]) -> None:
        with refused("image_not_live", 409):
            call(scene.conn, scene.owner, "set_label", replace(scene, live[0]), True)


def test_of_a_removed_photo(scene: Scene, live: list[str]) -> None:
    remove(scene, live[0])
    with refused("image_not_live", 409):
        reserve_replacement(scene, live[0])
    call(scene.conn, scene.owner, "restore_image", live[0])
    finish(scene.conn, new := replace(scene, live[0]))
    assert gallery(scene) == [new, *live[1:]]


def test_the_old_one_is_removed_and_comes_back_alone(scene: Scene, live: list[str]) -> None:
    new = replace(scene, live[1])
    remove(scene, live[1])
    call(scene.conn, scene.owner, "restore_image", live[1])
    assert finish(scene.conn, new) == "nothing to do"
    assert gallery(scene) == live
    assert row_of(scene, new)["deleted_at"] is not None
    finish(scene.conn, newer := replace(scene, live[1]))
    assert gallery(scene) == [live[0], newer, live[2]]


def test_the_old_one_is_deleted_while_the_new_one_is_processed(scene: Scene, live: list[str]) -> None:
    new = replace(scene, live[1])
    job, token = lease(scene.conn, new)
    one(scene.conn, "select private.begin_image(%s, %s, %s)", new, job, token)
    delete(scene, live[1])
    done = one(
        scene.conn,
        "select private.finish_image(%s, %s, %s, '{\"variants\": []}')",
        new,
        job,
        token,
    )
    assert done == "gone"
    assert order(scene.conn, scene.listing) == [live[0], live[2]]
    assert events(scene.conn, new) == ["replacement_reserved", "uploaded", "deleted"]


class TestReview:
    @pytest.fixture
    def waiting(self, scene: Scene, live: list[str]) -> str:
        scene.policy(photo_review_enabled=True)
        scene.conn.execute("update public.listing_images set review_state = 'allowed'")
        new = replace(scene, live[1])
        finish(scene.conn, new)
        assert gallery(scene) == live
        with as_user(scene.conn, scene.owner):
            assert rows(scene.conn, "select status from public.media_tray") == ["awaiting_turn"]
        return new

    def test_allowed(self, scene: Scene, live: list[str], waiting: str) -> None:
        assert review(scene, waiting, "allowed")
        assert gallery(scene) == [live[0], waiting, live[2]]

    def test_switched_off(self, scene: Scene, live: list[str], waiting: str) -> None:
        scene.policy(photo_review_enabled=False)
        assert gallery(scene) == [live[0], waiting, live[2]]

    def test_a_switch_came_between(self, scene: Scene, live: list[str], waiting: str) -> None:
        """The verdict's transaction did not see the switch: maintenance does."""
        scene.conn.execute(
            "update public.listing_images set review_state = 'allowed' where id = %s", [waiting]
        )
        assert gallery(scene) == live
        assert one(scene.conn, "select private.settle_replacements(10)") == 1
        assert one(scene.conn, "select private.settle_replacements(10)") == 0
        assert gallery(scene) == [live[0], waiting, live[2]]


def test_the_swap_tells_who_took_whose_place(scene: Scene, live: list[str]) -> None:
    finish(scene.conn, new := replace(scene, live[1]))
    with as_user(scene.conn, scene.owner):
        told = rows(
            scene.conn,
            "select image_id::text, event, summary from public.listing_history(%s) order by id desc limit 2",
            scene.listing,
        )
    assert told == [
        (new, "replaced", "Took the place of another photo, number 2."),
        (live[1], "removed", "Another photo took its place; it could be restored for a time."),
    ]
