"""What the tests of generations do all the time: submit, upload an input, do what a worker would do."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.types.json import Jsonb

from tests.sql.scene import Conn, one, store
from tests.support.roles import as_role, as_user

Row = dict[str, Any]


def submit(conn: Conn, owner: UUID, mode: str = "imagine", **arguments: Any) -> Row:
    """Calls submit_generation as the owner; imagine with a prompt unless told otherwise."""
    if mode == "imagine":
        arguments = {"prompt": "A lamp on a table"} | arguments
    if "params" in arguments:
        arguments["params"] = Jsonb(arguments["params"])
    values = {"mode": mode, **arguments}
    named = ", ".join(f"{name} => %({name})s" for name in values)
    with as_user(conn, owner), conn.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        row = cursor.execute(f"select * from public.submit_generation({named})", values).fetchone()
    assert row is not None
    return row


def generation(conn: Conn, job: Any) -> Row:
    """The generation's row."""
    with conn.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        row = cursor.execute("select * from public.generation_jobs where id = %s", [job]).fetchone()
    assert row is not None
    return row


def input_of(conn: Conn, owner: UUID) -> str:
    """An uploaded input; its path in bucket private."""
    path = f"{owner}/inputs/{uuid4()}.jpg"
    store(conn, path, owner)
    return path


def lease(conn: Conn, job: Any) -> tuple[int, UUID]:
    """Claims the generation's queue job the short way."""
    row = conn.execute(
        "update queue.jobs set state = 'running', lease_token = gen_random_uuid(), attempts = attempts + 1,"
        " started_at = now(), leased_until = now() + interval '1 minute'"
        " where actor = 'generate' and state in ('ready', 'running') and args ->> 'generation_id' = %s"
        " returning id, lease_token",
        [str(job)],
    ).fetchone()
    assert row is not None, "no job waits for this generation"
    return row[0], row[1]


def begin(conn: Conn, job: Any, held: tuple[int, UUID]) -> Row | None:
    with as_role(conn, "service_role"):
        work: Row | None = one(conn, "select private.begin_generation(%s, %s, %s)", job, *held)
    return work


def output(render: Any, idx: int = 0) -> Row:
    return {
        "idx": idx,
        "image_path": f"renders/{render}/{idx}.webp",
        "thumb_path": f"renders/{render}/{idx}_thumb.webp",
        "width": 64,
        "height": 48,
        "byte_size": 100,
        "sha256": uuid4().hex * 2,
    }


def write(conn: Conn, render: Any, count: int = 1) -> list[Row]:
    """The pictures of a render as a worker stores them."""
    outputs = [output(render, idx) for idx in range(count)]
    for made in outputs:
        store(conn, made["image_path"], bucket="public")
        store(conn, made["thumb_path"], bucket="public")
    return outputs


def finish(conn: Conn, job: Any, held: tuple[int, UUID], outputs: list[Row], **more: Any) -> str:
    result = {"outputs": outputs, "inputs": [], "model": "m-1", "cost": 0.25, **more}
    with as_role(conn, "service_role"):
        state: str = one(conn, "select private.finish_generation(%s, %s, %s, %s)", job, *held, Jsonb(result))
    return state


def fail(conn: Conn, job: Any, held: tuple[int, UUID], code: str = "refused") -> str:
    with as_role(conn, "service_role"):
        state: str = one(
            conn, "select private.fail_generation(%s, %s, %s, %s, 'No.', false)", job, *held, code
        )
    return state


def generate(conn: Conn, job: Any, count: int = 1) -> Row:
    """Does a queued generation as a worker would; answers its row."""
    held = lease(conn, job)
    work = begin(conn, job, held)
    assert work is not None
    assert finish(conn, job, held, write(conn, work["render_id"], count)) == "succeeded"
    return generation(conn, job)


def made(conn: Conn, owner: UUID, mode: str = "imagine", count: int = 1, **arguments: Any) -> Row:
    """A generation that succeeded."""
    return generate(conn, submit(conn, owner, mode, **arguments)["id"], count)


def asset_of(conn: Conn, job: Any, idx: int = 0) -> Any:
    """The asset of a generation's picture."""
    return one(
        conn,
        "select asset_id from public.render_variants as v join public.renders as r on r.id = v.render_id"
        " where r.job_id = %s and v.idx = %s",
        job,
        idx,
    )
