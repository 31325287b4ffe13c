"""Limits, lists and roles of the studio, each through PostgREST, as a frontend or an attacker would."""

from __future__ import annotations

import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from tests.api.test_generation import settled, submit, upload_input
from tests.support.images import make_jpeg
from tests.support.people import Person, new_client
from tests.support.stack import Stack
from tests.support.worker import WorkerProcess


def post(person: Person, function: str, **arguments: Any) -> tuple[int, str | None]:
    reply = person.rest("POST", f"rpc/{function}", json=arguments)
    body = reply.json()
    return reply.status_code, body.get("details") if reply.is_error else None


def test_fifty_at_once_with_quota_for_one(stack: Stack, person: Person) -> None:
    service = new_client(stack, stack.service_role_key)
    service.rpc("adjust_credits", {"owner_id": person.id, "amount": -24, "reason": "One is left"}).execute()

    def order(n: int) -> tuple[int, str | None]:
        return post(person, "submit_generation", mode="imagine", prompt=f"Lamp {n}")

    with ThreadPoolExecutor(25) as pool:
        results = Counter(pool.map(order, range(50)))
    # Those that come once the worker is done with it find the quota spent.
    assert results[200, None] == 1
    assert set(results) <= {(200, None), (409, "generation_in_flight"), (402, "generation_quota_spent")}
    (job,) = person.rest("GET", "generation_jobs").json()
    # Where a worker runs, it may be done already.
    assert post(person, "cancel_generation", job_id=job["id"]) in {(200, None), (409, "generation_ended")}


@pytest.mark.parametrize(
    "arguments",
    [
        {"prompt": "x" * 10_000_000},
        {"prompt": "x", "params": {"count": -1}},
        {"prompt": "x", "params": {"count": 1.5}},
        {"prompt": "x", "params": {"count": 1e308}},
        {"prompt": "x", "params": {"count": "NaN"}},
        {"prompt": "x", "style": "x'; drop table renders"},
        {"prompt": "\ud800"},
        {"prompt": "x\x00y"},
    ],
    ids=["10 MB", "negative", "fraction", "huge", "NaN", "style", "surrogate", "NUL"],
)
def test_nonsense_costs_nothing(person: Person, arguments: dict[str, Any]) -> None:
    reply = person.rest(
        "POST",
        "rpc/submit_generation",
        content=json.dumps({"mode": "imagine", **arguments}),
        headers={"Content-Type": "application/json"},
    )
    assert 400 <= reply.status_code < 500, reply.text[:200]
    assert person.rest("GET", "generation_jobs").json() == []
    assert person.rest("GET", "usage_ledger").json() == []


def test_a_prompt_rule(stack: Stack, person: Person) -> None:
    service = new_client(stack, stack.service_role_key)
    name, word = f"r{uuid4().hex[:8]}", f"w{uuid4().hex}"
    service.table("prompt_rules").insert({"name": name, "pattern": f"{word}*", "reason": "No."}).execute()
    reply = person.rest(
        "POST", "rpc/submit_generation", json={"mode": "imagine", "prompt": f"A\u200b {word.upper()}ISH lamp"}
    )
    assert (reply.status_code, reply.json()["details"]) == (422, "prompt_refused")
    assert name in reply.json()["message"]
    assert word not in reply.text
    assert person.rest("GET", "prompt_rules").status_code == 403
    service.table("prompt_rules").delete().eq("name", name).execute()


def test_what_a_form_needs(stack: Stack) -> None:
    headers = {"apikey": stack.anon_key}
    found = httpx.get(
        f"{stack.api_url}/rest/v1/presets?is_enabled=is.true&order=kind,position", headers=headers, timeout=30
    ).json()
    assert {p["kind"] for p in found if p["is_default"]} == {"mode", "room_type", "style", "size"}
    for method, path in (("POST", "presets"), ("PATCH", "presets?name=eq.rustic"), ("DELETE", "presets")):
        reply = httpx.request(
            method, f"{stack.api_url}/rest/v1/{path}", headers=headers, json={"title": "x"}, timeout=30
        )
        assert reply.status_code == 401


def test_a_smart_collection(stack: Stack, worker: WorkerProcess, person: Person, other: Person) -> None:
    job = submit(person, style="modern")
    settled(person, job["id"])
    assert (
        person.rest("PATCH", f"renders?id=eq.{job['render_id']}", json={"tags": ["best"]}).status_code == 204
    )
    made = person.rest(
        "POST",
        "collections",
        json={"name": "Modern", "rule": {"style": "modern", "tag": ["best"], "days": 7}},
        headers={"Prefer": "return=representation"},
    )
    (collection,) = made.json()
    path = f"smart_collection_renders?collection_id=eq.{collection['id']}&order=created_at.desc&limit=24"
    assert [r["render_id"] for r in person.rest("GET", path).json()] == [job["render_id"]]
    assert other.rest("GET", path).json() == []
    item = {"collection_id": collection["id"], "render_id": job["render_id"]}
    reply = person.rest("POST", "collection_items", json=item)
    assert (reply.status_code, reply.json()["details"]) == (409, "collection_is_smart")
    wrong = person.rest("POST", "collections", json={"name": "x", "rule": {"style": 1, "of": 2}})
    assert (wrong.status_code, wrong.json()["details"]) == (422, "rule_invalid")
    assert wrong.json()["hint"] == "Correct: rule.of, rule.style"


def test_administrators_of_the_community(stack: Stack, person: Person, other: Person) -> None:
    """Only what the service key wrote into app_metadata counts."""
    collection = {"name": f"Best {uuid4()}"}
    assert person.rest("POST", "community_collections", json=collection).status_code == 403
    # A user writes what users can write, and takes a new token.
    person.client.auth.update_user({"data": {"role": "admin", "app_metadata": {"role": "admin"}}})
    forged = person.sign_in_again()
    assert forged.rest("POST", "community_collections", json=collection).status_code == 403
    reply = httpx.put(
        f"{stack.api_url}/auth/v1/user",
        headers=person.headers,
        json={"app_metadata": {"role": "admin"}},
        timeout=30,
    )
    assert reply.status_code == 403
    assert person.sign_in_again().rest("POST", "community_collections", json=collection).status_code == 403

    service = new_client(stack, stack.service_role_key)
    service.auth.admin.update_user_by_id(other.id, {"app_metadata": {"role": "admin"}})
    admin = other.sign_in_again()
    made = admin.rest(
        "POST", "community_collections", json=collection, headers={"Prefer": "return=representation"}
    )
    assert made.status_code == 201, made.text
    (row,) = made.json()
    item = {"collection_id": row["id"], "image_url": "https://example.com/a.jpg"}
    assert admin.rest("POST", "community_items", json=item).status_code == 201
    assert (
        admin.rest(
            "POST", "rpc/adjust_credits", json={"owner_id": other.id, "amount": 9, "reason": "x"}
        ).status_code
        == 403
    )
    assert forged.rest("DELETE", f"community_collections?id=eq.{row['id']}").status_code == 204
    assert len(person.rest("GET", f"community_items?collection_id=eq.{row['id']}").json()) == 1
    assert admin.rest("DELETE", f"community_collections?id=eq.{row['id']}").status_code == 204
    assert person.rest("GET", f"community_items?collection_id=eq.{row['id']}").json() == []


def test_the_worker_ends_what_is_over(stack: Stack, worker: WorkerProcess, person: Person) -> None:
    """Bytes of an unread input, a canceled generation and an idle session, by maintenance alone."""
    service = new_client(stack, stack.service_role_key)
    unread, read = (upload_input(person, make_jpeg()) for _ in range(2))
    job = submit(person, "redesign", input1_path=read)
    assert settled(person, job["id"])["status"] == "succeeded"
    canceled = submit(person, params={"scheduler": "slow"})
    person.client.rpc("cancel_generation", {"job_id": canceled["id"]}).execute()
    settled(person, canceled["id"])
    # Time passes, for this user.
    with psycopg.connect(stack.admin_db_url, autocommit=True) as conn:
        conn.execute("set session_replication_role = replica")
        for change in (
            "update public.image_assets set idle_since = idle_since - interval '1 year' where owner_id = %s",
            "update public.generation_jobs set completed_at = now() - interval '1 year'"
            " where owner_id = %s and status = 'canceled'",
            "update public.image_sessions set updated_at = now() - interval '1 year' where owner_id = %s",
        ):
            conn.execute(change, [person.id])

    def over() -> bool:
        names = {o["name"] for o in service.storage.from_("private").list(f"{person.id}/inputs")}
        return (
            names == {read.split("/")[-1]}
            and len(person.rest("GET", "generation_jobs").json()) == 1
            and person.rest("GET", "active_sessions").json() == []
        )

    deadline = time.monotonic() + 60
    while not over():
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert unread != read
    assert person.rest("GET", "image_sessions?archived_at=is.null").json() == []
    restored = person.client.rpc("restore_session", {"session_id": job["session_id"]}).execute()
    assert restored.data
    assert len(person.rest("GET", "active_sessions?order=updated_at.desc,id.desc&limit=12").json()) == 1
