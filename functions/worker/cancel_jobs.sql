create or replace function queue.cancel(ids bigint[], reason text default null)
returns table (id bigint, outcome text)
language plpgsql volatile
set search_path = '', pg_temp
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  v_job queue.jobs;
  v_error constant text := 'canceled by an operator' || coalesce(': ' || nullif(cancel.reason, ''), '');
begin
  -- All the jobs before any of what they are about: the order of locks.
  perform from queue.jobs as j where j.id = any(cancel.ids) order by j.id for no key update skip locked;
  for v_job in
    select j.* from queue.jobs as j where j.id = any(cancel.ids)
    order by j.owner_id, j.id
    for no key update skip locked
  loop
    id := v_job.id;
    if v_job.finished_at is not null then
      outcome := 'finished already';
      return next;
      continue;
    end if;
    outcome := 'canceled';
    -- Whoever works on it has lost the lease: its result is refused.
    update queue.jobs as j set
      state = 'canceled', finished_at = now(), leased_until = null, error = v_error,
      run_at = case when j.run_at = 'infinity' then now() else j.run_at end
    where j.id = v_job.id;
    insert into queue.interventions (action, job_id, reason, before)
    values ('cancel', v_job.id, cancel.reason, queue.summary(v_job));
    -- Another job with the key does what this one was to do.
    if v_job.dedupe_key is null or not exists (
      select from queue.jobs as w
      where w.dedupe_key = v_job.dedupe_key and w.state in ('scheduled', 'ready')
    ) then
      perform queue.bury(v_job, v_error);
    end if;
    return next;
  end loop;
end
$$;

comment on function queue.cancel is
'For operators: ends jobs that are not finished, also running ones, whose worker has then lost the lease. An image or generation that waited for it fails with a reason, and its owner can retry. One row a job that is not being changed by somebody else.';

revoke all on function queue.cancel(bigint[], text) from public, anon, authenticated, service_role;
