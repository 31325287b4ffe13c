"""Two people's originals and logos, and all that Storage can be asked to do with them."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import psycopg
import pytest

from tests.api.test_attacks_storage import assert_refused, photo, put, reserved
from tests.support.people import Person
from tests.support.stack import Stack


@pytest.fixture
def theirs(stack: Stack, other: Person) -> Iterator[list[str]]:
    """Bucket and path of the other's photo and logo: as they were, whatever is tried."""
    data = photo()
    row = reserved(other, data)
    targets = [f"private/{row['path']}", f"public/{other.id}/logo.jpg"]
    for target in targets:
        assert put(other, target, data).status_code == 200
    before = rows(stack, other)
    yield targets
    assert rows(stack, other) == before
    for target in targets:
        assert other.storage("GET", f"object/authenticated/{target}").content == data


def rows(stack: Stack, owner: Person) -> list[Any]:
    with psycopg.connect(stack.db_url) as conn:
        return conn.execute(
            "select bucket_id, name, owner_id, version, metadata ->> 'mimetype' from storage.objects"
            " where bucket_id <> 'media' and (owner_id = %s or name like %s) order by 1, 2",
            [owner.id, f"%{owner.id}%"],
        ).fetchall()


def test_over_what_is_there(person: Person, theirs: list[str]) -> None:
    for target in theirs:
        for headers in ({}, {"x-upsert": "true"}):
            for method in ("POST", "PUT"):
                assert_refused(put(person, target, photo("blue"), method, **headers), "403", "404")
                form = person.storage(
                    method,
                    f"object/{target}",
                    headers=headers,
                    files={"": ("x.jpg", photo(), "image/jpeg")},
                )
                assert_refused(form, "403", "404")
            assert_refused(
                person.storage("POST", f"object/upload/sign/{target}", headers=headers), "403", "404"
            )
        assert_refused(person.storage("DELETE", f"object/{target}"), "403", "404")
        bucket, _, path = target.partition("/")
        for prefixes in ([path], [path.rsplit("/", 1)[0]], ["%"], [path, f"{person.id}/x.jpg"]):
            answer = person.storage("DELETE", f"object/{bucket}", json={"prefixes": prefixes})
            assert (answer.status_code, answer.json()) == (200, [])


def test_lists_name_nobody_elses(stack: Stack, person: Person, other: Person, theirs: list[str]) -> None:
    key = {"apikey": stack.anon_key}
    found = 0
    for who, headers in ((None, key), (person, person.headers), (other, other.headers)):
        for bucket in ("private", "public", "media"):
            for ask in (
                {"prefix": ""},
                {"prefix": other.id},
                {"prefix": f"{other.id}/"},
                {"prefix": f"{other.id}/listings", "limit": 100, "offset": 0},
                {"prefix": other.id[:8]},
                {"prefix": "%"},
                {"prefix": "", "search": other.id},
                {"prefix": other.id, "search": "%"},
                {"prefix": f"{person.id}/../{other.id}"},
            ):
                for door in ("list", "list-v2"):
                    answer = httpx.post(
                        f"{stack.api_url}/storage/v1/object/{door}/{bucket}",
                        headers=headers,
                        json=ask,
                        timeout=30,
                    )
                    told = answer.text.replace(str(ask["prefix"]), "")
                    if who is other:
                        found += "logo.jpg" in told
                    else:
                        assert answer.status_code in {200, 400}, answer.text
                        assert "logo.jpg" not in told, (bucket, ask)
                        assert other.id not in told, (bucket, ask)
    assert found > 1


def test_paths_that_lead_elsewhere(stack: Stack, person: Person, other: Person, theirs: list[str]) -> None:
    private = theirs[0].removeprefix("private/")
    up = "%2e%2e"
    for path in (
        f"private%2F{private}", f"private/{person.id}/{up}/{private}", f"private/{person.id}%2f{up}%2f{private}",
        f"private//{private}", f"public/{up}/private/{private}", f"public%2f{up}%2fprivate/{private}",
        f"private/{private.upper()}", f"private/{private}%00", f"private/{private}%20", f"PRIVATE/{private}",
        f"private/./{private}", f"private/{private}/", f"private%20/{private}",
        f"private/{private.replace('/', '%5c')}",
        f"private/{private.replace('-', quote(chr(0x2010)))}", f"private/{private.replace('/', quote(chr(0x2215)))}",
    ):  # fmt: skip
        for door in ("object", "object/authenticated", "object/public", "object/info", "object/sign"):
            answer = person.storage("GET", f"{door}/{path}")
            assert answer.status_code in {400, 404}, (door, path, answer.status_code)
        assert person.storage("POST", f"object/sign/{path}", json={"expiresIn": 60}).status_code in {
            400,
            404,
        }, path
    folder, new = f"{other.id}/inputs", f"{uuid4()}.jpg"
    mine = f"{person.id}/inputs"
    for path in (
        f"private/{folder}/{new}", f"private/{mine}/{up}/{up}/{folder}/{new}", f"private//{mine}/{new}",
        f"private/{mine}//{new}", f"private/{mine}/{new}%00", f"private/{mine}/{new}%20", f"private/{mine}/{new}.svg",
        f"private/{mine}/x/{new}", f"private/{mine.upper()}/{new}", f"private/{mine}/%0a{new}", f"media/{mine}/{new}",
        f"private/{person.id}%2f{up}%2f{folder}/{new}", f"public/{person.id}/{up}/{other.id}/{new}",
        f"public/{person.id}{quote(chr(0x2215))}{new}", f"public/{person.id.replace('-', quote(chr(0x2011)))}/{new}",
        f"public/{person.id}%20/{new}", f"public/%20{person.id}/{new}", f"public/renders/{person.id}/{new}",
    ):  # fmt: skip
        for headers in ({}, {"x-upsert": "true"}):
            answer = put(person, path, photo(), **headers)
            assert answer.status_code in {400, 403, 404, 405}, (path, answer.status_code, answer.text)
        assert person.storage("POST", f"object/upload/sign/{path}").status_code in {400, 403, 404, 405}, path
    assert rows(stack, person) == []


def test_move_and_copy_between_folders_and_buckets(
    stack: Stack, person: Person, other: Person, theirs: list[str]
) -> None:
    mine = [f"private/{reserved(person, photo())['path']}", f"public/{person.id}/logo.jpg"]
    for target in mine:
        assert put(person, target, photo()).status_code == 200
    before = rows(stack, person)
    for source in (*mine, *theirs):
        for bucket in ("private", "public", "media"):
            for path in (
                f"{other.id}/x.jpg",
                f"{person.id}/x.jpg",
                f"{person.id}/inputs/{uuid4()}.jpg",
                theirs[1].removeprefix("public/"),
            ):
                for verb in ("move", "copy"):
                    body = {
                        "bucketId": source.split("/")[0], "sourceKey": source.split("/", 1)[1],
                        "destinationBucket": bucket, "destinationKey": path, "copyMetadata": True,
                    }  # fmt: skip
                    answer = person.storage("POST", f"object/{verb}", json=body, headers={"x-upsert": "true"})
                    assert_refused(answer, "403", "404", "409")
    assert rows(stack, person) == before


def test_a_signed_url_is_for_its_object(stack: Stack, person: Person, theirs: list[str]) -> None:
    target = f"public/{person.id}/logo.jpg"
    assert put(person, target, photo()).status_code == 200
    signed = person.storage("POST", f"object/sign/{target}", json={"expiresIn": 60}).json()["signedURL"]
    read = signed.split("token=")[1]
    fresh = f"public/{person.id}/other.jpg"
    write = person.storage("POST", f"object/upload/sign/{fresh}").json()["token"]
    assert httpx.get(f"{stack.api_url}/storage/v1{signed}").status_code == 200
    for victim in theirs:
        for token in (read, write, person.access_token, stack.anon_key):
            doors = [
                f"object/sign/{victim}",
                f"object/public/{victim}?token={token}&x=",
                f"object/authenticated/{victim}",
            ]
            for door in doors if victim.startswith("private") else doors[:1]:
                url = f"{stack.api_url}/storage/v1/{door}" + ("&" if "?" in door else "?") + f"token={token}"
                assert httpx.get(url, headers={"apikey": stack.anon_key}).status_code == 400, door
            late = httpx.put(
                f"{stack.api_url}/storage/v1/object/upload/sign/{victim}?token={token}",
                content=photo("blue"), headers={"Content-Type": "image/jpeg", "x-upsert": "true"},
            )  # fmt: skip
            assert late.status_code == 400, late.text
    # Neither token is anybody's sign-in.
    for token in (read, write):
        headers = {"apikey": stack.anon_key, "Authorization": f"Bearer {token}"}
        assert httpx.get(f"{stack.api_url}/rest/v1/listing_images", headers=headers).status_code in {
            401,
            403,
        }
        assert (
            httpx.get(
                f"{stack.api_url}/storage/v1/object/authenticated/{theirs[0]}", headers=headers
            ).status_code
            == 400
        )
        assert httpx.get(f"{stack.api_url}/auth/v1/user", headers=headers).status_code in {401, 403}


def test_other_protocols_are_closed(stack: Stack, person: Person, theirs: list[str]) -> None:
    bucket, _, path = theirs[0].partition("/")
    metadata = ",".join(
        f"{k} {base64.b64encode(v.encode()).decode()}"
        for k, v in (("bucketName", bucket), ("objectName", path))
    )
    tus = {
        "Tus-Resumable": "1.0.0",
        "Upload-Length": "10",
        "Upload-Metadata": metadata,
        "x-upsert": "true",
    }
    for method, door, headers in (
        ("POST", "upload/resumable", tus),
        ("POST", "upload/resumable/sign", tus),
        ("PATCH", f"upload/resumable/{theirs[0]}", tus),
        ("PUT", f"s3/{theirs[0]}", {}),
        ("GET", f"s3/{theirs[0]}", {}),
        ("DELETE", f"s3/{theirs[0]}", {}),
        ("GET", f"render/image/authenticated/{theirs[0]}", {}),
        ("GET", f"render/image/public/{theirs[0]}", {}),
    ):
        answer = person.storage(method, door, headers=headers)
        assert answer.status_code in {400, 403, 404, 405, 501}, (door, answer.status_code)


def test_what_is_served_is_a_picture_by_its_type(stack: Stack, person: Person) -> None:
    """The one bucket that shows a user's bytes to everybody, as sent: never as a page or a script."""
    page, taken = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", 0
    for n, kind in enumerate((
        "image/jpeg", "image/svg+xml", "IMAGE/SVG+XML", "text/html", "image/jpeg, text/html", "text/html;image/jpeg",
        "image/jpeg;text/html", "image/*", "*/*", "image/jpeg+svg", "image/png; charset=utf-8", "",
    )):  # fmt: skip
        for form in (False, True):
            path = f"public/{person.id}/{n}-{form}.jpg"
            body: Any = (
                {"files": {"": ("x.jpg", page, kind)}}
                if form
                else {"content": page, "headers": {"Content-Type": kind}}
            )
            answer = person.storage("POST", f"object/{path}", **body)
            shown = httpx.get(f"{stack.api_url}/storage/v1/object/public/{path}")
            assert (shown.status_code == 200) == (answer.status_code == 200), (kind, form, answer.text)
            if shown.status_code == 200:
                assert re.fullmatch(
                    r"image/(jpeg|png|webp)(; charset=utf-8)?", shown.headers["content-type"]
                ), (kind, form)
                taken += 1
    assert taken >= 2
