"""Every recipe of supabase/recipes on the whole stack, in both languages, and against the generated types."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import psycopg
import pytest

from tests.support.images import make_jpeg
from tests.support.node import run_script
from tests.support.people import PASSWORD, Person
from tests.support.stack import ROOT, Stack
from tests.support.worker import WorkerProcess

RECIPES = ROOT / "supabase/recipes"
LANGUAGES = ("mjs", "py")
# One that is run in both languages; `watch` is JavaScript's alone.
NAMES = {"upload", "gallery", "replace", "saved_lists", "generate"}


def module(name: str) -> ModuleType:
    """A recipe in Python; the folder is no package, and shares its name with the client's."""
    spec = importlib.util.spec_from_file_location(f"recipe_{name}", RECIPES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def javascript(person: Person, recipe: str, **more: Any) -> Any:
    """What the recipe answered, in Node with supabase-js."""
    told = {
        "url": person.stack.api_url,
        "anonKey": person.stack.anon_key,
        "email": person.email,
        "password": PASSWORD,
        "recipe": recipe,
        **more,
    }
    return run_script("recipes.mjs", told)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    files = [folder / name for name in ("a.jpg", "b.jpg", "broken.jpg")]
    for file, size in zip(files, ((320, 240), (240, 320), (0, 0)), strict=True):
        file.write_bytes(make_jpeg(size) if size[0] else b"no photo")
    return files


def told(files: list[Path]) -> list[dict[str, str]]:
    return [{"path": str(file), "name": file.name, "type": "image/jpeg"} for file in files]


@pytest.fixture(scope="module")
def shop(stack: Stack, worker: WorkerProcess, photos: list[Path]) -> tuple[Person, str]:
    """A seller with a published listing of two photos."""
    seller = Person.sign_up(stack)
    listing = seller.new_listing(title="Lamp", price=12, currency="EUR")
    seller.upload(listing, *((p.name, "image/jpeg", p.read_bytes()) for p in photos[:2]))
    seller.wait_until_settled(listing)
    answer: Any = seller.client.rpc("publish_listing", {"listing_id": listing}).execute().data
    assert answer["status"] == "published", answer
    return seller, listing


def test_there_is_a_test_for_every_recipe() -> None:
    assert {p.stem for p in RECIPES.glob("*.py")} == NAMES
    assert {p.stem for p in RECIPES.glob("*.mjs")} == NAMES | {"watch"}
    readme = (RECIPES / "README.md").read_text()
    assert all(f"]({p.name})" in readme for p in RECIPES.iterdir() if p.suffix in (".py", ".mjs"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_upload(language: str, worker: WorkerProcess, person: Person, photos: list[Path]) -> None:
    listing = person.new_listing()
    if language == "py":
        heard: list[Any] = []
        files = [(p.name, "image/jpeg", p.read_bytes()) for p in photos]
        images = module("upload").upload_photos(
            person.client, listing, files, lambda *progress: heard.append(progress)
        )
    else:
        files = told(photos)
        # As browsers send a HEIC that they do not know; the worker decides what it is.
        files[1] |= {"name": "b.HEIC", "type": ""}
        answer = javascript(person, "upload", listing=listing, files=files)
        images = answer["images"]
        heard = [(p["sent"], p["settled"], p["total"]) for p in answer["progress"]]
    assert [image["state"] for image in images] == ["ready", "ready", "failed"]
    assert images[2]["error_code"]
    assert images[2]["error"]
    assert [image["id"] for image in images] == [row["id"] for row in person.images(listing)]
    assert [sent for sent, settled, _ in heard if not settled][:3] == [1, 2, 3]
    assert heard[-1] == (3, 3, 3)


@pytest.mark.parametrize("language", LANGUAGES)
def test_gallery(language: str, shop: tuple[Person, str], person: Person) -> None:
    _, listing = shop
    if language == "py":
        recipe = module("gallery")
        page, gallery = (
            recipe.listings_page(person.client, size=200),
            recipe.gallery_page(person.client, listing),
        )
    else:
        answer = javascript(person, "gallery", listing=listing)
        page, gallery = answer["page"], answer["gallery"]
    assert [photo["position"] for photo in gallery] == [0, 1]
    assert [(photo["width"], photo["height"]) for photo in gallery] == [(320, 240), (240, 320)]
    (card,) = [each for each in page if each["id"] == listing]
    for url in (card["url"], *(photo["url"] for photo in gallery)):
        answer = httpx.get(url, timeout=30)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/webp")


@pytest.mark.parametrize("language", LANGUAGES)
def test_replace(language: str, worker: WorkerProcess, person: Person, photos: list[Path]) -> None:
    listing = person.new_listing()
    person.upload(listing, *((p.name, "image/jpeg", p.read_bytes()) for p in photos[:2]))
    first, second = person.wait_until_settled(listing)
    for file, state in ((photos[0], "ready"), (photos[2], "failed")):
        if language == "py":
            new = module("replace").replace_photo(
                person.client, second["id"], file.name, "image/jpeg", file.read_bytes()
            )
        else:
            new = javascript(person, "replace", image=second["id"], files=told([file]))
        assert new["state"] == state
        if state == "ready":
            assert new["position"] == 1
            second = new
        live = [row["id"] for row in person.images(listing) if row["position"] is not None]
        assert live == [first["id"], second["id"]]


@pytest.mark.parametrize("language", LANGUAGES)
def test_saved_lists(language: str, shop: tuple[Person, str], person: Person) -> None:
    _, listing = shop
    if language == "py":
        recipe = module("saved_lists")
        saved = recipe.save_listing(person.client, "Lamps", listing)
        assert recipe.save_listing(person.client, "Lamps", listing) == saved
        lists = recipe.saved_lists(person.client)
        recipe.unsave_listing(person.client, saved, listing)
        after = recipe.saved_lists(person.client)
    else:
        answer = javascript(person, "saved_lists", listing=listing)
        saved, lists, after = answer["id"], answer["lists"], answer["after"]
    assert [(each["id"], each["name"]) for each in lists] == [(saved, "Lamps")]
    assert lists[0]["cover"]["listing_id"] == listing
    (item,) = lists[0]["saved_list_items"]
    assert (item["listing_id"], item["listings"]["title"]) == (listing, "Lamp")
    assert [(each["saved_list_items"], each["cover"]) for each in after] == [([], None)]


def _generate_in_python(person: Person) -> Any:
    heard: list[Any] = []
    recipe = {"mode": "imagine", "prompt": "A lamp", "params": {"width": 64, "height": 64}}
    answer = module("generate").generate(
        person.client, recipe, lambda status, progress: heard.append({"status": status})
    )
    return {**answer, "progress": heard}


@pytest.mark.parametrize(
    "run",
    [_generate_in_python, lambda person: javascript(person, "generate")],
    ids=["py", "mjs"],
)
def test_generate(run: Callable[[Person], Any], worker: WorkerProcess, person: Person) -> None:
    answer = run(person)
    assert answer["status"] == "succeeded", answer
    assert answer["progress"][-1]["status"] == "succeeded"
    (picture,) = answer["pictures"]
    assert (picture["width"], picture["height"]) == (64, 64)
    assert httpx.get(picture["url"], timeout=30).headers["content-type"] == "image/webp"


def test_watch(stack: Stack, worker: WorkerProcess, person: Person) -> None:
    """Here is no Realtime: it polls."""
    answer = javascript(person, "watch")
    assert answer["status"] == "succeeded"
    with psycopg.connect(stack.db_url) as conn:
        row = conn.execute(
            "select status from public.generation_jobs where id = %s", [answer["id"]]
        ).fetchone()
    assert row == ("succeeded",)
