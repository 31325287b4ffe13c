"""`imageledger demo` as a newcomer runs it: from nothing, again, with own photos, and stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageStat

from tests.support.images import make_jpeg, make_png_alpha
from tests.support.processes import processes_of
from tests.support.stack import run_cli


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("demo") / "home"
    yield home
    run_cli(home, "down", "--destroy", "--yes")


def demo(home: Path, *arguments: str | Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(run_cli(home, "demo", "--json", *map(str, arguments)).stdout)
    return report


def check_studio(studio: dict[str, Any]) -> None:
    """Three generations, a branch, an edit within a mask and a replay of that branch, with pictures to look at."""
    jobs = studio["jobs"]
    number = {None: None} | {job["id"]: n for n, job in enumerate(jobs)}
    assert [(job["mode"], number[job["parent_job_id"]], number[job["retry_of_id"]]) for job in jobs] == [
        ("imagine", None, None),
        ("redesign", 0, None),
        ("staging", 1, None),
        ("redesign", 0, None),
        ("edit", 3, None),
        ("imagine", None, 0),
        ("redesign", 5, 3),
        ("edit", 6, 4),
    ]
    assert studio["replay_of"] == jobs[4]["id"]
    pictures = []
    for job in jobs:
        assert (job["status"], job["error"]) == ("succeeded", None)
        (file,) = job["files"]
        with Image.open(file) as image:
            assert (image.format, image.size) == ("WEBP", (640, 480))
            pictures.append(image.convert("RGB"))
    # The same recipes give the same pictures, and different ones others.
    digests = [hashlib.sha256(picture.tobytes()).hexdigest() for picture in pictures]
    assert len(set(digests[:5])) == 5
    assert digests[5:] == [digests[0], digests[3], digests[4]]
    # The edit changed what is white in the mask, and nothing else to speak of.
    with Image.open(studio["mask"]) as mask:
        before, after = pictures[3], pictures[4]
        change = ImageChops.difference(before, after).convert("L")
        inside = ImageStat.Stat(change, mask.convert("L")).mean[0]
        outside = ImageStat.Stat(change, ImageChops.invert(mask.convert("L"))).mean[0]
    assert inside > 5 * max(outside, 0.5)
    assert studio["usage"]["used"] == 8


def test_demo_from_nothing_again_and_down(home: Path, tmp_path: Path) -> None:
    first = demo(home)
    assert (first["uploaded"], first["already_there"]) == (4, 0)
    assert {image["mime_type"] for image in first["images"]} == {
        "image/jpeg",
        "image/heic",
        "image/png",
        "image/webp",
    }
    for image in first["images"]:
        assert image["state"] == "ready"
        assert image["milliseconds_to_ready"] > 0
        assert len(image["image_variants"]) == 5
    files = list(Path(first["downloads"]).rglob("*.webp"))
    assert len(files) == 20
    check_studio(first["studio"])

    again = demo(home)
    assert (again["uploaded"], again["already_there"]) == (0, 4)
    assert again["images"] == first["images"]
    assert (first["studio"]["generated"], again["studio"]["generated"]) == (8, 0)
    assert again["studio"]["jobs"] == first["studio"]["jobs"]

    (tmp_path / "own.jpg").write_bytes(make_jpeg(orientation=6))
    (tmp_path / "own.png").write_bytes(make_png_alpha())
    own = demo(home, "--no-studio", tmp_path / "own.jpg", tmp_path / "own.png")
    assert "studio" not in own
    assert (own["uploaded"], len(own["images"])) == (2, 6)
    assert own["listing_id"] == first["listing_id"]

    shown = run_cli(home, "demo").stdout
    assert "API_URL" in shown
    assert "ANON_KEY" in shown
    assert "psql postgresql://" in shown
    assert "make down" in shown
    for job in first["studio"]["jobs"]:
        assert job["id"] in shown
        assert Path(job["files"][0]).name in shown

    assert processes_of(home)
    run_cli(home, "down")
    assert processes_of(home) == {}


def test_a_broken_photo_is_named_and_the_others_are_sold(home: Path, tmp_path: Path) -> None:
    (tmp_path / "good.jpg").write_bytes(make_jpeg())
    (tmp_path / "broken.jpg").write_bytes(make_jpeg((900, 600))[:2000])
    done = run_cli(
        home,
        "demo",
        "--json",
        "--no-studio",
        str(tmp_path / "good.jpg"),
        str(tmp_path / "broken.jpg"),
        check=False,
    )
    assert done.returncode == 1
    states = {image["file_name"]: image["state"] for image in json.loads(done.stdout)["images"]}
    assert (states["good.jpg"], states["broken.jpg"]) == ("ready", "failed")
    error = json.loads(done.stderr.splitlines()[-1])["error"]
    assert error["code"] == "photos_failed"
    assert "broken.jpg" in error["message"]


def test_what_cannot_be_a_photo_is_refused_before_a_byte_is_sent(home: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no photo")
    done = run_cli(home, "demo", "--json", str(tmp_path / "notes.txt"), check=False)
    assert done.returncode == 1
    error = json.loads(done.stderr.splitlines()[-1])["error"]
    assert error["code"] == "type_not_accepted", error
