create or replace function private.check_lease(job_id bigint, lease_token uuid) returns void
language plpgsql volatile
set search_path = '', pg_temp
as $$
declare
  v_job queue.jobs;
begin
  select q.* into v_job from queue.jobs as q
  where q.id = check_lease.job_id and q.lease_token = check_lease.lease_token and q.state = 'running'
  -- Nobody takes it over before this transaction has ended, however long that waits for other locks.
  for share;
  if not found then
    raise sqlstate 'IL001' using
      message = format('job %s: this attempt does not hold the lease any more', job_id), detail = 'lease_lost';
  end if;
  perform queue.carry_on(v_job.correlation_id, v_job.trace_parent);
end
$$;

comment on function private.check_lease is
'Raises IL001 (lease_lost) when the attempt was given up, before it costs anything; until the transaction ends it cannot be.';

revoke all on function private.check_lease(bigint, uuid) from public, anon, authenticated;
