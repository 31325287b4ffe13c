"""The order of a listing's images is dense from 0 whatever happens; test_life.py has it against a model."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.sql.scene import Scene, call, events, one, order, ready, refused, rows, upload
from tests.support.roles import as_service, as_user


def reorder(scene: Scene, *images: Any, listing: UUID | None = None) -> list[str]:
    with as_user(scene.conn, scene.owner):
        return rows(
            scene.conn,
            "select id::text from public.reorder_images(%s, %s::uuid[])",
            listing or scene.listing,
            list(images),
        )


class TestReorder:
    def test_permutation(self, scene: Scene) -> None:
        a, b, c = upload(scene.conn, scene.owner, scene.listing, 3)
        assert reorder(scene, c, a, b) == [c, a, b]
        assert order(scene.conn, scene.listing) == [c, a, b]
        assert rows(
            scene.conn, "select data -> 'order' from public.image_events where event = 'reordered'"
        ) == [[c, a, b]]

    def test_same_order_is_no_event(self, scene: Scene) -> None:
        images = upload(scene.conn, scene.owner, scene.listing, 3)
        assert reorder(scene, *images) == images
        assert rows(scene.conn, "select from public.image_events where event = 'reordered'") == []

    def test_not_a_permutation_names_the_ids(self, scene: Scene) -> None:
        a, b = upload(scene.conn, scene.owner, scene.listing, 2)
        (foreign,) = upload(scene.conn, scene.other, scene.theirs)
        unknown = str(uuid4())
        for images, words in (
            ([a], ["missing", b]),
            ([a, a, b], ["doubled", a]),
            ([a, b, unknown], ["not in this listing", unknown]),
            ([a, b, foreign], ["not in this listing", foreign]),
            ([], ["missing", a, b]),
            ([a, b, None], ["not in this listing", "null"]),
            ([a, a], ["doubled", a, "missing", b]),
        ):
            with refused("not_a_permutation", 422) as info:
                reorder(scene, *images)
            assert all(word in str(info.value.diag.message_primary) for word in words)
        assert order(scene.conn, scene.listing) == [a, b]

    def test_null_and_empty(self, scene: Scene) -> None:
        assert reorder(scene) == []
        with as_user(scene.conn, scene.owner):
            assert rows(scene.conn, "select from public.reorder_images(%s, null)", scene.listing) == []

    def test_removed_images_are_not_part_of_it(self, scene: Scene) -> None:
        a, b = upload(scene.conn, scene.owner, scene.listing, 2)
        call(scene.conn, scene.owner, "remove_image", a)
        with refused("not_a_permutation"):
            reorder(scene, a, b)
        assert reorder(scene, b) == [b]

    def test_listing_of_another(self, scene: Scene) -> None:
        for listing in (scene.theirs, uuid4()):
            with refused("listing_not_found", 404):
                reorder(scene, listing=listing)


class TestRemoveAndRestore:
    def test_hides_at_once_and_closes_the_gap(self, scene: Scene) -> None:
        a, b, c = ready(scene.conn, scene.owner, scene.listing, 3)
        row = call(scene.conn, scene.owner, "remove_image", b)
        assert (row["position"], row["removed_position"], row["deleted_at"] is None) == (None, 1, False)
        assert order(scene.conn, scene.listing) == [a, c]
        with as_user(scene.conn, scene.owner):
            assert rows(scene.conn, "select id::text from public.gallery order by position") == [a, c]
            assert rows(scene.conn, "select status, restorable_until > now() from public.media_tray") == [
                ("removed", True)
            ]
        assert call(scene.conn, scene.owner, "remove_image", b) == row

    def test_comes_back_to_its_place(self, scene: Scene) -> None:
        a, b, c = upload(scene.conn, scene.owner, scene.listing, 3)
        call(scene.conn, scene.owner, "remove_image", b)
        row = call(scene.conn, scene.owner, "restore_image", b)
        assert (row["position"], row["removed_position"], row["deleted_at"]) == (1, None, None)
        assert order(scene.conn, scene.listing) == [a, b, c]
        assert call(scene.conn, scene.owner, "restore_image", b) == row
        assert events(scene.conn, b) == ["reserved", "uploaded", "removed", "restored"]

    def test_comes_back_to_the_end_of_a_shorter_listing(self, scene: Scene) -> None:
        a, b, c = upload(scene.conn, scene.owner, scene.listing, 3)
        for image in (c, b):
            call(scene.conn, scene.owner, "remove_image", image)
        call(scene.conn, scene.owner, "restore_image", c)
        assert order(scene.conn, scene.listing) == [a, c]

    def test_after_the_undo_time(self, scene: Scene) -> None:
        (a,) = upload(scene.conn, scene.owner, scene.listing)
        call(scene.conn, scene.owner, "remove_image", a)
        scene.policy(undo_seconds=60)
        scene.conn.execute("update public.listing_images set deleted_at = now() - interval '59 seconds'")
        assert one(scene.conn, "select private.purge_removed(10)") == 0
        scene.conn.execute("update public.listing_images set deleted_at = now() - interval '60 seconds'")
        with refused("undo_time_over", 410):
            call(scene.conn, scene.owner, "restore_image", a)
        assert one(scene.conn, "select private.purge_removed(10)") == 1
        assert events(scene.conn, a) == ["reserved", "uploaded", "removed", "purged"]

    def test_into_a_full_listing(self, scene: Scene) -> None:
        a, _ = upload(scene.conn, scene.owner, scene.listing, 2)
        call(scene.conn, scene.owner, "remove_image", a)
        scene.policy(images_per_listing_max=1)
        with refused("too_many_images", 409):
            call(scene.conn, scene.owner, "restore_image", a)

    def test_a_removed_label_does_not_come_back_as_a_photo(self, scene: Scene) -> None:
        a, b = ready(scene.conn, scene.owner, scene.listing, 2)
        call(scene.conn, scene.owner, "set_label", a, True)
        call(scene.conn, scene.owner, "remove_image", a)
        call(scene.conn, scene.owner, "set_label", b, True)
        with refused("label_exists", 409):
            call(scene.conn, scene.owner, "restore_image", a)
        call(scene.conn, scene.owner, "set_label", b, False)
        assert call(scene.conn, scene.owner, "restore_image", a)["is_label"] is True

    def test_of_another(self, scene: Scene) -> None:
        (a,) = upload(scene.conn, scene.owner, scene.listing)
        for function in ("remove_image", "restore_image"):
            for image in (a, uuid4()):
                with refused("image_not_found", 404):
                    call(scene.conn, scene.other, function, image)
        assert order(scene.conn, scene.listing) == [a]


class TestDelete:
    def test_several_in_one_statement_over_listings(self, scene: Scene) -> None:
        second = Scene(scene.conn).listing
        scene.conn.execute("update public.listings set owner_id = %s where id = %s", [scene.owner, second])
        a = upload(scene.conn, scene.owner, scene.listing, 5)
        b = upload(scene.conn, scene.owner, second, 3)
        with as_user(scene.conn, scene.owner):
            scene.conn.execute(
                "delete from public.listing_images where id = any(%s::uuid[])", [[a[0], a[2], a[4], b[1]]]
            )
        assert order(scene.conn, scene.listing) == [a[1], a[3]]
        assert order(scene.conn, second) == [b[0], b[2]]
        assert rows(scene.conn, "select from public.image_events where event = 'reordered'") == []

    def test_with_the_service_key(self, scene: Scene) -> None:
        a = upload(scene.conn, scene.owner, scene.listing, 3)
        with as_service(scene.conn):
            scene.conn.execute("delete from public.listing_images where id = %s", [a[0]])
        assert order(scene.conn, scene.listing) == a[1:]

    def test_of_a_removed_one_moves_nobody(self, scene: Scene) -> None:
        a = upload(scene.conn, scene.owner, scene.listing, 3)
        call(scene.conn, scene.owner, "remove_image", a[1])
        with as_user(scene.conn, scene.owner):
            scene.conn.execute("delete from public.listing_images where id = %s", [a[1]])
        assert order(scene.conn, scene.listing) == [a[0], a[2]]


class TestWords:
    """alt_text and tags are the owner's to edit, within the site's limits; nothing else is."""

    def edit(self, scene: Scene, column: str, value: Any) -> None:
        with as_user(scene.conn, scene.owner):
            scene.conn.execute(f"update public.listing_images set {column} = %s", [value])  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("limits", "column", "good", "bad", "code"),
        [
            ({"alt_text_length_max": 5}, "alt_text", "ééééé", "éééééé", "alt_text_too_long"),
            ({"tags_max": 2}, "tags", ["a", "b"], ["a", "b", "c"], "too_many_tags"),
            ({"tag_length_max": 3}, "tags", ["abc"], ["abcd"], "tag_too_long"),
            ({}, "tags", [], ["a", " "], "empty_tag"),
        ],
    )
    def test_limits(self, scene: Scene, limits: Any, column: str, good: Any, bad: Any, code: str) -> None:
        upload(scene.conn, scene.owner, scene.listing)
        scene.policy(**limits)
        self.edit(scene, column, good)
        with refused(code, 422) as info:
            self.edit(scene, column, bad)
        for limit in limits.values():
            assert str(limit) in str(info.value.diag.message_primary)
        assert rows(scene.conn, f"select {column} from public.listing_images") == [good]

    def test_null(self, scene: Scene) -> None:
        upload(scene.conn, scene.owner, scene.listing, alt_text="A lamp.")
        self.edit(scene, "alt_text", None)
        with pytest.raises(psycopg.errors.NotNullViolation):
            self.edit(scene, "tags", None)
        with refused("empty_tag", 422), scene.conn.transaction():
            self.edit(scene, "tags", ["a", None])

    def test_every_other_column_is_the_ledgers(self, scene: Scene) -> None:
        upload(scene.conn, scene.owner, scene.listing)
        columns = rows(
            scene.conn,
            "select attname::text from pg_attribute"
            " where attrelid = 'public.listing_images'::regclass and attnum > 0 and not attisdropped",
        )
        assert len(columns) > 30
        for column in set(columns) - {"alt_text", "tags"}:
            with pytest.raises(psycopg.errors.InsufficientPrivilege), as_user(scene.conn, scene.owner):
                scene.conn.execute(f"update public.listing_images set {column} = {column}")  # type: ignore[arg-type]

    def test_of_another(self, scene: Scene) -> None:
        (image,) = upload(scene.conn, scene.other, scene.theirs)
        self.edit(scene, "alt_text", "Mine now.")
        assert one(scene.conn, "select alt_text from public.listing_images where id = %s", image) is None


class TestConstraints:
    """What holds even against whoever may write the table."""

    def test_two_in_one_place(self, scene: Scene) -> None:
        upload(scene.conn, scene.owner, scene.listing, 2)
        with pytest.raises(psycopg.errors.ExclusionViolation, match="position_is_unique_per_listing"):
            scene.conn.execute("update public.listing_images set position = 0")

    def test_two_labels(self, scene: Scene) -> None:
        upload(scene.conn, scene.owner, scene.listing, 2)
        with pytest.raises(psycopg.errors.ExclusionViolation, match="label_is_unique_per_listing"):
            scene.conn.execute("update public.listing_images set is_label = true")

    def test_a_listing_of_another_owner(self, scene: Scene) -> None:
        upload(scene.conn, scene.owner, scene.listing)
        for change in (f"listing_id = '{scene.theirs}'", f"owner_id = '{scene.other}'"):
            with pytest.raises(psycopg.errors.IntegrityError), scene.conn.transaction():
                scene.conn.execute(f"update public.listing_images set {change}")  # type: ignore[arg-type]

    def test_a_replacement_in_another_listing(self, scene: Scene) -> None:
        (a,) = upload(scene.conn, scene.owner, scene.listing)
        (b,) = upload(scene.conn, scene.other, scene.theirs)
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            scene.conn.execute("update public.listing_images set replaces_id = %s where id = %s", [b, a])
