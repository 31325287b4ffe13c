"""imageledger snapshot and restore: a stack in use is copied, destroyed, made again, and is what it was."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from cli.snapshot.folder import Folder
from cli.snapshot.take import ACTOR, REASON, known_bytes
from tests.api.test_generation import settled, submit
from tests.e2e.test_sweep import drain, sweep
from tests.support.audit import assert_ledger_is_storage
from tests.support.images import make_jpeg
from tests.support.own_stack import stack_of_its_own
from tests.support.people import PASSWORD, Person, new_client, objects_below
from tests.support.stack import Stack, run_cli
from tests.support.worker import WorkerProcess

SECRET = "not for anybody"


@dataclass
class World:
    """A stack that was used, its snapshot, and the same place after all was lost."""

    backup: Path
    stack: Stack
    people: dict[str, str]
    seen: dict[str, Any]
    answers: dict[str, Any]


def photos(count: int, tone: int) -> list[tuple[str, str, bytes]]:
    return [(f"{n}.jpg", "image/jpeg", make_jpeg((320 + tone, 240 + n))) for n in range(count)]


def answer(stack: Stack, *arguments: str, exit_code: int = 0) -> dict[str, Any]:
    """A command's JSON, or its error's."""
    done = stack.cli(*arguments, "--json", check=False)
    assert done.returncode == exit_code, done.stdout + done.stderr
    if done.stdout:
        data: dict[str, Any] = json.loads(done.stdout)
        return data
    return dict(json.loads(done.stderr.splitlines()[-1])["error"])


def view(stack: Stack, email: str) -> dict[str, Any]:
    """What this user sees after signing in with the old password: rows, history, and bytes of every photo."""
    client = new_client(stack)
    signed_in = client.auth.sign_in_with_password({"email": email, "password": PASSWORD})
    assert signed_in.user is not None
    bytes_of = {
        f"{bucket}/{path}": client.storage.from_(bucket).download(path)
        for bucket, paths in objects_below(stack, signed_in.user.id).items()
        for path in paths
        if bucket != "media"
    }
    gallery: Any = client.table("gallery").select("*").order("listing_id").order("position").execute().data
    for row in gallery:
        for variant in row["variants"].values():
            bytes_of[f"media/{variant['path']}"] = client.storage.from_("media").download(variant["path"])

    for row in client.table("render_variants").select("*").execute().data:
        found = httpx.get(f"{stack.api_url}/storage/v1/object/public/public/{row['thumb_path']}", timeout=30)
        assert found.status_code == 200
        bytes_of[row["thumb_path"]] = found.content

    def rows(table: str, order: str = "id") -> Any:
        return client.table(table).select("*").order(order).execute().data

    return {
        "user": signed_in.user.id,
        "bytes": bytes_of,
        "gallery": gallery,
        "tables": {
            name: rows(name)
            for name in ("listings", "listing_images", "image_events", "generation_jobs", "usage_ledger")
        },
        "credentials": rows("credentials", "site"),
    }


def secret_of(stack: Stack) -> list[str]:
    with psycopg.connect(stack.db_url) as conn:
        rows = conn.execute(
            "select private.unseal_credential(s) from private.credential_secrets as s"
        ).fetchall()
    return [row[0] for row in rows]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("snapshot")
    home, backup = folder / "home", folder / "backup"
    with stack_of_its_own(home) as stack:
        people = seed(stack)
        answers = {"take": take_while_in_use(stack, backup, people)}
        lose_everything(stack)
        answers["dry_run"] = answer(stack, "restore", str(backup), "--dry-run")
        answers["restore"] = answer(stack, "restore", str(backup))
        seen = {name: view(stack, email) for name, email in people.items()}
        yield World(backup, stack, people, seen, answers)


BEFORE: dict[str, Any] = {}


def seed(stack: Stack) -> dict[str, str]:
    people = {}
    with WorkerProcess(stack, "--processes", "1", "--threads", "2"):
        for tone, name in enumerate(("seller", "painter")):
            person = Person.sign_up(stack)
            people[name] = person.email
            listing = person.new_listing(title=f"Lamp of {name}")
            images = person.upload(listing, *photos(2, tone))
            person.client.rpc("set_label", {"image_id": images[1]["image_id"], "is_label": True}).execute()
            person.wait_until_settled(listing)
            if name == "painter":
                settled(person, submit(person)["id"])
                answer_ = person.rest("POST", "rpc/set_credential", json={"site": "etsy", "secret": SECRET})
                assert answer_.status_code == 200, answer_.text
    drain(stack)
    BEFORE.update({name: view(stack, email) for name, email in people.items()})
    BEFORE["secrets"] = secret_of(stack)
    return people


def take_while_in_use(stack: Stack, backup: Path, people: dict[str, str]) -> dict[str, Any]:
    """Somebody else uploads and deletes all the while, a worker works, and two snapshots are taken into one folder."""
    over = threading.Event()
    rounds = []

    def use() -> None:
        person = Person.sign_up(stack)
        while not over.is_set():
            listing = person.new_listing(title="Busy")
            images = person.upload(listing, *photos(1, 7))
            person.wait_until_settled(listing)
            person.client.table("listings").delete().eq("id", listing).execute()
            rounds.append(images[0]["path"])

    user = threading.Thread(target=use)
    with psycopg.connect(stack.db_url) as conn:
        # As a snapshot leaves it that was killed: the next one ends this pause.
        conn.execute("select queue.pause('actor', %s, %s)", [ACTOR, REASON])
    with WorkerProcess(stack, "--processes", "1", "--threads", "2"):
        user.start()
        try:
            first = answer(stack, "snapshot", str(backup))
            second = answer(stack, "snapshot", str(backup), "--with-keys")
        finally:
            over.set()
            user.join(60)
    assert rounds
    assert not user.is_alive()
    with psycopg.connect(stack.db_url) as conn:
        # Removals go on afterwards.
        assert conn.execute("select count(*) from queue.pauses").fetchone() == (0,)
    return {"first": first, "second": second}


def lose_everything(stack: Stack) -> None:
    """The project as if it were made this minute, with another key for credentials."""
    kept = ("private.schema_files", "public.site_policies", "public.plans", "private.analytics_snapshots")
    with psycopg.connect(stack.admin_db_url, autocommit=True) as conn:
        conn.execute("set session_replication_role = replica")
        names = conn.execute(
            "select format('%I.%I', schemaname, tablename) from pg_tables"
            " where schemaname in ('auth', 'public', 'private', 'queue')"
            " or (schemaname, tablename) = ('storage', 'objects')"
        ).fetchall()
        for (name,) in names:
            if name not in kept:
                conn.execute(
                    f"alter table {name} disable trigger all; truncate {name} restart identity cascade"
                )  # type: ignore[arg-type]
                conn.execute(f"alter table {name} enable trigger all")  # type: ignore[arg-type]
    for version in (stack.home / "storage" / "versions").glob("*/*"):
        version.unlink()
    stack.cli("migrate", "--force")


def test_users_sign_in_and_see_the_same(world: World) -> None:
    for name in world.people:
        before, after = BEFORE[name], world.seen[name]
        assert after["user"] == before["user"]
        assert after["bytes"] == before["bytes"]
        assert len(after["bytes"]) > 5
        assert after["gallery"] == before["gallery"]
        for table, rows in before["tables"].items():
            assert after["tables"][table] == rows, table
            assert rows or table not in ("listings", "listing_images", "image_events")
        assert after["credentials"] == before["credentials"]
    assert BEFORE["painter"]["tables"]["usage_ledger"]
    assert secret_of(world.stack) == BEFORE["secrets"] == [SECRET]


def test_the_second_snapshot_copies_only_what_is_new(world: World) -> None:
    first, second = world.answers["take"]["first"], world.answers["take"]["second"]
    assert first["reused"] == 0
    assert first["copied"] == first["objects"] >= 15
    assert second["reused"] >= 15
    assert second["copied"] + second["reused"] == second["objects"]
    assert first["troubles"] == second["troubles"] == []


def test_nothing_is_left_to_mend_and_work_goes_on(world: World) -> None:
    restored = world.answers["restore"]
    assert restored["findings"] == {}
    assert restored["uploaded"] == world.answers["dry_run"]["uploaded"] >= 15
    assert restored["without_bytes"] == restored["already_there"] == restored["credentials_lost"] == 0
    # Counted before the snapshot's own pause is ended.
    assert {k: v for k, v in restored["rows"].items() if not k.startswith("auth.")} == {
        k: v for k, v in world.answers["dry_run"]["rows"].items() if not k.startswith("auth.")
    }
    drain(world.stack)
    assert sweep(world.stack, "--verify-checksums")["count"] == 0
    assert_ledger_is_storage(world.stack)
    doctor = json.loads(world.stack.cli("doctor", "--json", check=False).stdout)
    codes = {finding["code"] for finding in doctor["findings"]}
    assert codes <= {"no_worker", "disk_low"}, doctor["findings"]

    email = world.people["seller"]
    person = Person(world.stack, email, "", new_client(world.stack), "").sign_in_again()
    listing = person.new_listing(title="After")
    with WorkerProcess(world.stack, "--processes", "1", "--threads", "2"):
        person.upload(listing, *photos(1, 9))
        assert [row["state"] for row in person.wait_until_settled(listing)] == ["ready"]
    with psycopg.connect(world.stack.db_url) as conn:
        # Append-only tables are so again, and new events come after the old ones.
        with pytest.raises(psycopg.errors.InsufficientPrivilege), conn.transaction():
            conn.execute("delete from public.image_events")
        row = conn.execute("select count(*), count(distinct id) from public.image_events").fetchone()
        assert row
        assert row[0] == row[1]
        owners = conn.execute(
            "select count(*) from storage.objects where bucket_id = 'private' and owner_id <> split_part(name, '/', 1)"
        ).fetchone()
        assert owners == (0,)
        assert conn.execute("select count(*) from private.restored_objects").fetchone() == (0,)


def test_a_ledger_that_is_there_is_not_overwritten(world: World) -> None:
    error = answer(world.stack, "restore", str(world.backup), exit_code=1)
    assert error["code"] == "not_empty"
    assert any(line.startswith("public.listings: ") for line in error["data"]["found"])
    with psycopg.connect(world.stack.db_url, autocommit=True) as conn:
        before = conn.execute("select count(*) from public.listings").fetchone()
        person = Person.sign_up(world.stack)
        person.upload(person.new_listing(title="Of today"), *photos(1, 5))
        replaced = answer(world.stack, "restore", str(world.backup), "--replace", exit_code=7)
        # What came since has no row any more.
        assert replaced["findings"].keys() == {"orphan_object"}
        assert replaced["users"] == 0
        # What is there is not sent again; a photo whose removal was under way at that moment may be gone since.
        assert replaced["uploaded"] + replaced["already_there"] == world.answers["restore"]["uploaded"]
        assert replaced["uploaded"] in (0, 6)
        titles = {row[0] for row in conn.execute("select title from public.listings").fetchall()}
        assert "Of today" not in titles
        assert before
        # Who came since keeps an account.
        assert conn.execute("select price_id from public.profiles where id = %s", [person.id]).fetchone()


def test_a_worker_that_runs_is_not_restored_under(world: World) -> None:
    with psycopg.connect(world.stack.db_url, autocommit=True) as conn:
        conn.execute(
            "insert into queue.heartbeats (worker, queues, thread_count, held_count) values ('w', '{a}', 1, 0)"
        )
        try:
            error = answer(world.stack, "restore", str(world.backup), "--replace", exit_code=1)
        finally:
            conn.execute("delete from queue.heartbeats")
    assert (error["code"], error["data"]["found"]) == ("workers_run", ["w"])


def test_damage_is_found(world: World, tmp_path: Path) -> None:
    whole = answer(world.stack, "snapshot", "verify", str(world.backup))
    assert whole["objects"] == world.answers["take"]["second"]["objects"]
    assert oct(world.backup.stat().st_mode & 0o777) == "0o700"
    copy = tmp_path / "copy"
    shutil.copytree(world.backup, copy)
    blobs = sorted((copy / "bytes").glob("*/*"))
    data = bytearray(blobs[0].read_bytes())
    data[len(data) // 2] ^= 1
    blobs[0].write_bytes(data)
    blobs[1].unlink()
    (table,) = copy.glob("tables/*/public.listings.copy.gz")
    table.write_bytes(table.read_bytes()[:-9])
    # No stack is needed.
    done = run_cli(tmp_path / "none", "snapshot", "verify", str(copy), "--json", check=False)
    assert done.returncode == 7
    error = json.loads(done.stderr)["error"]
    assert error["code"] == "snapshot_damaged"
    named = {(entry["file"], entry["problem"]) for entry in error["data"]["files"]}
    changed = "other bytes than the manifest says"
    assert named == {
        (blobs[0].relative_to(copy).as_posix(), changed),
        (blobs[1].relative_to(copy).as_posix(), "missing"),
        (table.relative_to(copy).as_posix(), changed),
    }
    assert answer(world.stack, "restore", str(copy), "--replace", exit_code=7)["code"] == "snapshot_damaged"


def test_a_folder_that_holds_something_else_is_left_alone(world: World, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    assert answer(world.stack, "snapshot", str(tmp_path), exit_code=1)["code"] == "folder_in_use"
    assert [entry.name for entry in tmp_path.iterdir()] == ["letter.txt"]
    assert answer(world.stack, "restore", str(tmp_path), exit_code=1)["code"] == "no_snapshot"


def test_an_unfinished_snapshot_is_not_begun_again(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "backup")
    folder.create()
    folder.journal.write_text('["private", "a/b.jpg", "v1", "e1", "abc"]\n["private", "a/c.jp')
    assert known_bytes(folder) == {("private", "a/b.jpg", "v1", "e1"): "abc"}
