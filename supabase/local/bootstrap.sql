-- What Supabase has and bare PostgreSQL lacks: the roles, the auth and storage schemas, default privileges, timeouts.
-- Run by the superuser supabase_admin on each database of the embedded stack, before sql/. It can run again.
-- Login passwords are not set here: the stack sets them afterwards.
-- Table and column names, owners and grants are those of a hosted project, the dangerous defaults too, so that
-- SQL that is safe and allowed here is safe and allowed there.

-- Notices, and a warning about wal_level that only a server with Realtime would heed, are noise here.
set client_min_messages = error;

-- Roles belong to the cluster and this file to a database: the lock makes two databases take turns.
do $$
declare
  v_role record;
begin
  lock table pg_catalog.pg_authid in share row exclusive mode;
  for v_role in
    select *
    from (values
      ('anon', 'nologin inherit'),
      ('authenticated', 'nologin inherit'),
      ('service_role', 'nologin inherit bypassrls'),
      ('authenticator', 'login noinherit'),
      ('supabase_auth_admin', 'login noinherit createrole'),
      ('supabase_storage_admin', 'login noinherit createrole'),
      ('postgres', 'login createdb createrole replication bypassrls')
    ) as roles (name, attributes)
  loop
    if not exists (select from pg_catalog.pg_roles where rolname = v_role.name) then
      execute format('create role %I %s', v_role.name, v_role.attributes);
    end if;
  end loop;

  for v_role in
    select *
    from (values
      ('anon', 'statement_timeout', $v$'3s'$v$),
      ('authenticated', 'statement_timeout', $v$'8s'$v$),
      ('authenticator', 'statement_timeout', $v$'8s'$v$),
      ('authenticator', 'lock_timeout', $v$'8s'$v$),
      -- No DETAIL and CONTEXT in the log: they quote what clients sent, a secret with \u0000 among it.
      ('authenticator', 'log_error_verbosity', $v$'terse'$v$),
      ('postgres', 'search_path', '"$user", public, extensions'),
      ('supabase_admin', 'search_path', '"$user", public, auth, extensions'),
      ('supabase_auth_admin', 'search_path', 'auth'),
      ('supabase_auth_admin', 'idle_in_transaction_session_timeout', $v$'60s'$v$),
      ('supabase_storage_admin', 'search_path', 'storage')
    ) as settings (role_name, name, value)
    where not exists (
      select
      from pg_catalog.pg_db_role_setting as s
      join pg_catalog.pg_roles as r on r.oid = s.setrole
      cross join unnest(s.setconfig) as c (entry)
      where s.setdatabase = 0
        and r.rolname = settings.role_name
        and split_part(c.entry, '=', 1) = settings.name
    )
  loop
    execute format('alter role %I set %I to %s', v_role.role_name, v_role.name, v_role.value);
  end loop;

  grant anon, authenticated, service_role to authenticator;
  grant authenticator to supabase_storage_admin;
  grant anon, authenticated, service_role, authenticator to postgres with admin option;
  grant pg_monitor, pg_read_all_data, pg_signal_backend, pg_create_subscription to postgres with admin option;
  -- Hosted projects let postgres make policies and triggers on tables of these two by an extension (supautils).
  -- Bare PostgreSQL asks for the owner's rights; guard_managed_schemas() below takes back what goes too far.
  grant supabase_auth_admin, supabase_storage_admin to postgres with inherit true, set false;

  if (
    select pg_catalog.pg_get_userbyid(datdba) <> 'postgres'
    from pg_catalog.pg_database
    where datname = current_database()
  ) then
    execute format('alter database %I owner to postgres', current_database());
  end if;
end
$$;

create schema if not exists extensions;
create schema if not exists auth;
create schema if not exists storage;
grant usage on schema extensions to anon, authenticated, service_role;
grant all on schema extensions to postgres;
grant usage on schema auth to anon, authenticated, service_role, postgres, supabase_auth_admin;
grant usage on schema storage to anon, authenticated, service_role, supabase_storage_admin;
grant usage on schema storage to postgres with grant option;
grant usage on schema public to anon, authenticated, service_role, postgres;

create extension if not exists pgcrypto with schema extensions;
create extension if not exists "uuid-ossp" with schema extensions;
create extension if not exists pg_stat_statements with schema extensions;
grant all on all tables in schema extensions to postgres with grant option;
grant all on all routines in schema extensions to postgres with grant option;

-- Whatever postgres or supabase_admin creates in public is open to the API roles: Supabase's defaults. Once only: what a
-- project has taken back since stays taken back.
do $$
declare
  v_role text;
  v_kind text;
begin
  foreach v_role in array array['postgres', 'supabase_admin'] loop
    continue when exists (
      select
      from pg_catalog.pg_default_acl as d
      where d.defaclrole = v_role::regrole and d.defaclnamespace = 'public'::regnamespace
    );
    foreach v_kind in array array['tables', 'functions', 'sequences'] loop
      execute format(
        'alter default privileges for role %I in schema public grant all on %s to postgres, anon, authenticated, service_role',
        v_role, v_kind
      );
    end loop;
  end loop;
end
$$;

do $$
begin
  if not exists (select from pg_catalog.pg_publication where pubname = 'supabase_realtime') then
    create publication supabase_realtime;
    alter publication supabase_realtime owner to postgres;
  end if;
end
$$;

-- Schema auth.

do $$
begin
  if to_regtype('auth.aal_level') is null then
    create type auth.aal_level as enum ('aal1', 'aal2', 'aal3');
    alter type auth.aal_level owner to supabase_auth_admin;
  end if;
end
$$;

create table if not exists auth.users (
  instance_id uuid,
  id uuid not null primary key,
  aud varchar(255),
  role varchar(255),
  email varchar(255),
  encrypted_password varchar(255),
  email_confirmed_at timestamptz,
  invited_at timestamptz,
  confirmation_token varchar(255),
  confirmation_sent_at timestamptz,
  recovery_token varchar(255),
  recovery_sent_at timestamptz,
  email_change_token_new varchar(255),
  email_change varchar(255),
  email_change_sent_at timestamptz,
  last_sign_in_at timestamptz,
  raw_app_meta_data jsonb,
  raw_user_meta_data jsonb,
  is_super_admin boolean,
  created_at timestamptz,
  updated_at timestamptz,
  phone text default null unique,
  phone_confirmed_at timestamptz,
  phone_change text default '',
  phone_change_token varchar(255) default '',
  phone_change_sent_at timestamptz,
  confirmed_at timestamptz generated always as (least(email_confirmed_at, phone_confirmed_at)) stored,
  email_change_token_current varchar(255) default '',
  email_change_confirm_status smallint default 0 check (email_change_confirm_status between 0 and 2),
  banned_until timestamptz,
  reauthentication_token varchar(255) default '',
  reauthentication_sent_at timestamptz,
  is_sso_user boolean not null default false,
  deleted_at timestamptz,
  is_anonymous boolean not null default false
);
create unique index if not exists users_email_partial_key on auth.users (email) where is_sso_user = false;
create index if not exists users_instance_id_email_idx on auth.users (instance_id, lower(email));
comment on table auth.users is 'Auth: Stores user login data within a secure schema.';

create table if not exists auth.identities (
  provider_id text not null,
  user_id uuid not null references auth.users (id) on delete cascade,
  identity_data jsonb not null,
  provider text not null,
  last_sign_in_at timestamptz,
  created_at timestamptz,
  updated_at timestamptz,
  email text generated always as (lower(identity_data ->> 'email')) stored,
  id uuid not null default gen_random_uuid() primary key,
  constraint identities_provider_id_provider_unique unique (provider_id, provider)
);
create index if not exists identities_user_id_idx on auth.identities (user_id);
create index if not exists identities_email_idx on auth.identities (email text_pattern_ops);

create table if not exists auth.sessions (
  id uuid not null primary key,
  user_id uuid not null references auth.users (id) on delete cascade,
  created_at timestamptz,
  updated_at timestamptz,
  factor_id uuid,
  aal auth.aal_level,
  not_after timestamptz,
  refreshed_at timestamp,
  user_agent text,
  ip inet,
  tag text
);
create index if not exists sessions_user_id_idx on auth.sessions (user_id);

create table if not exists auth.refresh_tokens (
  instance_id uuid,
  id bigserial primary key,
  token varchar(255),
  user_id varchar(255),
  revoked boolean,
  created_at timestamptz,
  updated_at timestamptz,
  parent varchar(255),
  session_id uuid references auth.sessions (id) on delete cascade,
  constraint refresh_tokens_token_unique unique (token)
);
create index if not exists refresh_tokens_session_id_revoked_idx on auth.refresh_tokens (session_id, revoked);
create index if not exists refresh_tokens_parent_idx on auth.refresh_tokens (parent);

create or replace function auth.jwt() returns jsonb
language sql stable
as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')
  )::jsonb
$$;

create or replace function auth.uid() returns uuid
language sql stable
as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim.sub', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'
  )::uuid
$$;

create or replace function auth.role() returns text
language sql stable
as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim.role', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role'
  )::text
$$;

create or replace function auth.email() returns text
language sql stable
as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim.email', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'email'
  )::text
$$;

alter function auth.jwt() owner to supabase_auth_admin;
alter function auth.uid() owner to supabase_auth_admin;
alter function auth.role() owner to supabase_auth_admin;
alter function auth.email() owner to supabase_auth_admin;

do $$
declare
  v_table text;
begin
  foreach v_table in array array['users', 'identities', 'sessions', 'refresh_tokens'] loop
    execute format('alter table auth.%I owner to supabase_auth_admin', v_table);
    execute format('alter table auth.%I enable row level security', v_table);
    execute format('grant all on auth.%I to postgres', v_table);
    execute format('grant select on auth.%I to postgres with grant option', v_table);
  end loop;
end
$$;
grant all on all sequences in schema auth to postgres;

-- Schema storage.

do $$
begin
  if to_regtype('storage.buckettype') is null then
    create type storage.buckettype as enum ('STANDARD', 'ANALYTICS', 'VECTOR');
    alter type storage.buckettype owner to supabase_storage_admin;
  end if;
end
$$;

create table if not exists storage.buckets (
  id text not null primary key,
  name text not null,
  owner uuid,
  created_at timestamptz default now(),
  updated_at timestamptz default now(),
  public boolean default false,
  avif_autodetection boolean default false,
  file_size_limit bigint,
  allowed_mime_types text[],
  owner_id text,
  type storage.buckettype not null default 'STANDARD'
);
create unique index if not exists bname on storage.buckets (name);
comment on column storage.buckets.owner is 'Field is deprecated, use owner_id instead';

create table if not exists storage.objects (
  id uuid not null default gen_random_uuid() primary key,
  bucket_id text,
  name text,
  owner uuid,
  created_at timestamptz default now(),
  updated_at timestamptz default now(),
  last_accessed_at timestamptz default now(),
  metadata jsonb,
  path_tokens text[] generated always as (string_to_array(name, '/')) stored,
  version text,
  owner_id text,
  user_metadata jsonb,
  constraint "objects_bucketId_fkey" foreign key (bucket_id) references storage.buckets (id)
);
create unique index if not exists bucketid_objname on storage.objects (bucket_id, name);
create index if not exists idx_objects_bucket_id_name on storage.objects (bucket_id, name collate "C");
create index if not exists name_prefix_search on storage.objects (name text_pattern_ops);
comment on column storage.objects.owner is 'Field is deprecated, use owner_id instead';

alter table storage.buckets owner to supabase_storage_admin;
alter table storage.objects owner to supabase_storage_admin;
alter table storage.buckets enable row level security;
alter table storage.objects enable row level security;
grant all on storage.buckets, storage.objects to anon, authenticated, service_role;
grant all on storage.buckets, storage.objects to postgres with grant option;

create or replace function storage.foldername(name text) returns text[]
language sql immutable
as $$
  select (string_to_array(name, '/'))[1:array_length(string_to_array(name, '/'), 1) - 1]
$$;

create or replace function storage.filename(name text) returns text
language sql immutable
as $$
  select (string_to_array(name, '/'))[array_length(string_to_array(name, '/'), 1)]
$$;

create or replace function storage.extension(name text) returns text
language sql immutable
as $$
  select reverse(split_part(reverse(storage.filename(name)), '.', 1))
$$;

create or replace function storage.operation() returns text
language sql stable
as $$
  select current_setting('storage.operation', true)
$$;

create or replace function storage.allow_any_operation(expected_operations text[]) returns boolean
language sql stable
as $$
  select exists (
    select
    from unnest(expected_operations) as expected (operation)
    where expected.operation <> ''
      and regexp_replace(expected.operation, '^storage\.', '') = regexp_replace(storage.operation(), '^storage\.', '')
  )
$$;

create or replace function storage.allow_only_operation(expected_operation text) returns boolean
language sql stable
as $$
  select storage.allow_any_operation(array[expected_operation])
$$;

create or replace function storage.update_updated_at_column() returns trigger
language plpgsql
as $$
begin
  new.updated_at = now();
  return new;
end
$$;

create or replace function storage.enforce_bucket_name_length() returns trigger
language plpgsql
as $$
begin
  if length(new.name) > 100 then
    raise exception 'bucket name "%" is too long (% characters). Max is 100.', new.name, length(new.name);
  end if;
  return new;
end
$$;

-- A row deleted in SQL would leave its bytes behind: only the Storage API may delete.
create or replace function storage.protect_delete() returns trigger
language plpgsql
as $$
begin
  if coalesce(current_setting('storage.allow_delete_query', true), 'false') <> 'true' then
    raise exception 'Direct deletion from storage tables is not allowed. Use the Storage API instead.'
      using errcode = '42501', hint = 'This prevents accidental data loss from orphaned objects.';
  end if;
  return null;
end
$$;

create or replace trigger update_objects_updated_at before update on storage.objects
for each row execute function storage.update_updated_at_column();

create or replace trigger enforce_bucket_name_length_trigger before insert or update of name on storage.buckets
for each row execute function storage.enforce_bucket_name_length();

create or replace trigger protect_buckets_delete before delete on storage.buckets
for each statement execute function storage.protect_delete();

create or replace trigger protect_objects_delete before delete on storage.objects
for each statement execute function storage.protect_delete();

-- What the platform keeps for itself.

-- Policies and triggers on tables in auth and storage are everybody's; the tables are not. A hosted project answers
-- "must be owner of table objects" to anything else, `comment on policy` included.
create or replace function extensions.guard_managed_schemas() returns event_trigger
language plpgsql set search_path = ''
as $$
declare
  v_identity text;
begin
  if (select rolsuper from pg_catalog.pg_roles where rolname = current_user) then
    return;
  end if;
  if tg_event = 'sql_drop' then
    select object_identity into v_identity
    from pg_catalog.pg_event_trigger_dropped_objects()
    where schema_name in ('auth', 'storage') and object_type not in ('policy', 'trigger')
    limit 1;
  else
    select object_identity into v_identity
    from pg_catalog.pg_event_trigger_ddl_commands()
    where schema_name in ('auth', 'storage')
      or (command_tag = 'COMMENT' and object_type in ('policy', 'trigger')
          and object_identity ~ ' on (auth|storage)\.')
    limit 1;
  end if;
  if v_identity is not null then
    raise exception 'must be owner of %', v_identity using errcode = '42501';
  end if;
end
$$;

-- PostgREST reads the schema again after each change of it; a temporary table is none.
create or replace function extensions.pgrst_watch() returns event_trigger
language plpgsql set search_path = ''
as $$
begin
  if tg_event = 'sql_drop' then
    perform from pg_catalog.pg_event_trigger_dropped_objects() where not is_temporary;
  else
    perform from pg_catalog.pg_event_trigger_ddl_commands() where schema_name is distinct from 'pg_temp';
  end if;
  if found then
    notify pgrst, 'reload schema';
  end if;
end
$$;

do $$
declare
  v_trigger record;
begin
  for v_trigger in
    select *
    from (values
      ('guard_managed_schemas_ddl', 'ddl_command_end', 'guard_managed_schemas'),
      ('guard_managed_schemas_drop', 'sql_drop', 'guard_managed_schemas'),
      ('pgrst_ddl_watch', 'ddl_command_end', 'pgrst_watch'),
      ('pgrst_drop_watch', 'sql_drop', 'pgrst_watch')
    ) as watches (name, event, function_name)
    where not exists (select from pg_catalog.pg_event_trigger where evtname = watches.name)
  loop
    execute format('create event trigger %I on %s execute function extensions.%I()',
                   v_trigger.name, v_trigger.event, v_trigger.function_name);
  end loop;
end
$$;

reset client_min_messages;
