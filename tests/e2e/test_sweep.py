"""imageledger sweep and erasure, from the outside: a stack that is harmed on purpose, and made whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.api.test_generation import public, settled, submit, timeline
from tests.support.audit import assert_ledger_is_storage, differences
from tests.support.images import make_jpeg
from tests.support.own_stack import stack_of_its_own
from tests.support.people import Person, new_client, objects_below
from tests.support.processes import wait_until
from tests.support.stack import Stack
from tests.support.worker import WorkerProcess

PHOTO = make_jpeg()


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of its own: what is broken here must not be other tests' business."""
    home = tmp_path_factory.mktemp("sweep") / "home"
    with stack_of_its_own(home) as stack:
        yield stack


def sweep(stack: Stack, *arguments: str, exit_code: int = 0) -> dict[str, Any]:
    """The answer of `imageledger sweep --json`, of things of any age."""
    done = stack.cli("sweep", "--json", "--older-than", "0s", *arguments, check=False)
    assert done.returncode == exit_code, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def found(answer: dict[str, Any]) -> set[tuple[str, str]]:
    """(kind, path of the object or id of the image)."""
    return {
        (f["kind"], f["path"] if f["kind"] == "orphan_object" else f["image_id"]) for f in answer["findings"]
    }


def seller(stack: Stack, count: int) -> tuple[Person, list[dict[str, str]]]:
    """A user with `count` uploaded photos in a listing."""
    person = Person.sign_up(stack)
    listing = person.new_listing(title="Lamp")
    return person, person.upload(listing, *((f"{n}.jpg", "image/jpeg", PHOTO) for n in range(count)))


def drain(stack: Stack) -> None:
    """A worker does all there is to do."""
    with WorkerProcess(stack, "--processes", "1", "--threads", "2"), psycopg.connect(stack.db_url) as conn:
        conn.autocommit = True
        live = "select 1 from queue.jobs where state in ('scheduled', 'ready', 'running')"
        wait_until(lambda: conn.execute(live).fetchone() is None, 60, "an empty queue")


def admin(stack: Stack) -> psycopg.Connection[Any]:
    """A superuser whose writes set off no triggers, as those of a restore."""
    conn = psycopg.connect(stack.admin_db_url, autocommit=True)
    conn.execute("set session_replication_role = replica")
    return conn


def version_file(stack: Stack, bucket: str, path: str) -> Path:
    with psycopg.connect(stack.db_url) as conn:
        row = conn.execute(
            "select version from storage.objects where bucket_id = %s and name = %s", (bucket, path)
        ).fetchone()
    assert row
    return stack.home / "storage" / "versions" / row[0][:2] / row[0]


def folder_of(row: dict[str, str]) -> str:
    owner, _, listing, _ = row["path"].split("/")
    return f"{owner}/{listing}/{row['image_id']}"


def test_finds_all_repairs_all_and_finds_nothing(own_stack: Stack) -> None:
    first, images = seller(own_stack, 7)
    second, (lost,) = seller(own_stack, 1)
    drain(own_stack)
    assert sweep(own_stack, "--verify-checksums")["count"] == 0
    forgotten, no_object, no_row, rotten, no_bytes, stuck, rotten_variant = images
    storage = new_client(own_stack, own_stack.service_role_key).storage
    with admin(own_stack) as conn:
        for table, column in (("image_variants", "image_id"), ("listing_images", "id")):
            conn.execute(f"delete from public.{table} where {column} = %s", [forgotten["image_id"]])  # type: ignore[arg-type]
        conn.execute("update public.listing_images set position = position - 1 where position > 0")
        conn.execute(
            "delete from public.image_variants where image_id = %s and role = 'thumb'", [no_row["image_id"]]
        )
        conn.execute(
            "update public.listing_images set state = 'processing' where id = %s", [stuck["image_id"]]
        )
    storage.from_("media").remove([f"{folder_of(no_object)}/card.webp"])
    storage.from_("private").remove([lost["path"]])
    rotten_file = version_file(own_stack, "private", rotten["path"])
    rotten_file.write_bytes(rotten_file.read_bytes()[:-1] + b"?")
    version_file(own_stack, "media", f"{folder_of(no_bytes)}/detail.webp").unlink()
    variant_file = version_file(own_stack, "media", f"{folder_of(rotten_variant)}/preview.webp")
    variant_file.write_bytes(bytes(len(variant_file.read_bytes())))

    orphans = {forgotten["path"], f"{folder_of(no_row)}/thumb.webp"} | {
        f"{folder_of(forgotten)}/{role}.webp" for role in ("thumb", "card", "preview", "detail", "detail_max")
    }
    seen_by_tables = {("orphan_object", path) for path in orphans} | {
        ("variant_missing", no_object["image_id"]),
        ("variant_missing", no_row["image_id"]),
        ("original_missing", lost["image_id"]),
        ("stuck", stuck["image_id"]),
    }
    seen_by_bytes = {
        ("original_differs", rotten["image_id"]),
        ("variant_missing", no_bytes["image_id"]),
        ("variant_differs", rotten_variant["image_id"]),
    }
    # All of it happened within the last hour, which might be work in progress.
    assert own_stack.cli("sweep", "--json").returncode == 0
    # Telling changes nothing.
    for _ in range(2):
        answer = sweep(own_stack, exit_code=7)
        assert found(answer) == seen_by_tables
    assert answer["owners"][second.id] == {"original_missing": 1}
    assert answer["owners"][first.id] == {"orphan_object": 7, "variant_missing": 2, "stuck": 1}
    assert found(sweep(own_stack, "--owner", second.id, exit_code=7)) == {
        ("original_missing", lost["image_id"])
    }
    assert found(sweep(own_stack, "--verify-checksums", exit_code=7)) == seen_by_tables | seen_by_bytes

    told = own_stack.cli("sweep", "--older-than", "0s", check=False)
    assert first.id in told.stdout
    assert "sweep --repair" in told.stderr

    repaired = sweep(own_stack, "--verify-checksums", "--repair")
    assert found(repaired) == seen_by_tables | seen_by_bytes
    assert repaired["repairs"] == {"removal_ordered": 7, "processing": 5, "failed": 2}
    assert repaired["in_flight"]["ordered_removals"] == 7
    drain(own_stack)
    assert sweep(own_stack, "--verify-checksums")["count"] == 0
    assert_ledger_is_storage(own_stack)

    def states(person: Person) -> dict[str, Any]:
        answer: Any = person.client.table("listing_images").select("id, state, error_code").execute().data
        return {row["id"]: (row["state"], row["error_code"]) for row in answer}

    assert states(second) == {lost["image_id"]: ("failed", "original_missing")}
    assert states(first) == {row["image_id"]: ("ready", None) for row in images[1:]} | {
        rotten["image_id"]: ("failed", "original_differs")
    }


def test_bytes_that_storage_does_not_deliver_condemn_nothing(own_stack: Stack) -> None:
    person, _ = seller(own_stack, 1)
    drain(own_stack)
    nowhere = {
        "SUPABASE_URL": "http://127.0.0.1:1",
        "SUPABASE_ANON_KEY": "x",
        "SUPABASE_SERVICE_ROLE_KEY": "x",
        "SUPABASE_DB_URL": own_stack.db_url,
    }
    options = ("sweep", "--json", "--older-than", "0s", "--verify-checksums", "--repair")
    done = own_stack.cli(*options, check=False, **nowhere)
    assert (done.returncode, json.loads(done.stderr)["error"]["code"]) == (1, "storage_unreachable")
    assert sweep(own_stack, "--owner", person.id, "--verify-checksums")["count"] == 0


def test_keys_of_another_project_condemn_nothing(own_stack: Stack, stack: Stack) -> None:
    """The other project's Storage knows none of these objects: each would seem to be lost."""
    seller(own_stack, 1)
    drain(own_stack)
    mixed = {
        "SUPABASE_URL": stack.api_url,
        "SUPABASE_ANON_KEY": stack.anon_key,
        "SUPABASE_SERVICE_ROLE_KEY": stack.service_role_key,
        "SUPABASE_DB_URL": own_stack.db_url,
    }
    options = ("sweep", "--json", "--older-than", "0s", "--verify-checksums", "--repair")
    done = own_stack.cli(*options, check=False, **mixed)
    assert (done.returncode, json.loads(done.stderr)["error"]["code"]) == (1, "not_one_project")
    assert sweep(own_stack, "--verify-checksums")["count"] == 0


LEDGER = (
    "public.listings",
    "public.listing_images",
    "public.image_variants",
    "public.image_events",
    "queue.jobs",
)


def columns(conn: psycopg.Connection[Any], table: str) -> str:
    row = conn.execute(
        "select string_agg(quote_ident(attname), ', ') from pg_attribute"
        " where attrelid = %s::regclass and attnum > 0 and not attisdropped and attgenerated = ''",
        [table],
    ).fetchone()
    assert row
    return str(row[0])


@pytest.mark.parametrize("tables", [LEDGER, (*LEDGER, "storage.objects")], ids=["ledger", "database"])
def test_backup_of_an_earlier_moment(own_stack: Stack, tables: tuple[str, ...]) -> None:
    """Either the ledger alone goes back, or the whole database with Storage's own table; the bytes never do."""
    person, (stays, goes) = seller(own_stack, 2)
    drain(own_stack)
    listing = stays["path"].split("/")[2]
    (waits,) = person.reserve(listing, ("later.jpg", "image/jpeg", len(PHOTO)))
    backup = f"backup_{uuid4().hex[:8]}"
    with admin(own_stack) as conn:
        conn.execute(f"create schema {backup}")  # type: ignore[arg-type]
        for n, table in enumerate(tables):
            conn.execute(f"create table {backup}.t{n} as table {table}")  # type: ignore[arg-type]

    person.client.storage.from_("private").upload(waits["path"], PHOTO, {"content-type": "image/jpeg"})
    (newer,) = person.upload(listing, ("new.jpg", "image/jpeg", PHOTO))
    person.client.table("listing_images").delete().eq("id", goes["image_id"]).execute()
    drain(own_stack)
    assert sweep(own_stack, "--verify-checksums")["count"] == 0

    with admin(own_stack) as conn:
        for n, table in enumerate(tables):
            names = columns(conn, table)
            # As a restore does it: the history's guards hold even for a superuser who does not switch them off.
            conn.execute(f"alter table {table} disable trigger user")  # type: ignore[arg-type]
            conn.execute(f"delete from {table}")  # type: ignore[arg-type]
            conn.execute(
                f"insert into {table} ({names}) overriding system value select {names} from {backup}.t{n}"  # type: ignore[arg-type]
            )
            conn.execute(f"alter table {table} enable trigger user")  # type: ignore[arg-type]
        conn.execute(f"drop schema {backup} cascade")  # type: ignore[arg-type]

    answer = sweep(own_stack, "--verify-checksums", "--repair")
    kinds = {kind for kind, _ in found(answer)}
    assert ("original_missing", goes["image_id"]) in found(answer)
    if "storage.objects" in tables:
        assert kinds == {"original_missing"}
        # Storage of today knows nothing of newer bytes; the local gateway drops such files when it starts.
    else:
        assert kinds == {"original_missing", "upload_unnoticed", "orphan_object"}
        assert ("upload_unnoticed", waits["image_id"]) in found(answer)
        assert ("orphan_object", newer["path"]) in found(answer)
    drain(own_stack)
    assert sweep(own_stack, "--verify-checksums")["count"] == 0
    states = {row["id"]: row["state"] for row in person.images(listing)}
    assert states[stays["image_id"]] == "ready"
    assert states[goes["image_id"]] == "failed"
    assert states[waits["image_id"]] == ("awaiting_upload" if "storage.objects" in tables else "ready")


def erasure(stack: Stack, user: str, *arguments: str, exit_code: int = 0) -> tuple[dict[str, Any], str]:
    done = stack.cli("erasure", user, "--json", *arguments, check=False)
    assert done.returncode == exit_code, done.stdout + done.stderr
    code = json.loads(done.stderr.splitlines()[-1])["error"]["code"] if exit_code else ""
    return json.loads(done.stdout), code


def test_erasure_is_proved(own_stack: Stack) -> None:
    person, _ = seller(own_stack, 2)
    drain(own_stack)
    for bucket, path in (
        ("private", f"{person.id}/inputs/{uuid4()}.jpg"),
        ("public", f"{person.id}/logo.jpg"),
    ):
        person.client.storage.from_(bucket).upload(path, PHOTO, {"content-type": "image/jpeg"})
    report, code = erasure(own_stack, person.id, exit_code=7)
    assert code == "user_exists"
    assert report["rows"]["public.listing_images"] == 2

    new_client(own_stack, own_stack.service_role_key).auth.admin.delete_user(person.id)
    report, code = erasure(own_stack, person.id, exit_code=7)
    assert code == "erasure_incomplete"
    assert set(report["rows"].values()) == {0}
    assert report["objects"] == {"private": 3, "media": 10, "public": 1}
    assert report["object_count"] == 14
    assert report["removals"]["waiting"] > 0

    with WorkerProcess(own_stack, "--processes", "1", "--threads", "1"):
        report, _ = erasure(own_stack, person.id, "--wait", "--timeout", "60")
    assert report["is_complete"]
    assert set(report["objects"].values()) == {0}
    assert report["erased_at"] < report["completed_at"] <= report["last_removal_at"]
    assert objects_below(own_stack, person.id) == {"private": set(), "media": set(), "public": set()}
    shown = own_stack.cli("erasure", person.id)
    assert "public.image_events" in shown.stdout
    assert person.email not in shown.stdout


@pytest.mark.parametrize("text", ["1", "1w", "-1h", "soon"])
def test_durations(own_stack: Stack, text: str) -> None:
    assert own_stack.cli("sweep", f"--older-than={text}", check=False).returncode == 2


def test_renders(own_stack: Stack) -> None:
    """A picture that is gone is marked, since nobody can make it again; a thumbnail is made again; debris goes."""
    person = Person.sign_up(own_stack)
    size = {"width": 96, "height": 64}
    with WorkerProcess(own_stack, "--processes", "1", "--threads", "1"):
        jobs = [settled(person, submit(person, params=size)["id"]) for _ in range(6)]
    gone, thumbless, rotten, bytes_gone, forgotten, whole = (job["render_id"] for job in jobs)
    assert sweep(own_stack, "--owner", person.id, "--verify-checksums")["count"] == 0

    def path(render: str, thumb: str = "") -> str:
        return f"renders/{render}/0{thumb}.webp"

    storage = new_client(own_stack, own_stack.service_role_key).storage
    kept = public(own_stack, path(gone)).content
    storage.from_("public").remove([path(gone), path(thumbless, "_thumb")])
    rotten_file = version_file(own_stack, "public", path(rotten))
    rotten_file.write_bytes(bytes(len(rotten_file.read_bytes())))
    version_file(own_stack, "public", path(bytes_gone, "_thumb")).unlink()
    with admin(own_stack) as conn:
        for table, column in (("render_variants", "render_id"), ("renders", "id")):
            conn.execute(f"delete from public.{table} where {column} = %s", [forgotten])  # type: ignore[arg-type]
        conn.execute("delete from public.image_assets where path = %s", [path(forgotten)])

    def seen(answer: dict[str, Any]) -> set[tuple[str, str]]:
        return {(f["kind"], f["path"]) for f in answer["findings"] if f["owner_id"] == person.id}

    by_tables = {
        ("picture_missing", path(gone)),
        ("thumb_missing", path(thumbless, "_thumb")),
        ("orphan_object", path(forgotten)),
        ("orphan_object", path(forgotten, "_thumb")),
    }
    by_bytes = {("picture_differs", path(rotten)), ("thumb_missing", path(bytes_gone, "_thumb"))}
    assert seen(sweep(own_stack, exit_code=7)) == by_tables
    assert seen(sweep(own_stack, "--verify-checksums", exit_code=7)) == by_tables | by_bytes
    repaired = sweep(own_stack, "--verify-checksums", "--repair")
    assert seen(repaired) == by_tables | by_bytes
    assert repaired["repairs"] == {"marked": 2, "processing": 2, "removal_ordered": 2}
    drain(own_stack)
    assert sweep(own_stack, "--verify-checksums")["count"] == 0
    with admin(own_stack) as conn:
        # Of the renders: other tests have left Storage as a restored backup leaves it.
        assert {name for bucket, name, _ in differences(conn) if bucket == "public"} == set()

    # Its owner sees it, in the timeline, the list and the history; what was paid for stays on the books.
    listed: Any = person.client.rpc("list_renders", {}).execute().data["renders"]
    lost = {row["id"]: row["variants"][0]["lost_code"] for row in listed}
    assert lost == {
        gone: "picture_missing",
        rotten: "picture_differs",
        thumbless: None,
        bytes_gone: None,
        whole: None,
    }
    assert timeline(person, jobs[0]["session_id"])["jobs"][0]["render"]["variants"][0]["lost_at"]
    events: Any = person.client.table("image_generation_events").select("data").eq("event", "picture_lost")
    assert {row["data"]["render_id"] for row in events.execute().data} == {gone, rotten}
    usage: Any = person.client.rpc("usage_summary", {}).execute().data
    assert usage["used"] == 6

    # Found again, say in a backup of Storage: no worker may write there, so an operator puts the row back too.
    with admin(own_stack) as conn:
        conn.execute(
            "insert into storage.objects (bucket_id, name, version, metadata) select 'public', %s, version, metadata"
            " || jsonb_build_object('size', %s::int) from storage.objects where name = %s",
            [path(gone), len(kept), path(whole)],
        )
    assert seen(sweep(own_stack, exit_code=7)) == {("picture_back", path(gone))}
    assert sweep(own_stack, "--repair")["repairs"] == {"cleared": 1}
    assert sweep(own_stack)["count"] == 0
    with admin(own_stack) as conn:
        conn.execute("select set_config('storage.allow_delete_query', 'true', false)")
        conn.execute("delete from storage.objects where name = %s", [path(gone)])
    person.client.table("image_sessions").delete().eq("owner_id", person.id).execute()
    drain(own_stack)
    assert sweep(own_stack)["count"] == 0
    with admin(own_stack) as conn:
        assert {name for bucket, name, _ in differences(conn) if bucket == "public"} == set()
