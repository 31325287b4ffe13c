create or replace function queue.park_head(queue text) returns text[]
language plpgsql volatile
set search_path = '', pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
as $$
#variable_conflict use_column
declare
  v_may_park constant boolean := pg_try_advisory_xact_lock_shared(queue.pause_lock());
  v_paused constant text[] := array(select p.name from queue.pauses as p where p.kind = 'actor');
begin
  if v_may_park and cardinality(v_paused) > 0 then
    with head as materialized (
      select j.id, j.actor from queue.jobs as j
      where j.state = 'ready' and j.queue = park_head.queue
      order by j.priority, j.tag, j.id
      limit 500
    ),
    parked as materialized (
      select j.id from queue.jobs as j
      where j.id = any(array(select h.id from head as h where h.actor = any(v_paused))) and j.state = 'ready'
      for no key update skip locked
    )
    update queue.jobs as j set state = 'scheduled', run_at = 'infinity'
    where j.id = any(array(select p.id from parked as p));
  end if;
  return v_paused;
end
$$;

comment on function queue.park_head is
'Takes the jobs of paused actors out of the head of the line; returns those actors'' names. queue.refresh_head calls it.';

revoke all on function queue.park_head(text) from public, anon, authenticated, service_role;

create or replace function queue.refresh_head(queue text) returns text[]
language plpgsql volatile
set search_path = '', pg_temp
as $$
declare
  v_paused text[] := '{}';
begin
  -- No pause at all is one look into an empty table.
  if exists (select from queue.pauses) then
    if exists (select from queue.pauses as p where p.kind = 'queue' and p.name = refresh_head.queue) then
      return null;
    end if;
    v_paused := queue.park_head(refresh_head.queue);
  end if;

  if exists (
    select from queue.jobs as j
    where j.state = 'scheduled' and j.queue = refresh_head.queue and j.run_at <= now()
  ) then
    perform queue.promote(refresh_head.queue);
  end if;
  return v_paused;
end
$$;

comment on function queue.refresh_head is
'Makes the head of the line what it must be now: without jobs of paused actors, whose names it returns, and with those that are due. Null when the queue is paused. The caller decides how plans are made.';

revoke all on function queue.refresh_head(text) from public, anon, authenticated, service_role;

create or replace function queue.take(
  queue text,
  worker text,
  max_jobs int,
  lease interval default '30 seconds',
  done_ids bigint[] default '{}',
  done_tokens uuid[] default '{}'
) returns table (
  id bigint,
  actor text,
  args jsonb,
  owner_id uuid,
  attempts smallint,
  max_attempts smallint,
  lease_token uuid,
  created_at timestamptz,
  wait_seconds double precision,
  correlation_id text,
  trace_parent text
)
language plpgsql volatile security definer
set search_path = '', pg_temp
-- Whatever the statistics say of a table that changes all the time: index order, never a scan or a sort.
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  v_paused text[];
begin
  if cardinality(done_ids) > 0 then
    return query
    select lost, null::text, null::jsonb, null::uuid, null::smallint, null::smallint, null::uuid, null::timestamptz,
      null::double precision, null::text, null::text
    from queue.acknowledge(done_ids, done_tokens) as lost;
  end if;

  if max_jobs <= 0 then
    return;
  end if;

  v_paused := queue.refresh_head(take.queue);
  if v_paused is null then
    return;
  end if;

  return query
  with next as materialized (
    select j.id from queue.jobs as j
    where j.state = 'ready' and j.queue = take.queue
      and j.actor <> all(v_paused)
      and (
        j.dedupe_key is null
        or not exists (
          select from queue.jobs as r
          where r.state = 'running' and r.dedupe_key is not null and r.dedupe_key = j.dedupe_key
        )
      )
    order by j.priority, j.tag, j.id
    limit take.max_jobs
    for no key update skip locked
  ),
  claimed as (
    update queue.jobs as j
    set state = 'running', attempts = j.attempts + 1, started_at = now(), leased_until = now() + queue.sane_lease(take.lease),
      lease_token = gen_random_uuid(), worker = take.worker
    where j.id = any(array(select n.id from next as n))
    returning j.*
  )
  select c.id, c.actor, c.args, c.owner_id, c.attempts, c.max_attempts, c.lease_token, c.created_at,
    greatest(0, extract(epoch from now() - c.run_at))::double precision, c.correlation_id, c.trace_parent
  from claimed as c
  order by c.priority, c.tag, c.id;
end
$$;

comment on function queue.take is
'Acknowledges done_ids and leases up to max_jobs of one queue, in one round trip. A row without an actor is an acknowledgement that came too late: that lease was lost. wait_seconds: since it was due.';

revoke all on function queue.take(text, text, int, interval, bigint[], uuid[])
from public, anon, authenticated, service_role;
grant execute on function queue.take(text, text, int, interval, bigint[], uuid[]) to media_worker;

-- What a worker calls does not change its columns: one of the version before may be at work while this is applied.
create or replace function queue.claim(
  queue text,
  worker text,
  max_jobs int,
  lease interval default '30 seconds',
  done_ids bigint[] default '{}',
  done_tokens uuid[] default '{}'
) returns table (
  id bigint,
  actor text,
  args jsonb,
  owner_id uuid,
  attempts smallint,
  max_attempts smallint,
  lease_token uuid,
  created_at timestamptz
)
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
begin
  return query
  select t.id, t.actor, t.args, t.owner_id, t.attempts, t.max_attempts, t.lease_token, t.created_at
  from queue.take(claim.queue, claim.worker, claim.max_jobs, claim.lease, claim.done_ids, claim.done_tokens) as t;
end
$$;

comment on function queue.claim is 'queue.take with the columns that workers of the version before expect.';

revoke all on function queue.claim(text, text, int, interval, bigint[], uuid[])
from public, anon, authenticated, service_role;
grant execute on function queue.claim(text, text, int, interval, bigint[], uuid[]) to media_worker;
