"""What must hold in a project's database beside its schema: roles, settings, buckets, and work that goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, LiteralString

from psycopg.rows import tuple_row

from cli.database import Connection
from cli.doctor.findings import Finding, finding
from cli.watch.figures import SILENT_SECONDS

#: A job that is ready waits this long at most before somebody should look.
LAG_SECONDS = 600
#: A lease that ran out is taken back by any worker's maintenance within seconds.
STALE_SECONDS = 60

_ROLES: LiteralString = """
select r.rolname,
  array_remove(array[
    case when r.rolsuper then 'superuser' end, case when r.rolcreaterole then 'createrole' end,
    case when r.rolcreatedb then 'createdb' end, case when r.rolreplication then 'replication' end,
    case when r.rolbypassrls and r.rolname <> 'service_role' then 'bypassrls' end,
    case when r.rolinherit and r.rolname in ('authenticator', 'media_worker') then 'inherit' end
  ], null)
from pg_roles as r where r.rolname = any(%s)
"""
# Role → what it must be a member of, and nothing else.
_MEMBERS = {
    "anon": set[str](),
    "authenticated": set[str](),
    "service_role": set[str](),
    "authenticator": {"anon", "authenticated", "service_role"},
    "media_worker": set[str](),
    "analyst": set[str](),
}
_MEMBERSHIPS: LiteralString = """
select m.member::regrole::text, array_agg(distinct m.roleid::regrole::text)
from pg_auth_members as m where m.member::regrole::text = any(%s) group by 1
"""

# Claims come by the request, and nothing may decide them beforehand; replication mode switches triggers off. Limits are
# counted after a lock was taken, which sees what others have committed in `read committed` only.
_SETTINGS: LiteralString = """
select case when s.setrole = 0 then 'database ' || current_database() else 'role ' || s.setrole::regrole end, c.entry
from pg_db_role_setting as s, unnest(s.setconfig) as c (entry)
where (s.setdatabase = 0 or s.setdatabase = (select d.oid from pg_database as d where d.datname = current_database()))
  and split_part(c.entry, '=', 1) in (
    'storage.operation', 'session_replication_role', 'row_security', 'role', 'request.jwt.claims',
    'request.jwt.claim.sub', 'imageledger.actor_id'
  )
union all
select case when s.setrole = 0 then 'database ' || current_database() else 'role ' || s.setrole::regrole end, c.entry
from pg_db_role_setting as s, unnest(s.setconfig) as c (entry)
where s.setdatabase in (0, (select d.oid from pg_database as d where d.datname = current_database()))
  and starts_with(c.entry, 'default_transaction_isolation=') and split_part(c.entry, '=', 2) <> 'read committed'
  and (s.setrole = 0 or s.setrole::regrole::text = any(%s))
"""

_DEFAULTS: LiteralString = """
select a.grantee::regrole::text
from pg_default_acl as d
join pg_namespace as n on n.oid = d.defaclnamespace, aclexplode(d.defaclacl) as a
where n.nspname = 'public' and d.defaclobjtype = 'f'
  and d.defaclrole = (select c.relowner from pg_class as c where c.oid = 'public.listings'::regclass)
  and a.grantee::regrole::text in ('anon', 'authenticated')
"""

_BUCKETS: LiteralString = """
select w.id, b.id is not null,
  array_remove(array[
    case when b.public is distinct from w.is_public then 'public is ' || b.public end,
    case when b.file_size_limit is distinct from w.byte_limit then
      format('file_size_limit is %%s, not %%s', coalesce(b.file_size_limit::text, 'none'), w.byte_limit) end,
    case when not coalesce(b.allowed_mime_types @> w.mime_types and b.allowed_mime_types <@ w.mime_types, false) then
      'allowed_mime_types are ' || coalesce(b.allowed_mime_types::text, 'all') end
  ], null)
from public.site_policies as p
cross join lateral (values
  ('private', false, p.image_bytes_max, p.image_mime_types),
  ('media', false, p.image_bytes_max, array['image/webp']),
  ('public', true, p.image_bytes_max, array['image/jpeg', 'image/png', 'image/webp'])
) as w (id, is_public, byte_limit, mime_types)
left join storage.buckets as b on b.id = w.id
"""

_JOBS: LiteralString = """
select 'dead_jobs', j.actor, count(*)::int from queue.jobs as j
where j.state = 'dead' and j.finished_at is not null group by j.actor
union all
select 'stale_leases', coalesce(j.worker, ''), count(*)::int from queue.jobs as j
where j.state = 'running' and j.leased_until < now() - %(stale)s * interval '1 second' group by j.worker
union all
select 'queue_paused', p.kind || ' ' || p.name, 0 from queue.pauses as p
union all
select 'jobs_parked', j.actor, count(*)::int from queue.jobs as j
where j.state = 'scheduled' and j.run_at = 'infinity'
  and not exists (select from queue.pauses as p where p.kind = 'actor' and p.name = j.actor)
group by j.actor
union all
select 'queue_lag', j.queue, extract(epoch from now() - min(j.run_at))::int from queue.jobs as j
where j.state = 'ready' and not exists (select from queue.pauses as p where p.kind = 'queue' and p.name = j.queue)
group by j.queue having min(j.run_at) < now() - %(lag)s * interval '1 second'
union all
select 'published_not_taken', p.queue, count(*)::int
from queue.publications as p
join queue.jobs as j on j.id = p.job_id and j.state = 'ready'
where j.run_at < now() - %(stale)s * interval '1 second'
  and not exists (select from queue.pauses as u where u.kind = 'queue' and u.name = p.queue)
  -- Else they wait for their turn.
  and not exists (
    select from queue.heartbeats as h
    where p.queue = any(h.queues) and h.held_count >= h.thread_count
      and h.seen_at > now() - %(silent)s * interval '1 second'
  )
group by p.queue
order by 1, 2
"""

# Workers that wait for messages, and nobody who sends them. Within five seconds of a relay's end another takes over.
_RELAY: LiteralString = """
select count(*)::int, (select round(extract(epoch from now() - r.leased_until))::int from queue.relays as r)
from queue.heartbeats as h
where h.has_broker and h.seen_at > now() - %(silent)s * interval '1 second'
  and h.started_at < now() - %(silent)s * interval '1 second'
  and not exists (select from queue.relays as r where r.leased_until > now() - interval '10 seconds')
having count(*) > 0
"""

# Above a half nobody is told of new jobs any more; when it is full, whoever else notifies cannot commit. A session that
# listens and leaves a transaction open keeps all that came since.
NOTIFY_PART = 0.25
_NOTIFY: LiteralString = """
select pg_notification_queue_usage(), (
  select string_agg(
    format('%%s (%%s, %%s, since %%s)', a.pid, a.usename, nullif(a.application_name, ''), a.xact_start::timestamptz(0)),
    ', ' order by a.xact_start
  )
  from (
    select * from pg_stat_activity as a
    where a.backend_type = 'client backend' and a.xact_start is not null and a.pid <> pg_backend_pid()
    order by a.xact_start limit 3
  ) as a
)
"""

_WORKERS: LiteralString = """
select h.worker, extract(epoch from now() - h.seen_at)::int from queue.heartbeats as h
where not exists (
  select from queue.heartbeats as y
  where split_part(y.worker, '/', 1) = split_part(h.worker, '/', 1) and y.started_at > h.seen_at
)
"""


def _rows(conn: Connection, query: LiteralString, given: Any = None) -> list[tuple[Any, ...]]:
    return conn.cursor(row_factory=tuple_row).execute(query, given).fetchall()


def roles(conn: Connection) -> Iterator[Finding]:
    """Attributes and memberships of the API's roles and of ours."""
    found = dict(_rows(conn, _ROLES, [list(_MEMBERS)]))
    members = {role: set(of) for role, of in _rows(conn, _MEMBERSHIPS, [list(_MEMBERS)])}
    for role, wanted in _MEMBERS.items():
        if role not in found:
            yield finding("role_missing", role)
            continue
        for attribute in found[role]:
            yield finding(
                "role_attribute", f"{role} has {attribute}", remedy=f"alter role {role} no{attribute}"
            )
        there = members.get(role, set())
        for other in sorted(there - wanted):
            yield finding("role_membership", f"{role} in {other}", remedy=f"revoke {other} from {role}")
        for other in sorted(wanted - there):
            yield finding("role_membership", f"{role} not in {other}", remedy=f"grant {other} to {role}")


def settings(conn: Connection) -> Iterator[Finding]:
    """What rules rest on: nothing pinned, no open defaults, and Storage tells its operation."""
    for where, entry in _rows(conn, _SETTINGS, [[*_MEMBERS, "postgres", "supabase_storage_admin"]]):
        yield finding(
            "setting_pinned", f"{where}: {entry}", remedy=f"alter {where} reset {entry.partition('=')[0]}"
        )
    if roles_open := sorted({row[0] for row in _rows(conn, _DEFAULTS)}):
        yield finding("default_privileges", f"execute for {', '.join(roles_open)} in schema public")
    if _rows(conn, "select to_regprocedure('storage.operation()') is null")[0][0]:
        yield finding("storage_operation_missing", "storage.operation()")


def policy(conn: Connection) -> Iterator[Finding]:
    """The site's row of limits, the variants, and the buckets that follow from them."""
    if not _rows(conn, "select from public.site_policies"):
        yield finding("site_policy_missing", "public.site_policies")
    if missing := _rows(
        conn,
        "select r from unnest(private.variant_roles()) as r"
        " where not exists (select from public.variant_specs as s where s.role = r)",
    ):
        yield finding("site_policy_missing", f"public.variant_specs: {', '.join(r for (r,) in missing)}")
    for bucket, is_there, differences in _rows(conn, _BUCKETS, ()):
        if not is_there:
            yield finding("bucket_missing", bucket)
        elif differences:
            yield finding("bucket_changed", f"{bucket}: {'; '.join(differences)}")


def work(conn: Connection) -> Iterator[Finding]:
    """Jobs and workers."""
    given = {"stale": STALE_SECONDS, "lag": LAG_SECONDS, "silent": SILENT_SECONDS}
    for code, subject, count in _rows(conn, _JOBS, given):
        kind, _, name = subject.partition(" ")
        match code:
            case "queue_paused":
                yield finding(code, subject, command=f"imageledger queue resume --{kind} {name} --yes")
            case "queue_lag":
                yield finding(code, f"{subject}, for {count} s")
            case "dead_jobs":
                yield finding(
                    code,
                    f"{count} of {subject}",
                    command=f"imageledger queue ls --state dead --actor {subject}",
                )
            case _:
                yield finding(code, f"{count} of {subject}")
    for count, seconds in _rows(conn, _RELAY, given):
        relay = "none was ever seen" if seconds is None else f"the last one stopped {seconds} s ago"
        yield finding("relay_missing", f"{count} wait for messages, {relay}")
    beats = _rows(conn, _WORKERS)
    if not any(seconds <= SILENT_SECONDS for _, seconds in beats):
        last = min((seconds for _, seconds in beats), default=None)
        yield finding(
            "no_worker", "none was ever seen" if last is None else f"the last one was seen {last} s ago"
        )
    for worker, seconds in beats:
        if seconds > SILENT_SECONDS:
            yield finding("worker_silent", f"{worker}, for {seconds} s")


def notifications(conn: Connection, part: float = NOTIFY_PART) -> Iterator[Finding]:
    """What was notified is taken away by those who listen."""
    ((usage, sessions),) = _rows(conn, _NOTIFY, ())
    if usage > part:
        whose = (
            f"sessions in a transaction: {sessions}"
            if sessions
            else "no session in a transaction is to be seen"
        )
        yield finding("notifications_pile_up", f"{usage:.0%} full; {whose}")
