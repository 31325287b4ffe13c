"""Storage under attack: other people's paths, second uploads, disguises, deletes, signed URLs."""

from __future__ import annotations

import io
import time
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import psycopg
import pytest
from PIL import Image
from storage3.exceptions import StorageApiError

from tests.support.people import Person, new_client, objects_below
from tests.support.stack import Stack
from tests.support.worker import WorkerProcess


def photo(colour: str = "red", size: tuple[int, int] = (1200, 900)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "JPEG")
    return out.getvalue()


def reserved(person: Person, data: bytes) -> dict[str, str]:
    listing = person.new_listing(title="Lamp")
    return person.reserve(listing, ("a.jpg", "image/jpeg", len(data)))[0]


def put(person: Person, path: str, data: bytes, method: str = "POST", **headers: str) -> httpx.Response:
    return person.storage(
        method, f"object/{path}", content=data, headers={"Content-Type": "image/jpeg"} | headers
    )


def assert_refused(response: httpx.Response, *codes: str) -> None:
    assert response.status_code in {400, 403, 404}, response.text
    assert response.json()["statusCode"] in (codes or {"403"}), response.text


class TestReservedPath:
    def test_only_the_reserved_path(self, stack: Stack, person: Person) -> None:
        data = photo()
        row = reserved(person, data)
        folder = row["path"].rsplit("/", 1)[0]
        for path in (f"{folder}/{uuid4()}.jpg", row["path"].replace(".jpg", ".png"), f"{row['path']}/x.jpg"):
            assert_refused(put(person, f"private/{path}", data))
        assert objects_below(stack, person.id)["private"] == set()
        assert put(person, f"private/{row['path']}", data).status_code == 200

    def test_second_upload_and_upsert(self, stack: Stack, person: Person) -> None:
        data = photo()
        row = reserved(person, data)
        assert put(person, f"private/{row['path']}", data).status_code == 200
        other = photo("blue")
        assert_refused(put(person, f"private/{row['path']}", other), "403", "409")
        assert_refused(put(person, f"private/{row['path']}", other, **{"x-upsert": "true"}), "403", "409")
        assert_refused(put(person, f"private/{row['path']}", other, method="PUT"), "403", "404")
        assert person.client.storage.from_("private").download(row["path"]) == data

    def test_the_path_of_another(self, stack: Stack, person: Person, other: Person) -> None:
        row = reserved(other, photo())
        assert_refused(put(person, f"private/{row['path']}", photo()))
        assert objects_below(stack, other.id)["private"] == set()

    def test_without_a_token(self, stack: Stack, person: Person) -> None:
        row = reserved(person, photo())
        response = httpx.post(
            f"{stack.api_url}/storage/v1/object/private/{row['path']}",
            content=photo(),
            headers={"apikey": stack.anon_key, "Content-Type": "image/jpeg"},
        )
        assert_refused(response)

    def test_signed_upload_url_is_for_the_reserved_path_once(self, stack: Stack, person: Person) -> None:
        data = photo()
        row = reserved(person, data)
        bucket = person.client.storage.from_("private")
        with pytest.raises(StorageApiError):
            bucket.create_signed_upload_url(row["path"].replace(row["image_id"], str(uuid4())))
        signed: Any = bucket.create_signed_upload_url(row["path"])
        bucket.upload_to_signed_url(row["path"], signed["token"], data, {"content-type": "image/jpeg"})
        with pytest.raises(StorageApiError):
            bucket.upload_to_signed_url(
                row["path"], signed["token"], photo("blue"), {"content-type": "image/jpeg", "upsert": "true"}
            )
        assert bucket.download(row["path"]) == data

    def test_signed_upload_url_after_the_row_is_gone(self, stack: Stack, person: Person) -> None:
        row = reserved(person, photo())
        bucket = person.client.storage.from_("private")
        signed: Any = bucket.create_signed_upload_url(row["path"])
        person.client.table("listing_images").delete().eq("id", row["image_id"]).execute()
        with pytest.raises(StorageApiError):
            bucket.upload_to_signed_url(row["path"], signed["token"], photo(), {"content-type": "image/jpeg"})
        assert objects_below(stack, person.id)["private"] == set()

    def test_more_bytes_than_reserved(self, stack: Stack, worker: WorkerProcess, person: Person) -> None:
        """What was reserved is what counts against the budget: other bytes do not become a photo."""
        listing = person.new_listing(title="Lamp")
        (row,) = person.reserve(listing, ("a.jpg", "image/jpeg", 10))
        response = put(person, f"private/{row['path']}", photo())
        if response.status_code == 200:
            (image,) = person.wait_until_settled(listing)
            assert image["state"] == "failed"
        else:
            assert_refused(response)


class TestOtherPeoplesObjects:
    def test_read_by_any_door(
        self, stack: Stack, worker: WorkerProcess, person: Person, other: Person
    ) -> None:
        listing = other.new_listing(title="theirs")
        other.upload(listing, ("a.jpg", "image/jpeg", photo()))
        (image,) = other.wait_until_settled(listing)
        targets = [("private", image["original_path"]), ("media", image["image_variants"][0]["path"])]
        for bucket, path in targets:
            for door in (
                f"object/{bucket}/{path}",
                f"object/authenticated/{bucket}/{path}",
                f"object/public/{bucket}/{path}",
                f"object/info/authenticated/{bucket}/{path}",
                f"object/info/public/{bucket}/{path}",
                f"object/info/{bucket}/{path}",
            ):
                for headers in (person.headers, {"apikey": stack.anon_key}):
                    for method in ("GET", "HEAD"):
                        url = f"{stack.api_url}/storage/v1/{door}"
                        response = httpx.request(
                            method, url, headers=headers | {"Range": "bytes=0-1"}, timeout=30
                        )
                        assert response.status_code in {400, 404}, (door, response.status_code)
            sign = person.storage("POST", f"object/sign/{bucket}/{path}", json={"expiresIn": 60})
            assert sign.status_code in {400, 404}, sign.text
            batch = person.storage("POST", f"object/sign/{bucket}", json={"expiresIn": 60, "paths": [path]})
            assert batch.status_code == 200
            assert batch.json()[0]["error"]
            assert not batch.json()[0].get("signedURL")
            folder = path.rsplit("/", 1)[0]
            assert person.client.storage.from_(bucket).list(folder) == []
            assert person.client.storage.from_(bucket).list(other.id) == []

    def test_move_and_copy(self, stack: Stack, worker: WorkerProcess, person: Person, other: Person) -> None:
        for owner in (person, other):
            owner.upload(owner.new_listing(title="x"), ("a.jpg", "image/jpeg", photo()))
        before = objects_below(stack, person.id), objects_below(stack, other.id)
        (mine,) = before[0]["private"]
        (theirs,) = before[1]["private"]
        for source, target in (
            (mine, f"{other.id}/x.jpg"),
            (mine, f"{person.id}/x.jpg"),
            (theirs, f"{person.id}/x.jpg"),
        ):
            for verb in ("move", "copy"):
                for bucket in ("private", "public"):
                    body = {
                        "bucketId": "private",
                        "sourceKey": source,
                        "destinationBucket": bucket,
                        "destinationKey": target,
                    }
                    assert_refused(person.storage("POST", f"object/{verb}", json=body), "403", "404")
        after = objects_below(stack, person.id), objects_below(stack, other.id)
        assert after[0]["private"] == before[0]["private"]
        assert after[0]["public"] == set()
        assert after[1]["private"] == before[1]["private"]
        assert after[1]["public"] == set()

    def test_clients_never_delete_objects(self, stack: Stack, person: Person, other: Person) -> None:
        other.upload(other.new_listing(title="x"), ("a.jpg", "image/jpeg", photo()))
        person.upload(person.new_listing(title="x"), ("a.jpg", "image/jpeg", photo()))
        for path in objects_below(stack, other.id)["private"] | objects_below(stack, person.id)["private"]:
            assert person.client.storage.from_("private").remove([path]) == []
        assert len(objects_below(stack, other.id)["private"]) == 1
        assert len(objects_below(stack, person.id)["private"]) == 1

    def test_sql_delete_is_refused(self, stack: Stack) -> None:
        with (
            psycopg.connect(stack.db_url) as conn,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            conn.execute("delete from storage.objects")


class TestNamesAndTypes:
    @pytest.mark.parametrize(
        "name",
        [
            "../x.jpg",
            "a//b.jpg",
            "%2e%2e/x.jpg",
            "a/../../x.jpg",
            "n\u0301.jpg",
            "x" * 300,
            "a\\b.jpg",
            "\x00",
        ],
    )
    def test_names_that_users_choose(self, stack: Stack, person: Person, name: str) -> None:
        response = put(person, f"public/{person.id}/{quote(name, safe='/%')}", photo())
        assert response.status_code in {400, 403, 404}, (name, response.text)
        assert objects_below(stack, person.id)["public"] == set()

    def test_public_below_ones_own_folder_only(self, stack: Stack, person: Person, other: Person) -> None:
        assert put(person, f"public/{person.id}/logo.jpg", photo()).status_code == 200
        assert_refused(put(person, f"public/{other.id}/logo.jpg", photo()))
        assert_refused(put(person, "public/logo.jpg", photo()))
        assert_refused(put(person, f"public/renders/{uuid4()}/0.jpg", photo()))
        assert (
            httpx.get(f"{stack.api_url}/storage/v1/object/public/public/{person.id}/logo.jpg").status_code
            == 200
        )
        assert other.client.storage.from_("public").list(person.id) == []

    @pytest.mark.parametrize(
        "mime_type", ["image/svg+xml", "text/html", "application/octet-stream", "image/gif"]
    )
    def test_types_that_the_bucket_refuses(self, stack: Stack, person: Person, mime_type: str) -> None:
        row = reserved(person, photo())
        response = put(person, f"private/{row['path']}", b"<svg/>", **{"Content-Type": mime_type})
        assert response.status_code in {400, 415}, response.text
        assert objects_below(stack, person.id)["private"] == set()

    @pytest.mark.parametrize(
        "data",
        [
            b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            b"<html><script>alert(1)</script>",
            b"GIF89a" + b"\0" * 50,
        ],
    )
    def test_disguised_as_jpeg(
        self, stack: Stack, worker: WorkerProcess, person: Person, data: bytes
    ) -> None:
        listing = person.new_listing(title="Lamp")
        person.upload(listing, ("a.jpg", "image/jpeg", data))
        (image,) = person.wait_until_settled(listing)
        assert image["state"] == "failed"
        assert image["error"]
        assert image["image_variants"] == []
        assert objects_below(stack, person.id)["media"] == set()
        tray: Any = person.client.table("media_tray").select("*").eq("listing_id", listing).execute().data
        assert len(tray) == 1


class TestOldUrls:
    def test_variants_cannot_be_guessed_and_die_with_the_image(
        self, stack: Stack, worker: WorkerProcess, person: Person
    ) -> None:
        listing = person.new_listing(title="Lamp")
        person.upload(listing, ("a.jpg", "image/jpeg", photo()))
        (image,) = person.wait_until_settled(listing)
        path = image["image_variants"][0]["path"]
        signed: Any = person.client.storage.from_("media").create_signed_url(path, 600)
        assert httpx.get(signed["signedURL"]).status_code == 200
        for door in (
            f"object/public/media/{path}",
            f"object/media/{path}",
            f"render/image/public/media/{path}",
        ):
            assert httpx.get(f"{stack.api_url}/storage/v1/{door}").status_code >= 400
        person.client.table("listing_images").delete().eq("id", image["id"]).execute()
        deadline = time.monotonic() + 20
        while httpx.get(signed["signedURL"]).status_code == 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert person.storage("GET", f"object/authenticated/media/{path}").status_code in {400, 404}

    def test_folder_placeholders(self, stack: Stack, person: Person) -> None:
        for folder in (
            f"private/{person.id}",
            f"private/{person.id}/listings/{uuid4()}",
            f"media/{person.id}",
        ):
            response = put(person, f"{folder}/.emptyFolderPlaceholder", b"", **{"Content-Type": "text/plain"})
            assert response.status_code in {400, 403, 415}, response.text
        assert set().union(*objects_below(stack, person.id).values()) == set()


class TestBuckets:
    def test_clients_do_not_administer_buckets(self, stack: Stack, person: Person) -> None:
        storage = person.client.storage
        for call in (
            lambda: storage.create_bucket(f"b-{uuid4().hex}"),
            lambda: storage.update_bucket("private", {"public": True}),
            lambda: storage.empty_bucket("media"),
            lambda: storage.delete_bucket("media"),
        ):
            with pytest.raises(StorageApiError):
                call()
        service = new_client(stack, stack.service_role_key)
        shown = {bucket.id: bucket.public for bucket in service.storage.list_buckets()}
        assert shown == {"private": False, "media": False, "public": True}
