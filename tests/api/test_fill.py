"""Credentials and fills as a browser meets them: PostgREST, unmodified clients, a worker."""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

import httpx
import psycopg

from tests.support.images import make_jpeg
from tests.support.people import Person, new_client
from tests.support.stack import Stack
from tests.support.worker import WorkerProcess


def post(who: Person, function: str, **arguments: Any) -> tuple[int, Any]:
    answer = who.rest("POST", f"rpc/{function}", json=arguments)
    return answer.status_code, answer.json()


def settled(who: Person, fill: str, timeout: float = 30) -> dict[str, Any]:
    deadline = time.monotonic() + timeout
    while True:
        (row,) = who.rest("GET", f"listing_fills?id=eq.{fill}").json()
        if row["status"] in {"succeeded", "failed", "canceled"}:
            return dict(row)
        assert time.monotonic() < deadline, row
        time.sleep(0.05)


def test_a_listing_is_filled_and_put_back(
    stack: Stack, worker: WorkerProcess, person: Person, other: Person
) -> None:
    listing = person.new_listing(category="Lamp", brand="Acme")
    person.upload(listing, ("lamp.jpg", "image/jpeg", make_jpeg()))
    person.wait_until_settled(listing)
    status, asked = post(
        person, "request_fill", listing_id=listing, fields=["title", "brand", "alt_text"], idempotency_key="k"
    )
    assert (status, asked["status"], asked["skipped"]) == (200, "queued", {"brand": "not_empty"})
    again = post(
        person, "request_fill", listing_id=listing, fields=["title", "brand", "alt_text"], idempotency_key="k"
    )
    assert again[1]["id"] == asked["id"]
    done = settled(person, asked["id"])
    assert (done["status"], done["model"], done["error"]) == ("succeeded", "local-rules-1", None)
    assert person.rest("GET", f"listings?id=eq.{listing}&select=title,brand").json() == [
        {"title": done["applied"]["title"], "brand": "Acme"}
    ]
    assert done["applied"]["title"].startswith("Acme Lamp")
    (photo,) = person.images(listing)
    assert photo["alt_text"] == done["applied"][f"images/{photo['id']}/alt_text"]

    assert other.rest("GET", "listing_fills").json() == []
    for function in ("undo_fill", "cancel_fill"):
        theirs = post(other, function, fill_id=asked["id"])
        assert theirs == post(other, function, fill_id=str(uuid4()))
        assert (theirs[0], theirs[1]["details"]) == (404, "fill_not_found")
    assert post(other, "request_fill", listing_id=listing)[1]["details"] == "listing_not_found"
    assert post(person, "undo_fill", fill_id=asked["id"])[1]["kept"] == []
    assert person.rest("GET", f"listings?id=eq.{listing}&select=title").json() == [{"title": None}]
    assert person.images(listing)[0]["alt_text"] is None


def test_refusals_on_the_wire(stack: Stack, person: Person) -> None:
    listing = person.new_listing(title="Lamp")

    def refused(**arguments: Any) -> tuple[int, str]:
        status, body = post(person, "request_fill", **({"listing_id": listing} | arguments))
        assert body["hint"]
        return status, body["details"]

    assert refused(fields=["price"]) == (422, "fill_invalid")
    assert refused(provider="openai") == (422, "fill_invalid")
    assert refused(fields=["title"]) == (409, "nothing_to_fill")
    # Without a job, so that nobody ends it.
    with psycopg.connect(stack.db_url, autocommit=True) as conn:
        row = conn.execute(
            "insert into public.listing_fills (owner_id, listing_id, fields, overwrite, provider, old_values)"
            " values (%s, %s, '{brand}', false, 'local', '{}') returning id::text",
            [person.id, listing],
        ).fetchone()
    assert row is not None
    running = row[0]
    assert refused() == (409, "fill_in_flight")
    assert post(person, "cancel_fill", fill_id=running)[1]["status"] == "canceled"
    assert post(person, "cancel_fill", fill_id=running)[1]["details"] == "fill_ended"
    assert post(person, "undo_fill", fill_id=running)[1]["details"] == "fill_not_succeeded"
    service = new_client(stack, stack.service_role_key)
    plan = f"none-{uuid4().hex[:8]}"
    columns = {
        "price_id": plan,
        "name": "None",
        "monthly_generations": 1,
        "storage_bytes_max": 1,
        "monthly_fills": 0,
    }
    service.table("plans").insert(columns).execute()
    service.table("profiles").update({"price_id": plan}).eq("id", person.id).execute()
    assert refused() == (402, "fill_quota_spent")
    for path, body in (("listing_fills", {"status": "succeeded"}), ("fill_fields", {"field": "material"})):
        assert person.rest("POST", path, json=body).status_code == 403
    anonymous = httpx.post(
        f"{stack.api_url}/rest/v1/rpc/request_fill",
        headers={"apikey": stack.anon_key},
        json={"listing_id": listing},
        timeout=30,
    )
    assert anonymous.status_code == 401


def test_credentials_are_written_and_never_read(stack: Stack, person: Person, other: Person) -> None:
    secret = f"secret-{uuid4().hex}"
    status, answer = post(person, "set_credential", site="etsy", secret=secret)
    assert (status, answer["is_set"]) == (200, True)
    seen = [str(answer)]
    # A secret in an address would stand in every log.
    assert person.rest("GET", "rpc/set_credential?site=etsy&secret=another").status_code == 405
    for who in (person, other):
        for path in (
            "credentials",
            "credentials?site=eq.etsy",
            "credentials?site=eq.nowhere",
            "site_credentials",
            "site_credentials?select=*",
            "credential_secrets",
            "rpc/read_credential",
            "listing_fills",
            "image_events",
        ):
            seen.append(who.rest("GET", path).text)
        for body in (
            {"site": "etsy", "secret": ""},
            {"site": "Etsy!", "secret": secret},
            # What PostgreSQL's own reader refuses, it would quote in its log.
            {"site": "etsy", "secret": secret + "\0"},
            {"secret": secret, "site": "etsy\0"},
            {"site": "etsy"},
            [secret],
        ):
            seen.append(who.rest("POST", "rpc/set_credential", json=body).text)
        for path in ("site_credentials", "credentials"):
            assert who.rest("POST", path, json={"site": "ebay", "secret": secret}).status_code >= 400
            assert who.rest("PATCH", f"{path}?site=eq.etsy", json={"site": "ebay"}).status_code >= 400
            assert who.rest("DELETE", f"{path}?site=eq.etsy").status_code >= 400
    service = {"apikey": stack.service_role_key, "authorization": f"Bearer {stack.service_role_key}"}
    for path in ("credentials", "site_credentials"):
        answer_ = httpx.get(f"{stack.api_url}/rest/v1/{path}", headers=service, timeout=30)
        assert answer_.status_code == 403
        seen.append(answer_.text)
    assert secret not in "".join(text for text in seen)
    (row,) = [row for row in person.rest("GET", "credentials").json() if row["site"] == "etsy"]
    assert (row["is_set"], row["last_used_at"]) == (True, None)
    assert not any(row["is_set"] for row in other.rest("GET", "credentials").json())
    assert post(other, "delete_credential", site="etsy")[0] == 200
    assert any(row["is_set"] for row in person.rest("GET", "credentials").json())
    assert post(person, "delete_credential", site="etsy")[1]["is_set"] is False
    assert not any(row["is_set"] for row in person.rest("GET", "credentials").json())
    anonymous = httpx.get(
        f"{stack.api_url}/rest/v1/credentials", headers={"apikey": stack.anon_key}, timeout=30
    )
    assert anonymous.status_code == 401
    # Not in the logs of the stack either: of PostgreSQL, PostgREST and the gateway.
    logs = [path for path in (stack.home / "logs").rglob("*") if path.is_file()]
    assert logs
    assert [path.name for path in logs if secret.encode() in path.read_bytes()] == []
