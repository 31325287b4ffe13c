"""Sites, their rules, and what export_listing finds."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.sql.scene import Scene, call, one, ready, refused, rows, upload
from tests.support.roles import as_service, as_user

COMPLETE = {
    "title": "Lamp", "description": "Bright", "price": 12, "currency": "EUR", "category": "Lamps", "condition": "new",
    "sku": "L-1",
}  # fmt: skip


def complete(scene: Scene, **columns: Any) -> None:
    values = COMPLETE | columns
    clause = ", ".join(f"{name} = %s" for name in values)
    scene.conn.execute(
        f"update public.listings set {clause} where id = %s", [*values.values(), scene.listing]
    )


def export(scene: Scene, site: str) -> dict[str, Any]:
    with as_user(scene.conn, scene.owner):
        answer: dict[str, Any] = one(scene.conn, "select public.export_listing(%s, %s)", scene.listing, site)
    return answer


def codes(scene: Scene, site: str) -> list[tuple[str, str | None]]:
    return [(p["code"], p.get("field") or p.get("image_id")) for p in export(scene, site)["problems"]]


def sized(scene: Scene, photo: str, width: int, height: int, byte_size: int = 1000) -> None:
    """As if the photo had renderings of this size."""
    scene.conn.execute(
        "update public.image_variants set width = %s, height = %s, byte_size = %s where image_id = %s",
        [width, height, byte_size, photo],
    )


def test_every_rule_says_where_it_is_from(db: psycopg.Connection[Any]) -> None:
    found = rows(db, "select site_id, rule, source, read_on, is_confirmed, source_url from public.site_rules")
    assert {site for site, *_ in found} == {"ebay", "vinted", "etsy", "shopify", "generic"}
    assert len([rule for _, rule, *_ in found if rule == "photos_order"]) == 5
    for _, _, source, read_on, is_confirmed, url in found:
        assert source
        assert read_on
        assert is_confirmed is False or url or source.startswith("Choice of our own")


def test_operators_change_rules_and_they_count(scene: Scene) -> None:
    complete(scene)
    sized(scene, ready(scene.conn, scene.owner, scene.listing)[0], 600, 400)
    assert codes(scene, "ebay") == []
    with as_service(scene.conn):
        scene.conn.execute(
            "update public.site_rules set value = '700' where site_id = 'ebay' and rule = 'photo_longest_side_min'"
        )
    assert [code for code, _ in codes(scene, "ebay")] == ["photo_too_small"]


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ("photos_max", "many"),
        ("required", ["owner_id"]),
        ("required", "title"),
        ("url_https", 1),
        ("nope", 1),
        ("photos_min", -1),
        ("photos_order", "by_colour"),
    ],
)
def test_rules_that_make_no_sense_are_refused(scene: Scene, rule: str, value: Any) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        scene.conn.execute(
            "insert into public.site_rules (site_id, rule, value, source, read_on)"
            " values ('generic', %s, %s, 'x', now())"
            " on conflict (site_id, rule) do update set value = excluded.value",
            [rule, Jsonb(value)],
        )


def test_words(scene: Scene) -> None:
    complete(scene, title="x" * 81, description=" ", sku="x" * 51)
    scene.conn.execute("update public.listings set quantity = 0 where id = %s", [scene.listing])
    sized(scene, ready(scene.conn, scene.owner, scene.listing)[0], 600, 400)
    assert set(codes(scene, "ebay")) == {
        ("field_missing", "description"),
        ("field_too_long", "title"),
        ("field_too_long", "sku"),
        ("quantity_too_small", "quantity"),
    }


def test_photos_in_order_through_the_gate_and_labels_never(scene: Scene) -> None:
    complete(scene)
    photos = ready(scene.conn, scene.owner, scene.listing, 5)
    call(scene.conn, scene.owner, "set_label", photos[0], True)
    call(scene.conn, scene.owner, "remove_image", photos[1])
    order = [photos[4], photos[2], photos[0], photos[3]]
    call(scene.conn, scene.owner, "reorder_images", scene.listing, order)
    answer = export(scene, "generic")
    assert answer["problems"] == []
    assert [photo["image_id"] for photo in answer["payload"]["photos"]] == [photos[4], photos[2], photos[3]]
    assert photos[0] not in str(answer)
    assert "owner_id" not in answer["payload"]["listing"]


def test_what_is_not_ready_is_named(scene: Scene) -> None:
    complete(scene)
    good = ready(scene.conn, scene.owner, scene.listing)[0]
    sized(scene, good, 600, 400)
    waiting, failed = upload(scene.conn, scene.owner, scene.listing, 2)
    scene.conn.execute(
        "update public.listing_images set state = 'failed', error = 'It is damaged.', error_code = 'damaged'"
        " where id = %s",
        [failed],
    )
    found = export(scene, "ebay")
    assert [(p["code"], p["image_id"]) for p in found["problems"]] == [
        ("photo_not_ready", waiting),
        ("photo_not_ready", failed),
    ]
    assert "It is damaged." in found["problems"][1]["message"]
    assert found["problems"][1]["remedy"]
    assert [p["image_id"] for p in found["payload"]["photos"]] == [good]


def test_the_best_rendering_that_the_site_takes(scene: Scene) -> None:
    complete(scene)
    photo = ready(scene.conn, scene.owner, scene.listing)[0]
    for role, side, size in (
        ("detail_max", 2560, 30_000_000),
        ("detail", 1600, 9_000_000),
        ("preview", 960, 1000),
    ):
        scene.conn.execute(
            "update public.image_variants set width = %s, height = %s, byte_size = %s"
            " where image_id = %s and role = %s",
            [side, side, size, photo, role],
        )
    assert [p["role"] for p in export(scene, "ebay")["payload"]["photos"]] == ["detail"]
    assert [p["role"] for p in export(scene, "generic")["payload"]["photos"]] == ["detail_max"]
    sized(scene, photo, 900, 900, 30_000_000)
    assert [code for code, _ in codes(scene, "ebay")] == ["photo_too_large"]


def test_too_few_too_many_and_formats(scene: Scene) -> None:
    complete(scene)
    assert [code for code, _ in codes(scene, "ebay")] == ["photos_missing"]
    ready(scene.conn, scene.owner, scene.listing, 3)
    scene.conn.execute(
        "update public.site_rules set value = '2' where site_id = 'etsy' and rule = 'photos_max'"
    )
    found = export(scene, "etsy")
    assert [p["code"] for p in found["problems"]] == ["photos_too_many", *["photo_format"] * 3]
    assert len(found["payload"]["photos"]) == 2


def test_anothers_listing_and_unknown_sites(scene: Scene) -> None:
    complete(scene)
    ready(scene.conn, scene.owner, scene.listing)
    call(scene.conn, scene.owner, "publish_listing", scene.listing)
    with refused("listing_not_found", 404), scene.conn.transaction():
        call(scene.conn, scene.other, "export_listing", scene.listing, "ebay")
    with refused("site_not_found", 404), scene.conn.transaction():
        export(scene, "nope")
    scene.conn.execute("update public.sites set is_enabled = false where id = 'ebay'")
    with refused("site_not_found", 404):
        export(scene, "ebay")


def test_a_site_without_rules_is_a_site(scene: Scene) -> None:
    scene.conn.execute("insert into public.sites (id, name) values ('fleamarket', 'Flea market')")
    assert export(scene, "fleamarket")["problems"] == []
