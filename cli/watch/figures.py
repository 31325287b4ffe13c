"""Queues, workers, failures and storage, counted by the database. Logs in as the operator."""

from __future__ import annotations

from typing import Any, LiteralString

from cli.database import Connection, Row, operator
from cli.errors import CliError

#: A worker process that has given no sign of life for this long is silent: it gives one every five seconds.
SILENT_SECONDS = 30

_QUEUES: LiteralString = """
with counted as materialized (select * from queue.figures())
select n.queue,
  coalesce(sum(c.job_count) filter (where c.state = 'ready'), 0)::int as ready,
  coalesce(sum(c.job_count) filter (where c.state = 'scheduled'), 0)::int as scheduled,
  coalesce(sum(c.job_count) filter (where c.state = 'paused'), 0)::int as paused,
  coalesce(sum(c.job_count) filter (where c.state = 'running'), 0)::int as running,
  coalesce(sum(c.job_count) filter (where c.state = 'dead'), 0)::int as dead,
  round(greatest(0, coalesce(max(c.lag_seconds) filter (where c.state = 'ready'), 0))::numeric, 1)::float
    as lag_seconds,
  exists (select from queue.pauses as p where p.kind = 'queue' and p.name = n.queue) as is_paused
from (
  select c.queue from counted as c union select p.name from queue.pauses as p where p.kind = 'queue'
) as n
left join counted as c on c.queue = n.queue
group by n.queue
order by n.queue
"""

_PAUSES: LiteralString = (
    "select kind, name, reason, paused_by, paused_at from queue.pauses order by paused_at"
)

# One that a younger process on the same machine has taken the place of is not missed.
_WORKERS: LiteralString = """
select h.worker, h.queues, h.thread_count as threads, h.held_count as held, h.started_at, h.seen_at,
  round(extract(epoch from now() - h.seen_at)::numeric, 1)::float as seen_seconds_ago,
  h.seen_at < now() - %(silent)s * interval '1 second' as is_silent
from queue.heartbeats as h
where not (
  h.seen_at < now() - %(silent)s * interval '1 second' and exists (
    select from queue.heartbeats as y
    where split_part(y.worker, '/', 1) = split_part(h.worker, '/', 1) and y.started_at > h.seen_at
  )
)
order by h.worker
"""

# Nothing where no worker has a message broker, nor ever had one.
_OUTBOX: LiteralString = """
select r.worker as relay, r.leading_since, coalesce(r.leased_until > now(), false) as is_leading,
  (
    select count(*) from queue.publications as p join queue.jobs as j on j.id = p.job_id and j.state = 'ready'
  )::int as published,
  h.workers
from (
  select count(*)::int as workers from queue.heartbeats as h
  where h.has_broker and h.seen_at > now() - %(silent)s * interval '1 second'
) as h
left join queue.relays as r on r.name = 'outbox'
where h.workers > 0 or r.name is not null
"""

_FAILURES: LiteralString = """
select source, what, reason, count(*)::int as count
from (
  select 'job' as source, j.actor || ' ' || j.state as what,
    left(split_part(coalesce(j.error, ''), E'\n', 1), 120) as reason
  from queue.jobs as j
  where j.state in ('dead', 'canceled') and j.finished_at > now() - interval '1 hour'
  union all
  select 'job', j.actor || ' retrying', left(split_part(j.error, E'\n', 1), 120)
  from queue.jobs as j
  where j.state = 'scheduled' and j.error is not null
  union all
  select 'image', 'failed', coalesce(i.error_code, '')
  from public.listing_images as i
  where i.state = 'failed' and i.updated_at > now() - interval '1 hour'
  union all
  select 'generation', 'failed', coalesce(g.error_code, '')
  from public.generation_jobs as g
  where g.status = 'failed' and g.created_at > now() - interval '1 day' and g.completed_at > now() - interval '1 hour'
) as f
group by 1, 2, 3
order by count(*) desc, 1, 2, 3
limit 50
"""

_STORAGE: LiteralString = """
select b.id as bucket, count(o.id)::int as objects, coalesce(sum((o.metadata ->> 'size')::bigint), 0)::bigint as bytes
from storage.buckets as b
left join storage.objects as o on o.bucket_id = b.id
where b.id in ('private', 'media', 'public')
group by b.id
order by b.id
"""


def live(conn: Connection) -> dict[str, list[Row]]:
    """What changes by the second: queues, pauses, workers, the outbox, failures of the last hour by reason."""
    return {
        "queues": conn.execute(_QUEUES).fetchall(),
        "pauses": conn.execute(_PAUSES).fetchall(),
        "workers": conn.execute(_WORKERS, {"silent": SILENT_SECONDS}).fetchall(),
        "outbox": conn.execute(_OUTBOX, {"silent": SILENT_SECONDS}).fetchall(),
        "failures": conn.execute(_FAILURES).fetchall(),
    }


def storage(conn: Connection) -> list[Row]:
    """Objects and bytes by bucket. Reads every object's row: a second for a million."""
    return conn.execute(_STORAGE).fetchall()


def of(db_url: str) -> dict[str, Any]:
    """All figures; where the database does not answer, empty ones and `figures_error`, which says why."""
    try:
        with operator(db_url, "status") as conn:
            return {**live(conn), "storage": storage(conn)}
    except CliError as error:
        names = ("queues", "pauses", "workers", "outbox", "failures", "storage")
        empty: dict[str, Any] = {name: [] for name in names}
        return {**empty, "figures_error": error.as_dict()}
