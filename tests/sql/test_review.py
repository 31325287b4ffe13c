"""The review of photos and the withdrawal of renderings: who orders which work, and what becomes of the rows."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.conftest import FreshDatabase
from tests.sql.scene import (
    ROLES,
    Conn,
    Scene,
    call,
    events,
    file,
    finish,
    new_listing,
    one,
    order,
    ready,
    refused,
    rows,
    state,
    store,
    upload,
)
from tests.support.roles import as_anon, as_role, as_user

Lease = tuple[int, UUID]


def waiting(conn: Conn, actor: str) -> list[str]:
    """Images that wait for this work, in the order in which they would be claimed."""
    return rows(
        conn,
        "select args ->> 'image_id' from queue.jobs where actor = %s and state = 'ready'"
        " order by priority, tag, id",
        actor,
    )


def lease_of(conn: Conn, actor: str, image: Any = None) -> Lease:
    """Claim the newest waiting job of this actor (and image) the short way."""
    row = conn.execute(
        "update queue.jobs set state = 'running', lease_token = gen_random_uuid(), attempts = attempts + 1,"
        " started_at = now(), leased_until = now() + interval '1 minute'"
        " where id = (select max(id) from queue.jobs where actor = %s and state = 'ready'"
        " and (%s::text is null or args ->> 'image_id' = %s)) returning id, lease_token",
        [actor, image, image],
    ).fetchone()
    assert row is not None, f"no {actor} waits"
    return row[0], row[1]


def begin(conn: Conn, image: Any, job: int, token: Any) -> Any:
    with as_role(conn, "service_role"):
        return one(conn, "select private.begin_review(%s, %s, %s)", image, job, token)


def judge(conn: Conn, image: Any, verdict: str, reason: str = "") -> Any:
    """Review an image as a worker would; None when there is nothing to do."""
    job, token = lease_of(conn, "review_image", image)
    if begin(conn, image, job, token) is None:
        conn.execute("select queue.complete(%s, %s)", [job, token])
        return None
    with as_role(conn, "service_role"):
        return one(
            conn,
            "select private.finish_review(%s, %s, %s, %s, %s, 'gemini')",
            image,
            job,
            token,
            verdict,
            reason,
        )


def go_round(conn: Conn, batch: int = 200) -> int:
    """All pages of the round that a changed policy has ordered; answers how many."""
    pages = 0
    while rows(conn, "select id from queue.jobs where actor = 'queue_reviews' and state = 'ready'"):
        job, token = lease_of(conn, "queue_reviews")
        after = one(conn, "select args ->> 'after_id' from queue.jobs where id = %s", job)
        with as_role(conn, "service_role"):
            one(conn, "select private.queue_reviews(%s, %s, %s, %s)", after, job, token, batch)
        pages += 1
    return pages


def withdraw(conn: Conn) -> None:
    """What remove_objects does with the objects of bucket media that wait for it."""
    for job, paths in conn.execute(
        "select id, array(select jsonb_array_elements_text(args -> 'paths')) from queue.jobs"
        " where actor = 'remove_objects' and state = 'ready' and args ->> 'bucket' = 'media' order by id"
    ).fetchall():
        with as_role(conn, "service_role"):
            kept = rows(conn, "select private.referenced_paths('media', %s)", paths)
        remove(conn, [path for path in paths if path not in kept])
        with as_role(conn, "service_role"):
            conn.execute("select private.settle_removal('media', %s)", [paths])
        conn.execute("update queue.jobs set state = 'succeeded', finished_at = now() where id = %s", [job])


def remove(conn: Conn, paths: list[str]) -> None:
    """Storage removes objects: it sets what lifts its guard."""
    conn.execute("select set_config('storage.allow_delete_query', 'true', true)")
    conn.execute("delete from storage.objects where bucket_id = 'media' and name = any(%s)", [paths])


def renderings(conn: Conn, image: Any) -> tuple[int, int]:
    """How many variants the ledger has, and how many objects Storage has."""
    return (
        one(conn, "select count(*) from public.image_variants where image_id = %s", image),
        one(
            conn,
            "select count(*) from storage.objects where bucket_id = 'media' and name like %s",
            f"%/{image}/%",
        ),
    )


def review_state(conn: Conn, image: Any) -> str:
    return str(one(conn, "select review_state from public.listing_images where id = %s", image))


def gallery(conn: Conn, owner: UUID) -> list[str]:
    with as_user(conn, owner):
        return rows(conn, "select id::text from public.gallery order by listing_id, position")


def tray(scene: Scene) -> list[Any]:
    with as_user(scene.conn, scene.owner):
        return rows(
            scene.conn, "select id::text, status, reason, can_retry from public.media_tray order by position"
        )


@pytest.fixture
def reviewed(scene: Scene) -> Scene:
    scene.policy(photo_review_enabled=True, photo_review_provider="gemini")
    scene.conn.execute("delete from queue.jobs")
    return scene


class TestOrders:
    def test_ready_photo_waits_for_its_review(self, reviewed: Scene) -> None:
        (a,) = ready(reviewed.conn, reviewed.owner, reviewed.listing)
        assert review_state(reviewed.conn, a) == "pending"
        assert waiting(reviewed.conn, "review_image") == [a]
        assert events(reviewed.conn, a)[-2:] == ["processed", "review_requested"]
        assert tray(reviewed) == [(a, "awaiting_review", "Waiting for its review.", False)]

    def test_nothing_is_ordered_while_reviews_are_off(self, scene: Scene) -> None:
        ready(scene.conn, scene.owner, scene.listing)
        assert waiting(scene.conn, "review_image") == []

    def test_whatever_makes_it_pending_orders_it_once(self, scene: Scene) -> None:
        (a,) = ready(scene.conn, scene.owner, scene.listing)
        for _ in range(2):
            scene.conn.execute("update public.listing_images set review_state = 'pending'")
        assert waiting(scene.conn, "review_image") == [a]

    def test_retry_orders_it_again(self, reviewed: Scene) -> None:
        (a,) = ready(reviewed.conn, reviewed.owner, reviewed.listing)
        assert judge(reviewed.conn, a, "error", "No reviewer.") == "error"
        assert tray(reviewed) == [(a, "review_failed", "No reviewer.", True)]
        assert call(reviewed.conn, reviewed.owner, "retry_image", a)["review_state"] == "pending"
        assert judge(reviewed.conn, a, "allowed") == "allowed"
        assert gallery(reviewed.conn, reviewed.owner) == [a]

    def test_rejected_is_final_for_its_owner(self, reviewed: Scene) -> None:
        (a,) = ready(reviewed.conn, reviewed.owner, reviewed.listing)
        judge(reviewed.conn, a, "rejected", "A phone number.")
        with refused("image_not_failed", 409):
            call(reviewed.conn, reviewed.owner, "retry_image", a)

    def test_removed_meanwhile_and_restored(self, reviewed: Scene) -> None:
        (a,) = ready(reviewed.conn, reviewed.owner, reviewed.listing)
        call(reviewed.conn, reviewed.owner, "remove_image", a)
        assert judge(reviewed.conn, a, "allowed") is None
        call(reviewed.conn, reviewed.owner, "restore_image", a)
        assert judge(reviewed.conn, a, "allowed") == "allowed"

    def test_removed_while_reviews_were_off(self, scene: Scene) -> None:
        (a,) = ready(scene.conn, scene.owner, scene.listing)
        call(scene.conn, scene.owner, "remove_image", a)
        scene.policy(photo_review_enabled=True)
        go_round(scene.conn)
        assert waiting(scene.conn, "review_image") == []
        call(scene.conn, scene.owner, "restore_image", a)
        assert waiting(scene.conn, "review_image") == [a]

    def test_a_label_is_shown_to_no_reviewer(self, reviewed: Scene) -> None:
        (a,) = upload(reviewed.conn, reviewed.owner, reviewed.listing)
        call(reviewed.conn, reviewed.owner, "set_label", a, True)
        finish(reviewed.conn, a)
        (b,) = ready(reviewed.conn, reviewed.owner, reviewed.listing)
        call(reviewed.conn, reviewed.owner, "set_label", a, False)
        call(reviewed.conn, reviewed.owner, "set_label", b, True)
        assert judge(reviewed.conn, b, "allowed") is None
        assert review_state(reviewed.conn, b) == "not_required"


class TestVerdict:
    def test_the_worker_gets_the_preview(self, reviewed: Scene) -> None:
        (a,) = ready(reviewed.conn, reviewed.owner, reviewed.listing)
        job, token = lease_of(reviewed.conn, "review_image", a)
        assert begin(reviewed.conn, a, job, token) == {
            "image_id": a,
            "owner_id": str(reviewed.owner),
            "listing_id": str(reviewed.listing),
            "bucket": "media",
            "path": f"{reviewed.owner}/{reviewed.listing}/{a}/preview.webp",
            "byte_size": 100,
            "provider": "gemini",
        }

    def test_allowed(self, reviewed: Scene) -> None:
        (a,) = ready(reviewed.conn, reviewed.owner, reviewed.listing)
        assert gallery(reviewed.conn, reviewed.owner) == []
        assert judge(reviewed.conn, a, "allowed") == "allowed"
        assert gallery(reviewed.conn, reviewed.owner) == [a]
        assert tray(reviewed) == []
        told = one(
            reviewed.conn,
            "select data from public.image_events where image_id = %s and event = 'reviewed'",
            a,
        )
        assert told == {"review_state": "allowed", "provider": "gemini"}
        assert one(
            reviewed.conn,
            "select state from queue.jobs where actor = 'review_image'",
        ) == ("succeeded")

    def test_rejected_tells_its_owner_only(self, reviewed: Scene) -> None:
        a, b = ready(reviewed.conn, reviewed.owner, reviewed.listing, 2)
        judge(reviewed.conn, a, "rejected", "A phone number.")
        judge(reviewed.conn, b, "allowed")
        call(reviewed.conn, reviewed.owner, "publish_listing", reviewed.listing)
        assert tray(reviewed) == [(a, "rejected", "A phone number.", False)]
        with as_user(reviewed.conn, reviewed.other):
            for relation in ("media_tray", "listing_images", "image_events"):
                assert rows(reviewed.conn, f"select from public.{relation}") == []
            assert rows(reviewed.conn, "select from public.listing_history(%s)", reviewed.listing) == []
            shown = rows(reviewed.conn, "select to_jsonb(g)::text from public.gallery as g")
        with as_anon(reviewed.conn):
            shown += rows(reviewed.conn, "select to_jsonb(g)::text from public.gallery as g")
            shown += rows(reviewed.conn, "select to_jsonb(c)::text from public.listing_covers as c")
        assert len(shown) == 3
        assert not [text for text in shown if a in text or "phone" in text or "review_" in text]

    def test_given_up_attempt_writes_nothing(self, reviewed: Scene) -> None:
        (a,) = ready(reviewed.conn, reviewed.owner, reviewed.listing)
        job, _ = lease_of(reviewed.conn, "review_image", a)
        with pytest.raises(psycopg.Error) as info, reviewed.conn.transaction():
            reviewed.conn.execute(
                "select private.finish_review(%s, %s, %s, 'allowed', '', 'gemini')", [a, job, uuid4()]
            )
        assert info.value.sqlstate == "IL001"
        assert review_state(reviewed.conn, a) == "pending"

    def test_deleted_meanwhile(self, reviewed: Scene) -> None:
        (a,) = ready(reviewed.conn, reviewed.owner, reviewed.listing)
        job, token = lease_of(reviewed.conn, "review_image", a)
        begin(reviewed.conn, a, job, token)
        reviewed.conn.execute("delete from public.listing_images where id = %s", [a])
        done = one(
            reviewed.conn,
            "select private.finish_review(%s, %s, %s, 'allowed', '', 'gemini')",
            a,
            job,
            token,
        )
        assert done == "gone"

    def test_removed_meanwhile_keeps_the_verdict(self, reviewed: Scene) -> None:
        (a,) = ready(reviewed.conn, reviewed.owner, reviewed.listing)
        job, token = lease_of(reviewed.conn, "review_image", a)
        begin(reviewed.conn, a, job, token)
        call(reviewed.conn, reviewed.owner, "remove_image", a)
        reviewed.conn.execute(
            "select private.finish_review(%s, %s, %s, 'allowed', '', 'gemini')", [a, job, token]
        )
        assert gallery(reviewed.conn, reviewed.owner) == []
        call(reviewed.conn, reviewed.owner, "restore_image", a)
        assert gallery(reviewed.conn, reviewed.owner) == [a]

    def test_dead_job_leaves_a_row_that_can_be_retried(self, reviewed: Scene) -> None:
        (a,) = ready(reviewed.conn, reviewed.owner, reviewed.listing)
        job, token = lease_of(reviewed.conn, "review_image", a)
        reviewed.conn.execute("select queue.fail(%s, %s, 'secret of operators', false)", [job, token])
        (row,) = tray(reviewed)
        assert row[1] == "review_failed"
        assert row[3] is True
        assert "secret" not in row[2]


class TestReplacement:
    def replace(self, scene: Scene, image: str) -> str:
        with as_user(scene.conn, scene.owner):
            place = one(scene.conn, "select public.reserve_replacement(%s, %s)", image, Jsonb(file()))
        store(scene.conn, place["path"], scene.owner)
        finish(scene.conn, place["image_id"])
        return str(place["image_id"])

    def test_takes_its_place_when_it_is_allowed(self, scene: Scene) -> None:
        (a,) = ready(scene.conn, scene.owner, scene.listing)
        scene.conn.execute("update public.listing_images set review_state = 'allowed'")
        scene.policy(photo_review_enabled=True)
        b = self.replace(scene, a)
        assert gallery(scene.conn, scene.owner) == [a]
        judge(scene.conn, b, "allowed")
        assert gallery(scene.conn, scene.owner) == [b]

    def test_rejected_leaves_the_old_one(self, scene: Scene) -> None:
        (a,) = ready(scene.conn, scene.owner, scene.listing)
        scene.conn.execute("update public.listing_images set review_state = 'allowed'")
        scene.policy(photo_review_enabled=True)
        b = self.replace(scene, a)
        judge(scene.conn, b, "rejected", "Blurred.")
        assert gallery(scene.conn, scene.owner) == [a]
        assert tray(scene) == [(b, "rejected", "Blurred.", False)]

    def test_waiting_ones_take_their_place_when_reviews_end(self, scene: Scene) -> None:
        (a,) = ready(scene.conn, scene.owner, scene.listing)
        scene.policy(photo_review_enabled=True)
        b = self.replace(scene, a)
        scene.policy(photo_review_enabled=False)
        go_round(scene.conn)
        assert gallery(scene.conn, scene.owner) == [b]

    def test_a_rejected_one_is_rendered_before_it_takes_the_place(self, scene: Scene) -> None:
        """At no moment is there a photo in the gallery that has no bytes."""
        (a,) = ready(scene.conn, scene.owner, scene.listing)
        scene.conn.execute("update public.listing_images set review_state = 'allowed'")
        scene.policy(photo_review_enabled=True)
        b = self.replace(scene, a)
        judge(scene.conn, b, "rejected", "Blurred.")
        withdraw(scene.conn)
        assert renderings(scene.conn, b) == (0, 0)
        scene.policy(photo_review_enabled=False)
        assert not one(scene.conn, "select private.cut_over(%s)", b)
        assert gallery(scene.conn, scene.owner) == [a]
        go_round(scene.conn)
        assert gallery(scene.conn, scene.owner) == [a]
        assert finish(scene.conn, b) == "ready"
        assert gallery(scene.conn, scene.owner) == [b]

    def test_of_a_label_is_neither_rendered_nor_reviewed(self, reviewed: Scene) -> None:
        (a,) = ready(reviewed.conn, reviewed.owner, reviewed.listing)
        call(reviewed.conn, reviewed.owner, "set_label", a, True)
        reviewed.conn.execute("delete from queue.jobs where actor = 'review_image'")
        b = self.replace(reviewed, a)
        assert order(reviewed.conn, reviewed.listing) == [b]
        assert renderings(reviewed.conn, b) == (0, 0)
        assert waiting(reviewed.conn, "review_image") == []
        with as_user(reviewed.conn, reviewed.owner):
            assert rows(reviewed.conn, "select id::text from public.label_images") == [b]


class TestSwitch:
    def test_on_closes_the_gate_and_queues_what_was_never_judged(self, scene: Scene) -> None:
        images = ready(scene.conn, scene.owner, scene.listing, 7)
        (theirs,) = ready(scene.conn, scene.other, scene.theirs)
        call(scene.conn, scene.owner, "set_label", images[6], True)
        scene.conn.execute(
            "update public.listing_images set review_state = 'allowed' where id = any(%s)", [images[:2]]
        )
        scene.conn.execute(
            "update public.listing_images set review_state = 'error' where id = any(%s)", [images[2:3]]
        )
        upload(scene.conn, scene.owner, scene.listing)
        scene.policy(photo_review_enabled=True)
        assert gallery(scene.conn, scene.owner) == images[:2]
        assert waiting(scene.conn, "review_image") == [], "the switch itself only orders the round"
        assert go_round(scene.conn, batch=3) == 4
        assert set(waiting(scene.conn, "review_image")) == {*images[2:6], theirs}
        assert set(rows(scene.conn, "select distinct review_state from public.listing_images")) == {
            "allowed",
            "pending",
            "not_required",
        }

    def test_new_photos_go_before_the_backlog(self, scene: Scene) -> None:
        ready(scene.conn, scene.owner, scene.listing, 3)
        scene.policy(photo_review_enabled=True)
        go_round(scene.conn)
        (fresh,) = ready(scene.conn, scene.other, scene.theirs)
        assert waiting(scene.conn, "review_image")[0] == fresh

    def test_off_opens_the_gate_at_once(self, reviewed: Scene) -> None:
        a, b = ready(reviewed.conn, reviewed.owner, reviewed.listing, 2)
        judge(reviewed.conn, a, "error", "Out of order.")
        reviewed.policy(photo_review_enabled=False)
        assert gallery(reviewed.conn, reviewed.owner) == [a, b]
        assert tray(reviewed) == []
        go_round(reviewed.conn)
        assert judge(reviewed.conn, b, "allowed") is None
        assert review_state(reviewed.conn, b) == "not_required"

    def test_another_provider_gets_what_the_first_could_not_do(self, reviewed: Scene) -> None:
        reviewed.policy(photo_review_provider="disabled")
        (a,) = ready(reviewed.conn, reviewed.owner, reviewed.listing)
        judge(reviewed.conn, a, "error", "No reviewer.")
        reviewed.policy(photo_review_provider="gemini")
        go_round(reviewed.conn)
        assert waiting(reviewed.conn, "review_image") == [a]

    def test_other_limits_order_nothing(self, scene: Scene) -> None:
        scene.policy(tags_max=3, photo_review_provider="gemini")
        assert go_round(scene.conn) == 0

    def test_a_round_that_was_overtaken_ends(self, scene: Scene) -> None:
        ready(scene.conn, scene.owner, scene.listing, 4)
        scene.policy(photo_review_enabled=True)
        job, token = lease_of(scene.conn, "queue_reviews")
        scene.policy(photo_review_enabled=False)
        scene.conn.execute("select private.queue_reviews(null, %s, %s, 2)", [job, token])
        assert rows(
            scene.conn,
            "select args ->> 'after_id' from queue.jobs where actor = 'queue_reviews' and state = 'ready'",
        ) == [None]

    def test_round_of_an_attempt_that_was_given_up(self, scene: Scene) -> None:
        ready(scene.conn, scene.owner, scene.listing)
        scene.policy(photo_review_enabled=True)
        job, _ = lease_of(scene.conn, "queue_reviews")
        with pytest.raises(psycopg.Error) as info, scene.conn.transaction():
            scene.conn.execute("select private.queue_reviews(null, %s, %s)", [job, uuid4()])
        assert info.value.sqlstate == "IL001"
        assert waiting(scene.conn, "review_image") == []


class TestWithdrawal:
    def test_label_loses_its_renderings_and_gets_them_back(self, scene: Scene) -> None:
        (a,) = ready(scene.conn, scene.owner, scene.listing)
        call(scene.conn, scene.owner, "set_label", a, True)
        withdraw(scene.conn)
        assert renderings(scene.conn, a) == (0, 0)
        assert state(scene.conn, a) == "ready"
        assert tray(scene) == []
        assert call(scene.conn, scene.owner, "set_label", a, False)["state"] == "uploaded"
        assert tray(scene) == [(a, "uploaded", "Being prepared for buyers again.", False)]
        assert gallery(scene.conn, scene.owner) == []
        assert finish(scene.conn, a) == "ready"
        assert renderings(scene.conn, a) == (5, 5)
        assert gallery(scene.conn, scene.owner) == [a]
        assert events(scene.conn, a)[-4:] == ["labelled", "withdrawn", "unlabelled", "processed"]

    def test_original_stays_its_owners(self, scene: Scene) -> None:
        (a,) = ready(scene.conn, scene.owner, scene.listing)
        call(scene.conn, scene.owner, "set_label", a, True)
        withdraw(scene.conn)
        with as_user(scene.conn, scene.owner):
            path = one(scene.conn, "select original_path from public.label_images")
            assert rows(scene.conn, "select name from storage.objects") == [path]

    def test_back_and_forth_before_the_removal_costs_nothing(self, scene: Scene) -> None:
        (a,) = ready(scene.conn, scene.owner, scene.listing)
        for _ in range(3):
            call(scene.conn, scene.owner, "set_label", a, True)
            call(scene.conn, scene.owner, "set_label", a, False)
        withdraw(scene.conn)
        assert renderings(scene.conn, a) == (5, 5)
        assert gallery(scene.conn, scene.owner) == [a]

    def test_back_between_the_look_and_the_removal(self, scene: Scene) -> None:
        """The removal asked, the label went, then the objects did: the two meet when the removal settles."""
        (a,) = ready(scene.conn, scene.owner, scene.listing)
        call(scene.conn, scene.owner, "set_label", a, True)
        paths = rows(scene.conn, "select path from public.image_variants where image_id = %s", a)
        assert rows(scene.conn, "select private.referenced_paths('media', %s)", paths) == []
        assert call(scene.conn, scene.owner, "set_label", a, False)["state"] == "ready"
        remove(scene.conn, paths)
        assert one(scene.conn, "select private.settle_removal('media', %s)", paths) == 1
        assert one(scene.conn, "select private.settle_removal('media', %s)", paths) == 0
        assert gallery(scene.conn, scene.owner) == []
        finish(scene.conn, a)
        assert renderings(scene.conn, a) == (5, 5)
        assert gallery(scene.conn, scene.owner) == [a]

    def test_back_between_the_removal_and_its_settlement(self, scene: Scene) -> None:
        (a,) = ready(scene.conn, scene.owner, scene.listing)
        call(scene.conn, scene.owner, "set_label", a, True)
        paths = rows(scene.conn, "select path from public.image_variants where image_id = %s", a)
        remove(scene.conn, paths)
        assert call(scene.conn, scene.owner, "set_label", a, False)["state"] == "uploaded"
        assert one(scene.conn, "select private.settle_removal('media', %s)", paths) == 1
        finish(scene.conn, a)
        assert renderings(scene.conn, a) == (5, 5)

    def test_removed_between_the_removal_and_its_settlement(self, scene: Scene) -> None:
        """No job renders it before it is restored, so the rows of what is gone must not stay."""
        (a,) = ready(scene.conn, scene.owner, scene.listing)
        call(scene.conn, scene.owner, "set_label", a, True)
        paths = rows(scene.conn, "select path from public.image_variants where image_id = %s", a)
        remove(scene.conn, paths)
        call(scene.conn, scene.owner, "set_label", a, False)
        call(scene.conn, scene.owner, "remove_image", a)
        assert finish(scene.conn, a) == "nothing to do"
        assert one(scene.conn, "select private.settle_removal('media', %s)", paths) == 1
        assert renderings(scene.conn, a) == (0, 0)
        call(scene.conn, scene.owner, "restore_image", a)
        finish(scene.conn, a)
        assert gallery(scene.conn, scene.owner) == [a]

    def test_label_again_while_it_is_rendered_again(self, scene: Scene) -> None:
        (a,) = ready(scene.conn, scene.owner, scene.listing)
        call(scene.conn, scene.owner, "set_label", a, True)
        withdraw(scene.conn)
        call(scene.conn, scene.owner, "set_label", a, False)
        job, token = lease_of(scene.conn, "process_image", a)
        work = one(scene.conn, "select private.begin_image(%s, %s, %s)", a, job, token)
        path = f"{scene.owner}/{scene.listing}/{a}/card.webp"
        store(scene.conn, path, bucket="media")
        call(scene.conn, scene.owner, "set_label", a, True)
        withdraw(scene.conn)
        assert renderings(scene.conn, a) == (0, 0), "also what was rendered so far"
        store(scene.conn, path, bucket="media")
        assert self.end(scene, a, job, token, work) == "ready"
        withdraw(scene.conn)
        assert renderings(scene.conn, a) == (0, 0)

    @pytest.mark.parametrize("before", [True, False], ids=["again", "for-the-first-time"])
    def test_label_for_a_moment_while_it_is_rendered(self, scene: Scene, before: bool) -> None:
        """What was stored by then is gone: rows of it would show a photo that nobody can load."""
        (a,) = upload(scene.conn, scene.owner, scene.listing)
        if before:
            finish(scene.conn, a)
            call(scene.conn, scene.owner, "set_label", a, True)
            withdraw(scene.conn)
            call(scene.conn, scene.owner, "set_label", a, False)
        job, token = lease_of(scene.conn, "process_image", a)
        work = one(scene.conn, "select private.begin_image(%s, %s, %s)", a, job, token)
        folder = f"{scene.owner}/{scene.listing}/{a}"
        for role in ROLES[2:]:
            store(scene.conn, f"{folder}/{role}.webp", bucket="media")
        call(scene.conn, scene.owner, "set_label", a, True)
        withdraw(scene.conn)
        call(scene.conn, scene.owner, "set_label", a, False)
        for role in ROLES[:2]:
            store(scene.conn, f"{folder}/{role}.webp", bucket="media")
        assert self.end(scene, a, job, token, work) == "again"
        assert gallery(scene.conn, scene.owner) == []
        assert finish(scene.conn, a) == "ready"
        assert renderings(scene.conn, a) == (5, 5)
        assert gallery(scene.conn, scene.owner) == [a]

    @staticmethod
    def end(scene: Scene, image: str, job: int, token: UUID, work: Any, **more: Any) -> Any:
        from tests.sql.scene import result  # noqa: PLC0415

        done = result(work, **more)
        return one(scene.conn, "select private.finish_image(%s, %s, %s, %s)", image, job, token, Jsonb(done))

    def test_uploaded_as_label_is_measured_and_never_rendered(self, scene: Scene) -> None:
        (a,) = upload(scene.conn, scene.owner, scene.listing, is_label=True)
        job, token = lease_of(scene.conn, "process_image", a)
        work = one(scene.conn, "select private.begin_image(%s, %s, %s)", a, job, token)
        assert (work["as_label"], work["variants"]) == (True, [])
        assert self.end(scene, a, job, token, work, as_label=True) == "ready"
        assert renderings(scene.conn, a) == (0, 0)
        call(scene.conn, scene.owner, "set_label", a, False)
        finish(scene.conn, a)
        assert gallery(scene.conn, scene.owner) == [a]

    def test_no_label_any_more_when_it_was_measured(self, scene: Scene) -> None:
        (a,) = upload(scene.conn, scene.owner, scene.listing, is_label=True)
        job, token = lease_of(scene.conn, "process_image", a)
        work = one(scene.conn, "select private.begin_image(%s, %s, %s)", a, job, token)
        call(scene.conn, scene.owner, "set_label", a, False)
        assert self.end(scene, a, job, token, work, as_label=True) == "again"
        assert finish(scene.conn, a) == "ready"
        assert renderings(scene.conn, a) == (5, 5)

    def test_first_time_it_was_ready_stays(self, scene: Scene) -> None:
        (a,) = ready(scene.conn, scene.owner, scene.listing)
        first = one(scene.conn, "select ready_at from public.listing_images")
        call(scene.conn, scene.owner, "set_label", a, True)
        withdraw(scene.conn)
        call(scene.conn, scene.owner, "set_label", a, False)
        finish(scene.conn, a)
        assert one(scene.conn, "select ready_at from public.listing_images") == first

    def test_rejected_photo_loses_its_renderings(self, reviewed: Scene) -> None:
        (a,) = ready(reviewed.conn, reviewed.owner, reviewed.listing)
        judge(reviewed.conn, a, "rejected", "A phone number.")
        withdraw(reviewed.conn)
        assert renderings(reviewed.conn, a) == (0, 0)
        assert tray(reviewed) == [(a, "rejected", "A phone number.", False)]

    def test_rejected_after_it_was_removed(self, reviewed: Scene) -> None:
        (a,) = ready(reviewed.conn, reviewed.owner, reviewed.listing)
        job, token = lease_of(reviewed.conn, "review_image", a)
        begin(reviewed.conn, a, job, token)
        call(reviewed.conn, reviewed.owner, "remove_image", a)
        with as_role(reviewed.conn, "service_role"):
            one(
                reviewed.conn,
                "select private.finish_review(%s, %s, %s, 'rejected', 'A phone number.', 'gemini')",
                a,
                job,
                token,
            )
        withdraw(reviewed.conn)
        assert renderings(reviewed.conn, a) == (0, 0)
        waiting = "select count(*) from queue.jobs where actor = 'remove_objects' and state = 'ready'"
        assert one(reviewed.conn, waiting) == 0, "its own settlement orders no other"
        call(reviewed.conn, reviewed.owner, "restore_image", a)
        assert tray(reviewed) == [(a, "rejected", "A phone number.", False)]

    def test_rejected_and_removed_while_reviews_did_not_count(self, reviewed: Scene) -> None:
        (a,) = ready(reviewed.conn, reviewed.owner, reviewed.listing)
        judge(reviewed.conn, a, "rejected", "A phone number.")
        reviewed.policy(photo_review_enabled=False)
        withdraw(reviewed.conn)
        assert renderings(reviewed.conn, a) == (5, 5)
        call(reviewed.conn, reviewed.owner, "remove_image", a)
        reviewed.policy(photo_review_enabled=True)
        go_round(reviewed.conn)
        withdraw(reviewed.conn)
        assert renderings(reviewed.conn, a) == (0, 0)

    def test_rejected_photo_is_rendered_again_when_reviews_end(self, reviewed: Scene) -> None:
        (a,) = ready(reviewed.conn, reviewed.owner, reviewed.listing)
        judge(reviewed.conn, a, "rejected", "A phone number.")
        withdraw(reviewed.conn)
        reviewed.policy(photo_review_enabled=False)
        assert gallery(reviewed.conn, reviewed.owner) == [], "no dead pictures"
        go_round(reviewed.conn)
        finish(reviewed.conn, a)
        assert gallery(reviewed.conn, reviewed.owner) == [a]
        reviewed.policy(photo_review_enabled=True)
        assert gallery(reviewed.conn, reviewed.owner) == []
        go_round(reviewed.conn)
        withdraw(reviewed.conn)
        assert renderings(reviewed.conn, a) == (0, 0)

    def test_allowed_stays_allowed_through_a_time_as_label(self, reviewed: Scene) -> None:
        (a,) = ready(reviewed.conn, reviewed.owner, reviewed.listing)
        judge(reviewed.conn, a, "allowed")
        call(reviewed.conn, reviewed.owner, "set_label", a, True)
        withdraw(reviewed.conn)
        call(reviewed.conn, reviewed.owner, "set_label", a, False)
        finish(reviewed.conn, a)
        assert gallery(reviewed.conn, reviewed.owner) == [a]
        assert waiting(reviewed.conn, "review_image") == []

    def test_replaced_label(self, scene: Scene) -> None:
        """A replacement that was rendered as a photo and becomes the label by taking its place."""
        (a,) = ready(scene.conn, scene.owner, scene.listing)
        b = TestReplacement().replace(scene, a)
        call(scene.conn, scene.owner, "set_label", b, True)
        c = TestReplacement().replace(scene, b)
        withdraw(scene.conn)
        assert order(scene.conn, scene.listing) == [c]
        assert renderings(scene.conn, b) == renderings(scene.conn, c) == (0, 0)

    def test_removed_label_comes_back_as_label(self, scene: Scene) -> None:
        (a,) = ready(scene.conn, scene.owner, scene.listing)
        call(scene.conn, scene.owner, "set_label", a, True)
        call(scene.conn, scene.owner, "remove_image", a)
        withdraw(scene.conn)
        call(scene.conn, scene.owner, "restore_image", a)
        assert (state(scene.conn, a), renderings(scene.conn, a)) == ("ready", (0, 0))


def test_embedded_gallery_and_cover(scene: Scene) -> None:
    a, b = ready(scene.conn, scene.owner, scene.listing, 2)
    call(scene.conn, scene.owner, "publish_listing", scene.listing)
    call(scene.conn, scene.owner, "set_label", a, True)
    query = "from public.listings as l cross join lateral public.{}(l) as x"
    scene.conn.execute("set local enable_seqscan = off")
    with as_anon(scene.conn):
        assert rows(scene.conn, "select x.id::text " + query.format("gallery")) == [b]
        assert rows(scene.conn, "select x.image_id::text " + query.format("cover")) == [b]
        for name in ("gallery", "cover"):
            plan = "\n".join(rows(scene.conn, "explain select * " + query.format(name)))
            assert "Function Scan" not in plan, "inlined"
    assert len(ROLES) == 5


def test_race_for_the_label(fresh_db: FreshDatabase) -> None:
    """Ten photos at the same time want to be the label: one is."""
    import threading  # noqa: PLC0415

    with fresh_db.connect(autocommit=True) as conn:
        scene = Scene(conn)
        images = upload(conn, scene.owner, scene.listing, 10)
        outcomes: list[str] = []

        def want(image: str) -> None:
            with fresh_db.connect(autocommit=True) as mine:
                try:
                    call(mine, scene.owner, "set_label", image, True)
                    outcomes.append("label")
                except psycopg.Error as error:
                    outcomes.append(error.diag.message_detail or str(error))

        threads = [threading.Thread(target=want, args=(image,)) for image in images]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == ["label", *["label_exists"] * 9]
        assert one(conn, "select count(*) from public.listing_images where is_label") == 1


def test_second_label_is_refused_by_the_table(scene: Scene) -> None:
    upload(scene.conn, scene.owner, scene.listing, 2)
    with pytest.raises(psycopg.errors.ExclusionViolation) as info, scene.conn.transaction():
        scene.conn.execute("update public.listing_images set is_label = true")
    assert info.value.diag.constraint_name == "label_is_unique_per_listing"


def test_labels_of_two_listings_do_not_meet(scene: Scene) -> None:
    (a,) = upload(scene.conn, scene.owner, scene.listing)
    (b,) = upload(scene.conn, scene.owner, new_listing(scene.conn, scene.owner))
    for image in (a, b):
        assert call(scene.conn, scene.owner, "set_label", image, True)["is_label"]
