create or replace function queue.purge(ids bigint[], reason text default null) returns int
language plpgsql volatile
set search_path = '', pg_temp
set enable_seqscan = off
as $$
declare
  v_count int;
  v_states jsonb;
begin
  with gone as (
    delete from queue.jobs as j
    where j.id = any(array(
      select f.id from queue.jobs as f
      where f.id = any(purge.ids) and f.finished_at is not null
      for update skip locked
    ))
    returning j.actor, j.state
  ),
  counted as (
    select g.actor || ' ' || g.state as what, count(*) as job_count from gone as g group by 1
  )
  select coalesce(sum(c.job_count), 0), jsonb_object_agg(c.what, c.job_count) into v_count, v_states
  from counted as c;
  if v_count > 0 then
    insert into queue.interventions (action, subject, reason, before)
    values ('purge', v_count || ' jobs', purge.reason, v_states);
  end if;
  return v_count;
end
$$;

comment on function queue.purge is
'For operators: deletes those of the jobs that are finished, and returns how many; waiting and running ones stay.';

revoke all on function queue.purge(bigint[], text) from public, anon, authenticated, service_role;
