-- The queue as it was before jobs had correlation ids: what a deploy finds. Run on a migrated database, as postgres.

alter table public.listing_images drop column correlation_id, drop column trace_parent;
drop function queue.take(text, text, int, interval, bigint[], uuid[]);
drop function queue.decline(bigint, uuid, text, interval);
drop function queue.send(text, jsonb, uuid, text, smallint, interval, text, int, text, text);
drop function queue.enqueue(text, jsonb, uuid, text, smallint, timestamptz, text, int, text, text);
drop function queue.plain_id(text), queue.plain_trace(text), queue.request_ids(), queue.correlation_id();
drop function queue.trace_parent(), queue.carry_on(text, text);
alter table queue.jobs drop column correlation_id, drop column trace_parent;
-- Files that were not applied yet.
delete from private.schema_files where path ~ '(10_queue|14_correlation|claim_jobs|send_job)';

create or replace function queue.enqueue(
  actor text,
  args jsonb,
  owner_id uuid default null,
  queue text default 'default',
  priority smallint default 0,
  run_at timestamptz default null,
  dedupe_key text default null,
  max_attempts int default null
) returns bigint
language plpgsql volatile
set search_path = ''
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  v_is_due constant boolean := enqueue.run_at is null or enqueue.run_at <= now();
  v_owner_key constant uuid := coalesce(enqueue.owner_id, '00000000-0000-0000-0000-000000000000'::uuid);
  v_tag bigint;
  v_id bigint;
  v_is_sooner boolean;
begin
  if v_is_due then
    v_tag := greatest(
      0,
      (
        select j.tag from queue.jobs as j
        where j.state = 'ready' and j.queue = enqueue.queue and j.priority = enqueue.priority
        order by j.tag limit 1
      ),
      (
        select j.tag + 1 from queue.jobs as j
        where j.state = 'ready' and j.queue = enqueue.queue and j.priority = enqueue.priority
          and coalesce(j.owner_id, '00000000-0000-0000-0000-000000000000'::uuid) = v_owner_key
        order by j.tag desc limit 1
      )
    );
  end if;

  loop
    insert into queue.jobs (
      queue, actor, args, owner_id, priority, tag, run_at, state, dedupe_key, max_attempts
    )
    values (
      enqueue.queue, enqueue.actor, enqueue.args, enqueue.owner_id, enqueue.priority, v_tag,
      coalesce(enqueue.run_at, now()), case when v_is_due then 'ready' else 'scheduled' end,
      enqueue.dedupe_key, coalesce(enqueue.max_attempts, 10)
    )
    on conflict (dedupe_key) where dedupe_key is not null and state in ('scheduled', 'ready') do nothing
    returning id into v_id;
    exit when v_id is not null;

    -- One is waiting already. The lock keeps it from being claimed before this transaction commits; without it the
    -- job could run on the old data and this change would be lost. If it was claimed meanwhile, insert again.
    select j.id, j.run_at > coalesce(enqueue.run_at, now()) into v_id, v_is_sooner from queue.jobs as j
    where j.dedupe_key = enqueue.dedupe_key and j.state in ('scheduled', 'ready')
    for update;
    if v_id is not null then
      if v_is_sooner then
        update queue.jobs as j set run_at = coalesce(enqueue.run_at, now()) where j.id = v_id and j.state = 'scheduled';
      end if;
      exit;
    end if;
  end loop;

  if v_is_due then
    perform queue.notify(enqueue.queue);
  end if;
  return v_id;
end
$$;

create or replace function queue.send(
  actor text,
  args jsonb,
  owner_id uuid default null,
  queue text default 'default',
  priority smallint default 0,
  delay interval default null,
  dedupe_key text default null,
  max_attempts int default null
) returns bigint
language sql volatile security definer
set search_path = ''
as $$
  select queue.enqueue(
    send.actor, send.args, send.owner_id, send.queue, send.priority, now() + send.delay, send.dedupe_key,
    send.max_attempts
  )
$$;

grant execute on function queue.send(text, jsonb, uuid, text, smallint, interval, text, int) to media_worker;

create or replace function queue.claim(
  queue text,
  worker text,
  max_jobs int,
  lease interval default '30 seconds',
  done_ids bigint[] default '{}',
  done_tokens uuid[] default '{}'
) returns table (
  id bigint,
  actor text,
  args jsonb,
  owner_id uuid,
  attempts smallint,
  max_attempts smallint,
  lease_token uuid,
  created_at timestamptz
)
language plpgsql volatile security definer
set search_path = ''
-- Whatever the statistics say of a table that changes all the time: index order, never a scan or a sort.
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  v_paused text[] := '{}';
begin
  if cardinality(done_ids) > 0 then
    return query
    select lost, null::text, null::jsonb, null::uuid, null::smallint, null::smallint, null::uuid, null::timestamptz
    from queue.acknowledge(done_ids, done_tokens) as lost;
  end if;

  if max_jobs <= 0 then
    return;
  end if;

  if exists (select from queue.pauses) then
    if exists (select from queue.pauses as p where p.kind = 'queue' and p.name = claim.queue) then
      return;
    end if;
    v_paused := queue.park_head(claim.queue);
  end if;

  if exists (
    select from queue.jobs as j
    where j.state = 'scheduled' and j.queue = claim.queue and j.run_at <= now()
  ) then
    perform queue.promote(claim.queue);
  end if;

  return query
  with next as materialized (
    select j.id from queue.jobs as j
    where j.state = 'ready' and j.queue = claim.queue
      and j.actor <> all(v_paused)
      and (
        j.dedupe_key is null
        or not exists (
          select from queue.jobs as r
          where r.state = 'running' and r.dedupe_key is not null and r.dedupe_key = j.dedupe_key
        )
      )
    order by j.priority, j.tag, j.id
    limit claim.max_jobs
    for no key update skip locked
  ),
  claimed as (
    update queue.jobs as j
    set state = 'running', attempts = j.attempts + 1, started_at = now(), leased_until = now() + claim.lease,
      lease_token = gen_random_uuid(), worker = claim.worker
    where j.id = any(array(select n.id from next as n))
    returning j.*
  )
  select c.id, c.actor, c.args, c.owner_id, c.attempts, c.max_attempts, c.lease_token, c.created_at
  from claimed as c
  order by c.priority, c.tag, c.id;
end
$$;

create or replace function queue.complete(job_id bigint, lease_token uuid) returns void
language plpgsql volatile security definer
set search_path = ''
as $$
#variable_conflict use_column
begin
  update queue.jobs as j
  set state = 'succeeded', finished_at = now(), leased_until = null, error = null
  where j.id = complete.job_id and j.lease_token = complete.lease_token and j.state = 'running';
  if not found then
    raise sqlstate 'IL001' using
      message = format('job %s: this attempt does not hold the lease any more', job_id),
      detail = 'lease_lost';
  end if;
end
$$;
