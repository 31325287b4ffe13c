create or replace function queue.complete(job_id bigint, lease_token uuid) returns void
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
#variable_conflict use_column
declare
  v_job queue.jobs;
begin
  update queue.jobs as j
  set state = 'succeeded', finished_at = now(), leased_until = null, error = null
  where j.id = complete.job_id and j.lease_token = complete.lease_token and j.state = 'running'
  returning j.* into v_job;
  if not found then
    raise sqlstate 'IL001' using
      message = format('job %s: this attempt does not hold the lease any more', job_id),
      detail = 'lease_lost';
  end if;
  perform queue.carry_on(v_job.correlation_id, v_job.trace_parent);
end
$$;

comment on function queue.complete is
'Marks one attempt succeeded, in the transaction of its effects. Raises IL001 (lease_lost) when the attempt does not hold the lease any more, so that a worker that was given up cannot commit.';

revoke all on function queue.complete(bigint, uuid) from public, anon, authenticated, service_role;
grant execute on function queue.complete(bigint, uuid) to media_worker;
