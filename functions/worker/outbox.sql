create or replace function queue.outbox() returns table (queue text, published_count int, thread_count int)
language sql stable security definer
set search_path = '', pg_temp
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

revoke all on function queue.outbox() from public, anon, authenticated, service_role;
grant execute on function queue.outbox() to media_worker;
