-- What is left of a deleted user: that there was one, when it went, and that its objects are gone. No personal data;
-- without this row nobody could answer, later, whether and when an erasure was carried out.

create table if not exists private.erasures (
  user_id uuid not null,
  erased_at timestamptz not null default clock_timestamp(),
  object_count int not null,
  byte_count bigint not null,
  last_removal_at timestamptz,
  completed_at timestamptz,
  -- No foreign key: it begins where the user ends.
  constraint erasures_pkey primary key (user_id),
  constraint counts_are_not_negative check (object_count >= 0 and byte_count >= 0)
);

comment on table private.erasures is
'One row a deleted user: when it was erased, how much media went, when Storage confirmed the last removal. See private.erasure_report.';
comment on column private.erasures.user_id is 'Who was auth.users.id.';
comment on column private.erasures.erased_at is 'When the deletion was committed.';
comment on column private.erasures.object_count is 'Objects in the user''s folders at that moment.';
comment on column private.erasures.byte_count is 'Their bytes.';
comment on column private.erasures.last_removal_at is 'When Storage last confirmed a removal.';
comment on column private.erasures.completed_at is 'When Storage confirmed the removal of the last object.';

create or replace function private.owned_objects(user_id uuid)
returns table (bucket_id text, name text, byte_size bigint)
language sql stable
set search_path = '', pg_temp
as $$
  -- By range in each bucket, which the index serves: 0 is the character after the slash.
  select o.bucket_id, o.name, coalesce((o.metadata ->> 'size')::bigint, 0)
  from storage.buckets as b
  inner join storage.objects as o
    on b.id = o.bucket_id
      and o.name collate "C" >= owned_objects.user_id::text || '/'
      and o.name collate "C" < owned_objects.user_id::text || '0'
$$;

comment on function private.owned_objects is 'The objects in a user''s folders, in every bucket of the project.';

create or replace function private.tg_profiles__record_erasure() returns trigger
language plpgsql security definer
set search_path = '', pg_temp
as $$
begin
  insert into private.erasures (user_id, object_count, byte_count, completed_at)
  select
    old.id, count(o.name), coalesce(sum(o.byte_size), 0),
    case when count(o.name) = 0 then clock_timestamp() end
  from private.owned_objects(old.id) as o
  having not exists (select from auth.users as u where u.id = old.id)
  on conflict (user_id) do nothing;
  return null;
end
$$;

comment on function private.tg_profiles__record_erasure is 'Notes that a user was deleted, and how much media is to follow.';

revoke all on function private.owned_objects(uuid) from public, anon, authenticated;
revoke all on function private.tg_profiles__record_erasure() from public, anon, authenticated;

-- Deferred to the commit: by then every upload that was under way has been waited for.
drop trigger if exists tg_profiles__record_erasure on public.profiles;
create constraint trigger tg_profiles__record_erasure after delete on public.profiles
deferrable initially deferred
for each row execute function private.tg_profiles__record_erasure();

alter table private.erasures enable row level security;

revoke all on table private.erasures from public, anon, authenticated, service_role;
