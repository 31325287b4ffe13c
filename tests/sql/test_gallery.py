"""The gate and what is seen through it: gallery, covers, labels, tray, publishing, the media bucket."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import psycopg
import pytest

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
    ready,
    refused,
    reserve,
    rows,
    upload,
)
from tests.support.roles import as_anon, as_user


def seen(conn: Conn, who: Any) -> tuple[list[str], int]:
    """The gallery and the number of objects in bucket media, as this caller."""
    with who:
        gallery = rows(conn, "select id::text from public.gallery order by listing_id, position")
        objects = one(conn, "select count(*) from storage.objects where bucket_id = 'media'")
    return gallery, objects


def publish(scene: Scene) -> Any:
    with as_user(scene.conn, scene.owner):
        return one(scene.conn, "select public.publish_listing(%s)", scene.listing)


class TestWhoSees:
    def test_a_draft_is_its_owners(self, scene: Scene) -> None:
        images = ready(scene.conn, scene.owner, scene.listing, 2)
        assert seen(scene.conn, as_user(scene.conn, scene.owner)) == (images, 10)
        assert seen(scene.conn, as_user(scene.conn, scene.other)) == ([], 0)
        assert seen(scene.conn, as_anon(scene.conn)) == ([], 0)

    def test_published_is_everybodys_and_archived_is_not(self, scene: Scene) -> None:
        images = ready(scene.conn, scene.owner, scene.listing, 2)
        assert publish(scene) == {"listing_id": str(scene.listing), "status": "published", "missing": []}
        for who in (as_user(scene.conn, scene.other), as_anon(scene.conn)):
            assert seen(scene.conn, who) == (images, 10)
        with as_anon(scene.conn):
            assert rows(scene.conn, "select title from public.listings") == ["Lamp"]
        with as_user(scene.conn, scene.owner):
            scene.conn.execute("update public.listings set status = 'archived'")
        assert seen(scene.conn, as_anon(scene.conn)) == ([], 0)
        with as_anon(scene.conn):
            assert rows(scene.conn, "select title from public.listings") == []

    def test_others_see_nothing_of_the_ledger_behind_it(self, scene: Scene) -> None:
        ready(scene.conn, scene.owner, scene.listing)
        publish(scene)
        with as_user(scene.conn, scene.other):
            for table in ("listing_images", "image_variants", "image_events", "media_tray", "label_images"):
                assert rows(scene.conn, f"select from public.{table}") == [], table
            names = rows(scene.conn, "select name from storage.objects")
            assert {n.rsplit("/", 1)[1] for n in names} == {f"{role}.webp" for role in ROLES}
        with as_anon(scene.conn):
            for table in (
                "listing_images",
                "image_variants",
                "image_events",
                "profiles",
                "media_tray",
                "label_images",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege), scene.conn.transaction():
                    scene.conn.execute(f"select from public.{table}")  # type: ignore[arg-type]

    def test_columns_say_what_a_page_needs(self, scene: Scene) -> None:
        (image,) = ready(scene.conn, scene.owner, scene.listing, alt_text="A lamp")
        publish(scene)
        with as_anon(scene.conn), scene.conn.cursor(row_factory=psycopg.rows.dict_row) as cursor:
            row = cursor.execute("select * from public.gallery").fetchone()
        assert row is not None
        assert (row["position"], row["alt_text"], row["width"], row["height"]) == (0, "A lamp", 4000, 3000)
        assert row["variants"]["card"] == {
            "path": f"{scene.owner}/{scene.listing}/{image}/card.webp",
            "width": 40,
            "height": 30,
            "byte_size": 100,
        }
        assert set(row["variants"]) == set(ROLES)
        assert not {"original_path", "file_name", "sha256", "error", "tags"} & row.keys()


class TestGate:
    """Each reason for which an image does not pass, one at a time, for its owner and for everybody."""

    @pytest.mark.parametrize(
        "change",
        [
            "state = 'processing'",
            "state = 'uploaded'",
            "state = 'failed', error = 'x', error_code = 'x'",
            "is_label = true",
            "position = null, deleted_at = now()",
            "position = null, replaces_id = (select id from public.listing_images where position = 1)",
        ],
    )
    def test_does_not_pass(self, scene: Scene, change: str) -> None:
        hidden, shown = ready(scene.conn, scene.owner, scene.listing, 2)
        publish(scene)
        scene.conn.execute(f"update public.listing_images set {change} where id = %s", [hidden])  # type: ignore[arg-type]
        for who in (as_user(scene.conn, scene.owner), as_user(scene.conn, scene.other), as_anon(scene.conn)):
            assert seen(scene.conn, who) == ([shown], 5)
        with as_anon(scene.conn):
            assert rows(scene.conn, "select image_id::text from public.listing_covers") == [shown]

    def test_review_toggles_at_once(self, scene: Scene) -> None:
        a, b = ready(scene.conn, scene.owner, scene.listing, 2)
        publish(scene)
        scene.policy(photo_review_enabled=True)
        assert seen(scene.conn, as_anon(scene.conn)) == ([], 0)
        scene.conn.execute("update public.listing_images set review_state = 'allowed' where id = %s", [b])
        assert seen(scene.conn, as_anon(scene.conn)) == ([b], 5)
        scene.policy(photo_review_enabled=False)
        assert seen(scene.conn, as_anon(scene.conn)) == ([a, b], 10)

    def test_cover_is_the_first_that_passes(self, scene: Scene) -> None:
        a, b = ready(scene.conn, scene.owner, scene.listing, 2)
        publish(scene)
        with as_anon(scene.conn):
            assert rows(scene.conn, "select image_id::text from public.listing_covers") == [a]
        call(scene.conn, scene.owner, "set_label", a, True)
        with as_anon(scene.conn):
            assert rows(scene.conn, "select image_id::text from public.listing_covers") == [b]


class TestLabel:
    def test_set_and_taken_back(self, scene: Scene) -> None:
        a, b = ready(scene.conn, scene.owner, scene.listing, 2)
        assert call(scene.conn, scene.owner, "set_label", a, True)["is_label"] is True
        assert call(scene.conn, scene.owner, "set_label", a, True)["is_label"] is True
        with refused("label_exists", 409):
            call(scene.conn, scene.owner, "set_label", b, True)
        with as_user(scene.conn, scene.owner):
            assert rows(scene.conn, "select id::text from public.label_images") == [a]
            assert rows(scene.conn, "select from public.media_tray") == []
        assert call(scene.conn, scene.owner, "set_label", a, False)["is_label"] is False
        assert events(scene.conn, a)[-2:] == ["labelled", "unlabelled"]

    def test_neither_true_nor_false(self, scene: Scene) -> None:
        (a,) = upload(scene.conn, scene.owner, scene.listing)
        with refused("is_label_missing", 422):
            call(scene.conn, scene.owner, "set_label", a, None)

    def test_of_a_removed_image(self, scene: Scene) -> None:
        (a,) = upload(scene.conn, scene.owner, scene.listing)
        call(scene.conn, scene.owner, "remove_image", a)
        with refused("image_not_live", 409):
            call(scene.conn, scene.owner, "set_label", a, True)

    def test_of_another(self, scene: Scene) -> None:
        (a,) = upload(scene.conn, scene.owner, scene.listing)
        for image in (a, uuid4()):
            with refused("image_not_found", 404):
                call(scene.conn, scene.other, "set_label", image, True)


class TestPublishing:
    def test_answers_with_what_is_missing(self, scene: Scene) -> None:
        listing = new_listing(scene.conn, scene.owner, title="  ")
        with as_user(scene.conn, scene.owner):
            answer = one(scene.conn, "select public.publish_listing(%s)", listing)
        assert answer == {
            "listing_id": str(listing),
            "status": "draft",
            "missing": ["title", "price", "currency", "photo"],
        }

    def test_a_label_is_no_photo(self, scene: Scene) -> None:
        (a,) = ready(scene.conn, scene.owner, scene.listing)
        call(scene.conn, scene.owner, "set_label", a, True)
        assert publish(scene)["missing"] == ["photo"]

    def test_a_plain_update_is_held_to_the_same(self, scene: Scene) -> None:
        with refused("listing_incomplete", 422), as_user(scene.conn, scene.owner):
            scene.conn.execute(
                "update public.listings set status = 'published' where id = %s", [scene.listing]
            )
        ready(scene.conn, scene.owner, scene.listing)
        with as_user(scene.conn, scene.owner):
            scene.conn.execute(
                "update public.listings set status = 'published' where id = %s", [scene.listing]
            )
        assert publish(scene)["status"] == "published"

    def test_of_another(self, scene: Scene) -> None:
        with as_user(scene.conn, scene.other):
            for listing in (scene.listing, uuid4()):
                with refused("listing_not_found", 404), scene.conn.transaction():
                    scene.conn.execute("select public.publish_listing(%s)", [listing])

    def test_is_history(self, scene: Scene) -> None:
        ready(scene.conn, scene.owner, scene.listing)
        publish(scene)
        with as_user(scene.conn, scene.owner):
            scene.conn.execute("update public.listings set status = 'draft' where id = %s", [scene.listing])
            scene.conn.execute("delete from public.listings where id = %s", [scene.listing])
            told = rows(
                scene.conn,
                "select event from public.listing_history(%s) where image_id is null",
                scene.listing,
            )
        assert told == ["listing_published", "listing_unpublished", "listing_deleted"]


class TestTray:
    def test_every_state_in_words(self, scene: Scene) -> None:
        ready(scene.conn, scene.owner, scene.listing)
        upload(scene.conn, scene.owner, scene.listing, 2)
        reserve(scene.conn, scene.owner, scene.listing, file(), file())
        scene.conn.execute("update public.listing_images set state = 'processing' where position = 2")
        scene.conn.execute("update public.listing_images set upload_expires_at = now() where position = 4")
        with as_user(scene.conn, scene.owner):
            told = rows(
                scene.conn, "select status, reason, can_retry from public.media_tray order by position"
            )
        assert told == [
            ("uploaded", "Uploaded, waiting to be processed.", False),
            ("processing", "Being processed.", False),
            ("awaiting_upload", "Waiting for the upload.", False),
            ("awaiting_upload", "The upload never came.", False),
        ]

    def test_review_that_failed_can_be_tried_again(self, scene: Scene) -> None:
        scene.policy(photo_review_enabled=True)
        (a,) = upload(scene.conn, scene.owner, scene.listing)
        finish(scene.conn, a)
        scene.conn.execute(
            "update public.listing_images set review_state = 'error', review_reason = 'No reviewer.'"
        )
        with as_user(scene.conn, scene.owner):
            assert rows(
                scene.conn, "select status, reason, reason_code, can_retry from public.media_tray"
            ) == [("review_failed", "No reviewer.", "review_error", True)]
        assert call(scene.conn, scene.owner, "retry_image", a)["review_state"] == "pending"


def test_gallery_reads_by_index(scene: Scene) -> None:
    """One page of a listing's photos is index access only, RLS and gate included."""
    ready(scene.conn, scene.owner, scene.listing, 2)
    publish(scene)
    scene.conn.execute("set local enable_seqscan = off")
    for who in (as_anon(scene.conn), as_user(scene.conn, scene.other), as_user(scene.conn, scene.owner)):
        with who:
            plan = "\n".join(
                rows(
                    scene.conn,
                    "explain select * from public.gallery where listing_id = %s order by position",
                    scene.listing,
                )
            )
        assert (
            "position_is_unique_per_listing" in plan
            or "listing_images_owner_id_listing_id_position_idx" in plan
        )
        assert "passes_gate" not in plan  # inlined
        assert "Seq Scan on listing_images" not in plan
        assert "Seq Scan on listings" not in plan


@pytest.mark.parametrize("view", ["gallery", "listing_covers"])
def test_a_callers_function_stays_behind_the_gate(scene: Scene, view: str) -> None:
    """A filter that tells what it sees, and is cheap enough to be asked first."""
    (shown,) = ready(scene.conn, scene.owner, scene.listing)
    publish(scene)
    upload(scene.conn, scene.owner, scene.listing)  # still to be processed
    ready(scene.conn, scene.other, scene.theirs)
    scene.conn.execute(
        "create function public.tell(what uuid) returns boolean language plpgsql cost 0.0000001"
        " as $$ begin raise notice 'saw %', what; return true; end $$"
    )
    scene.conn.execute("grant execute on function public.tell to anon")
    column = {"gallery": "id", "listing_covers": "image_id"}[view]
    told: list[str] = []
    scene.conn.add_notice_handler(lambda notice: told.append(notice.message_primary or ""))
    with as_anon(scene.conn):
        scene.conn.execute(f"select variants from public.{view} where public.tell({column})")  # type: ignore[arg-type]
    assert told == [f"saw {shown}"]
