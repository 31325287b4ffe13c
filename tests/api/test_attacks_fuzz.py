"""Every function and writable column of the API with what it is not made for: an answer with a code, never a 5xx."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from tests.support.people import Person

# Numbers that Python would not write, and depth that its encoder would not reach.
RAW = {'"<1e131000>"': "1e131000", '"<1e400>"': "1e400", '"<deep>"': "[" * 5000 + "]" * 5000}
NUMBERS: list[Any] = [-1, 0, 1.5, 2**31, 2**63, "<1e131000>", "<1e400>", "NaN"]
TIMES: list[Any] = ["infinity", "-infinity", "4713-01-01 BC", "294276-12-31"]
TEXTS: list[Any] = [
    "",
    "a\x00b",
    "\ud800",
    "😀\u202e\u0301",
    "a\r\nSet-Cookie: evil=1",
    "' or 1=1",
    "x" * 200_000,
]
SHAPES: list[Any] = [None, True, [], [None], [[{}]], ["a"], {}, {"a\x00": 1}, "<deep>", str(UUID(int=0))]
VALUES = NUMBERS + TIMES + TEXTS + SHAPES
# What PostgreSQL and PostgREST say of values that are not of the argument's type. Anything else tells of our insides.
OF_TYPES = {"22P02", "22P05", "22003", "22007", "22008", "22009", "54000", "54001", "PGRST102"}


def body_of(value: Any) -> bytes:
    text = json.dumps(value)
    for mark, raw in RAW.items():
        text = text.replace(mark, raw)
    return text.encode()


@pytest.fixture(scope="module")
def caller(stack: Any) -> Iterator[tuple[Person, httpx.Client]]:
    person = Person.sign_up(stack)
    with httpx.Client(base_url=f"{stack.api_url}/rest/v1/", headers=person.headers, timeout=30) as client:
        yield person, client


def answers(
    client: httpx.Client, requests: list[tuple[str, str, Any]]
) -> Iterator[tuple[str, httpx.Response]]:
    """The answers to (method, path, body), each with words that find it again."""

    def send(request: tuple[str, str, Any]) -> tuple[str, httpx.Response]:
        method, path, body = request
        answer = client.request(
            method, path, content=body_of(body), headers={"Content-Type": "application/json"}
        )
        return f"{method} {path} {str(body)[:300]}: {answer.status_code} {answer.text[:300]}", answer

    with ThreadPoolExecutor(3) as pool:
        yield from pool.map(send, requests)


def nested(name: str, value: Any) -> Iterator[Any]:
    """The same value where an argument has members."""
    members = {
        "file": ("file_name", "mime_type", "byte_size", "alt_text", "tags", "is_label"),
        "files": ("file_name", "mime_type", "byte_size", "alt_text", "tags", "is_label"),
        "params": ("width", "guidance", "scheduler", "seed", "a\r\nb"),
        "rows": ("sku", "status", "price", "quantity", "attributes", "images"),
    }
    whole = {"file_name": "a.jpg", "mime_type": "image/jpeg", "byte_size": 10}
    for member in members.get(name, ()):
        one = {
            **(whole if name.startswith("file") else {"sku": "A"} if name == "rows" else {}),
            member: value,
        }
        yield [one] if name in {"files", "rows"} else one


def test_no_function_breaks(caller: tuple[Person, httpx.Client]) -> None:
    person, client = caller
    listing = person.new_listing(title="Lamp")
    (row,) = person.reserve(listing, ("a.jpg", "image/jpeg", 10))
    valid = {
        "listing_id": listing,
        "image_id": row["image_id"],
        "mode": "imagine",
        "dry_run": True,
        "at": "2026-01-01T00:00:00Z",
    }
    requests: list[tuple[str, str, Any]] = []
    for path, verbs in client.get("").json()["paths"].items():
        # Replace rather than leave what is valid: a session of everything that can be wrong.
        if not path.startswith("/rpc/") or path == "/rpc/webhook_replicate":
            continue
        (schema,) = [p["schema"] for p in verbs["post"]["parameters"] if p.get("in") == "body"]
        names = schema.get("properties", {})
        base = {name: valid[name] for name in names if name in valid}
        for name in names:
            requests += [("POST", path[1:], base | {name: value}) for value in VALUES[len(requests) % 2 :: 2]]
            for value in VALUES[1::3]:
                requests += [("POST", path[1:], base | {name: v}) for v in nested(name, value)]
    assert len(requests) > 1000
    for words, answer in answers(client, requests):
        assert answer.status_code < 500, words
        assert answer.reason_phrase.isprintable(), words
        assert "evil" not in str(answer.headers), words
        if answer.status_code >= 400:
            error = answer.json()
            assert error["code"] in OF_TYPES or error["code"].startswith(("PT", "PGRST20")), words
            if error["code"].startswith("PT"):
                assert error["details"], words
                assert error["hint"], words
                assert len(error["message"]) <= 1000, words
                assert "\n" not in error["message"], words


def test_no_column_breaks(stack: Any, caller: tuple[Person, httpx.Client]) -> None:
    _, client = caller
    with psycopg.connect(stack.db_url) as conn:
        granted = conn.execute(
            "select table_name, column_name, privilege_type from information_schema.column_privileges"
            " where table_schema = 'public' and grantee = 'authenticated'"
            " and privilege_type in ('INSERT', 'UPDATE') order by 1, 2, 3"
        ).fetchall()
    requests: list[tuple[str, str, Any]] = []
    for table, column, privilege in granted:
        if privilege == "INSERT":
            base = {"name": str(uuid4())} if ("name", table) in {(c, t) for t, c, _ in granted} else {}
            requests += [("POST", table, base | {column: value}) for value in VALUES[::2]]
        else:
            requests += [
                ("PATCH", f"{table}?{column}=not.is.null", {column: value}) for value in VALUES[1::4]
            ]
    assert len(requests) > 500
    for words, answer in answers(client, requests):
        # Two updates of one's own rows at a time may wait for each other in a circle: PostgreSQL ends one of them.
        assert answer.status_code < 500 or answer.json()["code"] == "40P01", words
        assert "evil" not in str(answer.headers), words


def test_no_rule_saves_that_its_view_cannot_ask(caller: tuple[Person, httpx.Client]) -> None:
    """After each rule that is taken the owner's view answers."""
    _, client = caller
    moments = [
        "2026-01-01T00:00:00Z", "2026-01-01 00:00+15:59", "0001-01-01T00:00:00Z", "9999-12-31T23:59:60Z", "infinity",
        "2026-01-01T24:00:00Z", "2026-02-30T00:00:00Z", "2026-01-01T00:00:00+24", "0000-01-01T00:00:00Z", 5, None,
    ]  # fmt: skip
    words: list[Any] = ["edit", ["edit", "edit"], [], [None], "\u202e", {}, 1]
    rules: list[Any] = [{"days": n} for n in (1, 1.0, "<1e400>", 3650, 3651, 1.5, "1", None, True, [1])]
    rules += [{edge: m} for m in moments for edge in ("from", "to")]
    rules += [{k: v} for k in ("mode", "tag", "style") for v in words]
    taken = 0
    for rule in [*rules, {}, [], "x", 1, {"a\r\nb": 1}]:
        body = body_of({"name": str(uuid4()), "rule": rule})
        answer = client.post("collections", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in {201, 422}, (rule, answer.text)
        taken += answer.status_code == 201
        shown = client.get("smart_collection_renders")
        assert shown.status_code == 200, (rule, shown.text)
    assert 10 < taken < 40


def test_a_deleted_users_token_writes_nothing(stack: Any, person: Person) -> None:
    """It is valid until it expires, as every JWT is; but rows of nobody cannot be."""
    listing = person.new_listing(title="gone")
    (row,) = person.reserve(listing, ("a.jpg", "image/jpeg", 10))
    signed = person.storage("POST", f"object/upload/sign/private/{row['path']}").json()
    service = {"apikey": stack.service_role_key, "Authorization": f"Bearer {stack.service_role_key}"}
    httpx.delete(f"{stack.api_url}/auth/v1/admin/users/{person.id}", headers=service).raise_for_status()
    for path, body in {
        "listings": {"title": "ghost"},
        "listing_csv": {"sku": "ghost"},
        "collections": {"name": "ghost"},
        "collection_items": {"collection_id": listing, "render_id": listing},
        "saved_lists": {"name": "ghost"},
        "saved_list_items": {"list_id": listing, "listing_id": listing},
        "rpc/submit_generation": {"mode": "imagine", "prompt": "ghost"},
        "rpc/set_credential": {"site": "ebay", "secret": "ghost"},
        "rpc/delete_credential": {"site": "ebay"},
        "rpc/request_fill": {"listing_id": listing, "fields": ["brand"]},
        "rpc/import_csv": {"file": "sku\nghost"},
        "rpc/import_listings": {"rows": [{"sku": "ghost"}]},
        "rpc/reserve_uploads": {
            "listing_id": listing, "files": [{"file_name": "a.jpg", "mime_type": "image/jpeg", "byte_size": 10}],
        },
        "rpc/set_label": {"image_id": row["image_id"], "is_label": True},
        "rpc/cancel_generation": {"job_id": listing},
    }.items():  # fmt: skip
        answer = person.rest("POST", path, json=body)
        # Told what is true, and by the code that makes clients sign in again.
        assert (answer.status_code, answer.json()["details"]) == (401, "user_is_gone"), (path, answer.text)
        assert answer.json()["hint"], path
    for bucket, path in (
        ("private", f"{person.id}/inputs/{uuid4()}.png"),
        ("public", f"{person.id}/a.png"),
        ("private", row["path"]),
    ):
        answer = person.storage("POST", f"object/{bucket}/{path}", content=b"x" * 10,
                                headers={"Content-Type": "image/png"})  # fmt: skip
        assert answer.status_code == 400, answer.text
    late = httpx.put(f"{stack.api_url}/storage/v1{signed['url']}", content=b"x" * 10,
                     headers={"Content-Type": "image/jpeg"})  # fmt: skip
    assert late.status_code == 400, late.text
    assert person.rest("GET", f"listings?owner_id=eq.{person.id}").json() == []
    assert person.rest("GET", f"rpc/listing_history?listing_id={listing}").json() == []
