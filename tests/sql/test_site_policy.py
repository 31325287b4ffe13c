"""Every limit of site_policies is live: the next call and media_rules() see a change; each has a code of its own."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from postgrest.exceptions import APIError
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
    refused,
    reserve,
    rows,
    upload,
)
from tests.support.images import make_jpeg
from tests.support.people import Person, new_client
from tests.support.roles import as_anon, as_role, as_service
from tests.support.stack import Stack
from worker.imaging import ImageRejected, Limits
from worker.imaging.render import render_file


@dataclass(frozen=True)
class Limit:
    """A column set to `value`; what is refused then, and what the refusal must name."""

    column: str
    value: Any
    code: str
    status: int
    files: list[dict[str, Any]]
    told: tuple[str, ...]


#: What reserve_uploads checks.
RESERVING = [
    Limit("upload_batch_max", 2, "batch_too_large", 422, [file()] * 3, ("3", "2")),
    Limit("images_per_listing_max", 2, "too_many_images", 409, [file()] * 3, ("3", "2")),
    Limit("image_bytes_max", 5000, "file_too_large", 413, [file(byte_size=5001)], ("5001", "5000")),
    Limit("image_mime_types", ["image/png"], "type_not_accepted", 415, [file()], ("image/jpeg", "image/png")),
    Limit("alt_text_length_max", 3, "alt_text_too_long", 422, [file(alt_text="four")], ("4", "3")),
    Limit("tags_max", 1, "too_many_tags", 422, [file(tags=["x", "y"])], ("2", "1")),
    Limit("tag_length_max", 2, "tag_too_long", 422, [file(tags=["xyz"])], ("3", "2")),
]
#: What only the pixels tell: column, value, the worker's code and what its message names. The photo has 600 x 400.
PIXELS = [
    ("image_side_min", 500, "too_small", ("400", "500")),
    ("image_aspect_max", 1.25, "aspect_out_of_range", ("600", "1.25")),
    ("image_megapixels_max", 0.2, "too_many_pixels", ("600", "0.2")),
]
#: Each has a test of its own below, or of its topic.
OTHERS = {
    "reservation_seconds",
    "undo_seconds",
    "photo_review_enabled",
    "photo_review_provider",
    "duplicate_images",
    "signed_url_seconds_max",
    "generation_prompt_length_max",
    "generation_seconds_max",
    "generation_side_max",
    "generation_count_max",
    "generation_providers",
    "generation_daily_max",
    "generation_rate_max",
    "generation_session_rate_max",
    "generation_failed_seconds",
    "session_idle_seconds",
    "input_unused_seconds",
    "saved_list_items_max",
    "saved_lists_max",
    "fill_providers",
    "fill_photos_max",
    "fill_seconds_max",
}


def test_every_column_is_here(scene: Scene) -> None:
    """A limit that nobody tests is a limit that may not hold."""
    columns = set(
        rows(
            scene.conn,
            "select attname::text from pg_attribute where attrelid = 'public.site_policies'::regclass"
            " and attnum > 0 and not attisdropped",
        )
    )
    tested = {limit.column for limit in RESERVING} | {row[0] for row in PIXELS} | OTHERS
    assert columns - {"id", "created_at", "updated_at"} == tested
    with as_anon(scene.conn):
        assert tested <= set(one(scene.conn, "select public.media_rules()"))


def test_codes_are_unique() -> None:
    codes = [limit.code for limit in RESERVING] + [row[2] for row in PIXELS] + ["storage_budget_exceeded"]
    assert Counter(codes).most_common(1)[0][1] == 1


@pytest.mark.parametrize("limit", RESERVING, ids=lambda limit: limit.column)
def test_next_reservation_sees_it(scene: Scene, limit: Limit) -> None:
    reserve(scene.conn, scene.owner, new_listing(scene.conn, scene.owner), *limit.files)
    scene.policy(**{limit.column: limit.value})
    with refused(limit.code, limit.status) as info:
        reserve(scene.conn, scene.owner, scene.listing, *limit.files)
    said = f"{info.value.diag.message_primary} {info.value.diag.message_hint}"
    assert all(word in said for word in limit.told), said
    assert order(scene.conn, scene.listing) == []
    with as_anon(scene.conn):
        assert one(scene.conn, "select public.media_rules() -> %s", limit.column) == limit.value


@pytest.mark.parametrize(("column", "value", "code", "told"), PIXELS)
def test_next_processing_sees_it(
    scene: Scene, tmp_path: Path, column: str, value: float, code: str, told: tuple[str, ...]
) -> None:
    photo = make_jpeg((600, 400))
    (image,) = upload(scene.conn, scene.owner, scene.listing)
    scene.policy(**{column: value})
    job, token = lease(scene.conn, image)
    with as_role(scene.conn, "service_role"):
        work = one(scene.conn, "select private.begin_image(%s, %s, %s)", image, job, token)
    (tmp_path / "original").write_bytes(photo)
    with pytest.raises(ImageRejected) as info:
        render_file(tmp_path / "original", [], Limits(**work["limits"]), tmp_path)
    assert info.value.code == code
    assert all(word in info.value.message for word in told), info.value.message
    with as_anon(scene.conn):
        assert one(scene.conn, "select public.media_rules() -> %s", column) == value


def test_reservation_seconds(scene: Scene) -> None:
    scene.policy(reservation_seconds=90)
    reserve(scene.conn, scene.owner, scene.listing, file())
    assert one(
        scene.conn,
        "select extract(epoch from upload_expires_at - created_at)::int from public.listing_images",
    ) == pytest.approx(90, abs=1)


def test_undo_seconds(scene: Scene) -> None:
    (image,) = upload(scene.conn, scene.owner, scene.listing)
    call(scene.conn, scene.owner, "remove_image", image)
    scene.conn.execute("update public.listing_images set deleted_at = now() - interval '30 seconds'")
    scene.policy(undo_seconds=20)
    with refused("undo_time_over", 410) as info:
        call(scene.conn, scene.owner, "restore_image", image)
    assert "20 seconds" in str(info.value)
    scene.policy(undo_seconds=60)
    assert call(scene.conn, scene.owner, "restore_image", image)["position"] == 0


def test_photo_review_enabled(scene: Scene) -> None:
    (image,) = upload(scene.conn, scene.owner, scene.listing)
    finish(scene.conn, image)
    for enabled, seen in ((True, 0), (False, 1)):
        scene.policy(photo_review_enabled=enabled)
        with as_role(scene.conn, "authenticated", {"sub": str(scene.owner)}):
            assert one(scene.conn, "select count(*) from public.gallery") == seen


def test_a_plans_budget_is_live(scene: Scene) -> None:
    reserve(scene.conn, scene.owner, scene.listing, file(byte_size=600))
    with as_service(scene.conn):
        scene.conn.execute("update public.plans set storage_bytes_max = 1000")
    with refused("storage_budget_exceeded", 402) as info:
        reserve(scene.conn, scene.owner, scene.listing, file(byte_size=600))
    assert "1200" in str(info.value)
    assert "1000" in str(info.value)
    with as_anon(scene.conn):
        assert one(scene.conn, "select public.media_rules() #> '{plans,free,storage_bytes_max}'") == 1000


def test_only_operators_change_it(scene: Scene) -> None:
    for role in ("anon", "authenticated"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege), as_role(scene.conn, role):
            scene.conn.execute("update public.site_policies set upload_batch_max = 500")


@pytest.fixture
def policy_kept(stack: Stack) -> Iterator[None]:
    """The stack is everybody's: its policy comes back."""
    with psycopg.connect(stack.db_url, autocommit=True) as conn:
        before = one(conn, "select to_jsonb(p) from public.site_policies as p")
        yield
        conn.execute("delete from public.site_policies")
        conn.execute(
            "insert into public.site_policies select * from jsonb_populate_record(null::public.site_policies, %s)",
            [Jsonb(before)],
        )


def test_through_postgrest(stack: Stack, person: Person, policy_kept: None) -> None:
    """An operator with the service key changes it; the next requests of others see it."""
    operator = new_client(stack, stack.service_role_key)
    for limit in RESERVING:
        listing = person.new_listing()
        request = {"listing_id": listing, "files": limit.files}
        before: Any = person.client.rpc("media_rules", {}).execute().data
        person.client.rpc("reserve_uploads", request).execute()
        second = person.new_listing()
        operator.table("site_policies").update({limit.column: limit.value}).eq("id", True).execute()
        rules: Any = new_client(stack).rpc("media_rules", {}).execute().data
        assert rules == {**before, limit.column: limit.value}
        with pytest.raises(APIError) as info:
            person.client.rpc("reserve_uploads", request | {"listing_id": second}).execute()
        assert info.value.details == limit.code
        said = f"{info.value.message} {info.value.hint}"
        assert all(word in said for word in limit.told), said
        answer = person.rest("POST", "rpc/reserve_uploads", json=request | {"listing_id": second})
        assert answer.status_code == limit.status
        operator.table("site_policies").update({limit.column: before[limit.column]}).eq("id", True).execute()
        person.client.rpc("reserve_uploads", request | {"listing_id": second}).execute()


def test_budget_holds_under_twenty_at_once(fresh_db: FreshDatabase) -> None:
    """Twenty connections start together, each with a batch of its own listing; there is room for seven."""
    with fresh_db.connect(autocommit=True) as conn:
        scene = Scene(conn)
        conn.execute("insert into public.plans values ('small', 'Small', 0, 14999)")
        conn.execute("update public.profiles set price_id = 'small' where id = %s", [scene.owner])
        listings = [new_listing(conn, scene.owner) for _ in range(20)]
    start = threading.Barrier(20)

    def one_of_many(number: int) -> str:
        with fresh_db.connect(autocommit=True) as conn:
            start.wait(30)
            try:
                reserve(conn, scene.owner, listings[number], file(), file())
            except psycopg.Error as error:
                return str(error.diag.message_detail)
        return "reserved"

    with ThreadPoolExecutor(20) as pool:
        answers = Counter(pool.map(one_of_many, range(20)))
    assert answers == {"reserved": 7, "storage_budget_exceeded": 13}
    with fresh_db.connect() as conn:
        assert one(conn, "select sum(byte_size) from public.listing_images") == 14000
