"""The same bytes again in one listing: allowed, flagged or refused, as the site says."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg.types.json import Jsonb

from tests.sql.scene import (
    Conn,
    Scene,
    call,
    events,
    file,
    lease,
    new_listing,
    objects_of,
    one,
    order,
    refused,
    removals,
    result,
    rows,
    store,
    upload,
)
from tests.support.roles import as_role, as_user


def finish_with(conn: Conn, image: str, sha256: str) -> str:
    """Process an uploaded image whose bytes have this hash (of one character)."""
    job, token = lease(conn, image)
    with as_role(conn, "service_role"):
        work = one(conn, "select private.begin_image(%s, %s, %s)", image, job, token)
        done = result(work, sha256=sha256 * 64)
    for variant in done["variants"]:
        store(conn, variant["path"], size=variant["byte_size"], bucket="media")
    with as_role(conn, "service_role"):
        state: str = one(conn, "select private.finish_image(%s, %s, %s, %s)", image, job, token, Jsonb(done))
    return state


def add(scene: Scene, sha256: str) -> str:
    (image,) = upload(scene.conn, scene.owner, scene.listing)
    finish_with(scene.conn, image, sha256)
    return image


def replacement(scene: Scene, image: str, sha256: str) -> str:
    with as_user(scene.conn, scene.owner):
        row = one(scene.conn, "select public.reserve_replacement(%s, %s)", image, Jsonb(file("b.jpg")))
    store(scene.conn, row["path"], scene.owner)
    finish_with(scene.conn, row["image_id"], sha256)
    return str(row["image_id"])


def seen(scene: Scene, image: str) -> dict[str, Any]:
    with as_user(scene.conn, scene.owner):
        found: dict[str, Any] = one(
            scene.conn,
            "select to_jsonb(i) from (select state, error, error_code, is_retryable, duplicate_of, position"
            " from public.listing_images where id = %s) as i",
            image,
        )
    return found


def remove(scene: Scene, image: str) -> None:
    call(scene.conn, scene.owner, "remove_image", image)


def test_allowed(scene: Scene) -> None:
    scene.policy(duplicate_images="allow")
    _, again = add(scene, "a"), add(scene, "a")
    assert (seen(scene, again)["state"], seen(scene, again)["duplicate_of"]) == ("ready", None)
    assert "duplicate_found" not in events(scene.conn, again)


def test_flagged_by_default(scene: Scene) -> None:
    first, again, different = add(scene, "a"), add(scene, "a"), add(scene, "b")
    third = add(scene, "a")
    assert [seen(scene, i)["duplicate_of"] for i in (first, again, different, third)] == [
        None,
        first,
        None,
        first,
    ]
    with as_user(scene.conn, scene.owner):
        assert len(rows(scene.conn, "select id from public.gallery")) == 4
        assert rows(
            scene.conn,
            "select image_id::text, summary, data from public.listing_history(%s) where event = 'duplicate_found'",
            scene.listing,
        ) == [
            (image, "The listing had a photo with the same bytes.", {"duplicate_of": first})
            for image in (again, third)
        ]


def test_what_was_looked_at_once_is_rendered_again_without_a_second_look(scene: Scene) -> None:
    """A photo that was a label is rendered anew: it is no duplicate of what came after it."""
    scene.policy(duplicate_images="refuse")
    first = add(scene, "a")
    call(scene.conn, scene.owner, "set_label", first, True)
    # As after the removal of its renderings, which keeps both from being seen as one and the same meanwhile.
    scene.conn.execute("delete from public.image_variants where image_id = %s", [first])
    scene.conn.execute("update public.listing_images set withdrawn_at = now() where id = %s", [first])
    scene.policy(duplicate_images="flag")
    again = add(scene, "a")
    assert seen(scene, again)["duplicate_of"] == first
    scene.policy(duplicate_images="refuse")
    call(scene.conn, scene.owner, "set_label", first, False)
    assert seen(scene, first)["state"] == "uploaded"
    assert finish_with(scene.conn, first, "a") == "ready"
    assert seen(scene, first)["duplicate_of"] is None
    with as_user(scene.conn, scene.owner):
        assert rows(scene.conn, "select id::text from public.gallery order by position") == [first, again]


class TestRefused:
    @pytest.fixture
    def pair(self, scene: Scene) -> tuple[str, str]:
        scene.policy(duplicate_images="refuse")
        return add(scene, "a"), add(scene, "a")

    def test_names_the_other(self, scene: Scene, pair: tuple[str, str]) -> None:
        first, again = pair
        assert seen(scene, again) == {
            "state": "failed",
            "error": f"The listing has this photo already: 0.jpg, photo 1, {first}.",
            "error_code": "duplicate_image",
            "is_retryable": False,
            "duplicate_of": first,
            "position": 1,
        }
        with as_user(scene.conn, scene.owner):
            assert rows(
                scene.conn,
                "select id::text, status, reason_code, can_retry, duplicate_of::text from public.media_tray",
            ) == [(again, "failed", "duplicate_image", False, first)]
            assert rows(scene.conn, "select id::text from public.gallery") == [first]
        assert events(scene.conn, again)[-2:] == ["duplicate_found", "failed"]

    def test_its_variants_go_and_its_job_ends(self, scene: Scene, pair: tuple[str, str]) -> None:
        path = one(scene.conn, "select original_path from public.listing_images where id = %s", pair[1])
        variants = {o for o in objects_of(path) if o[0] == "media"}
        assert removals(scene.conn) == variants
        assert rows(scene.conn, "select from public.image_variants where image_id = %s", pair[1]) == []
        kept = rows(
            scene.conn,
            "select private.referenced_paths('media', %s)",
            [p for _, p in variants],
        )
        assert kept == []
        assert (
            rows(scene.conn, "select state from queue.jobs where actor = 'process_image'")
            == ["succeeded"] * 2
        )

    def test_can_be_retried_once_the_other_is_gone(self, scene: Scene, pair: tuple[str, str]) -> None:
        first, again = pair
        call(scene.conn, scene.owner, "retry_image", again)
        assert seen(scene, again)["duplicate_of"] is None
        assert finish_with(scene.conn, again, "a") == "failed"
        remove(scene, first)
        call(scene.conn, scene.owner, "retry_image", again)
        assert finish_with(scene.conn, again, "a") == "ready"

    def test_a_restored_one(self, scene: Scene, pair: tuple[str, str]) -> None:
        first, again = pair
        remove(scene, first)
        call(scene.conn, scene.owner, "retry_image", again)
        finish_with(scene.conn, again, "a")
        with refused("duplicate_image", 409) as info:
            call(scene.conn, scene.owner, "restore_image", first)
        assert again in str(info.value.diag.message_primary)
        scene.policy(duplicate_images="flag")
        restored = call(scene.conn, scene.owner, "restore_image", first)
        assert str(restored["duplicate_of"]) == again

    def test_a_replacement(self, scene: Scene, pair: tuple[str, str]) -> None:
        first, _ = pair
        other = add(scene, "b")
        new = replacement(scene, other, "a")
        assert seen(scene, new)["error_code"] == "duplicate_image"
        assert seen(scene, other)["position"] == 2
        # The same bytes as what it replaces are no second copy.
        assert seen(scene, replacement(scene, first, "a"))["position"] == 0


class TestWhatCounts:
    @pytest.fixture
    def first(self, scene: Scene) -> str:
        return add(scene, "a")

    def test_not_another_listing_or_seller(self, scene: Scene, first: str) -> None:
        second = new_listing(scene.conn, scene.owner)
        (elsewhere,) = upload(scene.conn, scene.owner, second)
        (theirs,) = upload(scene.conn, scene.other, scene.theirs)
        for image in (elsewhere, theirs):
            finish_with(scene.conn, image, "a")
        assert rows(scene.conn, "select id from public.listing_images where duplicate_of is not null") == []

    def test_not_a_removed_one(self, scene: Scene, first: str) -> None:
        remove(scene, first)
        assert seen(scene, add(scene, "a"))["duplicate_of"] is None

    def test_not_a_replaced_one(self, scene: Scene, first: str) -> None:
        replacement(scene, first, "b")
        assert seen(scene, add(scene, "a"))["duplicate_of"] is None

    def test_not_one_that_is_removed_itself(self, scene: Scene, first: str) -> None:
        (image,) = upload(scene.conn, scene.owner, scene.listing)
        job, token = lease(scene.conn, image)
        work = one(scene.conn, "select private.begin_image(%s, %s, %s)", image, job, token)
        remove(scene, image)
        done = result(work, sha256="a" * 64)
        one(scene.conn, "select private.finish_image(%s, %s, %s, %s)", image, job, token, Jsonb(done))
        assert seen(scene, image)["duplicate_of"] is None
        # It counts again once it is back.
        assert str(call(scene.conn, scene.owner, "restore_image", image)["duplicate_of"]) == first

    def test_one_that_waits_to_replace_another(self, scene: Scene, first: str) -> None:
        scene.policy(photo_review_enabled=True)
        waiting = replacement(scene, first, "b")
        assert seen(scene, waiting)["position"] is None
        assert seen(scene, add(scene, "b"))["duplicate_of"] == waiting

    def test_a_label_and_a_rejected_one(self, scene: Scene, first: str) -> None:
        call(scene.conn, scene.owner, "set_label", first, True)
        assert seen(scene, add(scene, "a"))["duplicate_of"] == first
        rejected = add(scene, "c")
        scene.conn.execute(
            "update public.listing_images set review_state = 'rejected' where id = %s", [rejected]
        )
        assert seen(scene, add(scene, "c"))["duplicate_of"] == rejected

    def test_the_remark_ends_with_the_row_it_names(self, scene: Scene, first: str) -> None:
        again = add(scene, "a")
        with as_user(scene.conn, scene.owner):
            scene.conn.execute("delete from public.listing_images where id = %s", [first])
        assert seen(scene, again)["duplicate_of"] is None
        assert order(scene.conn, scene.listing) == [again]
