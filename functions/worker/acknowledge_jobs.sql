create or replace function queue.acknowledge(ids bigint[], tokens uuid[]) returns setof bigint
language plpgsql volatile security definer
set search_path = '', pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  v_count int;
begin
  update queue.jobs as j
  set state = 'succeeded', finished_at = now(), leased_until = null, error = null
  from unnest(ids, tokens) as done (id, token)
  where j.id = done.id and j.lease_token = done.token and j.state = 'running';
  get diagnostics v_count = row_count;

  -- The answer to an earlier try may have been lost: what this very attempt has finished is not lost.
  if v_count < cardinality(ids) then
    return query
    select done.id
    from unnest(ids, tokens) as done (id, token)
    left join queue.jobs as j
      on j.id = done.id and j.lease_token = done.token and j.state = 'succeeded'
    where j.id is null;
  end if;
end
$$;

comment on function queue.acknowledge is
'Marks finished attempts succeeded, many at once. Returns those whose lease was lost; they are left alone.';

revoke all on function queue.acknowledge(bigint[], uuid[]) from public, anon, authenticated, service_role;
grant execute on function queue.acknowledge(bigint[], uuid[]) to media_worker;
