create or replace function queue.workers()
returns table (worker text, job_count bigint, leased_until timestamptz)
language sql stable security definer
set search_path = '', pg_temp
as $$
  select j.worker, count(*), min(j.leased_until)
  from queue.jobs as j
  where j.state = 'running'
  group by j.worker
$$;

comment on function queue.workers is 'Who holds jobs now. A worker process looks here for dead processes of its own machine.';

revoke all on function queue.workers() from public, anon, authenticated, service_role;
grant execute on function queue.workers() to media_worker;
