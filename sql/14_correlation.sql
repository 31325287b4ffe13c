-- Which request led to what: the ids that a client, a proxy or a tracer gave it, kept with every job it led to.
--
-- A transaction has one correlation id: what the worker or an earlier job in it said (the local setting
-- imageledger.correlation_id), else the header X-Correlation-Id or X-Request-Id, else the trace's id out of W3C's
-- traceparent, else a new one. Headers are anybody's words: what is not a short plain word is as if it was not there.

create or replace function queue.plain_id(word text) returns text
language sql immutable parallel safe
set search_path = '', pg_temp
return case when length(word) between 1 and 128 and word !~ '[^A-Za-z0-9._:-]' then word end;

comment on function queue.plain_id is
'The word if it can be a correlation id: 1 to 128 of A-Z a-z 0-9 . _ : - and nothing that a log or a header could trip over; else null.';

create or replace function queue.plain_trace(word text) returns text
language sql immutable parallel safe
set search_path = '', pg_temp
return case
  when word ~ '^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$' and word !~ '^00-0{32}-' and word !~ '^.{36}0{16}-' then word
end;

comment on function queue.plain_trace is
'The word if it is a W3C traceparent of version 00 that names a trace and a span; else null.';

create or replace function queue.request_ids(out correlation_id text, out trace_parent text)
language plpgsql stable
set search_path = '', pg_temp
as $$
declare
  v_headers json;
begin
  v_headers := nullif(current_setting('request.headers', true), '')::json;
  trace_parent := queue.plain_trace(v_headers ->> 'traceparent');
  correlation_id := coalesce(
    queue.plain_id(v_headers ->> 'x-correlation-id'), queue.plain_id(v_headers ->> 'x-request-id'),
    substr(trace_parent, 4, 32)
  );
exception when data_exception then
  -- No JSON, or no text that this database can hold: no ids.
  correlation_id := null;
  trace_parent := null;
end
$$;

comment on function queue.request_ids is
'The ids in the headers of the API request that this transaction serves; null where there are none that are plain. Never an error.';

create or replace function queue.correlation_id() returns text
language plpgsql volatile
set search_path = '', pg_temp
as $$
declare
  v_id text := nullif(current_setting('imageledger.correlation_id', true), '');
  v_trace text;
begin
  -- queue.plain_id, written out: every job asks.
  if v_id is null or length(v_id) > 128 or v_id ~ '[^A-Za-z0-9._:-]' then
    select r.correlation_id, r.trace_parent into v_id, v_trace from queue.request_ids() as r;
    v_id := coalesce(v_id, gen_random_uuid()::text);
    perform set_config('imageledger.correlation_id', v_id, true);
    perform set_config('imageledger.trace_parent', coalesce(v_trace, ''), true);
  end if;
  return v_id;
end
$$;

comment on function queue.correlation_id is
'The correlation id of this transaction, made now if there was none; the same until the transaction ends.';

create or replace function queue.trace_parent() returns text
language plpgsql volatile
set search_path = '', pg_temp
as $$
begin
  -- Both come from one place, once.
  perform queue.correlation_id();
  return queue.plain_trace(current_setting('imageledger.trace_parent', true));
end
$$;

comment on function queue.trace_parent is 'The span that this transaction belongs to, as a W3C traceparent; null when nobody traces.';

create or replace function queue.carry_on(correlation_id text, trace_parent text) returns void
language sql volatile
set search_path = '', pg_temp
as $$
  select
    set_config('imageledger.correlation_id', coalesce(carry_on.correlation_id, ''), true),
    -- A worker that traces says which span of its own this is.
    set_config(
      'imageledger.trace_parent',
      coalesce(nullif(current_setting('imageledger.span', true), ''), carry_on.trace_parent, ''), true
    )
$$;

comment on function queue.carry_on is
'What this transaction orders from now on belongs to what led to a job: its correlation id and trace. Called wherever a job is ended or its lease is checked.';

revoke all on function queue.plain_id(text) from public, anon, authenticated, service_role;
revoke all on function queue.plain_trace(text) from public, anon, authenticated, service_role;
revoke all on function queue.request_ids() from public, anon, authenticated, service_role;
revoke all on function queue.correlation_id() from public, anon, authenticated, service_role;
revoke all on function queue.trace_parent() from public, anon, authenticated, service_role;
revoke all on function queue.carry_on(text, text) from public, anon, authenticated, service_role;
