-- As it was before it took ids; a worker that gives none finds this one.
drop function if exists queue.send(text, jsonb, uuid, text, smallint, interval, text, int);

create or replace function queue.send(
  actor text,
  args jsonb,
  owner_id uuid default null,
  queue text default 'default',
  priority smallint default 0,
  delay interval default null,
  dedupe_key text default null,
  max_attempts int default null,
  correlation_id text default null,
  trace_parent text default null
) returns bigint
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_id bigint;
begin
  -- What queue.jobs.is_sent is by default. With an error it is taken back as all that the transaction did.
  perform set_config('imageledger.sending', 'on', true);
  v_id := queue.enqueue(
    send.actor, send.args, send.owner_id, send.queue, send.priority, now() + send.delay, send.dedupe_key,
    send.max_attempts, send.correlation_id, send.trace_parent
  );
  perform set_config('imageledger.sending', '', true);
  return v_id;
end
$$;

comment on function queue.send is 'queue.enqueue for the worker, which may not write the table; due after a delay by the database''s clock.';

revoke all on function queue.send(text, jsonb, uuid, text, smallint, interval, text, int, text, text)
from public, anon, authenticated, service_role;
grant execute on function queue.send(text, jsonb, uuid, text, smallint, interval, text, int, text, text)
to media_worker;
