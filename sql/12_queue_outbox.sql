-- The outbox: which jobs a message broker has been told of, and who tells it. Empty without BROKER_URL.
--
-- queue.jobs stays the truth. A relay takes the ids of due jobs in the order of claims, notes them here until a time, and
-- sends them to RabbitMQ or Redis; a worker that receives an id claims exactly that job (queue.claim_published). So a
-- message is a hint and nothing more: doubled, late or foreign it finds nothing to claim, and one that is lost is sent
-- again once its time is over. A table beside the jobs, and not a column of theirs: an ordinary claim pays nothing for it.

create table if not exists queue.publications (
  -- No foreign key: it would cost every job that is pruned a look here. What is left over goes with the next look.
  job_id bigint not null,
  queue text not null,
  published_until timestamptz not null,
  constraint publications_pkey primary key (job_id)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 1000);

create index if not exists publications_queue_idx on queue.publications (queue);

comment on table queue.publications is
'Waiting jobs whose id is on its way through the message broker: few, and each until it is claimed or its time is over.';
comment on column queue.publications.published_until is 'When nobody has claimed it by then, its id is sent again.';

create table if not exists queue.relays (
  name text not null,
  worker text not null,
  leased_until timestamptz not null,
  leading_since timestamptz not null default now(),
  constraint relays_pkey primary key (name),
  constraint there_is_one_relay check (name = 'outbox')
) with (fillfactor = 50);

comment on table queue.relays is
'Which process publishes; the others stand by until its lease is over. Two at once would do no harm but double work.';
comment on column queue.relays.worker is 'host/boot/namespace/pid/start, as in queue.jobs.worker.';

alter table queue.publications enable row level security;
alter table queue.relays enable row level security;

revoke all on table queue.publications, queue.relays from public, anon, authenticated, service_role;
