create or replace function queue.outbox() returns table (queue text, published_count int, thread_count int)
language sql stable security definer
set search_path = ''
set enable_seqscan = off
set enable_bitmapscan = off
as $$
  -- One step through the index for each queue, whatever the number of jobs.
  with recursive ready (queue) as (
    (
      select j.queue from queue.jobs as j where j.state = 'ready' order by j.queue limit 1
    )
    union all
    select (
      select j.queue from queue.jobs as j
      where j.state = 'ready' and j.queue > r.queue order by j.queue limit 1
    )
    from ready as r
    where r.queue is not null
  ),
  scheduled (queue) as (
    (
      select j.queue from queue.jobs as j where j.state = 'scheduled' order by j.queue limit 1
    )
    union all
    select (
      select j.queue from queue.jobs as j
      where j.state = 'scheduled' and j.queue > s.queue order by j.queue limit 1
    )
    from scheduled as s
    where s.queue is not null
  ),
  waiting as (
    select r.queue from ready as r where r.queue is not null
    union
    select s.queue from scheduled as s
    where exists (
      select from queue.jobs as j where j.state = 'scheduled' and j.queue = s.queue and j.run_at <= now()
    )
    union
    select p.queue from queue.publications as p
  )
  select
    w.queue,
    (
      select count(*)::int from queue.publications as p
      join queue.jobs as j on j.id = p.job_id
      where p.queue = w.queue and p.published_until > now() and j.state = 'ready'
    ),
    (
      select coalesce(sum(h.thread_count), 0)::int from queue.heartbeats as h
      where w.queue = any(h.queues) and h.seen_at > now() - interval '30 seconds'
    )
  from waiting as w
$$;

comment on function queue.outbox is
'For the relay: the queues with jobs that are due or published, how many of them the message broker has been told of, and how many threads of living workers take jobs there.';

create or replace function queue.publish(
  queue text,
  max_jobs int,
  life interval,
  is_on_wire boolean default false
) returns table (id bigint, actor text)
language plpgsql volatile security definer
set search_path = ''
-- As for queue.take: index order, never a scan or a sort.
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  v_paused text[] := '{}';
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

  if exists (select from queue.pauses) then
    if exists (select from queue.pauses as p where p.kind = 'queue' and p.name = publish.queue) then
      return;
    end if;
    v_paused := queue.park_head(publish.queue);
  end if;

  if exists (
    select from queue.jobs as j
    where j.state = 'scheduled' and j.queue = publish.queue and j.run_at <= now()
  ) then
    perform queue.promote(publish.queue);
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

create or replace function queue.retract(ids bigint[]) returns void
language sql volatile security definer
set search_path = ''
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

revoke all on function queue.outbox() from public, anon, authenticated, service_role;
revoke all on function queue.publish(text, int, interval, boolean) from public, anon, authenticated, service_role;
revoke all on function queue.retract(bigint[]) from public, anon, authenticated, service_role;
grant execute on function queue.outbox() to media_worker;
grant execute on function queue.publish(text, int, interval, boolean) to media_worker;
grant execute on function queue.retract(bigint[]) to media_worker;
