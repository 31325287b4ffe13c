"""A label, or a rejected photo, reaches nobody by any path; links that were made before die. With a real worker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from storage3.exceptions import StorageApiError
from supabase import Client

from tests.api.test_attacks_storage import photo
from tests.support.audit import assert_ledger_is_storage
from tests.support.gemini_server import REJECTED, GeminiServer, verdict
from tests.support.people import Person, new_client
from tests.support.stack import Stack
from tests.support.worker import WorkerProcess

PHOTO = photo()


def published(person: Person, count: int = 2) -> tuple[str, list[dict[str, Any]]]:
    """A published listing and its processed photos."""
    listing = person.new_listing(title="Lamp", price=12, currency="EUR")
    person.upload(listing, *((f"{n}.jpg", "image/jpeg", photo(("red", "blue")[n])) for n in range(count)))
    images = person.wait_until_settled(listing)
    person.client.rpc("publish_listing", {"listing_id": listing}).execute()
    return listing, images


def set_label(person: Person, image: str, is_label: bool) -> Any:
    return person.client.rpc("set_label", {"image_id": image, "is_label": is_label}).execute().data


def signed(client: Client, path: str, seconds: int = 3600) -> str:
    return str(client.storage.from_("media").create_signed_url(path, seconds)["signedURL"])


def until_dead(url: str, timeout: float = 20) -> None:
    """The link answers no bytes any more."""
    deadline = time.monotonic() + timeout
    while (response := httpx.get(url)).status_code == 200:
        assert time.monotonic() < deadline, "the link still works"
        time.sleep(0.05)
    assert response.status_code in {400, 404}


def eventually(condition: Callable[[], bool], timeout: float = 30) -> None:
    """Waits until it holds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


def gallery_of(client: Client, listing: str) -> list[str]:
    """The listing's photos as this caller sees them, in order."""
    rows: Any = (
        client.table("gallery").select("id").eq("listing_id", listing).order("position").execute().data
    )
    return [row["id"] for row in rows]


def seen(client: Client, listing: str) -> tuple[list[str], list[str]]:
    """Photos and covers of a listing as this caller sees them, alone and embedded, which must agree."""
    photos = gallery_of(client, listing)
    covers: Any = client.table("listing_covers").select("image_id").eq("listing_id", listing).execute()
    embedded: Any = client.table("listings").select("*, gallery(*), cover(*)").eq("id", listing).execute()
    cover = [row["image_id"] for row in covers.data]
    for row in embedded.data:
        assert [p["id"] for p in row["gallery"]] == photos
        assert ([row["cover"]["image_id"]] if row["cover"] else []) == cover
    return photos, cover


def assert_unreachable(stack: Stack, client: Client, headers: dict[str, str], paths: list[str]) -> None:
    """No way through bucket media leads to these objects."""
    bucket = client.storage.from_("media")
    for path in paths:
        for attempt in (bucket.download, bucket.info, lambda p: bucket.create_signed_url(p, 60)):
            with pytest.raises(StorageApiError):
                attempt(path)
        assert not bucket.exists(path)
        for way in ("", "authenticated/", "public/", "info/", "info/authenticated/", "info/public/"):
            url = f"{stack.api_url}/storage/v1/object/{way}media/{path}"
            assert httpx.get(url, headers=headers).status_code in {400, 404}, way
            assert httpx.head(url, headers=headers).status_code in {400, 404}, way
        url = f"{stack.api_url}/storage/v1/render/image/authenticated/media/{path}"
        assert httpx.get(url, headers=headers).status_code >= 400
    folder = paths[0].rsplit("/", 1)[0]
    assert bucket.list(folder) == []
    assert folder.rsplit("/", 1)[1] not in {entry["name"] for entry in bucket.list(folder.rsplit("/", 1)[0])}
    assert all(row["error"] for row in bucket.create_signed_urls(paths, 60))


def test_label_reaches_nobody_and_the_cover_moves(
    stack: Stack, worker: WorkerProcess, person: Person, other: Person
) -> None:
    listing, (label, shown) = published(person)
    anon = new_client(stack)
    assert seen(anon, listing) == ([label["id"], shown["id"]], [label["id"]])
    set_label(person, label["id"], True)
    paths = [variant["path"] for variant in label["image_variants"]]
    visitors = (
        (anon, {"apikey": stack.anon_key}),
        (other.client, other.headers),
        (person.client, person.headers),
    )
    for client, headers in visitors:
        assert seen(client, listing) == ([shown["id"]], [shown["id"]])
        assert_unreachable(stack, client, headers, paths)
    assert len(anon.storage.from_("media").download(shown["image_variants"][0]["path"])) > 0
    # Its owner has the original, and nobody else has.
    (row,) = person.client.table("label_images").select("*").execute().data
    assert person.client.storage.from_("private").download(row["original_path"]) == PHOTO
    for client in (anon, other.client):
        with pytest.raises(StorageApiError):
            client.storage.from_("private").download(row["original_path"])


@pytest.mark.parametrize(
    "query",
    [
        "listings?select=*,listing_images(*)",
        "listings?select=*,listing_images(id)",
        "listings?select=*,listing_images(image_variants(path))",
        "listings?select=*,label_images(*)",
        "listings?select=*,media_tray(*)",
        "listing_images",
        "image_variants",
        "image_events",
        "label_images",
        "media_tray",
        "gallery?select=*,listing_images(*)",
        "gallery?select=*,image_variants(*)",
        "profiles?select=*,listings(*,listing_images(*))",
    ],
)
def test_no_embed_shows_a_label(
    stack: Stack, worker: WorkerProcess, person: Person, other: Person, query: str
) -> None:
    listing, (label, _) = published(person)
    set_label(person, label["id"], True)
    refused = httpx.get(f"{stack.api_url}/rest/v1/{query}", headers={"apikey": stack.anon_key})
    assert refused.status_code >= 400, refused.text
    assert label["id"] not in other.rest("GET", query).text
    assert (
        label["id"]
        not in httpx.get(
            f"{stack.api_url}/rest/v1/listings?select=*,gallery(*),cover(*)&id=eq.{listing}",
            headers={"apikey": stack.anon_key},
        ).text
    )


def test_links_made_before_die_and_come_back(stack: Stack, worker: WorkerProcess, person: Person) -> None:
    listing, (label, shown) = published(person)
    paths = [variant["path"] for variant in label["image_variants"]]
    old = [signed(new_client(stack), path) for path in paths] + [signed(person.client, paths[0], 10**8)]
    kept = signed(new_client(stack), shown["image_variants"][0]["path"])
    assert {httpx.get(url).status_code for url in [*old, kept]} == {200}

    set_label(person, label["id"], True)
    for url in old:
        until_dead(url)
    assert httpx.get(kept).status_code == 200
    assert_ledger_is_storage(stack)
    assert person.images(listing)[0]["image_variants"] == []

    assert set_label(person, label["id"], False)["state"] == "uploaded"
    again = person.wait_until_settled(listing)
    assert [v["path"] for v in again[0]["image_variants"]] == paths
    assert seen(new_client(stack), listing)[0] == [label["id"], shown["id"]]
    assert httpx.get(signed(new_client(stack), paths[0])).status_code == 200
    assert_ledger_is_storage(stack)


def test_back_and_forth_ends_as_the_last_word_says(
    stack: Stack, worker: WorkerProcess, person: Person
) -> None:
    listing, (label, shown) = published(person)
    for n in range(9):
        set_label(person, label["id"], n % 2 == 0)
        time.sleep(0.02 * (n % 3))
    eventually(lambda: not person.images(listing)[0]["image_variants"])
    assert seen(new_client(stack), listing)[0] == [shown["id"]]
    assert_ledger_is_storage(stack)
    for n in range(6):
        set_label(person, label["id"], n % 2 == 0)
        time.sleep(0.02 * (n % 3))
    anon = new_client(stack)
    eventually(lambda: gallery_of(anon, listing) == [label["id"], shown["id"]])
    assert_ledger_is_storage(stack)
    assert len(person.images(listing)[0]["image_variants"]) == 5


def test_reserved_as_label_is_never_in_bucket_media(
    stack: Stack, worker: WorkerProcess, person: Person
) -> None:
    listing = person.new_listing()
    files = [{"file_name": "tag.jpg", "mime_type": "image/jpeg", "byte_size": len(PHOTO), "is_label": True}]
    row: Any = person.client.rpc("reserve_uploads", {"listing_id": listing, "files": files}).execute().data[0]
    person.client.storage.from_("private").upload(row["path"], PHOTO, {"content-type": "image/jpeg"})
    (image,) = person.wait_until_settled(listing)
    assert (image["state"], image["width"], image["image_variants"]) == ("ready", 1200, [])
    assert person.client.table("media_tray").select("*").execute().data == []


class TestReview:
    @pytest.fixture
    def gemini(self, stack: Stack, worker: WorkerProcess) -> Iterator[GeminiServer]:
        """Reviews by a local Gemini, in place of the worker that knows of none."""
        worker.terminate()
        policies = new_client(stack, stack.service_role_key).table("site_policies")
        with GeminiServer() as server:
            environment = {"GEMINI_API_KEY": "k", "GEMINI_BASE_URL": server.url}
            try:
                with WorkerProcess(stack, **environment):
                    yield server
            finally:
                policies.update({"photo_review_enabled": False, "photo_review_provider": "disabled"}).eq(
                    "id", True
                ).execute()
                worker.start()

    def switch(self, stack: Stack, enabled: bool) -> None:
        policies = new_client(stack, stack.service_role_key).table("site_policies")
        change = {"photo_review_enabled": enabled, "photo_review_provider": "gemini"}
        policies.update(change).eq("id", True).execute()

    def test_switch_verdict_and_switch_back(self, stack: Stack, gemini: GeminiServer, person: Person) -> None:
        listing, images = published(person)
        anon, path = new_client(stack), images[0]["image_variants"][0]["path"]
        old = signed(anon, path)
        gemini.standing = verdict(REJECTED)

        self.switch(stack, True)
        assert seen(anon, listing) == ([], [])
        assert_unreachable(stack, anon, {"apikey": stack.anon_key}, [path])
        until_dead(old)

        def told() -> set[tuple[str, str]]:
            tray: Any = person.client.table("media_tray").select("status, reason").execute().data
            return {(row["status"], row["reason"]) for row in tray}

        eventually(lambda: told() == {("rejected", str(REJECTED["reason"]))})
        for table in ("gallery", "listing_covers", "listings"):
            assert "phone" not in str(anon.table(table).select("*").execute().data)

        self.switch(stack, False)
        eventually(lambda: gallery_of(anon, listing) == [image["id"] for image in images])
        assert httpx.get(signed(anon, path)).status_code == 200
        assert_ledger_is_storage(stack)
