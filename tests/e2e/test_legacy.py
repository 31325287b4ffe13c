"""The legacy migration as an operator does it: the CLI as a process, a worker, a web server with the old pictures."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.support import legacy
from tests.support.people import Person
from tests.support.picture_server import PictureServer
from tests.support.stack import ROOT, Stack
from tests.support.worker import WorkerProcess
from tests.worker.test_legacy_label import photo, price_tag
from worker.imaging.samples import sample_photos


@pytest.fixture
def db(stack: Stack) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(stack.db_url, autocommit=True) as conn:
        yield conn
        for (schema,) in conn.execute("delete from legacy.sources returning schema_name").fetchall():
            conn.execute(sql.SQL("drop schema {} cascade").format(sql.Identifier(schema)))
        conn.execute("delete from legacy.fetch_hosts")


def said(stack: Stack, *arguments: str) -> Any:
    return json.loads(stack.cli("legacy", *arguments, "--json").stdout)


def refusal(stack: Stack, *arguments: str) -> dict[str, Any]:
    done = stack.cli("legacy", *arguments, "--json", check=False)
    assert done.returncode != 0
    error: dict[str, Any] = json.loads(done.stderr.strip().splitlines()[-1])["error"]
    assert error["remedy"]
    return error


def jpeg(picture: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=92)
    return out.getvalue()


def test_from_map_to_restore(
    stack: Stack, db: psycopg.Connection[Any], person: Person, other: Person, tmp_path: Path
) -> None:
    """Two tenants: mapped, planned, tried, imported, reviewed by CSV, dropped and restored."""
    for schema in ("user_a", 'user_"b"'):
        legacy.create_table(db, schema)
    values, expected = legacy.shop(5, 60, 12)
    legacy.add_products(db, "user_a", values)
    legacy.add_products(db, 'user_"b"', [["https://h.test/1.jpg", "https://h.test/2.jpg"]] * 3)
    before = db.execute("select id, images::text from user_a.products order by id").fetchall()

    assert {s["schema"] for s in said(stack, "map")["schemas"]} == {"user_a", 'user_"b"'}
    assert refusal(stack, "import", "--schema", "user_a")["code"] == "legacy_schema_not_mapped"
    assert refusal(stack, "map", "user_a", "nobody@example.test")["code"] == "legacy_owner_missing"
    assert refusal(stack, "map", "user_x", person.id)["code"] == "legacy_table_missing"
    said(stack, "map", "user_a", person.email)
    said(stack, "map", 'user_"b"', other.id, "--column", "title=name")
    planned = {s["schema"]: s for s in said(stack, "plan")["schemas"]}
    assert planned["user_a"]["images"] == expected.images

    tried = said(stack, "import", "--all", "--dry-run")["schemas"]
    assert sum(s["products"] for s in tried) == 63
    assert db.execute("select count(*) from legacy.products").fetchone() == (0,)
    done = {s["schema"]: s for s in said(stack, "import", "--all")["schemas"]}
    assert (done["user_a"]["images"], done["user_a"]["labels"]) == (expected.images, expected.labels)
    assert all(s["products"] == 0 for s in said(stack, "import", "--all")["schemas"])
    report = {s["schema_name"]: s for s in said(stack, "report")["schemas"]}
    assert report["user_a"]["labels_to_review"] == expected.doubtful
    assert report['user_"b"']["waiting"] == 6
    # What the owner sees: drafts, and nothing of anybody else.
    mine = person.client.table("listings").select("id, status").eq("owner_id", person.id).execute().data
    assert len(mine) == 60
    assert {row["status"] for row in mine} == {"draft"}
    assert person.client.table("gallery").select("id").eq("owner_id", person.id).execute().data == []

    lines = list(csv.DictReader(io.StringIO(stack.cli("legacy", "review", "ls", "--csv").stdout)))
    assert len(lines) == expected.doubtful + 3
    file = tmp_path / "labels.csv"
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, lines[0])
        writer.writeheader()
        for n, line in enumerate(lines):
            writer.writerow(line | {"verdict": ("ok", "none", "0", "")[n % 4] if n < 8 else ""})
    assert said(stack, "review", "correct", "--csv", str(file)) == {
        "confirmed": 2,
        "corrected": 4,
        "listings_changed": 4,
    }
    file.write_text("schema,product,verdict\nuser_a,nope,ok\n")
    assert refusal(stack, "review", "correct", "--csv", str(file))["code"] == "legacy_decision_invalid"
    file.write_text("schema,product,verdict\nuser_a,1,perhaps\n")
    assert "line 2" in refusal(stack, "review", "correct", "--csv", str(file))["message"]
    left = said(stack, "review", "ls")["reviews"]
    assert len(left) == len(lines) - 6
    said(stack, "review", "confirm", "--at-least", "0")
    assert said(stack, "review", "ls")["reviews"] == []

    assert said(stack, "drop-column", "--all")["schemas"][0]["dry_run"]
    assert len(db.execute("select images from user_a.products").fetchall()) == 60
    said(stack, "drop-column", "--all", "--apply")
    assert refusal(stack, "import", "--schema", "user_a")["code"] == "legacy_column_dropped"
    said(stack, "restore", "--schema", "user_a", "--apply")
    assert db.execute("select id, images::text from user_a.products order by id").fetchall() == before


def test_kill_and_go_on(stack: Stack, db: psycopg.Connection[Any], person: Person) -> None:
    """kill -9 between and within schemas: what was committed stays, the rest is imported by the same command."""
    values, expected = legacy.shop(3, 1000, 10)
    names = [f"tenant_{n}" for n in range(4)]
    for name in names:
        legacy.create_table(db, name)
        legacy.add_products(db, name, values)
        db.execute(f"update {name}.products set sku = null")  # type: ignore[arg-type]
        legacy.map_schema(db, name, person.id)
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "legacy", "import", "--all"], env=stack.environment, cwd=ROOT
    )
    deadline = time.monotonic() + 30
    while not db.execute("select 1 from legacy.import_runs limit 1").fetchone():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    said(stack, "import", "--all")
    again = said(stack, "import", "--all")["schemas"]
    assert all(s["products"] == 0 and s["known"] == s["in_source"] for s in again)
    runs = db.execute("select schema_name from legacy.import_runs order by 1").fetchall()
    assert [name for (name,) in runs] == names
    counts = db.execute("select distinct products, listings, images, labels from legacy.report").fetchall()
    assert counts == [(1000, 1000, expected.images, expected.labels)]


def test_fetch(stack: Stack, db: psycopg.Connection[Any], person: Person) -> None:
    """The bytes come, are processed like every upload, and the label is seen for what it is."""
    with PictureServer() as server:
        server.pictures |= {
            "/photo.jpg": jpeg(photo(1)),
            "/flaky.jpg": sample_photos()[0][2],
            "/tag.png": jpeg(price_tag((600, 960))),
            "/page.html": b"<html>",
        }
        legacy.create_table(db, "shop")
        legacy.add_products(
            db,
            "shop",
            [
                [f"{server.url}/photo.jpg", f"{server.url}/flaky.jpg", f"{server.url}/tag.png"],
                [f"{server.url}/tag.png", f"{server.url}/photo.jpg"],
                [
                    f"{server.url}/gone.jpg",
                    f"{server.url}/page.html",
                    f"http://localhost:{server.port}/x.jpg",
                ],
                ["https://not-listed.test/a.jpg"],
            ],
        )
        legacy.map_schema(db, "shop", person.id)
        db.execute("select legacy.import_images('shop')")
        assert said(stack, "fetch")["host_not_allowed"] == 9
        with WorkerProcess(stack, LEGACY_FETCH_NETWORKS="127.0.0.1/32", WORKER_POLL_SECONDS="0.1"):
            hosts = ("--allow-host", server.host, "--allow-host", f"localhost:{server.port}")
            answer = said(stack, "fetch", *hosts, "--wait", "--timeout", "60")
            assert (answer["queued"], answer["host_not_allowed"]) == (8, 1)
            deadline = time.monotonic() + 30
            while db.execute(
                "select 1 from public.listing_images where owner_id = %s and state in ('uploaded', 'processing')",
                [person.id],
            ).fetchone():
                assert time.monotonic() < deadline
                time.sleep(0.1)
    found = db.execute(
        "select p.product_key::int, e.ordinal, i.state, i.mime_type, e.fetch_error_code, e.label_score >= 0.6"
        " from legacy.images as e join legacy.products as p on p.id = e.product_id"
        " join public.listing_images as i on i.id = e.image_id order by 1, 2"
    ).fetchall()
    refused_host = next(row[4] for row in found if row[:2] == (3, 2))
    assert refused_host in {None, "address_refused", "http_404"}
    assert [row[2:] for row in found if row[:2] != (3, 2)] == [
        ("ready", "image/jpeg", None, False),
        ("ready", "image/jpeg", None, False),
        # By content, never by name.
        ("ready", "image/jpeg", None, True),
        ("ready", "image/jpeg", None, True),
        ("ready", "image/jpeg", None, False),
        ("awaiting_upload", "image/jpeg", "http_404", None),
        ("awaiting_upload", "image/jpeg", "unsupported_type", None),
        ("awaiting_upload", "image/jpeg", None, None),
    ]
    # The gallery has what passes the gate: photos, labels never.
    gallery = person.client.table("gallery").select("listing_id, position").order("position").execute().data
    assert sorted(row["position"] for row in gallery) == [0, 0, 1]
    tray = person.client.table("media_tray").select("reason").execute().data
    assert any("answered 404" in row["reason"] for row in tray)
    # The second product's label is in the wrong place, and that is seen.
    worst = said(stack, "review", "ls")["reviews"][0]
    assert (worst["product"], worst["suggested"]) == ("2", 0)
    said(stack, "review", "correct", "--schema", "shop", "2", "0")
    report = said(stack, "report")["schemas"][0]
    assert (report["fetched"], report["images"]) == (5, 9)
    assert report["fetch_failures"].items() >= {"unsupported_type": 1}.items()
    assert sum(report["fetch_failures"].values()) == report["fetch_failed"]
    # Again: nothing is ordered twice; failures only when told.
    assert said(stack, "fetch")["queued"] <= 1
    db.execute("update legacy.images set label_score = null, label_signs = null")
    assert said(stack, "review", "score")["scored"] >= 3
