"""A studio full of other people's generations, in bulk: the stage for measurements and for the guards of plans."""

from __future__ import annotations

from typing import Any

import psycopg

#: An owner has one large session and several small ones.
LARGE_SESSION = 200
SMALL_SESSIONS = 25
PER_OWNER = LARGE_SESSION + 2 * SMALL_SESSIONS
DOMAIN = "studio.test"

_USERS = """
insert into auth.users (id, aud, role, email)
select gen_random_uuid(), 'authenticated', 'authenticated', n || '@' || %(domain)s
from generate_series(1, %(owners)s) as n
"""
_PROFILES = """
insert into public.profiles (id)
select id from auth.users where email like '%%@' || %(domain)s on conflict (id) do nothing
"""
_COLLECTIONS = """
insert into public.collections (owner_id, name, is_default)
select id, 'My Favorites', true from auth.users where email like '%%@' || %(domain)s
"""
# A generation a week: a month's plan is never spent.
_PLAN = """
create temporary table studio_plan as
select
  u.id as owner_id, s, k, md5(u.id::text || s)::uuid as session_id,
  md5(u.id::text || s || 'job' || k)::uuid as job_id,
  case when k > 0 then md5(u.id::text || s || 'job' || (k - 1) / 2)::uuid end as parent_id,
  md5(u.id::text || s || 'render' || k)::uuid as render_id,
  md5(u.id::text || s || 'asset' || k)::uuid as asset_id,
  k %% 10 <> 9 as is_success,
  now() - interval '1 hour' - (s * 2 + (%(large)s - k)) * interval '7 days' as created_at
from auth.users as u
cross join generate_series(0, %(small)s) as s
cross join lateral generate_series(0, case s when 0 then %(large)s - 1 else 1 end) as k
where u.email like '%%@' || %(domain)s
"""
_SESSIONS = """
insert into public.image_sessions (id, owner_id, title, created_at, updated_at)
select session_id, owner_id, 'Room ' || s, min(created_at), max(created_at)
from studio_plan group by session_id, owner_id, s
"""
_JOBS = """
insert into public.generation_jobs (
  id, owner_id, session_id, parent_job_id, mode, style, provider, model, prompt, params, source_asset_id, status,
  progress, prediction_id, submitted_at, render_id, error, error_code, cost, duration_ms, created_at, started_at,
  completed_at
)
select
  job_id, owner_id, session_id, parent_id, case when k = 0 then 'imagine' else 'redesign' end,
  (array['modern', 'rustic', 'industrial', 'japandi'])[1 + k %% 4], 'local', 'local-shapes-1', 'A bright living room',
  jsonb_build_object('seed', k, 'width', 1024, 'height', 768),
  case when k > 0 and ((k - 1) / 2) %% 10 <> 9 then md5(owner_id::text || s || 'asset' || (k - 1) / 2)::uuid end,
  case when is_success then 'succeeded' else 'failed' end, 100, 'p-' || job_id, created_at, render_id,
  case when not is_success then 'No.' end, case when not is_success then 'content_refused' end, 0.04, 4000,
  created_at, created_at, created_at + interval '5 seconds'
from studio_plan
"""
_ASSETS = """
insert into public.image_assets (
  id, owner_id, job_id, role, bucket, path, mime_type, byte_size, width, height, sha256, created_at
)
select
  asset_id, owner_id, job_id, 'output', 'public', private.render_path(render_id, 0, false), 'image/webp', 100000,
  1024, 768, md5(asset_id::text) || md5(asset_id::text), created_at
from studio_plan where is_success
"""
_RENDERS = """
insert into public.renders (id, owner_id, job_id, created_at)
select render_id, owner_id, job_id, created_at from studio_plan where is_success
"""
_VARIANTS = """
insert into public.render_variants (
  render_id, owner_id, idx, asset_id, image_path, thumb_path, width, height, created_at
)
select
  render_id, owner_id, 0, asset_id, private.render_path(render_id, 0, false), private.render_path(render_id, 0, true),
  1024, 768, created_at
from studio_plan where is_success
"""
_ITEMS = """
insert into public.collection_items (collection_id, render_id, owner_id)
select c.id, p.render_id, p.owner_id
from studio_plan as p inner join public.collections as c on c.owner_id = p.owner_id and c.is_default
where p.is_success and p.k %% 5 = 0
"""
_USAGE = """
insert into public.usage_ledger (owner_id, job_id, kind, units, created_at)
select owner_id, job_id, 'debit', 1, created_at from studio_plan where is_success
"""
# Every other owner waits for one.
_IN_FLIGHT = """
insert into public.generation_jobs (owner_id, session_id, mode, provider, prompt, params)
select owner_id, session_id, 'imagine', 'local', 'A lamp', '{"seed": 1}'
from (
  select owner_id, session_id, row_number() over (order by owner_id) as n from studio_plan where s = 1 and k = 0
) as p
where n %% 2 = 0
"""
_QUEUE_DONE = """
insert into queue.jobs (
  queue, actor, args, owner_id, priority, tag, run_at, state, attempts, max_attempts, created_at, started_at,
  finished_at
)
select
  'default', 'generate', jsonb_build_object('generation_id', job_id, 'render_id', render_id), owner_id, 0, 0,
  created_at, 'succeeded', 1, 5, created_at, created_at, created_at
from studio_plan
"""
_QUEUE_READY = """
insert into queue.jobs (queue, actor, args, owner_id, priority, tag, run_at, state, max_attempts)
select
  'default', 'generate', jsonb_build_object('generation_id', id, 'render_id', render_id), owner_id, 0,
  row_number() over (), now(), 'ready', 5
from public.generation_jobs as j
where j.status = 'queued' and exists (select from studio_plan as p where p.session_id = j.session_id)
"""
_COMMUNITY = """
insert into public.community_collections (name, is_featured, position)
select 'Collection ' || n, n %% 20 = 0, n from generate_series(1, %(community)s) as n
"""
_COMMUNITY_ITEMS = """
insert into public.community_items (collection_id, render_id, variant_idx, image_path, thumb_path, position)
select c.id, v.render_id, v.idx, v.image_path, v.thumb_path, v.n
from (
  select p.render_id, v.idx, v.image_path, v.thumb_path, row_number() over (order by p.render_id) as n
  from studio_plan as p inner join public.render_variants as v on v.render_id = p.render_id
  where p.is_success and p.k %% 10 = 0
) as v
inner join (
  select id, row_number() over (order by position, id) as n, count(*) over () as many from public.community_collections
) as c on c.n = v.n %% c.many + 1
"""
_TABLES = (
    "public.image_sessions",
    "public.generation_jobs",
    "public.image_assets",
    "public.renders",
    "public.render_variants",
    "public.collection_items",
    "public.community_items",
    "public.usage_ledger",
    "queue.jobs",
)
# Indexes sleep while rows come, and are built in one go. PostgreSQL does the same for a concurrent build.
_INDEXES_SLEEP = """
update pg_index set indisready = false, indisvalid = false where indrelid = any(%s::regclass[]) and not indisprimary
"""


def load(
    conn: psycopg.Connection[Any],
    jobs: int,
    *,
    domain: str = DOMAIN,
    small_sessions: int = SMALL_SESSIONS,
    rebuild_indexes: bool = True,
) -> None:
    """Adds `jobs` ended generations of new users at `domain`, with what they became, and some that wait.

    `conn` is a superuser's. Triggers and foreign keys are not run for the rows: they are made to fit.
    `rebuild_indexes` is for large loads into empty tables, in autocommit.
    """
    owners = max(1, jobs // (LARGE_SESSION + 2 * small_sessions))
    numbers = {
        "domain": domain,
        "owners": owners,
        "large": LARGE_SESSION,
        "small": small_sessions,
        "community": max(400, owners),
    }
    conn.execute("set session_replication_role = replica")
    if rebuild_indexes:
        conn.execute("set maintenance_work_mem = '512MB'")
        conn.execute("set synchronous_commit = off")
        conn.execute(_INDEXES_SLEEP, [list(_TABLES)])
    for statement in (
        _USERS,
        _PROFILES,
        _COLLECTIONS,
        _PLAN,
        _SESSIONS,
        _JOBS,
        _ASSETS,
        _RENDERS,
        _VARIANTS,
        _ITEMS,
        _USAGE,
        _IN_FLIGHT,
        _QUEUE_DONE,
        _QUEUE_READY,
        _COMMUNITY,
        _COMMUNITY_ITEMS,
    ):
        conn.execute(statement, numbers)
    conn.execute("drop table studio_plan")
    conn.execute("set session_replication_role = origin")
    for table in _TABLES:
        if rebuild_indexes:
            conn.execute(f"reindex table {table}")  # type: ignore[arg-type]
        conn.execute(f"{'vacuum' if rebuild_indexes else ''} analyze {table}")  # type: ignore[arg-type]
    conn.execute("analyze auth.users, public.profiles, public.collections, public.community_collections")
