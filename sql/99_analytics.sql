-- What analysts log in as, and what keeps their views fresh. The views themselves are in 99_analytics_views.sql.
--
-- The views run as their owner, not as security_invoker, on purpose: an analyst has no privilege on any table, and sees of
-- them only what a view counts. Row security would not help here: it can hide rows, never columns.

-- A password makes it a login: `alter role analyst password '…'`. It reads, for half a minute at most, and a session of its
-- cannot be left open in a transaction. These are defaults against accidents; what it may never do is a matter of privileges.
-- Set once: what an operator changes stays.
do $$
begin
  if exists (select from pg_catalog.pg_roles as r where r.rolname = 'analyst' and r.rolconfig is null) then
    alter role analyst login noinherit connection limit 10;
    alter role analyst set default_transaction_read_only = on;
    alter role analyst set statement_timeout = '30s';
    alter role analyst set idle_in_transaction_session_timeout = '60s';
    alter role analyst set lock_timeout = '5s';
    alter role analyst set search_path = analytics;
  end if;
end
$$;

create table if not exists private.analytics_snapshots (
  name text not null,
  refresh_every interval not null,
  place int not null,
  digest text not null,
  tried_at timestamptz,
  refreshed_at timestamptz,
  took_ms int,
  error text,
  constraint analytics_snapshots_pkey primary key (name),
  constraint refresh_every_is_sensible check (refresh_every >= interval '1 second')
);

comment on table private.analytics_snapshots is
'What of schema analytics is counted in advance, and when. Operators may change refresh_every; tried_at, error: for them.';
comment on column private.analytics_snapshots.digest is 'Of the definition: another one builds the snapshot anew.';
comment on column private.analytics_snapshots.place is 'Which is first when several are due.';

create table if not exists private.storage_facts (
  owner_id uuid not null,
  kind text not null,
  format text not null,
  object_count bigint not null,
  byte_count bigint not null,
  -- A table and no materialised view, so that a deleted user's rows go with the user and not an hour later.
  constraint storage_facts_pkey primary key (owner_id, kind, format),
  constraint facts_are_of_a_profile foreign key (owner_id) references public.profiles (id) on delete cascade
);

comment on table private.storage_facts is 'Bytes by owner, kind and format as of the last count; read as analytics.storage_by_owner.';

alter table private.analytics_snapshots enable row level security;
alter table private.storage_facts enable row level security;

revoke all on table private.analytics_snapshots, private.storage_facts from public, anon, authenticated, service_role;

create or replace function private.as_word(text text) returns text
language sql immutable parallel safe
set search_path = '', pg_temp
as $$
  select case when text is null then '' else coalesce(substring(text from '^[a-z][a-z0-9_.+/-]{0,59}$'), 'other') end
$$;

comment on function private.as_word is
'A code as analysts may see it: a short word of lower case, else "other". Free text never gets through.';

create or replace function private.define_snapshot(
  name text, place int, refresh_every interval, key_columns text, definition text
) returns boolean
language plpgsql volatile
set search_path = '', pg_temp
as $$
declare
  v_digest constant text := md5(key_columns || definition);
  -- Then the worker counts, minutes later, and not a migration that holds the tables' locks.
  v_is_large constant boolean := (
    select max(c.reltuples) > 200000 from pg_catalog.pg_class as c
    where c.oid in (
      'public.listing_images'::regclass, 'public.image_events'::regclass, 'public.generation_jobs'::regclass,
      'queue.jobs'::regclass
    )
  );
begin
  if to_regclass(format('analytics.%I', name)) is not null and exists (
    select from private.analytics_snapshots as s where s.name = define_snapshot.name and s.digest = v_digest
  ) then
    return false;
  end if;
  -- With the plain views above it, which the file that defines both makes again.
  execute format('drop materialized view if exists analytics.%I cascade', name);
  execute format(
    'create materialized view analytics.%I as %s with %s data', name, definition, case when v_is_large then 'no' else '' end
  );
  -- What a concurrent refresh goes by: readers never wait.
  execute format('create unique index %I on analytics.%I (%s)', name || '_key_idx', name, key_columns);
  insert into private.analytics_snapshots as s (name, refresh_every, place, digest, refreshed_at)
  values (
    define_snapshot.name, define_snapshot.refresh_every, define_snapshot.place, v_digest,
    case when not v_is_large then clock_timestamp() end
  )
  on conflict on constraint analytics_snapshots_pkey
  do update set
    digest = excluded.digest, place = excluded.place, refreshed_at = excluded.refreshed_at, tried_at = null;
  return true;
end
$$;

comment on function private.define_snapshot is
'Makes a materialised view of schema analytics, or makes it anew when its definition is another; true if so. How often it is refreshed stays as an operator has set it. In a large database it is empty, and refuses to be read, until the worker has counted.';

create or replace function private.count_storage() returns void
language sql volatile
set search_path = '', pg_temp
as $$
  with counted as materialized (
    select
      o.owner_id, o.kind, case when o.format ~ '^image/[a-z0-9.+-]{1,20}$' then o.format else 'other' end as format,
      sum(o.object_count)::bigint as object_count, sum(o.byte_count)::bigint as byte_count
    from (
      select i.owner_id, 'original' as kind, i.mime_type as format, count(*) as object_count, sum(i.byte_size) as byte_count
      from public.listing_images as i where i.state <> 'awaiting_upload' group by i.owner_id, i.mime_type
      union all
      select v.owner_id, 'variant', 'image/webp', count(*), sum(v.byte_size)
      from public.image_variants as v group by v.owner_id
      union all
      select
        a.owner_id, case a.role when 'output' then 'generation_output' else 'generation_input' end, a.mime_type,
        count(*), coalesce(sum(a.byte_size), 0)
      from public.image_assets as a group by a.owner_id, a.role, a.mime_type
    ) as o
    group by o.owner_id, o.kind, 3
  ),
  gone as (
    delete from private.storage_facts as f
    where not exists (
      select from counted as c where c.owner_id = f.owner_id and c.kind = f.kind and c.format = f.format
    )
  )
  insert into private.storage_facts as f (owner_id, kind, format, object_count, byte_count)
  select c.owner_id, c.kind, c.format, c.object_count, c.byte_count from counted as c
  on conflict (owner_id, kind, format)
  do update set object_count = excluded.object_count, byte_count = excluded.byte_count
  where (f.object_count, f.byte_count) <> (excluded.object_count, excluded.byte_count)
$$;

comment on function private.count_storage is 'Counts every owner''s bytes anew, as the ledger knows them.';

insert into private.analytics_snapshots (name, refresh_every, place, digest)
values ('storage_by_owner', interval '1 hour', 0, '') on conflict (name) do nothing;

revoke all on function private.as_word(text) from public, anon, authenticated;
revoke all on function private.define_snapshot(text, int, interval, text, text) from public, anon, authenticated;
revoke all on function private.count_storage() from public, anon, authenticated;
