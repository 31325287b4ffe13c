create or replace function queue.fail(
  job_id bigint,
  lease_token uuid,
  error text,
  retryable boolean default true,
  retry_after interval default null
) returns text
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
#variable_conflict use_column
declare
  v_job queue.jobs;
begin
  select j.* into v_job from queue.jobs as j
  where j.id = fail.job_id and j.lease_token = fail.lease_token and j.state = 'running'
  for no key update;
  if not found then
    raise sqlstate 'IL001' using
      message = format('job %s: this attempt does not hold the lease any more', job_id),
      detail = 'lease_lost';
  end if;
  return queue.end_attempt(
    v_job, fail.error, fail.retryable,
    greatest(queue.backoff(v_job.attempts), least(coalesce(fail.retry_after, interval '0'), interval '1 hour'))
  );
end
$$;

comment on function queue.fail is
'Ends one attempt without success and returns the job''s new state: scheduled (backoff, at least retry_after), dead (not retryable, or no attempts left) or canceled (superseded). Raises IL001 (lease_lost) as queue.complete does.';

revoke all on function queue.fail(bigint, uuid, text, boolean, interval)
from public, anon, authenticated, service_role;
grant execute on function queue.fail(bigint, uuid, text, boolean, interval) to media_worker;
