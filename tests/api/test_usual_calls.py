"""The table that begins functions/README.md, as it stands there, with the client it speaks of."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.support.images import make_jpeg
from tests.support.node import run_script
from tests.support.stack import ROOT, Stack
from tests.support.worker import WorkerProcess


def test_every_usual_call(stack: Stack, worker: WorkerProcess, tmp_path: Path) -> None:
    readme = ROOT / "functions/README.md"
    photo = tmp_path / "lamp.jpg"
    photo.write_bytes(make_jpeg())
    given = {
        "url": stack.api_url,
        "anonKey": stack.anon_key,
        "email": f"{uuid4()}@example.test",
        "readme": str(readme),
        "photo": str(photo),
    }
    answers: dict[str, Any] = run_script("usual_calls.mjs", given)
    table = readme.read_text().split("## The usual calls")[1].split("\n## ")[0]
    assert len(answers) == table.count("\n| ") - 2 == 12
    for what, answer in answers.items():
        assert answer["error"] is None, (what, answer)
    # In what a reader sees before scrolling.
    assert readme.read_text().index("## The usual calls") < 200

    data = {what: answer["data"] for what, answer in answers.items()}
    (shown,) = data["the photos, in order"]
    assert shown["id"] == data["a path for each photo"][0]["image_id"]
    assert data["bring it back"]["id"] == shown["id"]
    assert data["put on sale; what is missing"]["listing_id"] == data["save a draft"]["id"]
    assert "token=" in data["a link to one"]["signedUrl"]
