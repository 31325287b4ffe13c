"""imageledger credit and community, from the outside."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import httpx

from tests.api.test_generation import settled, submit
from tests.support.people import Person
from tests.support.stack import Stack
from tests.support.worker import WorkerProcess


def answer(stack: Stack, *arguments: str) -> Any:
    return json.loads(stack.cli(*arguments, "--json").stdout)


def error(stack: Stack, *arguments: str) -> tuple[int, str]:
    """Exit code and the error's code."""
    done = stack.cli(*arguments, "--json", check=False)
    assert done.stdout == ""
    return done.returncode, json.loads(done.stderr.splitlines()[-1])["error"]["code"]


def test_credit(stack: Stack, person: Person) -> None:
    why = ("--reason", "Outage of 3 May")
    tried = answer(stack, "credit", "grant", person.email.upper(), "10", *why, "--dry-run")
    assert (tried["remaining"], tried["dry_run"], tried["user_id"]) == (35, True, person.id)
    assert answer(stack, "credit", "show", person.id)["remaining"] == 25
    for _ in range(2):
        granted = answer(stack, "credit", "grant", person.email, "10", *why, "--key", "outage")
        assert (granted["remaining"], granted["entry"]["amount"]) == (35, 10)
    assert error(stack, "credit", "take", person.id, "36", *why) == (1, "not_enough_credits")
    assert error(stack, "credit", "take", person.id, "1", "--reason", " ") == (1, "reason_missing")
    assert error(stack, "credit", "show", "nobody@example.test") == (1, "user_not_found")
    assert answer(stack, "credit", "take", person.id, "5", "--reason", "Too many")["remaining"] == 30
    shown = answer(stack, "credit", "show", person.id)
    assert [(a["amount"], a["reason"]) for a in shown["adjustments"]] == [(10, why[1]), (-5, "Too many")]
    text = stack.cli("credit", "show", person.email).stdout
    assert "remaining: 30" in text
    assert "Outage of 3 May" in text
    # What its owner sees of it.
    usage: Any = person.client.rpc("usage_summary", {}).execute().data
    assert (usage["credits"], usage["remaining"]) == (5, 30)
    assert len(person.rest("GET", "usage_ledger?kind=eq.adjustment").json()) == 2


def test_community(stack: Stack, worker: WorkerProcess, person: Person) -> None:
    name = f"Kitchens {uuid4()}"
    made = answer(stack, "community", "create", name, "--position", "3")["id"]
    assert answer(stack, "community", "feature", made, "--position", "-1")["is_featured"]
    job = submit(person)
    assert settled(person, job["id"])["status"] == "succeeded"
    render = job["render_id"]
    style = '{"style": "modern"}'
    item = answer(stack, "community", "add", made, "--render", render, "--settings", style)["id"]
    answer(stack, "community", "add", made, "--url", "https://example.com/a.jpg", "--title", "Oak")
    assert error(stack, "community", "add", made, "--url", "http://example.com/a.jpg") == (
        1,
        "community_item_invalid",
    )
    assert error(stack, "community", "add", made, "--render", str(uuid4())) == (1, "render_not_found")
    assert error(stack, "community", "remove", str(uuid4())) == (1, "not_found")

    listed = httpx.get(
        f"{stack.api_url}/rest/v1/community_collections",
        params={"order": "is_featured.desc,position", "select": "*,community_items(*)"},
        headers={"apikey": stack.anon_key},
        timeout=30,
    ).json()
    assert listed[0]["id"] == made
    assert {i["apply_settings"].get("style") for i in listed[0]["community_items"]} == {"modern", None}
    assert answer(stack, "community", "ls")[0]["name"] == name

    assert answer(stack, "community", "remove", made, "--dry-run")["items"] == 2
    assert len(answer(stack, "community", "ls", made)["items"]) == 2
    assert answer(stack, "community", "remove", item)["removed"] == "item"
    assert answer(stack, "community", "remove", made)["items"] == 1
    # The render stays.
    assert len(person.rest("GET", f"render_variants?render_id=eq.{render}").json()) == 1
