create or replace function queue.extend(
  ids bigint[],
  tokens uuid[],
  lease interval default '30 seconds'
) returns setof bigint
language plpgsql volatile security definer
set search_path = '', pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
#variable_conflict use_column
begin
  -- A row that is locked is being ended right now: skipped, so that one job never holds up the others' heartbeat.
  with held as materialized (
    select j.id
    from unnest(ids, tokens) as mine (id, token)
    join queue.jobs as j on j.id = mine.id and j.lease_token = mine.token
    where j.state = 'running'
    for no key update of j skip locked
  )
  update queue.jobs as j set leased_until = now() + queue.sane_lease(extend.lease)
  where j.id = any(array(select h.id from held as h));

  return query
  select mine.id
  from unnest(ids, tokens) as mine (id, token)
  left join queue.jobs as j on j.id = mine.id and j.lease_token = mine.token and j.state = 'running'
  where j.id is null;
end
$$;

comment on function queue.extend is
'The heartbeat: renews all leases of a worker in one statement. Returns the jobs that this worker does not hold any more.';

revoke all on function queue.extend(bigint[], uuid[], interval) from public, anon, authenticated, service_role;
grant execute on function queue.extend(bigint[], uuid[], interval) to media_worker;
