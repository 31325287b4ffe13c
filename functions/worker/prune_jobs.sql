create or replace function queue.prune(
  keep_succeeded interval default '1 day',
  keep_failed interval default '30 days',
  batch int default 5000
) returns int
language plpgsql volatile security definer
set search_path = '', pg_temp
set enable_seqscan = off
as $$
declare
  v_count int := 0;
  v_more int;
begin
  delete from queue.jobs as j
  where j.id = any(array(
    select s.id from queue.jobs as s
    where s.state = 'succeeded' and s.finished_at is not null and s.finished_at < now() - keep_succeeded
    order by s.finished_at
    limit batch
    for update skip locked
  ));
  get diagnostics v_count = row_count;

  delete from queue.jobs as j
  where j.id = any(array(
    select f.id from queue.jobs as f
    where f.state in ('dead', 'canceled') and f.finished_at is not null and f.finished_at < now() - keep_failed
    limit batch
    for update skip locked
  ));
  get diagnostics v_more = row_count;

  delete from queue.interventions as i where i.done_at < now() - interval '1 year';
  return v_count + v_more;
end
$$;

comment on function queue.prune is
'Deletes finished jobs that are older than the policy, a batch at a time; returns how many.';

revoke all on function queue.prune(interval, interval, int) from public, anon, authenticated, service_role;
grant execute on function queue.prune(interval, interval, int) to media_worker;
