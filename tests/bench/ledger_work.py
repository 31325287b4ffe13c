"""What a seller and a visitor ask the ledger for: as the API role under RLS, and by hand without it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg

from tests.bench.crowd import PER_LISTING

#: Read whole at every plan's will: one row, or a handful.
SMALL_TABLES = frozenset({"site_policies", "variant_specs", "plans", "buckets", "prompt_rules"})

_COLUMNS: LiteralString = """
  i.id, i.listing_id, i.owner_id, i.position, i.alt_text, i.width, i.height, i.thumbhash, i.ready_at, l.status,
  (
    select jsonb_object_agg(
      v.role, jsonb_build_object('path', v.path, 'width', v.width, 'height', v.height, 'byte_size', v.byte_size)
    ) from public.image_variants as v where v.image_id = i.id
  )
from public.listing_images as i
inner join public.listings as l on l.owner_id = i.owner_id and l.id = i.listing_id
where i.state = 'ready' and not i.is_label and i.position is not null
  and (not (select p.photo_review_enabled from public.site_policies as p) or i.review_state = 'allowed')
"""
_RESERVE: LiteralString = """
select public.reserve_uploads(%(listing)s, (
  select jsonb_agg(jsonb_build_object('file_name', n || '.jpg', 'mime_type', 'image/jpeg', 'byte_size', 3000000))
  from generate_series(1, 10) as n
))
"""
_REORDER: LiteralString = "select count(*) from public.reorder_images(%(listing)s, %(images)s)"


@dataclass(frozen=True)
class Work:
    """One request. `plain` is what the table's owner would run instead, with the owner's filter in it."""

    name: str
    role: str
    query: LiteralString
    plain: LiteralString
    rows: int | None = None
    writes: bool = False


WORK = (
    Work(
        "gallery page of a listing, owner",
        "authenticated",
        "select * from public.gallery where listing_id = %(listing)s order by position",
        f"select {_COLUMNS} and i.listing_id = %(listing)s and l.owner_id = %(owner)s order by i.position",
        PER_LISTING - 1,
    ),
    Work(
        "gallery page of a published listing, anon",
        "anon",
        "select * from public.gallery where listing_id = %(listing)s order by position",
        f"select {_COLUMNS} and i.listing_id = %(listing)s and l.status = 'published' order by i.position",
        PER_LISTING - 1,
    ),
    Work(
        "gallery page of 50 over an owner's listings, owner",
        "authenticated",
        "select * from public.gallery where owner_id = %(owner)s order by listing_id, position limit 50",
        f"select {_COLUMNS} and i.owner_id = %(owner)s order by i.listing_id, i.position limit 50",
        50,
    ),
    Work(
        "covers of an owner's published listings, anon",
        "anon",
        "select * from public.listing_covers where owner_id = %(owner)s",
        f"select distinct on (i.listing_id) {_COLUMNS} and i.owner_id = %(owner)s and l.status = 'published'"
        " order by i.listing_id, i.position",
    ),
    Work(
        "ledger rows of a listing, owner",
        "authenticated",
        "select * from public.listing_images where listing_id = %(listing)s order by position",
        "select * from public.listing_images where listing_id = %(listing)s and owner_id = %(owner)s"
        " order by position",
        PER_LISTING,
    ),
    Work(
        "count of one's own images",
        "authenticated",
        "select count(*) from public.listing_images",
        "select count(*) from public.listing_images where owner_id = %(owner)s",
        1,
    ),
    Work("reserve_uploads of 10", "authenticated", _RESERVE, _RESERVE, 1, writes=True),
    Work("reorder_images of 20", "authenticated", _REORDER, _REORDER, 1, writes=True),
    Work(
        "delete of a listing with 20 images",
        "authenticated",
        "delete from public.listings where id = %(listing)s",
        "delete from public.listings where id = %(listing)s and owner_id = %(owner)s",
        writes=True,
    ),
)


def sample(conn: psycopg.Connection[Any], count: int) -> list[dict[str, Any]]:
    """`count` published listings of as many owners, with their images in reverse, the same ones in each run."""
    rows = conn.execute(
        "select l.owner_id, l.id, (select array_agg(i.id order by i.position desc) from public.listing_images as i"
        " where i.owner_id = l.owner_id and i.listing_id = l.id)"
        " from (select distinct on (owner_id) owner_id, id from public.listings where status = 'published'"
        " order by owner_id, id) as l order by md5(l.owner_id::text) limit %s",
        [count],
    ).fetchall()
    return [{"owner": owner, "listing": listing, "images": images} for owner, listing, images in rows]


@contextmanager
def claims(
    conn: psycopg.Connection[Any], work: Work, owner: object, *, role: str | None = None
) -> Iterator[None]:
    """A transaction with PostgREST's claims, as the API role or as `role`; rolled back if it writes."""
    payload = {"role": work.role} if work.role == "anon" else {"role": work.role, "sub": str(owner)}
    # psycopg forgets prepared statements at a rollback.
    with conn.transaction(force_rollback=work.writes):
        conn.execute("select set_config('request.jwt.claims', %s, true)", [json.dumps(payload)])
        conn.execute("select set_config('role', %s, true)", [role or work.role])
        yield


def plans(conn: psycopg.Connection[Any], work: Work, who: dict[str, Any]) -> list[str]:
    """Every plan that the request runs, those inside functions and triggers too. `conn` is a superuser's."""
    told: list[str] = []

    def hear(message: psycopg.errors.Diagnostic) -> None:
        if message.message_primary and message.message_primary.startswith("duration"):
            told.append(message.message_primary)

    with conn.transaction(force_rollback=True), claims(conn, work, who["owner"], role="none"):
        conn.execute("load 'auto_explain'")
        for name, value in (
            ("auto_explain.log_nested_statements", "on"),
            ("auto_explain.log_min_duration", "0"),
            ("auto_explain.log_analyze", "on"),
            ("auto_explain.log_level", "notice"),
        ):
            conn.execute("select set_config(%s, %s, true)", [name, value])
        conn.execute("select set_config('role', %s, true)", [work.role])
        conn.add_notice_handler(hear)
        try:
            conn.execute(work.query, who)
            # A statement's end, where its plan is told, comes with the next one.
            conn.execute("select")
        finally:
            conn.remove_notice_handler(hear)
    return [plan for plan in told if "set_config('role'" not in plan]


#: A sequential scan of less than this is of a table that the planner knows to be empty, or a page or two: rows that
#: other tests rolled back. The tables of the crowd cost hundreds.
TINY_COST = 5.0


def sequential_scans(plan: str) -> set[str]:
    """Tables that a plan reads whole, small ones left out."""
    found = re.findall(r"Seq Scan on (\w+)(?: \w+)?(?: +\(cost=[\d.]+\.\.([\d.]+) )?", plan)
    return {table for table, cost in found if not cost or float(cost) >= TINY_COST} - SMALL_TABLES
