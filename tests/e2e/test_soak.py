"""Several sellers at once while workers are killed. `make soak` runs it for ten minutes; here it is a short one."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import psycopg
import pytest

from tests.support.own_stack import stack_of_its_own
from tests.support.soak import Soak
from tests.support.stack import Stack
from tests.support.worker import WorkerProcess

SECONDS = float(os.environ.get("SOAK_SECONDS", "8"))
SEED = int(os.environ.get("SOAK_SEED") or random.SystemRandom().randrange(1_000_000))


LEAKS = (
    # Labels pass the gate.
    "create or replace function private.passes_gate(image public.listing_images, review_required boolean)"
    " returns boolean language sql immutable parallel safe return (image).state = 'ready'",
    # Others' rows are theirs to see.
    "create policy leak on public.listing_images for select to authenticated using (true)",
)


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    home = tmp_path_factory.mktemp("soak") / "home"
    with stack_of_its_own(home) as stack:
        yield stack


def test_ledger_storage_and_model_agree(own_stack: Stack) -> None:
    print(f"SOAK_SEED={SEED} SOAK_SECONDS={SECONDS:g}")
    soak = Soak(own_stack, SEED)
    soak.run(SECONDS)
    looks = [observer.looks for observer in soak.observers]
    print(f"{soak.actions} actions, {soak.kills} workers killed, observers looked {looks} times")
    assert soak.actions > 0
    assert soak.kills > 0
    assert all(looks)


def test_observers_notice_a_leak(own_stack: Stack) -> None:
    """The soak would fail if something leaked: here something does."""
    soak = Soak(own_stack, 1, sellers=1)
    (seller,), (visitor, stranger) = soak.sellers, soak.observers
    seller.new_listing()
    (listing,) = seller.listings
    photos = [seller.photo(), seller.photo()]
    files = [seller.describe(data) for data in photos]
    for row, data in zip(
        seller.rpc("reserve_uploads", listing_id=listing.id, files=files), photos, strict=True
    ):
        seller.know(listing, row["image_id"])
        listing.order.append(row["image_id"])
        seller.send(row, data)
    with WorkerProcess(own_stack, "--processes", "1", "--threads", "1"):
        seller.person.wait_until_settled(listing.id)
    seller.publish(listing)
    seller.label(listing)
    seller.check(listing)
    for observer in (visitor, stranger):
        observer.look()
        assert observer.seen > 0
    with psycopg.connect(own_stack.admin_db_url, autocommit=True) as conn:
        for leak, observer in zip(LEAKS, (visitor, stranger), strict=True):
            conn.execute(leak)
            with pytest.raises(AssertionError):
                observer.look()
            if observer is visitor:
                seller.label(listing)  # no label, no leak: what is left to find is the rows
                stranger.look()
