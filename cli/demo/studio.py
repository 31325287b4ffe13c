"""The demo's second part: the generation studio from the outside, with supabase-py and the anon key.

One session: a prompt, two generations that go on from it, a branch, an edit within a mask, and a replay of that
branch. Everything is asked for with an idempotency key made from the request, so that a second run asks the same
and is answered with what is there. The provider is `local`: free, offline, and no artist.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import httpx
from PIL import Image, ImageDraw
from rich.markup import escape
from rich.tree import Tree
from supabase import Client, ClientOptions, create_client

Say = Callable[[str], None]
Move = Callable[[int, int], None]
Job = dict[str, Any]

SIZE = (640, 480)
TITLE = "Demo: a living room"
#: Seconds for one generation, the worker's start included.
PATIENCE = 90
_ENDED = {"succeeded", "failed", "canceled"}


@dataclass
class StudioReport:
    """What the user saw: the session, its jobs as session_timeline tells them, and the files by job's id."""

    session_id: str
    jobs: list[Job]
    replay_of: str
    made: int
    folder: Path
    mask: Path
    files: dict[str, list[Path]] = field(default_factory=dict)
    usage: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def failed(self) -> list[Job]:
        return [job for job in self.jobs if job["status"] != "succeeded"]

    def as_json(self) -> dict[str, Any]:
        """The report as plain data."""
        columns = (
            "id",
            "parent_job_id",
            "retry_of_id",
            "mode",
            "style",
            "prompt",
            "params",
            "status",
            "error",
            "duration_ms",
            "cost",
        )
        return {
            "session_id": self.session_id,
            "generated": self.made,
            "replay_of": self.replay_of,
            "folder": str(self.folder),
            "mask": str(self.mask),
            "seconds": round(self.seconds, 2),
            "usage": self.usage,
            "jobs": [
                {name: job[name] for name in columns}
                | {"files": [str(file) for file in self.files.get(job["id"], [])]}
                for job in self.jobs
            ],
        }


class Artist:
    """A signed-in user of the studio. Raises what supabase-py raises."""

    def __init__(self, url: str, anon_key: str, email: str, password: str) -> None:
        options = ClientOptions(auto_refresh_token=False, persist_session=False)
        self._client: Client = create_client(url, anon_key, options=options)
        answer = self._client.auth.sign_in_with_password({"email": email, "password": password})
        assert answer.user is not None  # noqa: S101 - a sign-in without a user raises
        self.id = str(answer.user.id)
        self.made = 0

    def submit(self, mode: str, **arguments: Any) -> Job:
        """Orders a generation, or finds the one that the same request made in an earlier run."""
        request = {"mode": mode, "provider": "local", **arguments}
        digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:20]
        query = self._client.table("generation_jobs").select("status, deleted_at, renders(id)")
        earlier: Any = query.like("idempotency_key", f"demo-{digest}-%").execute().data
        # One whose picture was deleted, or that failed, is made anew.
        spoiled = [job for job in earlier if job["deleted_at"] or not job["renders"]]
        self.made += len(spoiled) == len(earlier)
        request["idempotency_key"] = f"demo-{digest}-{len(spoiled)}"
        job: Any = self._client.rpc("submit_generation", request).execute().data
        return dict(job)

    def finished(self, job_id: str) -> Job:
        """Polls the generation until it has ended; with its pictures. TimeoutError when nobody works on it."""
        pause, deadline = 0.05, time.monotonic() + PATIENCE
        columns = "*, renders(id, render_variants(idx, asset_id, image_path, thumb_path))"
        while True:
            query = self._client.table("generation_jobs").select(columns).eq("id", job_id)
            job: Any = query.single().execute().data
            if job["status"] in _ENDED:
                return dict(job)
            if time.monotonic() > deadline:
                raise TimeoutError(f"generation {job_id} was not done within {PATIENCE} s")
            time.sleep(pause)
            pause = min(pause * 1.3, 0.5)

    def mask(self, file: Path) -> str:
        """The id of the mask as an asset; uploaded once."""
        path = f"{self.id}/inputs/{uuid5(NAMESPACE_URL, 'imageledger demo mask ' + self.id)}.png"
        known: Any = self._client.table("image_assets").select("id").eq("path", path).execute().data
        if known:
            return str(known[0]["id"])
        self._client.storage.from_("private").upload(path, file, {"content-type": "image/png"})
        asset: Any = self._client.rpc("add_asset", {"path": path, "role": "mask"}).execute().data
        return str(asset["id"])

    def replay(self, job_id: str, root: Job, steps: int) -> Iterator[str]:
        """Runs the branch again and yields each step's id once it has ended; found if it was run before."""
        query = self._client.table("generation_jobs").select("id, renders(id)")
        query = query.eq("retry_of_id", root["id"]).is_("deleted_at", "null")
        found: Any = query.order("created_at").execute().data
        found = [job for job in found if job["renders"]]
        if found:
            job_id = found[-1]["id"]
        else:
            started: Any = self._client.rpc("replay_branch", {"job_id": job_id}).execute().data
            job_id = started["id"]
            self.made += steps
        while True:
            job = self.finished(job_id)
            yield job_id
            if not job["replay_job_ids"] or job["status"] != "succeeded":
                return
            # The next step was ordered in the transaction that ended this one.
            children = self._client.table("generation_jobs").select("id").eq("parent_job_id", job_id)
            following: Any = children.order("created_at").limit(1).execute().data
            if not following:
                return
            job_id = following[0]["id"]

    def name_session(self, session_id: str, title: str) -> None:
        self._client.table("image_sessions").update({"title": title}).eq("id", session_id).execute()

    def timeline(self, session_id: str) -> list[Job]:
        """The whole tree in one call."""
        answer: Any = self._client.rpc("session_timeline", {"session_id": session_id}).execute().data
        return list(answer["jobs"])

    def usage(self) -> dict[str, Any]:
        answer: Any = self._client.rpc("usage_summary", {}).execute().data
        return dict(answer)

    def save(self, job: Job, number: int, folder: Path) -> list[Path]:
        """Fetches a generation's pictures by their public addresses, as a page would, and compares the bytes."""
        files = []
        digests = {asset["id"]: asset["sha256"] for asset in job["assets"]}
        for variant in (job["render"] or {}).get("variants", []):
            url = self._client.storage.from_("public").get_public_url(variant["image_path"])
            answer = httpx.get(url.rstrip("?"), timeout=30).raise_for_status()
            if hashlib.sha256(answer.content).hexdigest() != digests[variant["asset_id"]]:
                raise httpx.HTTPError(f"{variant['image_path']}: other bytes came than were made")
            file = folder / f"{number:02}-{job['mode']}-{job['id'][:8]}-{variant['idx']}.webp"
            file.write_bytes(answer.content)
            files.append(file)
        return files


def play_studio(artist: Artist, folder: Path, say: Say, move: Move) -> StudioReport:
    """One session as a user would have it. A second run finds it and generates nothing."""
    began = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    width, height = SIZE

    say("Generate: a prompt in, a picture out")
    params = {"width": width, "height": height, "seed": 11}
    root = artist.finished(
        artist.submit("imagine", prompt="A bright living room with a lamp", params=params)["id"]
    )
    session = root["session_id"]

    def go_on(parent: Job, mode: str, **arguments: Any) -> Job:
        asset = _asset(parent)
        made = artist.submit(
            mode, session_id=session, parent_job_id=parent["id"], source_asset_id=asset, **arguments
        )
        return artist.finished(made["id"])

    say("Go on from it, twice")
    second = go_on(root, "redesign", style="scandinavian", params={"strength": 0.5, "seed": 12})
    move(1, 2)
    go_on(second, "staging", room_type="living room", params={"strength": 0.4, "seed": 13})
    move(2, 2)
    say("A branch from the first picture")
    branch = go_on(root, "redesign", style="industrial", params={"strength": 0.7, "seed": 14})
    say("Edit it within a mask")
    mask = folder / "mask.png"
    mask.write_bytes(mask_png())
    edit = go_on(
        branch,
        "edit",
        prompt="A red wall",
        mask_asset_id=artist.mask(mask),
        params={"strength": 0.9, "seed": 15},
    )
    say("Replay the branch from its root")
    for done, _ in enumerate(artist.replay(edit["id"], root, 3), 1):
        move(done, 3)

    artist.name_session(session, TITLE)
    report = StudioReport(session, artist.timeline(session), edit["id"], artist.made, folder, mask)
    say("Save the pictures")
    for number, job in enumerate(report.jobs, 1):
        report.files[job["id"]] = artist.save(job, number, folder)
        move(number, len(report.jobs))
    keep = {mask, *(file for files in report.files.values() for file in files)}
    for file in folder.glob("[0-9][0-9]-*.webp"):
        if file not in keep:
            file.unlink()  # of a session that was deleted since
    report.usage = artist.usage()
    report.seconds = time.monotonic() - began
    return report


def mask_png() -> bytes:
    """White where the picture is to change: an ellipse in its middle."""
    mask = Image.new("L", SIZE)
    width, height = SIZE
    ImageDraw.Draw(mask).ellipse((width // 4, height // 4, width * 3 // 4, height * 3 // 4), fill=255)
    out = BytesIO()
    mask.save(out, "PNG")
    return out.getvalue()


def tree(report: StudioReport) -> Tree:
    """The session as it grew: each generation below the one that it continues."""
    shown = Tree(f"[bold]{escape(TITLE)}[/]  session {report.session_id}")
    branches: dict[str | None, Tree] = {None: shown}
    for job in report.jobs:
        above = branches.get(job["parent_job_id"], shown)
        branches[job["id"]] = above.add(_line(job, report.files.get(job["id"], [])))
    return shown


def _line(job: Job, files: list[Path]) -> str:
    words = job["prompt"] or ", ".join(filter(None, (job["room_type"], job["style"])))
    took = "" if job["duration_ms"] is None else f"{job['duration_ms']} ms"
    replayed = " (replay)" if job["retry_of_id"] else ""
    names = ", ".join(file.name for file in files) or job["error"] or job["status"]
    facts = f"seed {job['params'].get('seed')}, {took}, ${float(job['cost'] or 0):g}"
    return (
        f"[bold]{escape(job['mode'])}[/]{replayed} {escape(repr(words))}  [green]{escape(names)}[/]"
        f"  [dim]{escape(facts)}, {job['id']}[/]"
    )


def _asset(job: Job) -> str:
    """The picture that the next generation starts from."""
    if job["status"] != "succeeded" or not job["renders"]:
        raise StudioError(job)
    return str(UUID(job["renders"]["render_variants"][0]["asset_id"]))


class StudioError(Exception):
    """A generation without a picture; the session cannot go on from it."""

    def __init__(self, job: Job) -> None:
        self.code = str(job["error_code"] or job["status"])
        super().__init__(f"generation {job['id']}: {job['error'] or job['status']}")
