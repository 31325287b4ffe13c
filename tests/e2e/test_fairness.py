"""One seller's large batch, another seller's single photo, one worker: how many of the batch's jobs come between."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.support.images import make_jpeg
from tests.support.own_stack import stack_of_its_own
from tests.support.people import Person
from tests.support.processes import wait_until
from tests.support.stack import Stack
from tests.support.worker import WorkerProcess

#: FAIRNESS_PHOTOS=500 for the whole story; what counts is that many wait.
BATCH = int(os.environ.get("FAIRNESS_PHOTOS", "100"))
PER_LISTING = 50
#: One that each thread has in hand, and what a consumer fetches ahead.
A_FEW = 8
PHOTO = ("lamp.jpg", "image/jpeg", make_jpeg((64, 48)))


@pytest.fixture
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Without other workers: a batch must wait."""
    home = tmp_path_factory.mktemp("fairness") / "home"
    with stack_of_its_own(home) as stack:
        yield stack


def test_a_batch_does_not_hold_up_a_single_photo(own_stack: Stack) -> None:
    busy, single = Person.sign_up(own_stack), Person.sign_up(own_stack)
    with ThreadPoolExecutor(6) as pool:
        listings = [busy.new_listing() for _ in range(0, BATCH, PER_LISTING)]
        reserved = [
            row
            for listing in listings
            for row in busy.reserve(listing, *[(PHOTO[0], PHOTO[1], len(PHOTO[2]))] * PER_LISTING)
        ][:BATCH]

        def send(row: dict[str, str]) -> None:
            answer = busy.storage(
                "POST",
                f"object/{row['bucket']}/{row['path']}",
                content=PHOTO[2],
                headers={"Content-Type": PHOTO[1]},
            )
            assert answer.status_code == 200, answer.text

        list(pool.map(send, reserved))
    listing = single.new_listing()
    with (
        psycopg.connect(own_stack.db_url, autocommit=True) as conn,
        WorkerProcess(own_stack, "--processes", "1", "--threads", "2"),
    ):
        done = "select count(*) from queue.jobs where state = 'succeeded'"
        wait_until(lambda: conn.execute(done).fetchone() > (5,), 60, "the worker is at work")  # type: ignore[operator]
        single.upload(listing, PHOTO)
        single.wait_until_settled(listing)
        between, left, seconds = conn.execute(
            "select count(*) filter (where o.started_at > s.created_at and o.started_at <= s.started_at),"
            " count(*) filter (where o.started_at is null or o.started_at > s.started_at),"
            " extract(epoch from s.started_at - s.created_at)::float"
            " from queue.jobs as s, queue.jobs as o where s.owner_id = %s and o.owner_id = %s"
            " and s.actor = 'process_image' and o.actor = 'process_image' group by s.id",
            [single.id, busy.id],
        ).fetchone()  # type: ignore[misc]
    print(f"{between} of {BATCH} jobs came between, {left} waited longer; picked up after {seconds:.3f} s")
    assert left > 0, "the batch was over too early to tell anything"
    assert between <= A_FEW
