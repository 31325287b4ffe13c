"""reserve_uploads: all or nothing, within every limit, each refusal with its own code, limit and value."""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.sql.scene import (
    Scene,
    file,
    finish,
    new_listing,
    one,
    order,
    refused,
    reserve,
    rows,
    store,
    upload,
)
from tests.support.roles import as_anon, as_user


def test_answers_paths_in_the_order_of_the_files(scene: Scene) -> None:
    files = [
        file("b.HEIC", "image/heic", alt_text=None, tags=None, is_label=None),
        file("../../a.png", "image/png", alt_text="A lamp", tags=["lamp", "brass"]),
        file("c", "image/jpeg", is_label=True),
    ]
    reserved = reserve(scene.conn, scene.owner, scene.listing, *files)

    assert [set(r) for r in reserved] == [{"image_id", "bucket", "path"}] * 3
    for row, extension in zip(reserved, ("heic", "png", "jpg"), strict=True):
        assert row["bucket"] == "private"
        assert row["path"] == f"{scene.owner}/listings/{scene.listing}/{row['image_id']}.{extension}"
    found = rows(
        scene.conn,
        "select id::text, position, file_name, alt_text, tags, is_label, state from public.listing_images"
        " where listing_id = %s order by position",
        scene.listing,
    )
    ids = [r["image_id"] for r in reserved]
    assert found == [
        (ids[0], 0, "b.HEIC", None, [], False, "awaiting_upload"),
        (ids[1], 1, "../../a.png", "A lamp", ["lamp", "brass"], False, "awaiting_upload"),
        (ids[2], 2, "c", None, [], True, "awaiting_upload"),
    ]


def test_second_batch_goes_behind_the_first(scene: Scene) -> None:
    first = reserve(scene.conn, scene.owner, scene.listing, file(), file())
    second = reserve(scene.conn, scene.owner, scene.listing, file())
    assert order(scene.conn, scene.listing) == [r["image_id"] for r in first + second]


@pytest.mark.parametrize(
    ("files", "code", "status"),
    [
        (None, "files_malformed", 422),
        ({}, "files_malformed", 422),
        ([], "files_empty", 422),
        ([1], "file_malformed", 422),
        ([None], "file_malformed", 422),
        ([{}], "file_malformed", 422),
        ([file(mime_type=None)], "file_malformed", 422),  # type: ignore[arg-type]
        ([file(byte_size="1000")], "file_malformed", 422),
        ([file(alt_text=1)], "file_malformed", 422),
        ([file(tags="x")], "file_malformed", 422),
        ([file(tags=[1])], "file_malformed", 422),
        ([file(is_label="true")], "file_malformed", 422),
        ([file("")], "file_name_length", 422),
        ([file("x" * 256)], "file_name_length", 422),
        ([file(mime_type="image/svg+xml")], "type_not_accepted", 415),
        ([file(mime_type="image/jpeg; x")], "type_not_accepted", 415),
        ([file(byte_size=0)], "byte_size_invalid", 422),
        ([file(byte_size=-5)], "byte_size_invalid", 422),
        ([file(byte_size=1.5)], "byte_size_invalid", 422),
        ([file(byte_size=10**400)], "file_too_large", 413),
        ([file(byte_size=52428801)], "file_too_large", 413),
        ([file()] * 51, "batch_too_large", 422),
        ([file(is_label=True), file(is_label=True)], "more_than_one_label", 422),
        ([file(alt_text="x" * 1001)], "alt_text_too_long", 422),
        ([file(tags=["x"] * 21)], "too_many_tags", 422),
        ([file(tags=["x" * 51])], "tag_too_long", 422),
        ([file(tags=[" "])], "empty_tag", 422),
        ([file(), file(byte_size=0)], "byte_size_invalid", 422),
    ],
)
def test_refusals(scene: Scene, files: Any, code: str, status: int) -> None:
    with refused(code, status), as_user(scene.conn, scene.owner):
        scene.conn.execute("select public.reserve_uploads(%s, %s)", [scene.listing, Jsonb(files)])
    assert order(scene.conn, scene.listing) == []


@pytest.mark.parametrize(
    ("column", "value", "files", "code"),
    [
        ("upload_batch_max", 2, [file()] * 3, "batch_too_large"),
        ("images_per_listing_max", 2, [file()] * 3, "too_many_images"),
        ("image_bytes_max", 5000, [file(byte_size=5001)], "file_too_large"),
        ("image_mime_types", ["image/png"], [file()], "type_not_accepted"),
        ("alt_text_length_max", 3, [file(alt_text="four")], "alt_text_too_long"),
        ("tags_max", 0, [file(tags=["x"])], "too_many_tags"),
        ("tag_length_max", 1, [file(tags=["xy"])], "tag_too_long"),
    ],
)
def test_every_limit_is_live(scene: Scene, column: str, value: Any, files: list[Any], code: str) -> None:
    """A change of the policy counts for the next call and shows in media_rules()."""
    reserve(scene.conn, scene.owner, new_listing(scene.conn, scene.owner), *files)
    scene.policy(**{column: value})
    with refused(code) as info:
        reserve(scene.conn, scene.owner, scene.listing, *files)
    limit = value if isinstance(value, int) else "image/png"
    assert str(limit) in f"{info.value.diag.message_primary} {info.value.diag.message_hint}"
    with as_anon(scene.conn):
        assert one(scene.conn, "select public.media_rules() -> %s", column) == value


def test_images_per_listing_counts_what_is_there(scene: Scene) -> None:
    scene.policy(images_per_listing_max=3)
    images = upload(scene.conn, scene.owner, scene.listing, 2)
    with refused("too_many_images", 409):
        reserve(scene.conn, scene.owner, scene.listing, file(), file())
    with as_user(scene.conn, scene.owner):
        scene.conn.execute("select public.remove_image(%s)", [images[0]])
    reserve(scene.conn, scene.owner, scene.listing, file(), file())
    assert len(order(scene.conn, scene.listing)) == 3


class TestBudget:
    @pytest.fixture(autouse=True)
    def small_plan(self, scene: Scene) -> None:
        scene.conn.execute("insert into public.plans values ('small', 'Small', 0, 2500)")
        scene.conn.execute("update public.profiles set price_id = 'small' where id = %s", [scene.owner])

    def test_open_reservations_count(self, scene: Scene) -> None:
        reserve(scene.conn, scene.owner, scene.listing, file(), file())
        with refused("storage_budget_exceeded", 402) as info:
            reserve(scene.conn, scene.owner, scene.listing, file())
        assert "3000" in str(info.value)
        assert "2500" in str(info.value)
        # Another listing is the same budget; another user is not.
        with refused("storage_budget_exceeded", 402):
            reserve(scene.conn, scene.owner, new_listing(scene.conn, scene.owner), file())
        reserve(scene.conn, scene.other, scene.theirs, *[file()] * 3)

    def test_expired_reservations_do_not(self, scene: Scene) -> None:
        reserve(scene.conn, scene.owner, scene.listing, file(), file())
        scene.conn.execute("update public.listing_images set upload_expires_at = now()")
        reserve(scene.conn, scene.owner, scene.listing, file(), file())

    def test_what_was_stored_counts_not_what_was_said(self, scene: Scene) -> None:
        (row,) = reserve(scene.conn, scene.owner, scene.listing, file(byte_size=2000))
        store(scene.conn, row["path"], scene.owner, size=500)
        finish(scene.conn, row["image_id"])
        reserve(scene.conn, scene.owner, scene.listing, file(byte_size=2000))

    def test_the_public_folder_and_inputs_count(self, scene: Scene) -> None:
        for bucket, folder in (("public", ""), ("private", "inputs/")):
            store(scene.conn, f"{scene.owner}/{folder}{uuid4()}.png", scene.owner, size=1000, bucket=bucket)
        with refused("storage_budget_exceeded", 402):
            reserve(scene.conn, scene.owner, scene.listing, file())
        with refused("storage_budget_exceeded", sqlstate="42501"):
            store(scene.conn, f"{scene.owner}/logo.png", scene.owner, size=501, bucket="public")
        store(scene.conn, f"{scene.owner}/logo.png", scene.owner, size=500, bucket="public")

    def test_removed_images_count_until_they_are_purged(self, scene: Scene) -> None:
        (image,) = upload(scene.conn, scene.owner, scene.listing)
        with as_user(scene.conn, scene.owner):
            scene.conn.execute("select public.remove_image(%s)", [image])
        with refused("storage_budget_exceeded"):
            reserve(scene.conn, scene.owner, scene.listing, file(byte_size=2000))
        with as_user(scene.conn, scene.owner):
            scene.conn.execute("delete from public.listing_images where id = %s", [image])
        reserve(scene.conn, scene.owner, scene.listing, file(byte_size=2000))


def test_listing_of_another_and_unknown_listing_are_one_answer(scene: Scene) -> None:
    answers = []
    for listing in (scene.theirs, uuid4()):
        with refused("listing_not_found", 404) as info:
            reserve(scene.conn, scene.owner, listing, file())
        answers.append((info.value.diag.message_primary, info.value.diag.message_hint))
    assert answers[0] == answers[1]
    assert order(scene.conn, scene.theirs) == []


def test_second_label(scene: Scene) -> None:
    reserve(scene.conn, scene.owner, scene.listing, file(is_label=True))
    with refused("label_exists", 409):
        reserve(scene.conn, scene.owner, scene.listing, file(), file(is_label=True))
    assert len(order(scene.conn, scene.listing)) == 1


def test_nobody_signed_in(scene: Scene) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege), as_anon(scene.conn):
        scene.conn.execute("select public.reserve_uploads(%s, %s)", [scene.listing, Jsonb([file()])])
    with refused("not_signed_in", 401):
        scene.conn.execute("select private.reserve_uploads(%s, %s)", [scene.listing, Jsonb([file()])])


def test_names_that_users_choose_are_not_in_paths(scene: Scene) -> None:
    names = [
        "../../etc/passwd",
        "a//b.jpg",
        "ü\u0301.jpg",
        "x.svg",
        "%2e%2e",
        " ",
        "a\nb",
        "x" * 255,
        "'; drop table x;",
    ]
    for row in reserve(scene.conn, scene.owner, scene.listing, *[file(n) for n in names]):
        assert re.fullmatch(r"[0-9a-f-]{36}/listings/[0-9a-f-]{36}/[0-9a-f-]{36}\.jpg", row["path"])


def test_expired_reservations_are_deleted_and_the_gap_closes(scene: Scene) -> None:
    first, second, third = reserve(scene.conn, scene.owner, scene.listing, file(), file(), file())
    store(scene.conn, first["path"], scene.owner)
    scene.conn.execute(
        "update public.listing_images set upload_expires_at = now() where id = any(%s::uuid[])",
        [[first["image_id"], second["image_id"]]],
    )
    assert one(scene.conn, "select private.expire_reservations(10)") == 1
    assert order(scene.conn, scene.listing) == [first["image_id"], third["image_id"]]
    assert rows(
        scene.conn,
        "select event from public.image_events where image_id = %s order by id",
        second["image_id"],
    ) == ["reserved", "expired"]
    assert rows(scene.conn, "select actor from queue.jobs") == ["process_image"]
