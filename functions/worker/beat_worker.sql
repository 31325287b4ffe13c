-- As it was before workers said whether they hear from a message broker. In one transaction with what follows.
drop function if exists queue.beat(text, text[], int, int);

create or replace function queue.beat(
  worker text,
  queues text[],
  thread_count int,
  held_count int,
  has_broker boolean default false
) returns void
language plpgsql volatile security definer
set search_path = ''
-- It shares a connection with the renewal of leases, which must not wait for what is only shown to operators.
set lock_timeout = '500ms'
as $$
begin
  update queue.heartbeats as h set
    queues = beat.queues, thread_count = beat.thread_count, held_count = beat.held_count,
    has_broker = beat.has_broker, seen_at = now()
  where h.worker = beat.worker;
  if not found then
    insert into queue.heartbeats as h (worker, queues, thread_count, held_count, has_broker)
    values (beat.worker, beat.queues, beat.thread_count, beat.held_count, beat.has_broker)
    on conflict on constraint heartbeats_pkey do nothing;
    delete from queue.heartbeats as h where h.seen_at < now() - interval '1 day';
  end if;
end
$$;

comment on function queue.beat is
'A worker process says that it lives, also when it is idle. Operators read queue.heartbeats; the leases do not rest on it.';

create or replace function queue.leave(worker text) returns void
language sql volatile security definer
set search_path = ''
as $$
  delete from queue.heartbeats as h where h.worker = leave.worker
$$;

comment on function queue.leave is 'A worker process stops, and says so.';

revoke all on function queue.beat(text, text[], int, int, boolean) from public, anon, authenticated, service_role;
revoke all on function queue.leave(text) from public, anon, authenticated, service_role;
grant execute on function queue.beat(text, text[], int, int, boolean) to media_worker;
grant execute on function queue.leave(text) to media_worker;
