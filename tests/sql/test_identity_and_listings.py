"""Profiles, plans, the site's policy and listings: what is made by itself, and what its owner may write."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.sql.scene import Scene, denied, new_listing, one, refused, rows, upload
from tests.support.roles import as_anon, as_service, as_user, new_user


class TestProfiles:
    def test_is_made_at_sign_up_and_gone_with_the_user(self, scene: Scene) -> None:
        user = new_user(scene.conn)
        assert rows(scene.conn, "select price_id from public.profiles where id = %s", user) == ["free"]
        scene.conn.execute("delete from auth.users where id = %s", [user])
        assert rows(scene.conn, "select from public.profiles where id = %s", user) == []

    def test_owner_writes_the_name_and_nothing_else(self, scene: Scene) -> None:
        with as_user(scene.conn, scene.owner):
            assert rows(scene.conn, "select id from public.profiles") == [scene.owner]
            scene.conn.execute("update public.profiles set display_name = 'Ada'")
            for change in ("price_id = 'business'", f"id = '{uuid4()}'", "created_at = now()"):
                denied(scene.conn, f"update public.profiles set {change}")
            denied(scene.conn, "insert into public.profiles (id) values (%s)", uuid4())
            denied(scene.conn, "delete from public.profiles")
        assert rows(
            scene.conn,
            "select display_name, price_id, updated_at > created_at from public.profiles where id = %s",
            scene.owner,
        ) == [("Ada", "free", True)]
        assert one(scene.conn, "select display_name from public.profiles where id = %s", scene.other) is None

    def test_operators_set_the_plan(self, scene: Scene) -> None:
        with as_service(scene.conn):
            scene.conn.execute("update public.profiles set price_id = 'pro' where id = %s", [scene.owner])
            denied(scene.conn, "delete from public.profiles")

    def test_a_plan_in_use_stays(self, scene: Scene) -> None:
        with pytest.raises(psycopg.errors.ForeignKeyViolation), as_service(scene.conn):
            scene.conn.execute("delete from public.plans where price_id = 'free'")


class TestSiteTables:
    def test_everybody_reads(self, scene: Scene) -> None:
        for who in (as_anon(scene.conn), as_user(scene.conn, scene.owner)):
            with who:
                assert "free" in rows(scene.conn, "select price_id from public.plans")
                assert one(scene.conn, "select count(*) from public.site_policies") == 1
                assert one(scene.conn, "select count(*) from public.variant_specs") == 5
                rules = one(scene.conn, "select public.media_rules()")
        assert rules["image_mime_types"] == [
            "image/jpeg",
            "image/png",
            "image/webp",
            "image/heic",
            "image/heif",
        ]
        assert rules["variants"][0] == {"role": "thumb", "max_side": 160, "quality": 76}
        assert [v["max_side"] for v in rules["variants"]] == [160, 480, 960, 1600, 2560]
        assert rules["plans"]["free"] == {"storage_bytes_max": 5368709120}

    @pytest.mark.parametrize(
        "change",
        [
            "upload_batch_max = 0",
            "image_bytes_max = 1",
            "image_mime_types = '{image/gif}'",
            "image_mime_types = '{}'",
            "photo_review_provider = 'x'",
            "image_megapixels_max = 'NaN'",
            "id = false",
        ],
    )
    def test_policy_is_checked(self, scene: Scene, change: str) -> None:
        with pytest.raises(psycopg.errors.CheckViolation):
            scene.conn.execute(f"update public.site_policies set {change}")  # type: ignore[arg-type]

    def test_policy_is_one_row(self, scene: Scene) -> None:
        with pytest.raises(psycopg.errors.UniqueViolation):
            scene.conn.execute("insert into public.site_policies default values")


class TestListings:
    def test_a_bare_insert_is_a_saved_draft(self, scene: Scene) -> None:
        listing = new_listing(scene.conn, scene.owner)
        assert rows(
            scene.conn, "select owner_id, status, attributes from public.listings where id = %s", listing
        ) == [(scene.owner, "draft", {})]

    def test_columns_that_are_not_the_sellers(self, scene: Scene) -> None:
        with as_user(scene.conn, scene.owner):
            for column, value in (
                ("id", uuid4()),
                ("owner_id", scene.owner),
                ("owner_id", scene.other),
                ("status", "published"),
                ("created_at", "2020-01-01"),
            ):
                denied(scene.conn, f"insert into public.listings ({column}) values (%s)", value)
                if column != "status":
                    denied(scene.conn, f"update public.listings set {column} = %s", value)

    def test_rows_of_another(self, scene: Scene) -> None:
        with as_user(scene.conn, scene.owner):
            assert rows(scene.conn, "select id from public.listings") == [scene.listing]
            assert scene.conn.execute("update public.listings set title = 'x'").rowcount == 1
            assert (
                scene.conn.execute("delete from public.listings where id = %s", [scene.theirs]).rowcount == 0
            )
        assert one(scene.conn, "select title from public.listings where id = %s", scene.theirs) == "Chair"

    def test_sku_is_unique_per_seller(self, scene: Scene) -> None:
        new_listing(scene.conn, scene.owner, sku="A1")
        new_listing(scene.conn, scene.other, sku="A1")
        with pytest.raises(psycopg.errors.UniqueViolation):
            new_listing(scene.conn, scene.owner, sku="A1")

    @pytest.mark.parametrize(
        ("column", "value"),
        [
            ("price", -1),
            ("price", "NaN"),
            ("currency", "eur"),
            ("title", "x" * 501),
            ("attributes", "[]"),
            ("attributes", '{"a": "' + "x" * 70000 + '"}'),
        ],
    )
    def test_values_are_checked(self, scene: Scene, column: str, value: Any) -> None:
        with pytest.raises(psycopg.errors.CheckViolation):
            new_listing(scene.conn, scene.owner, **{column: value})


class TestWords:
    """alt_text and tags: the only columns of an image that its owner writes."""

    def test_are_editable_within_limits(self, scene: Scene) -> None:
        (image,) = upload(scene.conn, scene.owner, scene.listing)
        with as_user(scene.conn, scene.owner):
            scene.conn.execute("update public.listing_images set alt_text = 'A lamp', tags = '{brass,old}'")
            for change, code in (
                (f"alt_text = '{'x' * 1001}'", "alt_text_too_long"),
                ("tags = array_fill('x'::text, array[21])", "too_many_tags"),
                (f"tags = array['{'x' * 51}']", "tag_too_long"),
                ("tags = array['']", "empty_tag"),
            ):
                with refused(code, 422), scene.conn.transaction():
                    scene.conn.execute(f"update public.listing_images set {change}")  # type: ignore[arg-type]
        assert rows(
            scene.conn,
            "select data from public.image_events where image_id = %s and event = 'edited'",
            image,
        ) == [{"alt_text": "A lamp", "tags": ["brass", "old"]}]

    def test_no_other_column(self, scene: Scene) -> None:
        upload(scene.conn, scene.owner, scene.listing)
        columns = rows(
            scene.conn,
            "select column_name from information_schema.columns"
            " where table_schema = 'public' and table_name = 'listing_images'"
            " and column_name not in ('alt_text', 'tags')",
        )
        assert len(columns) > 25
        with as_user(scene.conn, scene.owner):
            for column in columns:
                denied(scene.conn, f"update public.listing_images set {column} = null")
            denied(scene.conn, "insert into public.listing_images default values")
        with as_user(scene.conn, scene.other):
            assert scene.conn.execute("update public.listing_images set alt_text = 'x'").rowcount == 0
            assert scene.conn.execute("delete from public.listing_images").rowcount == 0


def test_accounts_from_before(scene: Scene) -> None:
    """Users who signed up before the ledger was installed get their profile from the same file."""
    scene.conn.execute("drop trigger tg_users__create_profile on auth.users")
    user = new_user(scene.conn)
    assert rows(scene.conn, "select from public.profiles where id = %s", user) == []
    identity = Path(__file__).parents[2] / "sql/20_identity.sql"
    scene.conn.execute(identity.read_text())  # type: ignore[arg-type]
    assert rows(scene.conn, "select price_id from public.profiles where id = %s", user) == ["free"]
