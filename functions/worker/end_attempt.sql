create or replace function queue.end_attempt(job queue.jobs, error text, retryable boolean, pause interval)
returns text
language plpgsql volatile
set search_path = '', pg_temp
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  v_successor bigint;
  v_state text;
begin
  if job.dedupe_key is not null then
    select j.id into v_successor from queue.jobs as j
    where j.dedupe_key = job.dedupe_key and j.state in ('scheduled', 'ready');
  end if;

  v_state := case
    when not retryable then 'dead'
    when v_successor is not null then 'canceled'
    when job.attempts >= job.max_attempts then 'dead'
    else 'scheduled'
  end;

  update queue.jobs as j
  set state = v_state, leased_until = null,
    run_at = case when v_state = 'scheduled' then now() + pause else j.run_at end,
    finished_at = case when v_state <> 'scheduled' then now() end,
    error = case
      when v_state = 'canceled' then format('superseded by job %s after: %s', v_successor, left(end_attempt.error, 4000))
      else left(end_attempt.error, 4000)
    end
  where j.id = job.id;

  if v_state = 'dead' then
    perform queue.bury(job, end_attempt.error);
  end if;
  return v_state;
end
$$;

comment on function queue.end_attempt is
'What becomes of a locked running job whose attempt failed: scheduled again after the pause, dead, or canceled when another job with its dedupe_key waits.';

revoke all on function queue.end_attempt(queue.jobs, text, boolean, interval)
from public, anon, authenticated, service_role;
