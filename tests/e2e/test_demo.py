"""`imageledger demo` as a newcomer runs it: from nothing, again, with own photos, and stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.images import make_jpeg, make_png_alpha
from tests.support.processes import processes_of
from tests.support.stack import run_cli


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("demo") / "home"
    yield home
    run_cli(home, "down", "--destroy", "--yes")


def demo(home: Path, *photos: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(run_cli(home, "demo", "--json", *map(str, photos)).stdout)
    return report


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

    again = demo(home)
    assert (again["uploaded"], again["already_there"]) == (0, 4)
    assert again["images"] == first["images"]

    (tmp_path / "own.jpg").write_bytes(make_jpeg(orientation=6))
    (tmp_path / "own.png").write_bytes(make_png_alpha())
    own = demo(home, tmp_path / "own.jpg", tmp_path / "own.png")
    assert (own["uploaded"], len(own["images"])) == (2, 6)
    assert own["listing_id"] == first["listing_id"]

    shown = run_cli(home, "demo").stdout
    assert "API_URL" in shown
    assert "ANON_KEY" in shown
    assert "psql postgresql://" in shown
    assert "make down" in shown

    assert processes_of(home)
    run_cli(home, "down")
    assert processes_of(home) == {}


def test_a_broken_photo_is_named_and_the_others_are_sold(home: Path, tmp_path: Path) -> None:
    (tmp_path / "good.jpg").write_bytes(make_jpeg())
    (tmp_path / "broken.jpg").write_bytes(make_jpeg((900, 600))[:2000])
    done = run_cli(
        home, "demo", "--json", str(tmp_path / "good.jpg"), str(tmp_path / "broken.jpg"), check=False
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
