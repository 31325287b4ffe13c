create or replace function queue.reap(batch int default 1000, dead_worker text default null)
returns table (id bigint, actor text, state text)
language plpgsql volatile security definer
set search_path = '', pg_temp
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  v_job queue.jobs;
begin
  for v_job in
    select j.* from queue.jobs as j
    where j.state = 'running'
      and (j.worker = reap.dead_worker or (reap.dead_worker is null and j.leased_until < now()))
    order by j.leased_until
    limit reap.batch
    for no key update skip locked
  loop
    id := v_job.id;
    actor := v_job.actor;
    state := queue.end_attempt(
      v_job,
      format('worker %s was lost during attempt %s of %s', v_job.worker, v_job.attempts, v_job.max_attempts),
      true,
      queue.backoff(v_job.attempts)
    );
    return next;
  end loop;
end
$$;

comment on function queue.reap is
'Ends the attempts whose lease has run out, or those of dead_worker, which is known to be dead: scheduled again after a pause, or dead. A job that kills its process every time ends here.';

revoke all on function queue.reap(int, text) from public, anon, authenticated, service_role;
grant execute on function queue.reap(int, text) to media_worker;
