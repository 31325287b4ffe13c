create or replace function private.prune_generations(batch int default 100) returns int
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_until constant timestamptz := (
    select now() - p.generation_failed_seconds * interval '1 second' from public.site_policies as p
  );
  v_job record;
  v_count int := 0;
begin
  for v_job in
    select j.id, j.owner_id, j.session_id, j.status, j.error_code from public.generation_jobs as j
    where j.status in ('failed', 'canceled') and j.completed_at <= v_until
      and not exists (
        select from public.generation_jobs as c where c.parent_job_id = j.id and c.owner_id = j.owner_id
      )
    order by j.completed_at limit batch
  loop
    -- In the one lock order; an owner who is busy has a turn next time.
    perform 1 from public.profiles as p where p.id = v_job.owner_id for no key update skip locked;
    if found then
      delete from public.generation_jobs as j
      where j.id = v_job.id and j.status in ('failed', 'canceled') and not exists (
        select from public.generation_jobs as c where c.parent_job_id = j.id and c.owner_id = j.owner_id
      );
      if found then
        perform private.record_generation_event(v_job.owner_id, v_job.session_id, v_job.id, 'pruned',
          jsonb_build_object('status', v_job.status, 'code', v_job.error_code));
        v_count := v_count + 1;
      end if;
    end if;
  end loop;
  return v_count;
end
$$;

comment on function private.prune_generations is
'Deletes generations that failed or were canceled longer ago than site_policies.generation_failed_seconds, the oldest `batch`, from the tips of the tree; answers how many. Their history stays.';

revoke all on function private.prune_generations(int) from public, anon, authenticated;
grant execute on function private.prune_generations(int) to media_worker, service_role;
