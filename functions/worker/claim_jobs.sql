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
