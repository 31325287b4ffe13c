create or replace function private.expire_generations(batch int default 100) returns int
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_until constant timestamptz := (
    select now() - p.generation_seconds_max * interval '1 second' from public.site_policies as p
  );
  v_job record;
  v_count int := 0;
begin
  for v_job in
    select j.id, j.owner_id from public.generation_jobs as j
    where j.status in ('queued', 'starting', 'processing') and j.created_at <= v_until
    order by j.created_at limit batch
  loop
    -- In the one lock order; an owner who is busy has a turn next time.
    perform 1 from public.profiles as p where p.id = v_job.owner_id for no key update skip locked;
    if found then
      perform private.end_generation(
        v_job.id, 'timed_out', 'This picture took too long. It appears if it is finished after all.', true
      );
      v_count := v_count + 1;
    end if;
  end loop;
  return v_count;
end
$$;

comment on function private.expire_generations is
'Fails generations without an end after site_policies.generation_seconds_max, the oldest `batch`; answers how many. A late success still completes them.';

revoke all on function private.expire_generations(int) from public, anon, authenticated;
grant execute on function private.expire_generations(int) to media_worker, service_role;
