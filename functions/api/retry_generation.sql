create or replace function private.retry_generation(job_id uuid, new_seed boolean) returns public.generation_jobs
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_job constant public.generation_jobs := private.lock_generation(job_id);
  v_price_id constant text := private.lock_owner(v_job.owner_id);
  v_request jsonb := private.request_of(v_job);
  v_policy public.site_policies;
begin
  select * into v_policy from public.site_policies;
  if new_seed then
    v_request := v_request #- '{params,seed}';
  end if;
  perform private.check_generation(v_job.owner_id, v_price_id, v_request, v_policy);
  perform private.check_rates(v_job.owner_id, v_job.session_id, v_policy);
  return private.insert_generation(v_job.owner_id, v_request, v_policy, v_job.id);
end
$$;

comment on function private.retry_generation is 'The body of public.retry_generation.';

create or replace function public.retry_generation(job_id uuid, new_seed boolean default false)
returns public.generation_jobs
language sql volatile
set search_path = '', pg_temp
as $$
  select * from private.retry_generation(retry_generation.job_id, coalesce(retry_generation.new_seed, false))
$$;

comment on function public.retry_generation is
'Orders the same recipe again, at the same place of the tree; with new_seed, with another seed. Answers the new generation.';

revoke all on function private.retry_generation(uuid, boolean) from public, anon, authenticated, service_role;
revoke all on function public.retry_generation(uuid, boolean) from public, anon, authenticated, service_role;
grant execute on function private.retry_generation(uuid, boolean) to authenticated;
grant execute on function public.retry_generation(uuid, boolean) to authenticated;
