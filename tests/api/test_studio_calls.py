"""What a frontend of the studio asks for, with the clients it would use: the documented requests, pages, filters."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from tests.api.test_generation import settled, submit, upload_input
from tests.support.images import make_jpeg
from tests.support.node import run_script
from tests.support.people import Person
from tests.support.stack import ROOT, Stack
from tests.support.worker import WorkerProcess

SMALL = {"width": 96, "height": 64}


def test_every_documented_request(stack: Stack, worker: WorkerProcess) -> None:
    """supabase-js runs the table of the README as it stands there; each row is one request."""
    readme = ROOT / "functions/README.md"
    given = {
        "url": stack.api_url,
        "anonKey": stack.anon_key,
        "email": f"{uuid4()}@example.test",
        "readme": str(readme),
    }
    answers: dict[str, Any] = run_script("studio_calls.mjs", given)
    table = readme.read_text().split("## The studio, call by call")[1].split("\n## ")[0]
    assert len(answers) == table.count("\n| ") - 2 == 27
    for what, answer in answers.items():
        assert (answer["error"], answer["requests"]) == (None, 1), (what, answer)

    data = {what: answer["data"] for what, answer in answers.items()}
    job = data["order a generation"]
    assert data["one generation: poll this"]["id"] == job["id"]
    assert data["the same again, another seed"]["retry_of_id"] == job["id"]
    (render,) = data["renders, newest first"]["renders"]
    assert data["renders, newest first"]["next_cursor"] is None
    assert data["one render"]["id"] == render["id"]
    assert data["one render"]["render_variants"][0]["image_path"] == render["variants"][0]["image_path"]
    assert data["one render"]["generation_jobs"]["prompt"] == "A lamp"
    assert [s["id"] for s in data["sessions, newest first"]] == [job["session_id"]]
    assert data["the next sessions"] == []
    assert len(data["a session's whole tree"]["jobs"]) == 2
    assert data["name a session"]["title"] == "Kitchen"
    assert data["the favourites"]["name"] == "My Favorites"
    assert data["rename it"]["name"] == "Lamps"
    assert [item["renders"]["id"] for item in data["what is in it"]] == [render["id"]]
    assert [row["id"] for row in data["the same, in pages"]["renders"]] == [render["id"]]
    assert data["the month's usage"]["used"] == 2


def test_the_one_in_flight(stack: Stack, person: Person, other: Person) -> None:
    job = submit(person, params={**SMALL, "scheduler": "slow"})
    for who, expected in ((person, [job["id"]]), (other, [])):
        query = who.client.table("generation_jobs").select("id, status")
        found: Any = query.in_("status", ["queued", "starting", "processing"]).execute().data
        assert [row["id"] for row in found] == expected
    person.client.rpc("cancel_generation", {"job_id": job["id"]}).execute()


def renders(person: Person, **arguments: Any) -> tuple[list[str], str | None]:
    """Ids and the next cursor of a page."""
    page: Any = person.client.rpc("list_renders", arguments).execute().data
    return [row["id"] for row in page["renders"]], page["next_cursor"]


@pytest.fixture(scope="module")
def gallery(stack: Stack, worker: WorkerProcess) -> tuple[Person, list[dict[str, Any]]]:
    """Somebody with seven renders, oldest first."""
    person = Person.sign_up(stack)
    jobs = []
    photo = upload_input(person, make_jpeg((120, 90)))
    for n in range(7):
        if n % 3 == 2:
            job = submit(
                person, "staging", input1_path=photo, style="rustic", room_type="kitchen", params=SMALL
            )
        else:
            job = submit(person, params=SMALL, style="modern")
        jobs.append(settled(person, job["id"]))
    assert {job["status"] for job in jobs} == {"succeeded"}
    return person, jobs


def test_pages_have_no_gap_and_no_double(gallery: tuple[Person, list[dict[str, Any]]], other: Person) -> None:
    person, jobs = gallery
    newest_first = [job["render_id"] for job in reversed(jobs)]
    assert renders(person) == (newest_first, None)
    assert renders(other) == ([], None)
    seen: list[str] = []
    after = None
    for _ in range(4):
        page, after = renders(person, page_size=2, after=after)
        seen += page
        if after is None:
            break
    assert seen == newest_first
    # A full last page has no next one.
    assert renders(person, page_size=7)[1] is None
    # A cursor is a place, not a render: another user's tells nothing, and one's own outlives its render.
    _, place = renders(person, page_size=3)
    assert renders(other, after=place) == ([], None)


def test_filters(gallery: tuple[Person, list[dict[str, Any]]]) -> None:
    person, jobs = gallery
    ids = [job["render_id"] for job in jobs]
    staged = [ids[5], ids[2]]
    for filters, expected in (
        ({"mode": "staging"}, staged),
        ({"style": "rustic"}, staged),
        ({"room_type": "kitchen"}, staged),
        ({"style": "modern", "page_size": 2}, [ids[6], ids[4]]),
        ({"mode": "staging", "style": "modern"}, []),
        ({"provider": "local", "model": "local-shapes-1", "page_size": 1}, [ids[6]]),
        ({"provider": "elsewhere"}, []),
        ({"session_id": jobs[2]["session_id"]}, [ids[2]]),
        ({"collection_id": str(uuid4())}, []),
    ):
        assert renders(person, **filters)[0] == expected, filters  # type: ignore[arg-type]
    made: Any = person.client.table("renders").select("id, created_at").order("created_at").execute().data
    times = [row["created_at"] for row in made]
    assert renders(person, made_from=times[2], made_before=times[5])[0] == [ids[4], ids[3], ids[2]]

    favorites: Any = person.client.table("collections").select("id").eq("is_default", True).single().execute()
    for render in (ids[1], ids[4]):
        person.client.table("collection_items").insert(
            {"collection_id": favorites.data["id"], "render_id": render}
        ).execute()
    assert renders(person, collection_id=favorites.data["id"])[0] == [ids[4], ids[1]]
    page: Any = person.client.rpc("list_renders", {"page_size": 3}, get=True).execute().data["renders"]
    assert [row["collection_ids"] for row in page] == [[], [], [favorites.data["id"]]]
    assert page[0]["variants"][0]["image_path"] == f"renders/{ids[6]}/0.webp"
    assert (page[0]["prompt"], page[0]["params"]["width"]) == ("A lamp on a table", 96)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"page_size": 0}, "page_size_out_of_range"),
        ({"page_size": 101}, "page_size_out_of_range"),
        ({"after": "x"}, "cursor_not_known"),
        ({"after": "1_' or true --"}, "cursor_not_known"),
        ({"after": f"{'9' * 30}_{uuid4()}"}, "cursor_not_known"),
    ],
)
def test_pages_that_are_refused(person: Person, arguments: dict[str, Any], code: str) -> None:
    answer = person.rest("POST", "rpc/list_renders", json=arguments)
    assert (answer.status_code, answer.json()["details"]) == (422, code)


def test_sessions_in_pages_of_twelve(stack: Stack, person: Person) -> None:
    """Fourteen sessions: twelve, then two, newest first; one that is worked in comes first."""
    sessions = []
    for _ in range(14):
        job = submit(person, params=SMALL)
        person.client.rpc("cancel_generation", {"job_id": job["id"]}).execute()
        settled(person, job["id"])
        sessions.append(job["session_id"])
    query = person.client.table("image_sessions").select("id, updated_at").order("updated_at", desc=True)
    first: Any = query.limit(12).execute().data
    again = person.client.table("image_sessions").select("id").lt("updated_at", first[-1]["updated_at"])
    rest: Any = again.order("updated_at", desc=True).limit(12).execute().data
    assert [row["id"] for row in [*first, *rest]] == sessions[::-1]
    submit(person, params=SMALL, session_id=sessions[3])
    newest: Any = person.client.table("image_sessions").select("id").order("updated_at", desc=True)
    assert newest.limit(1).execute().data[0]["id"] == sessions[3]
