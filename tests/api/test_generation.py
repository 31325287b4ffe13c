"""One prompt in, one picture out, as a browser does it: unmodified clients, PostgREST, Storage, a worker."""

from __future__ import annotations

import io
import time
from typing import Any
from uuid import uuid4

import httpx
from PIL import Image

from tests.support.images import make_jpeg
from tests.support.people import Person, new_client
from tests.support.stack import Stack
from tests.support.worker import WorkerProcess


def submit(person: Person, mode: str = "imagine", **arguments: Any) -> dict[str, Any]:
    if mode == "imagine":
        arguments = {"prompt": "A lamp on a table", "params": {"width": 128, "height": 96}} | arguments
    row: Any = person.client.rpc("submit_generation", {"mode": mode, **arguments}).execute().data
    return dict(row)


def settled(person: Person, job: str, timeout: float = 30) -> dict[str, Any]:
    """Polls the generation, as a client without Realtime does, until it has ended."""
    deadline = time.monotonic() + timeout
    while True:
        rows: Any = person.client.table("generation_jobs").select("*").eq("id", job).execute().data
        if rows[0]["status"] in {"succeeded", "failed", "canceled"}:
            return dict(rows[0])
        assert time.monotonic() < deadline, rows[0]
        time.sleep(0.05)


def timeline(person: Person, session: str) -> dict[str, Any]:
    data: Any = person.client.rpc("session_timeline", {"session_id": session}).execute().data
    return dict(data)


def upload_input(person: Person, data: bytes) -> str:
    path = f"{person.id}/inputs/{uuid4()}.jpg"
    person.client.storage.from_("private").upload(path, data, {"content-type": "image/jpeg"})
    return path


def public(stack: Stack, path: str) -> httpx.Response:
    return httpx.get(f"{stack.api_url}/storage/v1/object/public/public/{path}", timeout=30)


def wait_until_gone(stack: Stack, paths: list[str]) -> None:
    deadline = time.monotonic() + 30
    while any(public(stack, path).status_code == 200 for path in paths):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_session(stack: Stack, worker: WorkerProcess, person: Person, other: Person) -> None:
    first = submit(person)
    assert first["status"] == "queued"
    done = settled(person, first["id"])
    assert (done["status"], done["error"]) == ("succeeded", None)
    tree = timeline(person, first["session_id"])
    (variant,) = tree["jobs"][0]["render"]["variants"]
    answer = public(stack, variant["image_path"])
    with Image.open(io.BytesIO(answer.content)) as image:
        assert (image.format, image.size) == ("WEBP", (128, 96))
    assert answer.headers["content-type"] == "image/webp"
    assert public(stack, variant["thumb_path"]).status_code == 200

    # A branch, and an edit within a mask.
    mask: Any = person.client.rpc(
        "add_asset", {"path": upload_input(person, make_jpeg()), "role": "mask"}
    ).execute()
    edit = submit(
        person,
        "edit",
        prompt="Red",
        source_asset_id=variant["asset_id"],
        mask_asset_id=mask.data["id"],
        parent_job_id=first["id"],
    )
    assert settled(person, edit["id"])["error"] is None
    room = submit(
        person, "staging", input1_path=upload_input(person, make_jpeg()), session_id=first["session_id"]
    )
    assert settled(person, room["id"])["status"] == "succeeded"
    jobs = timeline(person, first["session_id"])["jobs"]
    assert [j["parent_job_id"] for j in jobs] == [None, first["id"], edit["id"]]
    usage: Any = person.client.rpc("usage_summary", {}).execute().data
    assert (usage["used"], usage["remaining"]) == (3, 22)

    # The lists, each in one request; to somebody else they are empty.
    lists = (
        "image_sessions?order=updated_at.desc&limit=12",
        "renders?select=*,render_variants(*)&order=created_at.desc",
        "generation_jobs?status=in.(queued,starting,processing)",
        "collections?select=*,collection_items(*)",
        "usage_ledger",
        "image_generation_events",
        "image_assets",
    )
    counts = [len(person.rest("GET", path).json()) for path in lists]
    assert counts[:5] == [1, 3, 0, 1, 3]
    assert [len(other.rest("GET", path).json()) for path in lists] == [0, 0, 0, 1, 0, 0, 0]

    # Everything goes with the session, and the bytes with it.
    paths = [v[n] for j in jobs for v in j["render"]["variants"] for n in ("image_path", "thumb_path")]
    assert len(paths) == 6
    assert other.rest("DELETE", f"image_sessions?id=eq.{first['session_id']}").status_code == 204
    assert public(stack, paths[0]).status_code == 200
    assert person.rest("DELETE", f"image_sessions?id=eq.{first['session_id']}").status_code == 204
    wait_until_gone(stack, paths)
    assert len(person.rest("GET", "generation_jobs").json()) == 3


def test_refusals_on_the_wire(stack: Stack, person: Person, other: Person) -> None:
    def post(who: Person, function: str, **arguments: Any) -> tuple[int, str, str]:
        answer = who.rest("POST", f"rpc/{function}", json=arguments)
        body = answer.json()
        return answer.status_code, str(body.get("details")), str(body.get("hint"))

    assert post(person, "submit_generation", mode="edit", params={"x": 1}) == (
        422,
        "generation_invalid",
        "Correct: prompt, inputs, params.x",
    )
    slow = {"scheduler": "slow"}
    running = submit(person, params=slow, idempotency_key="k")
    assert post(person, "submit_generation", mode="imagine", prompt="x") == (
        409,
        "generation_in_flight",
        f"Wait for it, or cancel it: {running['id']}",
    )
    assert submit(person, params=slow, idempotency_key="k")["id"] == running["id"]
    assert post(person, "submit_generation", mode="imagine", prompt="y", idempotency_key="k")[0] == 422
    for function in ("cancel_generation", "retry_generation", "replay_branch", "delete_branch"):
        theirs = post(other, function, job_id=running["id"])
        assert theirs == post(other, function, job_id=str(uuid4()))
        assert theirs[:2] == (404, "generation_not_found")
    canceled: Any = person.client.rpc("cancel_generation", {"job_id": running["id"]}).execute().data
    assert canceled["cancel_requested_at"]
    for path, body in (
        ("generation_jobs", {"mode": "imagine", "status": "succeeded"}),
        ("usage_ledger", {"kind": "debit", "units": -5}),
        ("renders", {"job_id": running["id"]}),
        ("image_assets", {"role": "input"}),
        ("community_items", {"image_url": "https://a.test/x"}),
    ):
        assert person.rest("POST", path, json=body).status_code == 403
    for path in ("generation_jobs", "usage_ledger", "image_generation_events", "render_variants"):
        assert (
            person.rest("PATCH", f"{path}?owner_id=eq.{person.id}", json={"owner_id": other.id}).status_code
            == 403
        )
    anonymous = httpx.post(
        f"{stack.api_url}/rest/v1/rpc/submit_generation",
        headers={"apikey": stack.anon_key},
        json={"mode": "imagine", "prompt": "x"},
        timeout=30,
    )
    assert anonymous.status_code == 401


def test_the_plan_is_spent(stack: Stack, worker: WorkerProcess, person: Person) -> None:
    service = new_client(stack, stack.service_role_key)
    plan = f"one-{uuid4().hex[:8]}"
    service.table("plans").insert(
        {"price_id": plan, "name": "One", "monthly_generations": 1, "storage_bytes_max": 10**9}
    ).execute()
    service.table("profiles").update({"price_id": plan}).eq("id", person.id).execute()
    assert settled(person, submit(person)["id"])["status"] == "succeeded"
    answer = person.rest("POST", "rpc/submit_generation", json={"mode": "imagine", "prompt": "x"})
    assert (answer.status_code, answer.json()["details"]) == (402, "generation_quota_spent")


def test_a_deleted_user_leaves_no_picture(stack: Stack, worker: WorkerProcess, person: Person) -> None:
    job = submit(person)
    settled(person, job["id"])
    (variant,) = timeline(person, job["session_id"])["jobs"][0]["render"]["variants"]
    new_client(stack, stack.service_role_key).auth.admin.delete_user(person.id)
    wait_until_gone(stack, [variant["image_path"], variant["thumb_path"]])
