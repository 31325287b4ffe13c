"""What the tests of the ledger's SQL do all the time: a user, a listing, reserved, uploaded and ready images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.support.roles import as_role, as_service, as_user, new_user

Conn = psycopg.Connection[Any]
ROLES = ("thumb", "card", "preview", "detail", "detail_max")


def one(conn: Conn, query: str, *args: Any) -> Any:
    """The first column of the only row."""
    row = conn.execute(query, args).fetchone()
    assert row is not None
    return row[0]


def rows(conn: Conn, query: str, *args: Any) -> list[Any]:
    """All rows; of one column, its values."""
    found = conn.execute(query, args).fetchall()
    return [r[0] if len(r) == 1 else r for r in found]


@contextmanager
def refused(
    code: str, status: int | None = None, sqlstate: str | None = None
) -> Iterator[pytest.ExceptionInfo[Any]]:
    """The body is refused with this stable code and, where given, HTTP status or SQLSTATE."""
    with pytest.raises(psycopg.Error) as info:
        yield info
    assert info.value.diag.message_detail == code, info.value
    expected = sqlstate or (f"PT{status}" if status else None)
    if expected:
        assert info.value.sqlstate == expected
    assert info.value.diag.message_hint


def denied(conn: Conn, query: str, *args: Any) -> None:
    """The statement is refused for lack of a privilege, and the transaction goes on."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege), conn.transaction():
        conn.execute(query, args)


def file(
    name: str = "a.jpg", mime_type: str = "image/jpeg", byte_size: Any = 1000, **more: Any
) -> dict[str, Any]:
    return {"file_name": name, "mime_type": mime_type, "byte_size": byte_size, **more}


def new_listing(conn: Conn, owner: UUID, **columns: Any) -> UUID:
    with as_user(conn, owner):
        names = ", ".join(columns)
        values = ", ".join(["%s"] * len(columns))
        clause = f"({names}) values ({values})" if columns else "default values"
        listing: UUID = one(conn, f"insert into public.listings {clause} returning id", *columns.values())
    return listing


def reserve(conn: Conn, owner: UUID, listing: UUID, *files: dict[str, Any]) -> list[dict[str, str]]:
    with as_user(conn, owner):
        answer: list[dict[str, str]] = one(
            conn, "select public.reserve_uploads(%s, %s)", listing, Jsonb(list(files))
        )
    return answer


def store(
    conn: Conn,
    path: str,
    uploader: UUID | None = None,
    size: int = 1000,
    bucket: str = "private",
    etag: str | None = None,
) -> None:
    """Write the object's row as Storage does: as service_role, with the uploader as owner."""
    metadata = {"size": size, "mimetype": "image/jpeg", "eTag": f'"{etag or uuid4().hex}"'}
    with as_service(conn):
        conn.execute(
            "insert into storage.objects (bucket_id, name, owner_id, metadata, version) values (%s, %s, %s, %s, %s)"
            " on conflict (bucket_id, name) do update set metadata = excluded.metadata, version = excluded.version",
            [bucket, path, uploader and str(uploader), Jsonb(metadata), str(uuid4())],
        )


def lease(conn: Conn, image: Any) -> tuple[int, UUID]:
    """Claim the image's newest waiting job the short way."""
    row = conn.execute(
        "update queue.jobs set state = 'running', lease_token = gen_random_uuid(), attempts = attempts + 1,"
        " started_at = now(), leased_until = now() + interval '1 minute'"
        " where id = (select max(id) from queue.jobs where actor = 'process_image' and state = 'ready'"
        " and args ->> 'image_id' = %s) returning id, lease_token",
        [str(image)],
    ).fetchone()
    assert row is not None, "no job waits for this image"
    return row[0], row[1]


def result(work: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """What a worker would report for what begin_image answered."""
    folder = f"{work['owner_id']}/{work['listing_id']}/{work['image_id']}"
    variants = [
        {"role": v["role"], "path": f"{folder}/{v['role']}.webp", "width": 40, "height": 30, "byte_size": 100}
        for v in work["variants"]
    ]
    return {
        "mime_type": "image/jpeg",
        "byte_size": work["byte_size"],
        "width": 4000,
        "height": 3000,
        "sha256": uuid4().hex * 2,
        "thumbhash": "AAAA",
        "variants": variants,
        **changes,
    }


def finish(conn: Conn, image: Any) -> str:
    """Process an uploaded image as a worker would, objects included."""
    job, token = lease(conn, image)
    with as_role(conn, "service_role"):
        work = one(conn, "select private.begin_image(%s, %s, %s)", image, job, token)
    if work is None:
        conn.execute("select queue.complete(%s, %s)", [job, token])
        return "nothing to do"
    done = result(work)
    for variant in done["variants"]:
        store(conn, variant["path"], size=variant["byte_size"], bucket="media")
    with as_role(conn, "service_role"):
        state: str = one(conn, "select private.finish_image(%s, %s, %s, %s)", image, job, token, Jsonb(done))
    return state


def upload(conn: Conn, owner: UUID, listing: UUID, count: int = 1, **more: Any) -> list[str]:
    """Reserve and store `count` images; answers their ids."""
    reserved = reserve(conn, owner, listing, *(file(f"{n}.jpg", **more) for n in range(count)))
    for row in reserved:
        store(conn, row["path"], owner)
    return [row["image_id"] for row in reserved]


def ready(conn: Conn, owner: UUID, listing: UUID, count: int = 1, **more: Any) -> list[str]:
    """`count` processed images."""
    images = upload(conn, owner, listing, count, **more)
    for image in images:
        assert finish(conn, image) == "ready"
    return images


def order(conn: Conn, listing: UUID) -> list[str]:
    """The live images in order; asserts that their positions are dense."""
    found = conn.execute(
        "select position, id::text from public.listing_images"
        " where listing_id = %s and position is not null order by position",
        [listing],
    ).fetchall()
    assert [r[0] for r in found] == list(range(len(found)))
    return [r[1] for r in found]


def call(conn: Conn, owner: UUID, function: str, *args: Any) -> Any:
    """Call an API function as the owner; the first row as a dict."""
    marks = ", ".join(["%s"] * len(args))
    with as_user(conn, owner), conn.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        return cursor.execute(f"select * from public.{function}({marks})", args).fetchone()  # type: ignore[arg-type]


def state(conn: Conn, image: Any) -> str:
    return str(one(conn, "select state from public.listing_images where id = %s", image))


def events(conn: Conn, image: Any) -> list[str]:
    return rows(conn, "select event from public.image_events where image_id = %s order by id", image)


def removals(conn: Conn) -> set[tuple[str, str]]:
    """Objects whose removal was ordered, as (bucket, path)."""
    found = rows(
        conn,
        "select args ->> 'bucket', p from queue.jobs, jsonb_array_elements_text(args -> 'paths') as p"
        " where actor = 'remove_objects'",
    )
    assert len(found) == len(set(found))
    return set(found)


def objects_of(path: str) -> set[tuple[str, str]]:
    """The original and every variant that an image with this original_path may have."""
    owner, _, listing, name = path.split("/")
    image = name.split(".")[0]
    return {("private", path)} | {("media", f"{owner}/{listing}/{image}/{role}.webp") for role in ROLES}


class Scene:
    """Two users, each with an empty draft, on a connection that is rolled back."""

    def __init__(self, conn: Conn) -> None:
        self.conn = conn
        self.owner = new_user(conn)
        self.other = new_user(conn)
        self.listing = new_listing(conn, self.owner, title="Lamp", price=12, currency="EUR")
        self.theirs = new_listing(conn, self.other, title="Chair", price=5, currency="EUR")

    def policy(self, **columns: Any) -> None:
        """Change the site's policy as an operator would."""
        for name, value in columns.items():
            with as_service(self.conn):
                self.conn.execute(f"update public.site_policies set {name} = %s", [value])  # type: ignore[arg-type]
