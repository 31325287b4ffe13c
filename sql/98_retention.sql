-- What ends by itself: generations that came to nothing, sessions that nobody touched for long, uploads that no generation
-- reads. Maintenance calls prune_generations, archive_sessions and remove_unused_inputs.

alter table public.site_policies
add column if not exists generation_failed_seconds int not null default 2592000,
add column if not exists session_idle_seconds int not null default 15552000,
add column if not exists input_unused_seconds int not null default 604800,
drop constraint if exists generation_failed_seconds_is_sensible,
-- At least a day: what is counted by the day must be there to be counted, and what is late may still succeed.
add constraint generation_failed_seconds_is_sensible check (generation_failed_seconds between 90000 and 315360000),
drop constraint if exists session_idle_seconds_is_sensible,
add constraint session_idle_seconds_is_sensible check (session_idle_seconds between 3600 and 1576800000),
drop constraint if exists input_unused_seconds_is_sensible,
add constraint input_unused_seconds_is_sensible check (input_unused_seconds between 600 and 315360000);

comment on column public.site_policies.generation_failed_seconds is
'How long a generation that failed or was canceled is kept; one that others continue stays.';
comment on column public.site_policies.session_idle_seconds is
'When a session in which nothing happens is archived. Nothing is deleted.';
comment on column public.site_policies.input_unused_seconds is
'How long an uploaded input or mask is kept that no generation reads.';

create or replace function private.inputs_of(job public.generation_jobs) returns uuid[]
language sql stable
set search_path = '', pg_temp
as $$
  select array(
    select a.id from public.image_assets as a
    where a.owner_id = (job).owner_id and a.id in ((job).source_asset_id, (job).mask_asset_id) and a.role <> 'output'
    union
    select a.id from public.image_assets as a
    where a.owner_id = (job).owner_id and a.bucket = 'private' and a.path in ((job).input1_path, (job).input2_path)
  )
$$;

comment on function private.inputs_of is 'The uploads that a generation reads.';

create or replace function private.is_input_used(asset public.image_assets) returns boolean
language sql stable
set search_path = '', pg_temp
as $$
  select exists (
    select from public.generation_jobs as j
    where j.owner_id = (asset).owner_id and j.source_asset_id = (asset).id and j.deleted_at is null
  ) or exists (
    select from public.generation_jobs as j
    where j.owner_id = (asset).owner_id and j.mask_asset_id = (asset).id and j.deleted_at is null
  ) or exists (
    select from public.generation_jobs as j where j.input1_path = (asset).path and j.deleted_at is null
  ) or exists (
    select from public.generation_jobs as j where j.input2_path = (asset).path and j.deleted_at is null
  )
$$;

comment on function private.is_input_used is 'Whether a generation that can still be seen or repeated reads this upload.';

create or replace function private.record_input(path text, metadata jsonb) returns void
language sql volatile
set search_path = '', pg_temp
as $$
  insert into public.image_assets as a (owner_id, role, bucket, path, mime_type, byte_size, idle_since)
  values (
    private.uuid_or_null(split_part(record_input.path, '/', 1)), 'input', 'private', record_input.path,
    record_input.metadata ->> 'mimetype', (record_input.metadata ->> 'size')::bigint, clock_timestamp()
  )
  on conflict (bucket, path) do update set
    mime_type = excluded.mime_type, byte_size = excluded.byte_size, width = null, height = null, sha256 = null
$$;

comment on function private.record_input is
'Gives an uploaded input its row in the transaction of the upload, so that none can be forgotten.';

create or replace function private.tg_generation_jobs__release_inputs() returns trigger
language plpgsql security definer
set search_path = '', pg_temp
as $$
begin
  update public.image_assets as a set idle_since = clock_timestamp()
  where a.owner_id = old.owner_id and a.id = any(private.inputs_of(old)) and a.idle_since is null;
  return null;
end
$$;

comment on function private.tg_generation_jobs__release_inputs is
'With a generation go its uploads, after their time and unless another reads them.';

revoke all on function private.inputs_of(public.generation_jobs) from public, anon, authenticated;
revoke all on function private.is_input_used(public.image_assets) from public, anon, authenticated;
revoke all on function private.record_input(text, jsonb) from public, anon, authenticated;
revoke all on function private.tg_generation_jobs__release_inputs() from public, anon, authenticated;

create or replace trigger tg_generation_jobs__release_inputs after update of deleted_at on public.generation_jobs
for each row when (old.deleted_at is null and new.deleted_at is not null)
execute function private.tg_generation_jobs__release_inputs();

create or replace trigger tg_generation_jobs__release_inputs_of_deleted after delete on public.generation_jobs
for each row when (old.deleted_at is null) execute function private.tg_generation_jobs__release_inputs();

-- Uploads from before they had rows. Those that are in use are told apart by maintenance.
insert into public.image_assets (owner_id, role, bucket, path, mime_type, byte_size, idle_since)
select
  p.id as owner_id,
  'input' as role,
  o.bucket_id as bucket,
  o.name as path,
  o.metadata ->> 'mimetype' as mime_type,
  (o.metadata ->> 'size')::bigint as byte_size,
  clock_timestamp() as idle_since
from storage.objects as o
inner join public.profiles as p on p.id = private.uuid_or_null(split_part(o.name, '/', 1))
where o.bucket_id = 'private' and split_part(o.name, '/', 2) = 'inputs'
on conflict do nothing;

create or replace view public.active_sessions with (security_invoker = true) as
select
  s.id,
  s.owner_id,
  s.title,
  s.model,
  s.thumbnail_path,
  s.created_at,
  s.updated_at
from public.image_sessions as s
where s.archived_at is null;

comment on view public.active_sessions is
'The sessions that are not archived: the list that users open, ?order=updated_at.desc,id.desc&limit=12.';
comment on column public.active_sessions.id is 'As image_sessions.id.';
comment on column public.active_sessions.owner_id is 'Whose it is.';
comment on column public.active_sessions.title is 'What it is called.';
comment on column public.active_sessions.model is 'The model of the last generation that succeeded.';
comment on column public.active_sessions.thumbnail_path is 'Object in bucket public: the last picture, small.';
comment on column public.active_sessions.created_at is 'When it was begun.';
comment on column public.active_sessions.updated_at is 'When something last happened in it.';

revoke all on table public.active_sessions from anon, authenticated, service_role;
grant select on table public.active_sessions to authenticated, service_role;
