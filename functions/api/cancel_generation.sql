create or replace function private.cancel_generation(job_id uuid) returns public.generation_jobs
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_job public.generation_jobs := private.lock_generation(job_id);
begin
  if v_job.status in ('succeeded', 'failed') then
    perform private.refuse(409, 'generation_ended', format('The generation has %s already.', v_job.status),
      'There is nothing to cancel.');
  end if;
  update public.generation_jobs as j set
    status = case when j.status = 'queued' then 'canceled' else j.status end,
    completed_at = case when j.status = 'queued' then clock_timestamp() else j.completed_at end,
    cancel_requested_at = coalesce(j.cancel_requested_at, clock_timestamp()),
    replay_job_ids = '{}'
  where j.id = v_job.id
  returning * into v_job;
  return v_job;
end
$$;

comment on function private.cancel_generation is 'The body of public.cancel_generation.';

create or replace function public.cancel_generation(job_id uuid) returns public.generation_jobs
language sql volatile
set search_path = '', pg_temp
as $$
  select * from private.cancel_generation(cancel_generation.job_id)
$$;

comment on function public.cancel_generation is
'Cancels a generation: at once while it is queued, else as soon as its worker hears of it; nothing is debited. What is left of a replay goes too. Answers the generation; again: the same.';

revoke all on function private.cancel_generation(uuid) from public, anon, authenticated, service_role;
revoke all on function public.cancel_generation(uuid) from public, anon, authenticated, service_role;
grant execute on function private.cancel_generation(uuid) to authenticated;
grant execute on function public.cancel_generation(uuid) to authenticated;
