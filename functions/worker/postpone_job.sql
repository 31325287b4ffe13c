create or replace function queue.postpone(job_id bigint, lease_token uuid, pause interval) returns void
language plpgsql volatile
set search_path = '', pg_temp
as $$
#variable_conflict use_column
declare
  v_job queue.jobs;
begin
  select j.* into v_job from queue.jobs as j
  where j.id = postpone.job_id and j.lease_token = postpone.lease_token and j.state = 'running'
  for no key update;
  if not found then
    raise sqlstate 'IL001' using
      message = format('job %s: this attempt does not hold the lease any more', job_id), detail = 'lease_lost';
  end if;
  if v_job.dedupe_key is not null and exists (
    select from queue.jobs as j where j.dedupe_key = v_job.dedupe_key and j.state in ('scheduled', 'ready')
  ) then
    perform queue.end_attempt(v_job, 'another one goes on', true, pause);
    return;
  end if;
  update queue.jobs as j
  set state = 'scheduled', attempts = j.attempts - 1, run_at = clock_timestamp() + postpone.pause,
    leased_until = null, lease_token = null, worker = null, error = null
  where j.id = v_job.id;
end
$$;

comment on function queue.postpone is
'Ends an attempt that only waits for somebody else: due again after the pause, and the attempt does not count. Raises IL001 (lease_lost) as queue.complete does.';

revoke all on function queue.postpone(bigint, uuid, interval) from public, anon, authenticated, service_role;
