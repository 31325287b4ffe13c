-- The queue: one table of jobs and queue.enqueue. What the worker calls is in functions/worker/.
--
-- States: scheduled (not due yet, or waiting for a retry) -> ready -> running -> succeeded | dead | canceled.
-- Each live state has its own partial index, so a million finished or future rows cost a claim nothing.
--
-- Fairness is start-time fair queueing without any counter to keep: a job that becomes ready takes the tag
-- greatest(tag at the head of its queue and priority, 1 + the last tag of its owner there), and claims go by
-- (priority, tag, id). One owner's 500 jobs take 500 successive tags; another's single job takes the head's tag and
-- is next. Jobs without an owner count as one owner. A smaller priority number goes first, strictly.

create table if not exists queue.jobs (
  id bigint generated always as identity,
  queue text not null,
  actor text not null,
  args jsonb not null,
  -- Whom fairness counts it for. No foreign key: the removal of a deleted user's objects outlives the user.
  owner_id uuid,
  priority smallint not null,
  -- The place in line; kept while running so that a job that is given back returns to its place.
  tag bigint,
  run_at timestamptz not null,
  state text not null,
  attempts smallint not null default 0,
  max_attempts smallint not null,
  leased_until timestamptz,
  -- Fencing: whoever ends this attempt must show the token it was claimed with.
  lease_token uuid,
  worker text,
  dedupe_key text,
  error text,
  created_at timestamptz not null default now(),
  started_at timestamptz,
  finished_at timestamptz,
  constraint jobs_pkey primary key (id),
  constraint state_is_known check (
    state in ('scheduled', 'ready', 'running', 'succeeded', 'dead', 'canceled')
  ),
  constraint queue_is_a_short_name check (queue ~ '^[a-zA-Z_][a-zA-Z0-9_-]{0,62}$'),
  constraint actor_is_a_short_name check (actor ~ '^[a-zA-Z_][a-zA-Z0-9_.-]{0,62}$'),
  constraint args_are_named check (jsonb_typeof(args) = 'object'),
  constraint max_attempts_is_sensible check (max_attempts between 1 and 1000),
  constraint ready_is_in_line check (state <> 'ready' or tag is not null),
  constraint running_is_leased check (
    (state = 'running') = (leased_until is not null)
    and (state <> 'running' or lease_token is not null)
  ),
  constraint finished_has_an_end check ((finished_at is not null) = (state in ('succeeded', 'dead', 'canceled')))
) with (
  -- Every job is rewritten twice: dead versions must go early, whatever the number of finished rows.
  autovacuum_vacuum_scale_factor = 0.01,
  autovacuum_vacuum_insert_scale_factor = 0.05,
  autovacuum_analyze_scale_factor = 0.05
);

-- Which request led to it: see 14_correlation.sql. Checked by queue.enqueue and not by the table, which would do it again
-- at each of a job's three writes.
alter table queue.jobs add column if not exists correlation_id text;
alter table queue.jobs add column if not exists trace_parent text;

-- Ordered with the worker's own login, by queue.send: then owner_id is a worker's word, and no right follows from it.
alter table queue.jobs add column if not exists is_sent boolean not null
default coalesce(current_setting('imageledger.sending', true), '') = 'on';

-- The order of claims.
create index if not exists jobs_ready_idx on queue.jobs (queue, priority, tag, id) where state = 'ready';

-- The last place in line of one owner.
create index if not exists jobs_ready_owner_idx
on queue.jobs (queue, priority, coalesce(owner_id, '00000000-0000-0000-0000-000000000000'::uuid), tag)
where state = 'ready';

create index if not exists jobs_scheduled_idx on queue.jobs (queue, run_at) where state = 'scheduled';

create index if not exists jobs_running_idx on queue.jobs (leased_until) where state = 'running';

create index if not exists jobs_finished_idx on queue.jobs (state, finished_at) where finished_at is not null;

-- One waiting job a key. A running one does not count: it may have read the data before the change that asks for another run.
create unique index if not exists dedupe_key_is_unique_among_waiting
on queue.jobs (dedupe_key)
where dedupe_key is not null and state in ('scheduled', 'ready');

create index if not exists jobs_running_dedupe_idx
on queue.jobs (dedupe_key)
where dedupe_key is not null and state = 'running';

alter table queue.jobs enable row level security;

revoke all on table queue.jobs from public, anon, authenticated, service_role;
revoke all on sequence queue.jobs_id_seq from public, anon, authenticated, service_role;

comment on table queue.jobs is
'Work to do and work done. Written only by the functions of schema queue. args holds ids, never data.';
comment on column queue.jobs.tag is 'Place in line within (queue, priority): smaller first; fair between owners.';
comment on column queue.jobs.lease_token is 'Fencing token of the current or last attempt.';
comment on column queue.jobs.dedupe_key is
'At most one waiting job a key; it is not claimed while another one with the key runs.';
comment on column queue.jobs.correlation_id is
'The request that led to it, also by way of other jobs: in the log lines of its work and in what it asks of Storage.';
comment on column queue.jobs.trace_parent is 'The span that led to it, as a W3C traceparent; null when nobody traced.';
comment on column queue.jobs.is_sent is
'Whether a worker ordered it by queue.send, for whomever it said. Such a job reads no credential.';
comment on column queue.jobs.error is 'Why the last attempt failed; for operators, not for users.';

create or replace function queue.backoff(attempts int) returns interval
language sql volatile
set search_path = '', pg_temp
return least(power(2, least(attempts, 20) - 1), 300) * (0.5 + random() / 2) * interval '1 second';

comment on function queue.backoff is
'Pause before the next attempt: 1, 2, 4 … 300 seconds, each shortened by up to half at random.';

create or replace function queue.notify(queue text) returns void
language plpgsql volatile
set search_path = '', pg_temp
as $$
begin
  -- A hint only. A transaction fails at commit when the notification queue is full, so stop long before.
  if pg_catalog.pg_notification_queue_usage() < 0.5 then
    perform pg_catalog.pg_notify('queue_jobs', notify.queue);
  end if;
end
$$;

comment on function queue.notify is
'Tells listening workers that a queue has work; the payload is the queue''s name. Equal ones collapse in a transaction.';

-- As it was before it took ids. In one transaction with what follows, nobody sees it missing.
drop function if exists queue.enqueue(text, jsonb, uuid, text, smallint, timestamptz, text, int);

create or replace function queue.sane_lease(lease interval) returns interval
-- Without a setting of its own it is inlined into the claim.
language sql immutable parallel safe
return least(coalesce(lease, '30 seconds'), '1 hour');

comment on function queue.sane_lease is
'A lease as it is granted: an hour at most, so that no job waits longer for a worker that is gone, whatever that one asked for.';

revoke all on function queue.sane_lease(interval) from public, anon, authenticated, service_role;

create or replace function queue.enqueue(
  actor text,
  args jsonb,
  owner_id uuid default null,
  queue text default 'default',
  priority smallint default 0,
  run_at timestamptz default null,
  dedupe_key text default null,
  max_attempts int default null,
  correlation_id text default null,
  trace_parent text default null
) returns bigint
language plpgsql volatile
set search_path = '', pg_temp
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  v_is_due constant boolean := enqueue.run_at is null or enqueue.run_at <= now();
  v_owner_key constant uuid := coalesce(enqueue.owner_id, '00000000-0000-0000-0000-000000000000'::uuid);
  -- First: it settles both ids of the transaction.
  v_request constant text := queue.correlation_id();
  v_correlation_id constant text := case
    when enqueue.correlation_id is null then v_request else coalesce(queue.plain_id(enqueue.correlation_id), v_request)
  end;
  v_given_trace constant text := coalesce(
    enqueue.trace_parent, nullif(current_setting('imageledger.trace_parent', true), '')
  );
  v_trace_parent constant text := case when v_given_trace is not null then queue.plain_trace(v_given_trace) end;
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
      queue, actor, args, owner_id, priority, tag, run_at, state, dedupe_key, max_attempts,
      correlation_id, trace_parent
    )
    values (
      enqueue.queue, enqueue.actor, enqueue.args, enqueue.owner_id, enqueue.priority, v_tag,
      coalesce(enqueue.run_at, now()), case when v_is_due then 'ready' else 'scheduled' end,
      enqueue.dedupe_key, coalesce(enqueue.max_attempts, 10), v_correlation_id, v_trace_parent
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

comment on function queue.enqueue is
'Adds a job in the caller''s transaction and returns its id; with the dedupe_key of a waiting job, that job''s id (its args stay, a sooner run_at is taken over). run_at null is now; max_attempts null is 10; the ids are the transaction''s unless they are given (queue.correlation_id).';

revoke all on function queue.backoff(int) from public, anon, authenticated, service_role;
revoke all on function queue.notify(text) from public, anon, authenticated, service_role;
revoke all on function queue.enqueue(
  text, jsonb, uuid, text, smallint, timestamptz, text, int, text, text
) from public, anon, authenticated, service_role;

grant usage on schema queue to media_worker;
