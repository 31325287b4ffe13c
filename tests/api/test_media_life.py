"""A photo's life as a client has it: PostgREST and Storage through supabase-py, a real worker behind it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from postgrest.exceptions import APIError

from tests.support.images import make_jpeg
from tests.support.people import Person, new_client
from tests.support.stack import Stack
from tests.support.worker import WorkerProcess

PHOTOS = [(f"{n}.jpg", "image/jpeg", make_jpeg((64 + n, 48))) for n in range(5)]


def rpc(person: Person, function: str, **args: Any) -> Any:
    return person.client.rpc(function, args).execute().data


def gallery(person: Person, listing: str) -> list[str]:
    query = person.client.table("gallery").select("id").eq("listing_id", listing).order("position")
    found: Any = query.execute().data
    return [row["id"] for row in found]


def refused(person: Person, code: str, function: str, **args: Any) -> str:
    with pytest.raises(APIError) as info:
        rpc(person, function, **args)
    assert info.value.details == code
    assert info.value.hint
    return str(info.value.message)


def settle(person: Person, listing: str) -> None:
    """Until nothing waits for the worker."""
    deadline = time.monotonic() + 60
    while any(row["state"] not in {"ready", "failed"} for row in person.images(listing)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def listing(worker: WorkerProcess, person: Person) -> str:
    """A draft with three ready photos."""
    listing = person.new_listing(title="Lamp", price=12, currency="EUR")
    person.upload(listing, *PHOTOS[:3])
    settle(person, listing)
    return listing


@pytest.fixture
def duplicates_refused(stack: Stack) -> Iterator[None]:
    service = new_client(stack, stack.service_role_key)
    policies = service.table("site_policies")
    policies.update({"duplicate_images": "refuse"}).eq("id", True).execute()
    yield
    policies.update({"duplicate_images": "flag"}).eq("id", True).execute()


def test_every_function_once(person: Person, other: Person, listing: str) -> None:
    a, b, c = gallery(person, listing)
    start = datetime.now(UTC)

    assert [row["id"] for row in rpc(person, "reorder_images", listing_id=listing, image_ids=[c, a, b])] == [
        c,
        a,
        b,
    ]
    assert b in refused(person, "not_a_permutation", "reorder_images", listing_id=listing, image_ids=[c, a])
    assert rpc(person, "set_label", image_id=c, is_label=True)["is_label"] is True
    assert gallery(person, listing) == [a, b]
    refused(person, "label_exists", "set_label", image_id=a, is_label=True)

    words = {"alt_text": "A lamp.", "tags": ["brass"]}
    person.client.table("listing_images").update(words).eq("id", a).execute()
    with pytest.raises(APIError):
        person.client.table("listing_images").update({"position": 0}).eq("id", a).execute()

    assert rpc(person, "publish_listing", listing_id=listing)["status"] == "published"
    removed = rpc(person, "remove_image", image_id=a)
    assert (removed["position"], gallery(other, listing)) == (None, [b])
    assert rpc(person, "restore_image", image_id=a)["position"] == 1
    refused(person, "image_not_failed", "retry_image", image_id=a)
    refused(other, "image_not_found", "remove_image", image_id=a)

    name, mime_type, data = PHOTOS[3]
    file = {"file_name": name, "mime_type": mime_type, "byte_size": len(data)}
    row = rpc(person, "reserve_replacement", image_id=b, file=file)
    refused(person, "replacement_exists", "reserve_replacement", image_id=b, file=file)
    assert gallery(other, listing) == [a, b]
    person.client.storage.from_(row["bucket"]).upload(row["path"], data, {"content-type": mime_type})
    settle(person, listing)
    assert gallery(other, listing) == [a, row["image_id"]]

    person.client.table("listing_images").delete().eq("id", a).execute()
    assert gallery(other, listing) == [row["image_id"]]

    told = rpc(person, "listing_history", listing_id=listing)
    assert {"reordered", "labelled", "edited", "removed", "restored", "replaced", "deleted"} <= {
        event["event"] for event in told
    }
    assert all(event["summary"] for event in told)
    assert rpc(other, "listing_history", listing_id=listing) == []

    def shown(at: datetime | str) -> list[str]:
        return [r["image_id"] for r in rpc(person, "gallery_as_of", listing_id=listing, at=str(at))]

    moments = {event["event"]: event["created_at"] for event in told}
    assert shown(start) == [a, b, c]
    assert shown(moments["reordered"]) == [c, a, b]
    assert shown(moments["removed"]) == [a, row["image_id"]]
    assert shown(datetime.now(UTC)) == [row["image_id"]]
    assert rpc(other, "gallery_as_of", listing_id=listing, at=str(start)) == []
    edited = rpc(person, "gallery_as_of", listing_id=listing, at=moments["edited"])
    assert [(r["alt_text"], r["tags"]) for r in edited] == [("A lamp.", ["brass"]), (None, [])]


def test_the_same_photo_again(duplicates_refused: None, person: Person, listing: str) -> None:
    first = gallery(person, listing)[0]
    (again,) = person.upload(listing, ("again.jpg", "image/jpeg", PHOTOS[0][2]))
    settle(person, listing)
    tray: Any = person.client.table("media_tray").select("*").eq("listing_id", listing).execute().data
    (row,) = tray
    assert (row["id"], row["reason_code"], row["duplicate_of"]) == (
        again["image_id"],
        "duplicate_image",
        first,
    )
    assert first in row["reason"]
    assert first in gallery(person, listing)
    rpc(person, "remove_image", image_id=first)
    rpc(person, "retry_image", image_id=again["image_id"])
    settle(person, listing)
    assert again["image_id"] in gallery(person, listing)
    refused(person, "duplicate_image", "restore_image", image_id=first)
