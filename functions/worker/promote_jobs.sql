create or replace function queue.promote(queue text, batch int default 1000) returns int
language plpgsql volatile security definer
set search_path = '', pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
as $$
#variable_conflict use_column
declare
  v_count int;
begin
  with due as materialized (
    select j.id, j.priority, j.run_at, coalesce(j.owner_id, '00000000-0000-0000-0000-000000000000'::uuid) as owner_key
    from queue.jobs as j
    where j.state = 'scheduled' and j.queue = promote.queue and j.run_at <= now()
    order by j.run_at
    limit promote.batch
    for no key update skip locked
  ),
  owners as materialized (
    select
      d.priority, d.owner_key,
      greatest(
        0,
        (
          select j.tag from queue.jobs as j
          where j.state = 'ready' and j.queue = promote.queue and j.priority = d.priority
          order by j.tag limit 1
        ),
        (
          select j.tag + 1 from queue.jobs as j
          where j.state = 'ready' and j.queue = promote.queue and j.priority = d.priority
            and coalesce(j.owner_id, '00000000-0000-0000-0000-000000000000'::uuid) = d.owner_key
          order by j.tag desc limit 1
        )
      ) as first_tag
    from (select distinct due.priority, due.owner_key from due) as d
  ),
  ranked as (
    select
      d.id,
      o.first_tag + row_number() over (partition by d.priority, d.owner_key order by d.run_at, d.id) - 1 as tag
    from due as d
    join owners as o using (priority, owner_key)
  )
  update queue.jobs as j set state = 'ready', tag = r.tag
  from ranked as r
  where j.id = r.id;
  get diagnostics v_count = row_count;
  return v_count;
end
$$;

comment on function queue.promote is
'Puts the scheduled jobs of a queue that are due in line, fairly between owners; returns how many. queue.refresh_head calls it.';

revoke all on function queue.promote(text, int) from public, anon, authenticated, service_role;
