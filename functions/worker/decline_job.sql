create or replace function queue.decline(job_id bigint, lease_token uuid, error text, pause interval) returns text
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
#variable_conflict use_column
declare
  v_job queue.jobs;
begin
  select j.* into v_job from queue.jobs as j
  where j.id = decline.job_id and j.lease_token = decline.lease_token and j.state = 'running'
  for no key update;
  -- Nobody has known it for a day: more likely a mistake than a deploy.
  if not found or v_job.created_at < now() - interval '1 day' then
    return queue.fail(job_id, lease_token, decline.error, true, decline.pause);
  end if;
  perform queue.postpone(job_id, lease_token, decline.pause);
  update queue.jobs as j set error = left(decline.error, 4000) where j.id = v_job.id and j.state = 'scheduled';
  return 'scheduled';
end
$$;

comment on function queue.decline is
'Gives back a job that this worker''s code does not know, its actor or its arguments: a newer worker will. Due after the pause; the attempt does not count during the job''s first day. Raises IL001 (lease_lost) as queue.complete does.';

revoke all on function queue.decline(bigint, uuid, text, interval) from public, anon, authenticated, service_role;
grant execute on function queue.decline(bigint, uuid, text, interval) to media_worker;
