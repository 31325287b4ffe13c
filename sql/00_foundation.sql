-- Schemas, our two roles, and Supabase's default privileges taken back. Nothing below works without this file.

-- A project may have a schema of such a name: then its comment and who may use it are not ours to change.
do $$
declare
  v_schema record;
begin
  for v_schema in
    select *
    from (values
      ('private', 'Helpers and SECURITY DEFINER functions. Not exposed by PostgREST.'),
      ('queue', 'The job table and its functions. Not exposed by PostgREST.'),
      ('analytics', 'Views for analysts, without personal data. Not exposed by PostgREST.'),
      ('legacy', 'Import from earlier data models. Not exposed by PostgREST.')
    ) as schemas (name, comment)
  loop
    if to_regnamespace(v_schema.name) is null then
      execute format('create schema %I', v_schema.name);
      execute format('comment on schema %I is %L', v_schema.name, v_schema.comment);
    end if;
    if obj_description(to_regnamespace(v_schema.name), 'pg_namespace') = v_schema.comment then
      execute format('revoke all on schema %I from public, anon, authenticated', v_schema.name);
    end if;
  end loop;
end
$$;

-- media_worker has no password until an operator gives it one, and owns nothing: it may call what the worker calls.
do $$
declare
  v_setting record;
begin
  if not exists (select from pg_catalog.pg_roles where rolname = 'media_worker') then
    create role media_worker login noinherit;
  end if;
  if not exists (select from pg_catalog.pg_roles where rolname = 'analyst') then
    create role analyst nologin noinherit;
  end if;
  -- Set once: what an operator changes stays.
  for v_setting in
    select s.name, s.value
    from (values
      -- A worker that the network cuts off in the middle of a transaction must not keep its jobs' locks until TCP gives up,
      -- which takes hours. Between two statements of a worker there are milliseconds.
      ('idle_in_transaction_session_timeout', '10s'),
      -- Claims skip what others have taken and functions read again what they have locked: both need each statement to see
      -- what is committed. A database's own default must not reach workers, who would make their way by errors.
      ('default_transaction_isolation', 'read committed')
    ) as s (name, value)
    where not exists (
      select from pg_catalog.pg_roles as r, unnest(r.rolconfig) as c (entry)
      where r.rolname = 'media_worker' and starts_with(c.entry, s.name || '=')
    )
  loop
    execute format('alter role media_worker set %I = %L', v_setting.name, v_setting.value);
  end loop;
end
$$;

-- Supabase lets anon and authenticated execute every new function and truncate every new table of public. A revoke
-- from public alone leaves both, so they are revoked by name; per schema and, for PUBLIC, globally, because the grant
-- that PostgreSQL itself makes to PUBLIC can only be taken back there.
alter default privileges revoke execute on functions from public;
alter default privileges in schema public revoke execute on functions from public, anon, authenticated;
alter default privileges in schema public revoke truncate, references, trigger on tables from anon, authenticated;

-- anon never names anything in private: what its policies and views use was bound when they were created.
grant usage on schema private to authenticated, service_role, media_worker;
grant usage on schema analytics to analyst, service_role;

create or replace function private.refuse(status int, code text, message text, hint text default null) returns void
language plpgsql immutable
set search_path = '', pg_temp
as $$
declare
  -- PostgREST sends the message as the reason of the status line, too, as it is: a line end in what a client sent would begin
  -- a header of the client's making, and proxies take some kilobytes of headers. So one line, and not a long one.
  v_line constant text := regexp_replace(refuse.message, '[\u0001-\u001f\u007f-\u009f\u2028\u2029]+', ' ', 'g');
  v_length constant int := case when octet_length(left(v_line, 1000)) > 2000 then 500 else 1000 end;
begin
  raise exception using
    errcode = 'PT' || status, detail = refuse.code, hint = coalesce(refuse.hint, ''),
    message = case when length(v_line) > v_length then left(v_line, v_length - 1) || '…' else v_line end;
end
$$;

comment on function private.refuse is
'Raises an error that PostgREST answers with this HTTP status: message for people, one line of 1000 characters at most; detail the stable code, hint the remedy.';

create or replace function private.uuid_or_null(word text) returns uuid
language sql immutable parallel safe
set search_path = '', pg_temp
return case when word ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then word::uuid end;

comment on function private.uuid_or_null is
'A part of a path as an id, to look rows up by index; null for anything else.';

create or replace function private.tg__stamp_updated_at() returns trigger
language plpgsql
set search_path = '', pg_temp
as $$
begin
  new.updated_at := pg_catalog.clock_timestamp();
  return new;
end
$$;

comment on function private.tg__stamp_updated_at is 'Sets updated_at to the moment of the change.';

revoke all on function private.refuse(int, text, text, text) from public, anon, authenticated;
revoke all on function private.uuid_or_null(text) from public, anon, authenticated;
revoke all on function private.tg__stamp_updated_at() from public, anon, authenticated;
