-- What operators do to the queue, and what workers say of themselves: pauses, interventions, heartbeats.
--
-- A pause is a row that queue.take looks for: with none, which is nearly always, that is one look into an empty
-- index. A paused queue is not claimed from. The jobs of a paused actor are parked, so that no claim has to
-- step over them more than once: scheduled, due at infinity, until queue.resume makes them due.

create table if not exists queue.pauses (
  kind text not null,
  name text not null,
  reason text,
  paused_by text not null default session_user,
  paused_at timestamptz not null default now(),
  constraint pauses_pkey primary key (kind, name),
  constraint kind_is_known check (kind in ('queue', 'actor')),
  constraint name_is_a_short_name check (name ~ '^[a-zA-Z_][a-zA-Z0-9_.-]{0,62}$')
);

comment on table queue.pauses is
'Queues and actors that no job is claimed of. Written by queue.pause and queue.resume; it survives restarts.';
comment on column queue.pauses.kind is 'queue or actor.';
comment on column queue.pauses.name is 'The name of the queue, or of the actor in whatever queue.';
comment on column queue.pauses.reason is 'Why, in the operator''s words.';

create table if not exists queue.interventions (
  id bigint generated always as identity,
  action text not null,
  -- No foreign key: what was done outlives the job.
  job_id bigint,
  subject text,
  reason text,
  before jsonb,
  done_by text not null default session_user,
  done_at timestamptz not null default now(),
  constraint interventions_pkey primary key (id),
  constraint action_is_known check (action in ('retry', 'cancel', 'purge', 'pause', 'resume'))
);

create index if not exists interventions_job_id_idx on queue.interventions (job_id) where job_id is not null;
create index if not exists interventions_done_at_idx on queue.interventions (done_at);

comment on table queue.interventions is
'What operators did: a job''s retries keep here what the attempts before had come to. Pruned after a year.';
comment on column queue.interventions.subject is 'What a pause, a resume or a purge was about.';
comment on column queue.interventions.before is 'The job as it was: state, attempts, error, worker and times.';

create table if not exists queue.heartbeats (
  worker text not null,
  queues text[] not null,
  thread_count int not null,
  held_count int not null,
  started_at timestamptz not null default now(),
  seen_at timestamptz not null default now(),
  constraint heartbeats_pkey primary key (worker)
) with (fillfactor = 50);

alter table queue.heartbeats add column if not exists has_broker boolean not null default false;

comment on table queue.heartbeats is
'Worker processes: each renews its row every few seconds, also when idle, and deletes it when it stops.';
comment on column queue.heartbeats.worker is 'host/boot/namespace/pid/start, as in queue.jobs.worker.';
comment on column queue.heartbeats.queues is 'The queues it takes jobs of.';
comment on column queue.heartbeats.held_count is 'Jobs it held a lease of.';
comment on column queue.heartbeats.has_broker is
'Whether it hears of jobs by a message broker (BROKER_URL), so that somebody has to publish them.';

alter table queue.pauses enable row level security;
alter table queue.interventions enable row level security;
alter table queue.heartbeats enable row level security;

revoke all on table queue.pauses, queue.interventions, queue.heartbeats
from public, anon, authenticated, service_role;
revoke all on sequence queue.interventions_id_seq from public, anon, authenticated, service_role;

create or replace function queue.pause_lock() returns bigint
language sql immutable parallel safe
set search_path = ''
return 7240517002;

comment on function queue.pause_lock is
'The advisory lock between parking and resuming: without it a claim could park a job that a resume has just missed.';

create or replace function queue.summary(job queue.jobs) returns jsonb
language sql stable
set search_path = ''
return jsonb_build_object(
  'state', job.state, 'attempts', job.attempts, 'max_attempts', job.max_attempts, 'error', job.error,
  'worker', job.worker, 'actor', job.actor, 'started_at', job.started_at, 'finished_at', job.finished_at
);

comment on function queue.summary is 'A job as it is remembered when an operator changes it.';

revoke all on function queue.pause_lock() from public, anon, authenticated, service_role;
revoke all on function queue.summary(queue.jobs) from public, anon, authenticated, service_role;
