create or replace function private.fail_generation(
  generation_id uuid, job_id bigint, lease_token uuid, code text, message text, is_retryable boolean
) returns text
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_state text;
begin
  perform queue.complete(job_id, lease_token);
  v_state := private.end_generation(generation_id, code, message, is_retryable);
  -- With the job's end: nobody comes after this worker.
  perform private.remove_attempts(generation_id);
  return v_state;
end
$$;

comment on function private.fail_generation is
'Ends a generation without a result, with the reason for its owner, and completes the job; nothing is debited, and what was stored is removed. Answers failed, canceled when its owner had asked for it, or gone.';

create or replace function private.end_generation(
  generation_id uuid, code text, message text, is_retryable boolean
) returns text
language plpgsql volatile
set search_path = ''
as $$
declare
  v_status text;
begin
  perform private.share_owner(
    (select j.owner_id from public.generation_jobs as j where j.id = end_generation.generation_id)
  );
  update public.generation_jobs as j set
    status = f.status, completed_at = clock_timestamp(),
    error = case when f.status = 'failed' then left(end_generation.message, 1000) end,
    error_code = case when f.status = 'failed' then left(end_generation.code, 100) end,
    is_retryable = f.status = 'failed' and end_generation.is_retryable
  from (
    select o.id, case when o.cancel_requested_at is null then 'failed' else 'canceled' end as status
    from public.generation_jobs as o where o.id = end_generation.generation_id for update
  ) as f
  where j.id = f.id
    -- One that ran out of time ends for good with its worker.
    and (private.is_in_flight(j.status) or (private.may_take_render(j) and end_generation.code <> 'timed_out'))
  returning j.status into v_status;
  return coalesce(v_status, 'gone');
end
$$;

comment on function private.end_generation is 'Failed with a reason, or canceled when its owner had asked for it; gone when it has ended already.';

revoke all on function private.fail_generation(uuid, bigint, uuid, text, text, boolean)
from public, anon, authenticated;
revoke all on function private.end_generation(uuid, text, text, boolean) from public, anon, authenticated;
grant execute on function private.fail_generation(uuid, bigint, uuid, text, text, boolean)
to media_worker, service_role;
