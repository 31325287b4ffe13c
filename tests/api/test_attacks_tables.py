"""A signed-in user with somebody else's ids, against PostgREST: refused, and the row is as it was."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from tests.support.people import Person
from tests.support.stack import Stack

# All that a signed-in user may write, by table and verb. The rest is the ledger's, the worker's or an operator's.
_ARTICLE = {
    "sku", "title", "description", "price", "currency", "brand", "category", "condition", "size", "color", "attributes",
    "quantity",
}  # fmt: skip
_COMMUNITY = {"name", "description", "is_featured", "position"}
_ITEM = {"collection_id", "render_id", "variant_idx", "image_url", "title", "position", "apply_settings"}
WRITABLE = {
    ("listings", "POST"): _ARTICLE,
    ("listings", "PATCH"): _ARTICLE | {"status"},
    ("listing_csv", "POST"): _ARTICLE | {"status", "images"},
    ("listing_images", "PATCH"): {"alt_text", "tags"},
    ("profiles", "PATCH"): {"display_name"},
    ("image_sessions", "PATCH"): {"title"},
    ("renders", "PATCH"): {"tags"},
    ("collections", "POST"): {"name", "rule"},
    ("collections", "PATCH"): {"name", "rule"},
    ("collection_items", "POST"): {"collection_id", "render_id"},
    ("saved_lists", "POST"): {"name"},
    ("saved_lists", "PATCH"): {"name"},
    ("saved_list_items", "POST"): {"list_id", "listing_id"},
    # Administrators' alone, by row security: test_studio.py.
    ("community_collections", "POST"): _COMMUNITY,
    ("community_collections", "PATCH"): _COMMUNITY,
    ("community_items", "POST"): _ITEM,
    ("community_items", "PATCH"): _ITEM,
}

JPEG = ("a.jpg", "image/jpeg", 1000)


@pytest.fixture
def ledger(stack: Stack) -> Any:
    """What the tables really hold: a refusal is checked there, not by its status."""
    with psycopg.connect(stack.db_url, autocommit=True) as conn:
        yield conn


def refused(response: Any) -> None:
    assert response.status_code == 403, (response.status_code, response.text)
    assert response.json()["code"] == "42501", response.text


def everything(ledger: Any) -> Any:
    return ledger.execute(
        "select (select jsonb_agg(to_jsonb(l) order by id) from public.listings l),"
        " (select jsonb_agg(to_jsonb(i) order by id) from public.listing_images i),"
        " (select jsonb_agg(to_jsonb(p) order by id) from public.profiles p)"
    ).fetchone()


@pytest.fixture
def scene(person: Person, other: Person, ledger: Any) -> Any:
    """`mine` and `theirs`: a listing with one reserved image each. Afterwards nothing may have changed."""

    class Scene:
        mine = person.new_listing(title="mine")
        theirs = other.new_listing(title="theirs")
        my_image = person.reserve(mine, JPEG)[0]["image_id"]
        their_image = other.reserve(theirs, JPEG)[0]["image_id"]

    before = everything(ledger)
    yield Scene
    assert everything(ledger) == before


def image_row(**columns: Any) -> dict[str, Any]:
    return {"file_name": "a.jpg", "mime_type": "image/jpeg", "byte_size": 10, **columns}


class TestCompositeOwnership:
    """An image cannot be paired with somebody else's listing, by any path."""

    def test_table(self, person: Person, scene: Any) -> None:
        refused(person.rest("POST", "listing_images", json=image_row(listing_id=scene.theirs)))

    def test_table_with_a_listing_of_ones_own(self, person: Person, scene: Any) -> None:
        refused(person.rest("POST", "listing_images", json=image_row(listing_id=scene.mine)))

    def test_table_in_the_name_of_the_other(self, person: Person, other: Person, scene: Any) -> None:
        row = image_row(listing_id=scene.theirs, owner_id=other.id)
        refused(person.rest("POST", "listing_images", json=row))

    def test_upsert(self, person: Person, scene: Any) -> None:
        headers = {"Prefer": "resolution=merge-duplicates"}
        row = image_row(id=scene.their_image, listing_id=scene.mine)
        refused(person.rest("POST", "listing_images", json=row, headers=headers))

    def test_put(self, person: Person, scene: Any) -> None:
        row = image_row(id=scene.their_image, listing_id=scene.mine)
        refused(person.rest("PUT", f"listing_images?id=eq.{scene.their_image}", json=row))

    def test_patch_to_the_others_listing(self, person: Person, scene: Any) -> None:
        refused(
            person.rest("PATCH", f"listing_images?id=eq.{scene.my_image}", json={"listing_id": scene.theirs})
        )

    def test_csv_body(self, person: Person, scene: Any) -> None:
        body = f"listing_id,file_name,mime_type,byte_size\n{scene.theirs},a.jpg,image/jpeg,10\n"
        headers = {"Content-Type": "text/csv"}
        refused(person.rest("POST", "listing_images", content=body, headers=headers))

    def test_bulk_with_one_good_row(self, person: Person, scene: Any) -> None:
        rows = [image_row(listing_id=scene.mine), image_row(listing_id=scene.theirs)]
        refused(person.rest("POST", "listing_images", json=rows))

    def test_columns_parameter(self, person: Person, other: Person, scene: Any) -> None:
        row = image_row(listing_id=scene.mine, owner_id=other.id)
        columns = "listing_id,owner_id,file_name,mime_type,byte_size"
        refused(person.rest("POST", f"listing_images?columns={columns}", json=row))

    @pytest.mark.parametrize("unknown", [True, False])
    def test_rpc_answers_the_same_for_foreign_and_unknown(
        self, person: Person, scene: Any, unknown: bool
    ) -> None:
        body = {
            "listing_id": str(uuid4()) if unknown else scene.theirs,
            "files": [{"file_name": "a.jpg", "mime_type": "image/jpeg", "byte_size": 10}],
        }
        response = person.rest("POST", "rpc/reserve_uploads", json=body)
        assert response.status_code == 404
        assert response.json()["details"] == "listing_not_found"

    def test_storage_path(self, person: Person, other: Person, scene: Any) -> None:
        for path in (
            f"private/{other.id}/listings/{scene.theirs}/{scene.their_image}.jpg",
            f"private/{person.id}/listings/{scene.theirs}/{scene.their_image}.jpg",
            f"private/{person.id}/listings/{scene.theirs}/{scene.my_image}.jpg",
            f"media/{person.id}/{scene.mine}/{scene.my_image}/card.webp",
            f"media/{other.id}/{scene.theirs}/{scene.their_image}/card.webp",
        ):
            mime_type = "image/webp" if path.startswith("media") else "image/jpeg"
            response = person.storage(
                "POST", f"object/{path}", content=b"x" * 1000, headers={"Content-Type": mime_type}
            )
            assert response.status_code in {400, 403}, (path, response.text)
            assert response.json()["statusCode"] == "403", (path, response.text)


class TestColumns:
    """What belongs to the ledger or the worker is not for clients to write."""

    @pytest.mark.parametrize("table", ["listings", "listing_images"])
    def test_post_with_owner(self, person: Person, other: Person, scene: Any, table: str) -> None:
        for owner in (other.id, person.id):
            refused(person.rest("POST", table, json={"owner_id": owner}))

    def test_post_listing_with_a_chosen_id(self, person: Person, scene: Any) -> None:
        refused(person.rest("POST", "listings", json={"id": str(uuid4()), "title": "x"}))

    @pytest.mark.parametrize("table", ["listings", "listing_images"])
    def test_give_away(self, person: Person, other: Person, scene: Any, table: str) -> None:
        own = scene.mine if table == "listings" else scene.my_image
        refused(person.rest("PATCH", f"{table}?id=eq.{own}", json={"owner_id": other.id}))

    @pytest.mark.parametrize(
        ("column", "value"),
        [
            ("state", "ready"),
            ("sha256", "00" * 32),
            ("width", 1),
            ("height", 1),
            ("byte_size", 1),
            ("mime_type", "image/png"),
            ("original_path", "x"),
            ("file_name", "x"),
            ("thumbhash", "x"),
            ("error", "x"),
            ("position", 0),
            ("is_label", True),
            ("review_state", "allowed"),
            ("replaces_id", None),
            ("deleted_at", None),
            ("created_at", "2020-01-01T00:00:00Z"),
            ("id", "00000000-0000-4000-8000-000000000000"),
        ],
    )
    def test_patch_worker_columns(self, person: Person, scene: Any, column: str, value: Any) -> None:
        refused(person.rest("PATCH", f"listing_images?id=eq.{scene.my_image}", json={column: value}))

    def test_every_column_that_is_not_on_the_list(self, stack: Stack, person: Person, ledger: Any) -> None:
        """Of every table and view: status, cost, result, credits, owner_id, is_default and whatever comes next."""
        columns = ledger.execute(
            "select c.relname::text, a.attname::text, a.attidentity <> '' from pg_class as c"
            " join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped"
            " where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'v')"
            " and obj_description(c.oid) is not null"
        ).fetchall()
        requests = [
            (method, table, column, (400, "428C9") if is_identity else (403, "42501"))
            for table, column, is_identity in columns
            for method in ("POST", "PATCH")
            if column not in WRITABLE.get((table, method), set())
        ]
        assert len(requests) > 600
        with httpx.Client(base_url=f"{stack.api_url}/rest/v1/", headers=person.headers, timeout=30) as client:

            def send(request: tuple[str, str, str, tuple[int, str]]) -> None:
                method, table, column, expected = request
                path = table if method == "POST" else f"{table}?limit=1&order={column}"
                answer = client.request(method, path, json={column: None})
                if answer.json()["code"] not in {"55000", "0A000"}:  # views that nobody can write
                    assert (answer.status_code, answer.json()["code"]) == expected, (request, answer.text)

            with ThreadPoolExecutor(4) as pool:
                list(pool.map(send, requests))

    @pytest.mark.parametrize("table", ["image_variants", "image_events"])
    @pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
    def test_the_workers_tables(self, person: Person, scene: Any, table: str, method: str) -> None:
        kwargs = {} if method == "DELETE" else {"json": {"image_id": scene.my_image}}
        refused(person.rest(method, f"{table}?image_id=eq.{scene.my_image}", **kwargs))

    @pytest.mark.parametrize("column", ["price_id", "id", "is_admin", "credits"])
    def test_patch_own_plan(self, person: Person, scene: Any, column: str) -> None:
        response = person.rest("PATCH", f"profiles?id=eq.{person.id}", json={column: str(uuid4())})
        # A column that does not exist is not found out to be writable either.
        assert response.status_code in {400, 403}
        assert response.json()["code"] in {"42501", "PGRST204"}

    def test_post_profile_for_another(self, person: Person, scene: Any) -> None:
        refused(person.rest("POST", "profiles", json={"id": str(uuid4())}))

    @pytest.mark.parametrize("table", ["plans", "site_policies", "variant_specs"])
    @pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
    def test_site_tables(self, person: Person, scene: Any, table: str, method: str) -> None:
        kwargs = {} if method == "DELETE" else {"json": {"created_at": "2020-01-01T00:00:00Z"}}
        response = person.rest(method, f"{table}?created_at=gt.1900-01-01", **kwargs)
        assert response.status_code in {400, 403}
        assert response.json()["code"] in {"42501", "PGRST204", "42703"}


class TestRowsOfTheOther:
    """Rows that are not one's own are not there."""

    @pytest.mark.parametrize(
        ("table", "body"), [("listings", {"title": "x"}), ("listing_images", {"alt_text": "x"})]
    )
    def test_patch_by_id(self, person: Person, scene: Any, table: str, body: dict[str, str]) -> None:
        theirs = scene.theirs if table == "listings" else scene.their_image
        headers = {"Prefer": "return=representation"}
        response = person.rest("PATCH", f"{table}?id=eq.{theirs}", json=body, headers=headers)
        assert (response.status_code, response.json()) == (200, [])

    @pytest.mark.parametrize("table", ["listings", "listing_images"])
    def test_delete_by_id(self, person: Person, scene: Any, table: str) -> None:
        theirs = scene.theirs if table == "listings" else scene.their_image
        assert person.rest("DELETE", f"{table}?id=eq.{theirs}").status_code == 204

    @pytest.mark.parametrize(
        "path",
        [
            "listings?id=eq.{theirs}",
            "listing_images?id=eq.{their_image}",
            "listing_images?listing_id=eq.{theirs}",
            "image_variants?image_id=eq.{their_image}",
            "image_events?image_id=eq.{their_image}",
            "gallery?listing_id=eq.{theirs}",
            "media_tray?listing_id=eq.{theirs}",
            "label_images?listing_id=eq.{theirs}",
            "listings?select=*,listing_images(*)&id=eq.{theirs}",
        ],
    )
    def test_read(self, person: Person, scene: Any, path: str) -> None:
        target = path.format(theirs=scene.theirs, their_image=scene.their_image)
        response = person.rest("GET", target, headers={"Prefer": "count=exact"})
        assert (response.status_code, response.json()) == (200, [])
        assert response.headers["content-range"] == "*/0"
        head = person.rest("HEAD", target, headers={"Prefer": "count=exact"})
        assert head.headers["content-range"] == "*/0"

    @pytest.mark.parametrize(
        ("function", "arguments"),
        [
            ("remove_image", {}),
            ("restore_image", {}),
            ("retry_image", {}),
            ("set_label", {"is_label": True}),
        ],
    )
    def test_functions_on_an_image(
        self, person: Person, scene: Any, function: str, arguments: dict[str, Any]
    ) -> None:
        answers = [
            person.rest("POST", f"rpc/{function}", json={"image_id": image, **arguments})
            for image in (scene.their_image, str(uuid4()))
        ]
        assert [a.status_code for a in answers] == [404, 404]
        assert answers[0].json() == answers[1].json()

    @pytest.mark.parametrize(
        ("function", "arguments"),
        [("publish_listing", {}), ("listing_history", {}), ("reorder_images", {"image_ids": []})],
    )
    def test_functions_on_a_listing(
        self, person: Person, scene: Any, function: str, arguments: dict[str, Any]
    ) -> None:
        answers = [
            person.rest("POST", f"rpc/{function}", json={"listing_id": listing, **arguments})
            for listing in (scene.theirs, str(uuid4()))
        ]
        assert answers[0].status_code == answers[1].status_code
        assert answers[0].json() == answers[1].json()
        assert answers[0].status_code == 404 or answers[0].json() == []


class TestFavourites:
    def test_the_default_one_stays(self, person: Person, ledger: Any) -> None:
        def found() -> Any:
            return ledger.execute(
                "select to_jsonb(c) from public.collections as c where owner_id = %s", [person.id]
            ).fetchall()

        before = found()
        ((row,),) = before
        for path in (f"collections?id=eq.{row['id']}", "collections?is_default=is.true", "collections"):
            for method, body in (
                ("DELETE", None), ("PATCH", {"name": "x"}), ("PATCH", {"rule": {}}), ("PATCH", {"name": None}),
                ("PATCH", {"is_default": False}), ("PATCH", {"owner_id": str(uuid4())}),
            ):  # fmt: skip
                answer = person.rest(method, path, **({"json": body} if body else {}))
                assert answer.status_code == 403, (method, path, body, answer.text)
        for body in (
            {"name": "x", "is_default": True},
            {"name": "x", "owner_id": None},
            {"id": row["id"], "name": "x"},
            {"name": "x", "is_default": None},
        ):
            for prefer in ("return=minimal", "resolution=merge-duplicates", "missing=default"):
                refused(person.rest("POST", "collections", json=body, headers={"Prefer": prefer}))
        # The name is taken, whatever becomes of duplicates.
        for query in ("", "?on_conflict=owner_id,name"):
            for prefer in ("return=minimal", "resolution=merge-duplicates"):
                answer = person.rest(
                    "POST", f"collections{query}", json={"name": "My Favorites"}, headers={"Prefer": prefer}
                )
                assert answer.status_code in {400, 403, 409}, answer.text
        assert found() == before


class TestAtOnce:
    @pytest.mark.parametrize(
        ("table", "row"),
        [("listings", {"sku": "A1"}), ("collections", {"name": "Lamps"})],
        ids=["sku", "name"],
    )
    def test_one_of_twenty_gets_the_place(
        self, stack: Stack, person: Person, table: str, row: dict[str, str]
    ) -> None:
        with (
            httpx.Client(base_url=f"{stack.api_url}/rest/v1/", headers=person.headers, timeout=30) as client,
            ThreadPoolExecutor(20) as pool,
        ):
            answers = list(pool.map(lambda _: client.post(table, json=row).status_code, range(20)))
        assert Counter(answers) == {201: 1, 409: 19}
        ((column, value),) = row.items()
        assert len(person.rest("GET", f"{table}?owner_id=eq.{person.id}&{column}=eq.{value}").json()) == 1
