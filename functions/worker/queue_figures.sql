create or replace function queue.figures()
returns table (queue text, state text, job_count bigint, lag_seconds double precision)
language sql stable security definer
set search_path = '', pg_temp
-- By the partial indexes of the live states, whatever the number of finished rows.
set enable_seqscan = off
as $$
  select j.queue, 'ready', count(*), extract(epoch from clock_timestamp() - min(j.run_at))::double precision
  from queue.jobs as j where j.state = 'ready' group by j.queue
  union all
  -- Of a paused actor: due at infinity.
  select j.queue, case when j.run_at = 'infinity' then 'paused' else 'scheduled' end, count(*), 0
  from queue.jobs as j where j.state = 'scheduled' group by 1, 2
  union all
  select j.queue, 'running', count(*), 0 from queue.jobs as j where j.state = 'running' group by j.queue
  union all
  select j.queue, 'dead', count(*), 0
  from queue.jobs as j where j.state = 'dead' and j.finished_at is not null group by j.queue
$$;

comment on function queue.figures is
'How many jobs each queue has in each live state and among the dead, and how long the oldest that is due has waited; paused are the scheduled ones of a paused actor. For metrics and `imageledger status`.';

revoke all on function queue.figures() from public, anon, authenticated, service_role;
grant execute on function queue.figures() to media_worker;
