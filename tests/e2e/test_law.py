"""The law: upload an image, save, refresh, log out, log in, open the listing: the images are still there."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import subprocess
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

from PIL import Image

from tests.support.images import make_heic, make_jpeg
from tests.support.people import Person, new_client, objects_below
from tests.support.stack import ROOT, Stack
from tests.support.worker import WorkerProcess
from worker.imaging.samples import sample_photos

ROLES = {"thumb", "card", "preview", "detail", "detail_max"}
#: As large as phones take them; what is not about pixels does with small ones.
large_photos = functools.cache(sample_photos)
SMALL = [("chair.jpg", "image/jpeg", make_jpeg()), ("lamp.heic", "image/heic", make_heic())]


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_images_are_still_there_with_supabase_py(stack: Stack, worker: WorkerProcess, person: Person) -> None:
    photos = large_photos()
    listing = person.new_listing(title="Lamp")
    reserved = person.upload(listing, *photos)
    person.wait_until_settled(listing)
    person.client.auth.sign_out()

    again = person.sign_in_again()
    images = again.images(listing)

    assert [image["id"] for image in images] == [row["image_id"] for row in reserved]
    assert [image["position"] for image in images] == list(range(len(photos)))
    assert [image["state"] for image in images] == ["ready"] * len(photos)
    assert [image["sha256"] for image in images] == [digest(data) for _, _, data in photos]
    for image, (_, _, data) in zip(images, photos, strict=True):
        assert again.client.storage.from_("private").download(image["original_path"]) == data
        assert {variant["role"] for variant in image["image_variants"]} == ROLES
        for variant in image["image_variants"]:
            served = again.client.storage.from_("media").download(variant["path"])
            assert len(served) == variant["byte_size"]
            picture = Image.open(io.BytesIO(served))
            assert (picture.format, picture.size) == ("WEBP", (variant["width"], variant["height"]))
            assert not {"exif", "xmp", "icc_profile"} & picture.info.keys()
    rows: Any = again.client.table("gallery").select("*").eq("listing_id", listing).execute().data
    assert len(rows) == len(photos)


def test_images_are_still_there_with_supabase_js(stack: Stack, worker: WorkerProcess, tmp_path: Path) -> None:
    files = []
    for name, mime_type, data in large_photos():
        (tmp_path / name).write_bytes(data)
        files.append({"path": str(tmp_path / name), "file_name": name, "mime_type": mime_type})
    script = ROOT / "tests/e2e/law.mjs"
    request = {
        "url": stack.api_url,
        "anonKey": stack.anon_key,
        "email": f"{uuid4()}@example.test",
        "files": files,
    }
    done = subprocess.run(
        ["node", str(script)],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)

    assert [image["id"] for image in seen["images"]] == seen["reserved"]
    assert [image["sha256"] for image in seen["images"]] == seen["sent"]
    assert [image["original_sha256"] for image in seen["images"]] == seen["sent"]
    for image in seen["images"]:
        assert {variant["role"] for variant in image["image_variants"]} == ROLES
        assert all(v["downloaded"] == v["byte_size"] for v in image["image_variants"])
        assert {v["type"] for v in image["image_variants"]} == {"image/webp"}
    assert seen["gallery"] == len(files)
    assert seen["draft_seen_by_visitor"] == 0


def test_visitor_sees_a_listing_once_it_is_published(
    stack: Stack, worker: WorkerProcess, person: Person
) -> None:
    listing = person.new_listing(
        title="Lamp", description="A lamp.", price=12.5, currency="EUR", category="lamps", condition="new"
    )
    person.upload(listing, SMALL[0])
    (image,) = person.wait_until_settled(listing)
    path = image["image_variants"][0]["path"]
    visitor = new_client(stack)

    def seen() -> int:
        rows: Any = visitor.table("gallery").select("*").eq("listing_id", listing).execute().data
        return len(rows)

    assert seen() == 0
    assert person.storage("GET", f"object/authenticated/media/{path}").status_code == 200
    person.client.rpc("publish_listing", {"listing_id": listing}).execute()
    assert seen() == 1
    assert visitor.storage.from_("media").download(path)[:4] == b"RIFF"
    person.client.table("listings").update({"status": "archived"}).eq("id", listing).execute()
    assert seen() == 0


class TestDeletionLeavesNotOneByte:
    """The image, the listing, the user: zero rows and zero objects of it, and another user's stay."""

    @staticmethod
    def upload_two(person: Person) -> str:
        listing = person.new_listing(title="Lamp")
        person.upload(listing, *SMALL)
        person.wait_until_settled(listing)
        return listing

    @staticmethod
    def wait_for_objects(stack: Stack, owner: str, expected: set[str]) -> None:
        deadline = time.monotonic() + 30
        while True:
            left = set().union(*objects_below(stack, owner).values())
            if left == expected:
                return
            assert time.monotonic() < deadline, f"left in storage: {left - expected}, lost: {expected - left}"
            time.sleep(0.1)

    def test_image(self, stack: Stack, worker: WorkerProcess, person: Person) -> None:
        listing = self.upload_two(person)
        gone, stays = person.images(listing)
        person.client.table("listing_images").delete().eq("id", gone["id"]).execute()

        assert [image["position"] for image in person.images(listing)] == [0]
        expected = {stays["original_path"], *(v["path"] for v in stays["image_variants"])}
        self.wait_for_objects(stack, person.id, expected)

    def test_listing(self, stack: Stack, worker: WorkerProcess, person: Person) -> None:
        listing = self.upload_two(person)
        person.client.table("listings").delete().eq("id", listing).execute()
        assert person.images(listing) == []
        self.wait_for_objects(stack, person.id, set())

    def test_user(self, stack: Stack, worker: WorkerProcess, person: Person, other: Person) -> None:
        self.upload_two(person)
        others = self.upload_two(other)
        kept = set().union(*objects_below(stack, other.id).values())
        person.client.storage.from_("public").upload(
            f"{person.id}/logo.png", b"\x89PNG", {"content-type": "image/png"}
        )

        new_client(stack, stack.service_role_key).auth.admin.delete_user(person.id)

        self.wait_for_objects(stack, person.id, set())
        assert set().union(*objects_below(stack, other.id).values()) == kept
        assert len(kept) == 12
        assert len(other.images(others)) == 2
        service = new_client(stack, stack.service_role_key)
        for table, column in (("profiles", "id"), ("listings", "owner_id"), ("listing_images", "owner_id")):
            rows: Any = service.table(table).select("*").eq(column, person.id).execute().data
            assert rows == [], table
