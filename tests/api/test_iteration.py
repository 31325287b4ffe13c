"""Going on from what was made, through PostgREST: retry, replay, cancel, and deletion that takes the bytes along."""

from __future__ import annotations

import time
from typing import Any

import httpx

from tests.api.test_generation import public, settled, submit, timeline, wait_until_gone
from tests.support.people import Person
from tests.support.stack import Stack
from tests.support.worker import WorkerProcess

SIZE = {"width": 96, "height": 64, "seed": 3}


def call(person: Person, function: str, **arguments: Any) -> Any:
    return person.client.rpc(function, arguments).execute().data


def go_on(person: Person, parent: dict[str, Any], seed: int) -> dict[str, Any]:
    """A generation that starts from the parent's picture."""
    (node,) = [j for j in timeline(person, parent["session_id"])["jobs"] if j["id"] == parent["id"]]
    asset = node["render"]["variants"][0]["asset_id"]
    job = submit(person, "redesign", source_asset_id=asset, parent_job_id=parent["id"], params={"seed": seed})
    return settled(person, job["id"])


def paths_of(person: Person, session: str) -> dict[str, list[str]]:
    """Objects of each generation's render."""
    return {
        job["id"]: [
            v[n]
            for v in (job["render"] or {"variants": []})["variants"]
            for n in ("image_path", "thumb_path")
        ]
        for job in timeline(person, session)["jobs"]
    }


def bytes_of(stack: Stack, paths: list[str]) -> list[bytes]:
    answers = [public(stack, path) for path in paths]
    assert [answer.status_code for answer in answers] == [200] * len(paths)
    return [answer.content for answer in answers]


def test_a_tree_grows_and_is_cut(stack: Stack, worker: WorkerProcess, person: Person, other: Person) -> None:
    root = settled(person, submit(person, params=SIZE)["id"])
    session = root["session_id"]
    left = go_on(person, root, 4)
    leaf = go_on(person, left, 5)

    # Retry: the same recipe at the same place gives the same picture, with another seed another one.
    same = settled(person, call(person, "retry_generation", job_id=leaf["id"])["id"])
    other_seed = settled(person, call(person, "retry_generation", job_id=leaf["id"], new_seed=True)["id"])
    for again in (same, other_seed):
        assert (again["status"], again["parent_job_id"], again["retry_of_id"]) == (
            "succeeded",
            left["id"],
            leaf["id"],
        )
    paths = paths_of(person, session)
    pictures = {job: bytes_of(stack, found) for job, found in paths.items()}
    assert pictures[same["id"]] == pictures[leaf["id"]] != pictures[other_seed["id"]]

    # Replay: three steps one after another, each on the new picture, which is the same as the old one.
    step = call(person, "replay_branch", job_id=leaf["id"])
    for template in (root, left, leaf):
        done = settled(person, step["id"])
        assert (done["status"], done["retry_of_id"]) == ("succeeded", template["id"])
        assert bytes_of(stack, paths_of(person, session)[done["id"]]) == pictures[template["id"]]
        if template is not leaf:
            (step,) = (
                person.client.table("generation_jobs").select("id").eq("parent_job_id", done["id"]).execute()
            ).data
    assert call(person, "usage_summary")["used"] == 8

    # A branch goes with its bytes, and with nothing else's.
    for function in ("delete_branch", "replay_branch", "retry_generation", "cancel_generation"):
        assert other.rest("POST", f"rpc/{function}", json={"job_id": left["id"]}).status_code == 404
    gone = {left["id"], leaf["id"], same["id"], other_seed["id"]}
    assert set(call(person, "delete_branch", job_id=left["id"])) == gone
    wait_until_gone(stack, [path for job in gone for path in paths[job]])
    tree = timeline(person, session)
    assert len(tree["jobs"]) == 4
    assert {job["id"] for job in tree["jobs"]}.isdisjoint(gone)
    assert bytes_of(stack, paths[root["id"]]) == pictures[root["id"]]

    # A render: pictures and variants go, the generation stays and says that it succeeded; the debit stays too.
    render = root["render_id"]
    assert other.rest("DELETE", f"renders?id=eq.{render}").status_code == 204
    assert bytes_of(stack, paths[root["id"]]) == pictures[root["id"]]
    person.client.table("renders").delete().eq("id", render).execute()
    wait_until_gone(stack, paths[root["id"]])
    (node,) = [job for job in timeline(person, session)["jobs"] if job["id"] == root["id"]]
    assert (node["status"], node["render"]) == ("succeeded", None)
    assert person.rest("GET", f"render_variants?render_id=eq.{render}").json() == []
    assert person.rest("GET", f"image_assets?job_id=eq.{root['id']}").json() == []
    assert call(person, "usage_summary")["used"] == 8

    # What started from a deleted picture cannot be repeated, and says so.
    answer = person.rest("POST", "rpc/replay_branch", json={"job_id": root["id"]})
    assert answer.status_code == 200  # a root starts from words
    settled(person, answer.json()["id"])
    person.client.table("image_sessions").delete().eq("id", session).execute()
    left_over = [path for found in paths.values() for path in found]
    wait_until_gone(stack, left_over)
    jobs: Any = person.client.table("generation_jobs").select("status, deleted_at").execute().data
    assert len(jobs) == 9
    assert all(job["status"] == "succeeded" and job["deleted_at"] for job in jobs)


def test_cancel(stack: Stack, worker: WorkerProcess, person: Person) -> None:
    """While it is being made: the worker hears of it, and nothing stays."""
    job = submit(person, params={**SIZE, "scheduler": "slow"})
    deadline = time.monotonic() + 20
    while True:
        row: Any = person.client.table("generation_jobs").select("status, progress").eq("id", job["id"])
        if row.single().execute().data["status"] == "processing":
            break
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert call(person, "cancel_generation", job_id=job["id"])["cancel_requested_at"]
    done = settled(person, job["id"])
    assert (done["status"], done["error"]) == ("canceled", None)
    assert timeline(person, job["session_id"])["jobs"][0]["render"] is None
    assert public(stack, f"renders/{job['render_id']}/0.webp").status_code in {400, 404}
    assert call(person, "usage_summary")["used"] == 0
    answer: httpx.Response = person.rest("GET", f"usage_ledger?owner_id=eq.{person.id}")
    assert answer.json() == []
