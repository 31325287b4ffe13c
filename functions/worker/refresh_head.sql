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
