"""What a user of the studio and a worker ask for: as their roles under RLS, and by hand without it."""

from __future__ import annotations

from typing import Any, LiteralString

import psycopg

from tests.bench.ledger_work import Work
from tests.bench.studio_crowd import DOMAIN, LARGE_SESSION

_SUBMIT: LiteralString = (
    "select * from public.submit_generation('imagine', 'A lamp', session_id => %(session)s)"
)
_RETRY: LiteralString = "select * from public.retry_generation(%(job)s, true)"
_TIMELINE: LiteralString = (
    "select * from jsonb_array_elements(public.session_timeline(%(session)s) -> 'jobs')"
)
# Thirty from the middle of what there is.
_RENDERS: LiteralString = (
    "select * from jsonb_array_elements(public.list_renders(30, after => %(after)s) -> 'renders')"
)
_CLAIM: LiteralString = "select * from queue.claim('default', 'bench', 16)"
_BRANCH: LiteralString = "select count(*) from public.delete_branch(%(leaf)s)"

WORK = (
    Work("submit_generation", "authenticated", _SUBMIT, _SUBMIT, 1, True),
    Work("retry_generation", "authenticated", _RETRY, _RETRY, 1, True),
    Work("session_timeline of 200 generations", "authenticated", _TIMELINE, _TIMELINE, LARGE_SESSION),
    Work("list_renders, a page of 30", "authenticated", _RENDERS, _RENDERS, 30),
    Work(
        "a generation by id (polling)",
        "authenticated",
        "select id, status, progress from public.generation_jobs where id = %(job)s",
        "select id, status, progress from public.generation_jobs where id = %(job)s and owner_id = %(owner)s",
        1,
    ),
    Work(
        "the one in flight (polling)",
        "authenticated",
        "select id, status, progress from public.generation_jobs where status = any('{queued,starting,processing}')",
        "select id, status, progress from public.generation_jobs where status = any('{queued,starting,processing}')"
        " and owner_id = %(owner)s",
        0,
    ),
    Work(
        "own succeeded generations, newest 20",
        "authenticated",
        "select * from public.generation_jobs where status = 'succeeded' order by created_at desc limit 20",
        "select * from public.generation_jobs where status = 'succeeded' and owner_id = %(owner)s"
        " order by created_at desc limit 20",
        20,
    ),
    Work(
        "sessions, newest 12",
        "authenticated",
        "select * from public.image_sessions order by updated_at desc, id desc limit 12",
        "select * from public.image_sessions where owner_id = %(owner)s order by updated_at desc, id desc limit 12",
        12,
    ),
    Work(
        "favourites, newest 30",
        "authenticated",
        "select i.created_at, r.id from public.collection_items as i join public.renders as r"
        " on r.owner_id = i.owner_id and r.id = i.render_id where i.collection_id = %(collection)s"
        " order by i.created_at desc limit 30",
        "select i.created_at, r.id from public.collection_items as i join public.renders as r"
        " on r.owner_id = i.owner_id and r.id = i.render_id where i.collection_id = %(collection)s"
        " and i.owner_id = %(owner)s order by i.created_at desc limit 30",
        30,
    ),
    Work(
        "community, featured first, 20",
        "anon",
        "select * from public.community_collections order by is_featured desc, position, id limit 20",
        "select * from public.community_collections order by is_featured desc, position, id limit 20",
        20,
    ),
    Work(
        "usage_summary", "authenticated", "select public.usage_summary()", "select public.usage_summary()", 1
    ),
    Work("delete_branch of 3", "authenticated", _BRANCH, _BRANCH, 1, True),
    Work("claim of 16 jobs", "media_worker", _CLAIM, _CLAIM, 16, True),
)


def sample(conn: psycopg.Connection[Any], count: int, domain: str = DOMAIN) -> list[dict[str, Any]]:
    """`count` owners with nothing in flight: the large session, and what is asked of it; the same ones in each run."""
    rows = conn.execute(
        "select s.owner_id, s.id, md5(s.owner_id::text || 0 || 'job' || 5)::uuid,"
        " md5(s.owner_id::text || 0 || 'job' || 95)::uuid, c.id,"
        " (select (extract(epoch from r.created_at) * 1000000)::bigint || '_' || r.id from public.renders as r"
        "   where r.owner_id = s.owner_id order by r.created_at desc, r.id desc offset 40 limit 1)"
        " from public.image_sessions as s inner join auth.users as u on u.id = s.owner_id"
        " inner join public.collections as c on c.owner_id = s.owner_id and c.is_default"
        " where u.email like '%%@' || %s and s.title = 'Room 0' and not exists ("
        "   select from public.generation_jobs as j where j.owner_id = s.owner_id and j.status = 'queued')"
        " order by md5(s.owner_id::text) limit %s",
        [domain, count],
    ).fetchall()
    names = ("owner", "session", "job", "leaf", "collection", "after")
    return [dict(zip(names, row, strict=True)) for row in rows]
