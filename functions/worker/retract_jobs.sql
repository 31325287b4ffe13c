create or replace function queue.retract(ids bigint[]) returns void
language sql volatile security definer
set search_path = '', pg_temp
as $$
  delete from queue.publications as p
  where p.job_id in (
    select o.job_id from queue.publications as o where o.job_id = any(retract.ids)
    order by o.job_id
    for update skip locked
  )
$$;

comment on function queue.retract is
'These jobs are not on the wire, or not any more: they may be published again at once.';

revoke all on function queue.retract(bigint[]) from public, anon, authenticated, service_role;
grant execute on function queue.retract(bigint[]) to media_worker;
