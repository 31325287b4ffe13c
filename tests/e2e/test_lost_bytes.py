"""A photo whose bytes are gone from Storage, as after a restored backup: marked, kept for when they come back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg

from tests.support.images import make_jpeg
from tests.support.people import Person, objects_below
from tests.support.processes import wait_until
from tests.support.stack import Stack
from tests.support.worker import WorkerProcess


def version_file(stack: Stack, path: str) -> Path:
    with psycopg.connect(stack.db_url) as conn:
        row = conn.execute(
            "select version from storage.objects where bucket_id = 'private' and name = %s", (path,)
        ).fetchone()
    assert row
    return stack.home / "storage" / "versions" / row[0][:2] / row[0]


def sweep(stack: Stack, person: Person) -> list[Any]:
    """Kinds that are found, and mended."""
    options = ("--json", "--older-than", "0s", "--owner", person.id, "--verify-checksums", "--repair")
    answer = json.loads(stack.cli("sweep", *options).stdout)
    return [finding["kind"] for finding in answer["findings"]]


def test_the_object_stays_until_its_photo_goes(stack: Stack, worker: WorkerProcess, person: Person) -> None:
    """Its row in storage.objects is what finds the bytes again: nobody removes what Storage may only have mislaid."""
    listing = person.new_listing(title="Lamp")
    (row,) = person.upload(listing, ("lamp.jpg", "image/jpeg", make_jpeg()))
    person.wait_until_settled(listing)
    file = version_file(stack, row["path"])
    mislaid = file.rename(file.with_suffix(".mislaid"))
    assert sweep(stack, person) == ["original_missing"]
    (image,) = person.images(listing)
    assert (image["state"], image["error_code"]) == ("failed", "original_missing")
    assert row["path"] in objects_below(stack, person.id)["private"]
    assert sweep(stack, person) == [], "it is known"

    # The bucket's backup is restored too, later than the database's.
    mislaid.rename(file)
    person.client.rpc("retry_image", {"image_id": row["image_id"]}).execute()
    (image,) = person.wait_until_settled(listing)
    assert (image["state"], image["error_code"]) == ("ready", None)
    assert sweep(stack, person) == []

    # Gone for good: its photo can be deleted like any other, and takes the object along.
    file.unlink()
    assert sweep(stack, person) == ["original_missing"]
    person.client.table("listing_images").delete().eq("id", row["image_id"]).execute()
    wait_until(lambda: not any(objects_below(stack, person.id).values()), 30, "the object's row goes")
    assert sweep(stack, person) == []
