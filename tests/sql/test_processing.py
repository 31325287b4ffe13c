"""begin_image, finish_image, fail_image, abandon_image, retry_image: effects and acknowledgement are one."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.conftest import FreshDatabase
from tests.sql.scene import (
    ROLES,
    Scene,
    call,
    events,
    file,
    finish,
    lease,
    one,
    order,
    ready,
    refused,
    removals,
    reserve,
    result,
    rows,
    state,
    store,
    upload,
)
from tests.support.roles import as_role, as_user


@pytest.fixture
def image(scene: Scene) -> str:
    return upload(scene.conn, scene.owner, scene.listing)[0]


def begin(scene: Scene, image: Any, job: int, token: Any) -> Any:
    return one(scene.conn, "select private.begin_image(%s, %s, %s)", image, job, token)


def end(scene: Scene, image: Any, job: int, token: Any, done: Any) -> Any:
    return one(scene.conn, "select private.finish_image(%s, %s, %s, %s)", image, job, token, Jsonb(done))


def test_begin_says_all_that_a_worker_needs(scene: Scene, image: str) -> None:
    scene.policy(image_megapixels_max=12.5)
    job, token = lease(scene.conn, image)
    work = begin(scene, image, job, token)
    path = one(scene.conn, "select original_path from public.listing_images")
    assert {k: work[k] for k in ("image_id", "owner_id", "listing_id", "bucket", "path", "byte_size")} == {
        "image_id": image,
        "owner_id": str(scene.owner),
        "listing_id": str(scene.listing),
        "bucket": "private",
        "path": path,
        "byte_size": 1000,
    }
    assert work["limits"] == {
        "max_bytes": 52428800,
        "max_pixels": 12500000,
        "min_side": 32,
        "max_aspect": 10.0,
    }
    assert [v["role"] for v in work["variants"]] == list(reversed(ROLES))
    assert [v["max_side"] for v in work["variants"]] == [2560, 1600, 960, 480, 160]
    assert state(scene.conn, image) == "processing"
    assert begin(scene, image, job, token) == work  # a second delivery


def test_begin_has_nothing_to_do(scene: Scene) -> None:
    (done,) = ready(scene.conn, scene.owner, scene.listing)
    (waiting,) = reserve(scene.conn, scene.owner, scene.listing, file())
    (removed,) = upload(scene.conn, scene.owner, scene.listing)
    call(scene.conn, scene.owner, "remove_image", removed)
    job, token = lease(scene.conn, removed)
    for image in (done, waiting["image_id"], removed, uuid4()):
        assert begin(scene, image, job, token) is None
    assert state(scene.conn, removed) == "uploaded"


def test_begin_needs_the_lease(scene: Scene, image: str) -> None:
    job, _ = lease(scene.conn, image)
    with pytest.raises(psycopg.DatabaseError) as info, scene.conn.transaction():
        begin(scene, image, job, uuid4())
    assert info.value.sqlstate == "IL001"
    assert state(scene.conn, image) == "uploaded"


def test_removed_while_a_worker_was_killed(scene: Scene, image: str) -> None:
    """What it stored is nobody's, until the image is restored; and not while a removal looks."""
    job, token = lease(scene.conn, image)
    paths = [v["path"] for v in result(begin(scene, image, job, token))["variants"]]
    call(scene.conn, scene.owner, "remove_image", image)
    removable = "select private.lock_removable('media', %s::text[])"
    assert rows(scene.conn, removable, paths) == [], "it may be alive"
    scene.conn.execute(
        "update queue.jobs set state = 'ready', lease_token = null, leased_until = null where id = %s", [job]
    )
    assert begin(scene, image, *lease(scene.conn, image)) is None
    assert set(rows(scene.conn, removable, paths)) == set(paths)
    call(scene.conn, scene.owner, "restore_image", image)
    assert rows(scene.conn, removable, paths) == []


def test_finish_makes_it_ready(scene: Scene, image: str) -> None:
    job, token = lease(scene.conn, image)
    done = result(begin(scene, image, job, token), mime_type="image/heic")
    assert end(scene, image, job, token, done) == "ready"
    row = call_row(scene, image)
    assert {
        k: row[k] for k in ("state", "mime_type", "width", "height", "sha256", "thumbhash", "review_state")
    } == {
        "state": "ready",
        "mime_type": "image/heic",
        "width": 4000,
        "height": 3000,
        "sha256": done["sha256"],
        "thumbhash": "AAAA",
        "review_state": "not_required",
    }
    assert row["ready_at"] is not None
    assert set(rows(scene.conn, "select role from public.image_variants where image_id = %s", image)) == set(
        ROLES
    )
    assert one(scene.conn, "select state from queue.jobs where id = %s", job) == "succeeded"
    assert events(scene.conn, image) == ["reserved", "uploaded", "processed"]


def call_row(scene: Scene, image: Any) -> dict[str, Any]:
    with scene.conn.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        row = cursor.execute("select * from public.listing_images where id = %s", [image]).fetchone()
    assert row is not None
    return row


def test_an_attempt_that_was_given_up_changes_nothing(scene: Scene, image: str) -> None:
    job, token = lease(scene.conn, image)
    done = result(begin(scene, image, job, token))
    scene.conn.execute("update queue.jobs set lease_token = gen_random_uuid() where id = %s", [job])
    for call_it in (
        lambda: end(scene, image, job, token, done),
        lambda: one(
            scene.conn, "select private.fail_image(%s, %s, %s, 'corrupt', 'Broken.')", image, job, token
        ),
    ):
        with pytest.raises(psycopg.Error) as info, scene.conn.transaction():
            call_it()
        assert info.value.sqlstate == "IL001"
    assert state(scene.conn, image) == "processing"
    assert rows(scene.conn, "select from public.image_variants") == []


def test_a_second_job_of_a_ready_image_has_no_effect(scene: Scene, image: str) -> None:
    finish(scene.conn, image)
    before = call_row(scene, image)
    scene.conn.execute(
        "select queue.enqueue('process_image', %s)",
        [Jsonb({"image_id": image, "owner_id": "", "listing_id": ""})],
    )
    job, token = lease(scene.conn, image)
    assert begin(scene, image, job, token) is None
    work = {
        "owner_id": scene.owner,
        "listing_id": scene.listing,
        "image_id": image,
        "byte_size": 1,
        "variants": [],
    }
    assert end(scene, image, job, token, result(work)) == "ready"
    assert call_row(scene, image) == before
    assert one(scene.conn, "select state from queue.jobs where id = %s", job) == "succeeded"


def test_deleted_meanwhile(scene: Scene, image: str) -> None:
    job, token = lease(scene.conn, image)
    done = result(begin(scene, image, job, token))
    with as_user(scene.conn, scene.owner):
        scene.conn.execute("delete from public.listing_images where id = %s", [image])
    scene.conn.execute(
        "delete from queue.jobs where actor = 'remove_objects'"
    )  # it ran before the last upload
    done["variants"].append({"role": "card", "path": f"x/y/{uuid4()}/card.webp"})
    assert end(scene, image, job, token, done) == "gone"
    assert removals(scene.conn) == {("media", v["path"]) for v in done["variants"][:5]}
    assert one(scene.conn, "select state from queue.jobs where id = %s", job) == "succeeded"


def test_removed_meanwhile_and_restored(scene: Scene, image: str) -> None:
    job, token = lease(scene.conn, image)
    done = result(begin(scene, image, job, token))
    call(scene.conn, scene.owner, "remove_image", image)
    assert end(scene, image, job, token, done) == "ready"
    assert rows(scene.conn, "select from public.gallery") == []
    call(scene.conn, scene.owner, "restore_image", image)
    with as_user(scene.conn, scene.owner):
        assert len(rows(scene.conn, "select id from public.gallery")) == 1


def test_removed_before_its_job_ran_is_processed_after_it_was_restored(scene: Scene, image: str) -> None:
    call(scene.conn, scene.owner, "remove_image", image)
    job, token = lease(scene.conn, image)
    assert begin(scene, image, job, token) is None
    scene.conn.execute("select queue.complete(%s, %s)", [job, token])
    call(scene.conn, scene.owner, "restore_image", image)
    assert finish(scene.conn, image) == "ready"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda v: v[:4],
        lambda v: [v[0] | {"path": "x/y/z/card.webp"}, *v[1:]],
        lambda v: [v[0] | {"width": 0}, *v[1:]],
        lambda v: [v[0] | {"role": "huge"}, *v[1:]],
        lambda v: [],
    ],
)
def test_incomplete_or_wrong_variants_are_refused(scene: Scene, image: str, spoil: Any) -> None:
    job, token = lease(scene.conn, image)
    done = result(begin(scene, image, job, token))
    done["variants"] = spoil(done["variants"])
    with pytest.raises(psycopg.Error), scene.conn.transaction():
        end(scene, image, job, token, done)
    assert state(scene.conn, image) == "processing"
    assert rows(scene.conn, "select from public.image_variants") == []


def test_fail_says_why_and_ends_the_job(scene: Scene, image: str) -> None:
    job, token = lease(scene.conn, image)
    begin(scene, image, job, token)
    answer = one(
        scene.conn,
        "select private.fail_image(%s, %s, %s, 'truncated', 'The file ends early.')",
        image,
        job,
        token,
    )
    assert answer == "failed"
    row = call_row(scene, image)
    assert (row["state"], row["error_code"], row["error"], row["is_retryable"]) == (
        "failed",
        "truncated",
        "The file ends early.",
        False,
    )
    assert one(scene.conn, "select state from queue.jobs where id = %s", job) == "succeeded"
    assert events(scene.conn, image) == ["reserved", "uploaded", "failed"]
    with as_user(scene.conn, scene.owner):
        assert rows(
            scene.conn, "select id::text, status, reason, reason_code, can_retry from public.media_tray"
        ) == [(image, "failed", "The file ends early.", "truncated", False)]
        assert rows(scene.conn, "select from public.gallery") == []


def test_abandon_can_be_retried(scene: Scene, image: str) -> None:
    job, token = lease(scene.conn, image)
    begin(scene, image, job, token)
    scene.conn.execute("select private.abandon_image(%s, 'worker w1 was lost')", [image])
    with as_user(scene.conn, scene.owner):
        status, reason, can_retry = rows(
            scene.conn, "select status, reason, can_retry from public.media_tray"
        )[0]
    assert (status, can_retry) == ("failed", True)
    assert "w1" not in reason
    row = call(scene.conn, scene.owner, "retry_image", image)
    assert (row["state"], row["error"]) == ("uploaded", None)
    assert finish(scene.conn, image) == "ready"
    assert events(scene.conn, image) == ["reserved", "uploaded", "failed", "retried", "processed"]


def test_abandon_leaves_what_is_ready(scene: Scene, image: str) -> None:
    finish(scene.conn, image)
    scene.conn.execute("select private.abandon_image(%s, 'late')", [image])
    assert state(scene.conn, image) == "ready"


def test_retry_of_what_did_not_fail(scene: Scene, image: str) -> None:
    with refused("image_not_failed", 409):
        call(scene.conn, scene.owner, "retry_image", image)
    for unknown in (uuid4(), image):
        with refused("image_not_found", 404):
            call(scene.conn, scene.other, "retry_image", unknown)


class TestReferencedPaths:
    def ask(self, scene: Scene, bucket: str, *paths: str) -> set[str]:
        return set(rows(scene.conn, "select private.referenced_paths(%s, %s)", bucket, list(paths)))

    def test_originals(self, scene: Scene, image: str) -> None:
        path = call_row(scene, image)["original_path"]
        assert self.ask(scene, "private", path, "other/path.jpg") == {path}
        assert self.ask(scene, "media", path) == set()
        call(scene.conn, scene.owner, "remove_image", image)
        assert self.ask(scene, "private", path) == {path}
        with as_user(scene.conn, scene.owner):
            scene.conn.execute("delete from public.listing_images")
        assert self.ask(scene, "private", path) == set()

    def test_variants_while_they_are_made_and_after(self, scene: Scene, image: str) -> None:
        path = f"{scene.owner}/{scene.listing}/{image}/card.webp"
        assert self.ask(scene, "media", path, path.replace(image, str(uuid4()))) == {path}
        finish(scene.conn, image)
        assert self.ask(scene, "media", path) == {path}
        scene.conn.execute("update public.listing_images set state = 'failed', error = 'x', error_code = 'x'")
        scene.conn.execute("delete from public.image_variants")
        assert self.ask(scene, "media", path) == set()

    def test_folders_of_living_users(self, scene: Scene) -> None:
        paths = [f"{scene.owner}/inputs/{uuid4()}.png", f"{uuid4()}/inputs/{uuid4()}.png"]
        # An upload below inputs/ has a row of its own from the start.
        assert self.ask(scene, "private", *paths) == set()
        assert self.ask(scene, "public", *paths) == {paths[0]}


class TestReplacement:
    @pytest.fixture
    def live(self, scene: Scene) -> list[str]:
        return ready(scene.conn, scene.owner, scene.listing, 3)

    def replace(self, scene: Scene, image: str) -> str:
        row = one_call(scene, image)
        store(scene.conn, row["path"], scene.owner)
        return str(row["image_id"])

    def test_the_old_one_stays_until_the_new_one_is_ready(self, scene: Scene, live: list[str]) -> None:
        call(scene.conn, scene.owner, "set_label", live[1], True)
        new = self.replace(scene, live[1])
        assert order(scene.conn, scene.listing) == live
        assert finish(scene.conn, new) == "ready"
        assert order(scene.conn, scene.listing) == [live[0], new, live[2]]
        row, old = call_row(scene, new), call_row(scene, live[1])
        assert (row["is_label"], str(row["replaces_id"])) == (True, live[1])
        assert (old["position"], old["removed_position"], old["deleted_at"] is not None) == (None, 1, True)
        assert events(scene.conn, new) == [
            "replacement_reserved",
            "uploaded",
            "processed",
            "replaced",
            "labelled",
        ]
        assert events(scene.conn, live[1])[-1] == "removed"

    def test_a_failed_one_leaves_the_old_one(self, scene: Scene, live: list[str]) -> None:
        new = self.replace(scene, live[0])
        job, token = lease(scene.conn, new)
        one(scene.conn, "select private.fail_image(%s, %s, %s, 'corrupt', 'Broken.')", new, job, token)
        assert order(scene.conn, scene.listing) == live
        self.replace(scene, live[2])

    def test_one_at_a_time(self, scene: Scene, live: list[str]) -> None:
        new = self.replace(scene, live[0])
        with refused("replacement_exists", 409):
            one_call(scene, live[0])
        with refused("image_not_live", 409):
            one_call(scene, new)
        finish(scene.conn, new)
        newer = self.replace(scene, new)
        finish(scene.conn, newer)
        assert order(scene.conn, scene.listing) == [newer, *live[1:]]

    def test_what_it_waits_for_is_removed_or_deleted(self, scene: Scene, live: list[str]) -> None:
        new = self.replace(scene, live[0])
        call(scene.conn, scene.owner, "remove_image", live[0])
        assert call_row(scene, new)["deleted_at"] is not None
        with refused("replacement_not_restorable", 409):
            call(scene.conn, scene.owner, "restore_image", new)
        newer = self.replace(scene, live[1])
        with as_user(scene.conn, scene.owner):
            scene.conn.execute("delete from public.listing_images where id = %s", [live[1]])
        assert rows(scene.conn, "select from public.listing_images where id = %s", newer) == []
        assert order(scene.conn, scene.listing) == [live[2]]

    def test_purge_of_the_old_one_keeps_the_new_one(self, scene: Scene, live: list[str]) -> None:
        new = self.replace(scene, live[0])
        finish(scene.conn, new)
        scene.policy(undo_seconds=0)
        scene.conn.execute("update public.listing_images set deleted_at = now() where deleted_at is not null")
        assert one(scene.conn, "select private.purge_removed(10)") == 1
        assert order(scene.conn, scene.listing) == [new, *live[1:]]
        assert call_row(scene, new)["replaces_id"] is None

    @pytest.mark.parametrize("bad", [None, 1, [], {}])
    def test_malformed(self, scene: Scene, live: list[str], bad: Any) -> None:
        with refused("file_malformed", 422), as_user(scene.conn, scene.owner):
            scene.conn.execute("select public.reserve_replacement(%s, %s)", [live[0], Jsonb(bad)])


def one_call(scene: Scene, image: Any) -> Any:
    with as_user(scene.conn, scene.owner):
        return one(scene.conn, "select public.reserve_replacement(%s, %s)", image, Jsonb(file()))


def test_review_keeps_a_processed_photo_behind_the_gate(scene: Scene, image: str) -> None:
    scene.policy(photo_review_enabled=True)
    finish(scene.conn, image)
    with as_user(scene.conn, scene.owner):
        assert rows(scene.conn, "select from public.gallery") == []
        assert rows(scene.conn, "select status from public.media_tray") == ["awaiting_review"]
    scene.conn.execute(
        "update public.listing_images set review_state = 'rejected', review_reason = 'A price tag.'"
    )
    with as_user(scene.conn, scene.owner):
        assert rows(scene.conn, "select status, reason from public.media_tray") == [
            ("rejected", "A price tag.")
        ]
    scene.conn.execute("update public.listing_images set review_state = 'allowed'")
    with as_user(scene.conn, scene.owner):
        assert len(rows(scene.conn, "select id from public.gallery")) == 1
    assert events(scene.conn, image)[-2:] == ["reviewed", "reviewed"]


def test_media_worker_may_do_its_work_and_nothing_else(fresh_db: FreshDatabase) -> None:
    with fresh_db.connect() as conn:
        scene = Scene(conn)
        (image,) = upload(conn, scene.owner, scene.listing)
        job, token = lease(conn, image)
    with fresh_db.connect_worker(autocommit=True) as worker:
        work = one(worker, "select private.begin_image(%s, %s, %s)", image, job, token)
        answer = one(
            worker, "select private.finish_image(%s, %s, %s, %s)", image, job, token, Jsonb(result(work))
        )
        assert answer == "ready"
        for table in (
            "public.listing_images",
            "public.profiles",
            "public.image_events",
            "auth.users",
            "storage.objects",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                worker.execute(f"select from {table}")  # type: ignore[arg-type]
        assert (
            one(
                worker,
                "select array[rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolinherit] from pg_roles"
                " where rolname = current_user",
            )
            == [False] * 5
        )
        assert rows(worker, "select from pg_auth_members where member = 'media_worker'::regrole") == []
    with fresh_db.connect() as conn:
        assert rows(conn, "select actor from public.image_events where event = 'processed'") == ["worker"]


def test_service_role_through_postgrest_has_the_schema_closed(scene: Scene) -> None:
    """The worker's functions are there for a server's SQL, not for a client's role."""
    for role in ("anon", "authenticated"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege), as_role(scene.conn, role):
            scene.conn.execute("select private.begin_image(%s, 1, %s)", [uuid4(), uuid4()])
