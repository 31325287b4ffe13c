create or replace function queue.claim_published(
  queue text,
  worker text,
  ids bigint[],
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
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
#variable_conflict use_column
begin
  if cardinality(done_ids) > 0 then
    return query
    select lost, null::text, null::jsonb, null::uuid, null::smallint, null::smallint, null::uuid, null::timestamptz,
      null::double precision, null::text, null::text
    from queue.acknowledge(done_ids, done_tokens) as lost;
  end if;

  if cardinality(ids) = 0 then
    return;
  end if;
  -- Also of those that cannot be claimed now (paused, or being changed): their turn to be published comes again.
  perform queue.retract(ids);

  return query
  with next as materialized (
    select j.id from queue.jobs as j
    where j.id = any(claim_published.ids) and j.state = 'ready' and j.queue = claim_published.queue
      and not exists (
        select from queue.pauses as p
        where (p.kind = 'queue' and p.name = j.queue) or (p.kind = 'actor' and p.name = j.actor)
      )
      and (
        j.dedupe_key is null
        or not exists (
          select from queue.jobs as r
          where r.state = 'running' and r.dedupe_key is not null and r.dedupe_key = j.dedupe_key
        )
      )
    for no key update of j skip locked
  ),
  claimed as (
    update queue.jobs as j
    set state = 'running', attempts = j.attempts + 1, started_at = now(), leased_until = now() + queue.sane_lease(claim_published.lease),
      lease_token = gen_random_uuid(), worker = claim_published.worker
    where j.id = any(array(select n.id from next as n))
    returning j.*
  )
  select c.id, c.actor, c.args, c.owner_id, c.attempts, c.max_attempts, c.lease_token, c.created_at,
    greatest(0, extract(epoch from now() - c.run_at))::double precision, c.correlation_id, c.trace_parent
  from claimed as c
  order by c.priority, c.tag, c.id;
end
$$;

comment on function queue.claim_published is
'queue.take for ids that came through a message broker: leases those of them that wait in this queue, and acknowledges done_ids. An id that is doubled, late, foreign or paused gives no row.';

revoke all on function queue.claim_published(text, text, bigint[], interval, bigint[], uuid[])
from public, anon, authenticated, service_role;
grant execute on function queue.claim_published(text, text, bigint[], interval, bigint[], uuid[]) to media_worker;
