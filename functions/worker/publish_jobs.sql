create or replace function queue.publish(
  queue text,
  max_jobs int,
  life interval,
  is_on_wire boolean default false
) returns table (id bigint, actor text)
language plpgsql volatile security definer
set search_path = '', pg_temp
-- As for queue.take: index order, never a scan or a sort.
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  v_paused text[];
begin
  if is_on_wire then
    update queue.publications as p set published_until = now() + publish.life
    where p.queue = publish.queue and p.published_until between now() and now() + publish.life / 2;
  end if;
  -- What is over, was claimed by a worker that needs no message, or is not waiting any more.
  delete from queue.publications as p
  where p.queue = publish.queue and (
    p.published_until <= now()
    or not exists (select from queue.jobs as j where j.id = p.job_id and j.state = 'ready')
  );

  v_paused := queue.refresh_head(publish.queue);
  if v_paused is null then
    return;
  end if;

  return query
  with next as materialized (
    select j.id, j.actor, j.priority, j.tag from queue.jobs as j
    where j.state = 'ready' and j.queue = publish.queue
      and j.actor <> all(v_paused)
      and not exists (select from queue.publications as p where p.job_id = j.id)
      and (
        j.dedupe_key is null
        or not exists (
          select from queue.jobs as r
          where r.state = 'running' and r.dedupe_key is not null and r.dedupe_key = j.dedupe_key
        )
      )
    order by j.priority, j.tag, j.id
    limit greatest(publish.max_jobs, 0)
  ),
  noted as (
    insert into queue.publications as p (job_id, queue, published_until)
    select n.id, publish.queue, now() + publish.life from next as n
    on conflict on constraint publications_pkey do nothing
    returning p.job_id
  )
  select n.id, n.actor
  from noted as o
  join next as n on n.id = o.job_id
  order by n.priority, n.tag, n.id;
end
$$;

comment on function queue.publish is
'For the relay: notes up to max_jobs due jobs of a queue as published, in the order of claims, and returns what to send. With is_on_wire, when the broker still has all that was sent, nothing of it is sent again.';

revoke all on function queue.publish(text, int, interval, boolean) from public, anon, authenticated, service_role;
grant execute on function queue.publish(text, int, interval, boolean) to media_worker;
