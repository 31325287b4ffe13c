-- Buckets, who may read and write which object, and the trigger that pairs an uploaded object with its reserved row.
--
-- Storage asks twice: permission by an insert as the caller that is rolled back, then the real row as service_role,
-- without row security. So the policies say no early and the trigger decides: whatever comes to a path of ours, by an
-- upload, a signed URL, an upsert, a copy or the service key, comes to a row that waits for it or not at all.
-- Errors are raised with 42501: the only code that reaches clients as 403 with our own words.

insert into storage.buckets (id, name, public, file_size_limit, allowed_mime_types)
select
  b.id,
  b.id as name,
  b.is_public,
  b.byte_limit,
  b.mime_types
from public.site_policies as p
cross join lateral (values
  ('private', false, p.image_bytes_max, p.image_mime_types),
  ('media', false, p.image_bytes_max, array['image/webp']),
  ('public', true, p.image_bytes_max, array['image/jpeg', 'image/png', 'image/webp'])
) as b (id, is_public, byte_limit, mime_types)
on conflict (id) do update set
public = excluded.public, file_size_limit = excluded.file_size_limit, allowed_mime_types = excluded.allowed_mime_types;

create or replace function private.tg_site_policies__limit_buckets() returns trigger
language plpgsql security definer
set search_path = '', pg_temp
as $$
begin
  update storage.buckets as b set file_size_limit = new.image_bytes_max
  where b.id in ('private', 'media', 'public');
  update storage.buckets as b set allowed_mime_types = new.image_mime_types where b.id = 'private';
  return null;
end
$$;

comment on function private.tg_site_policies__limit_buckets is 'Storage refuses what the site''s policy refuses.';

create or replace trigger tg_site_policies__limit_buckets
after update of image_bytes_max, image_mime_types on public.site_policies
for each row execute function private.tg_site_policies__limit_buckets();

create or replace function private.refuse_object(code text, message text, hint text) returns void
language plpgsql immutable
set search_path = '', pg_temp
as $$
begin
  -- Storage hands on the message and nothing else.
  raise insufficient_privilege using
    message = format('%s %s (%s)', refuse_object.message, refuse_object.hint, refuse_object.code),
    detail = refuse_object.code, hint = refuse_object.hint;
end
$$;

comment on function private.refuse_object is
'Raises 42501, which Storage answers as 403 with this message: what is wrong, what to do, and the code in brackets.';

create or replace function private.refuse_upload(object_name text) returns boolean
language plpgsql stable security definer
set search_path = '', pg_temp
as $$
declare
  v_reserved public.listing_images;
begin
  select * into v_reserved from public.listing_images as i
  where i.original_path = refuse_upload.object_name and i.owner_id = auth.uid() and i.deleted_at is null;
  if v_reserved.id is null then
    perform private.refuse_object(
      'not_reserved', 'No upload is reserved for this path.', 'Call reserve_uploads, and upload to the paths that it answers.'
    );
  elsif v_reserved.state <> 'awaiting_upload' then
    perform private.refuse_object(
      'already_uploaded', 'This photo was uploaded already.', 'Reserve another upload, or a replacement.'
    );
  end if;
  perform private.refuse_object(
    'reservation_expired', 'The reservation of this upload has expired.', 'Reserve the upload again.'
  );
  return false;
end
$$;

comment on function private.refuse_upload is
'Says why the signed-in user may not upload an original to this path; of another''s photo nothing but that it is not reserved.';

create or replace function private.may_write_object(bucket_id text, object_name text) returns boolean
language sql stable security definer
set search_path = '', pg_temp
as $$
  select case
    when auth.uid() is null then false
    -- A copy would carry bytes past the reservation, or an original into the public bucket. Storage names its
    -- operations: storage.object.copy, storage.s3.object.copy, storage.s3.upload.part_copy, ….move.
    when current_setting('storage.operation', true) ~ '(copy|move)$' then false
    when may_write_object.bucket_id = 'private' then case
      when object_name ~ ('^' || auth.uid() || '/inputs/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.(jpg|png|webp|heic|heif)$')
        then true
      when exists (
        select from public.listing_images as i
        where i.original_path = may_write_object.object_name and i.owner_id = auth.uid()
          and i.state = 'awaiting_upload' and i.deleted_at is null and i.upload_expires_at > now()
      ) then true
      -- The trigger would refuse it too, but it comes after the policy, and of a policy Storage says only that it is there.
      else private.refuse_upload(may_write_object.object_name)
    end
    when may_write_object.bucket_id = 'public' then
      char_length(object_name) <= 255
      and object_name ~ ('^' || auth.uid() || '/([A-Za-z0-9_-][A-Za-z0-9._-]*/){0,5}[A-Za-z0-9_-][A-Za-z0-9._-]*$')
      and object_name !~ '\.\.'
    else false
  end
$$;

comment on function private.may_write_object is
'Whether the signed-in user may create this object: a path that is reserved and still waits, an input of a generation, or a clean name below one''s own public folder.';

create or replace function private.may_read_object(bucket_id text, object_name text) returns boolean
language sql stable security definer
set search_path = '', pg_temp
as $$
  select case
    when may_read_object.bucket_id = 'media' then exists (
      -- Not through private.visible_images: a barrier view cannot be joined by index.
      select from public.image_variants as v
      inner join public.listing_images as i on v.image_id = i.id
      inner join public.listings as l on i.listing_id = l.id
      where v.path = may_read_object.object_name
        and private.passes_gate(i, (select private.review_required()))
        and (l.status = 'published' or l.owner_id = (select auth.uid()))
    )
    when may_read_object.bucket_id in ('private', 'public') then
      starts_with(may_read_object.object_name, auth.uid()::text || '/')
    else false
  end
$$;

comment on function private.may_read_object is
'Whether the caller may read this object: media through the gate, private and (by listing) public below one''s own folder.';

create or replace function private.pair_object(object_name text, uploader text, metadata jsonb) returns void
language plpgsql volatile
set search_path = '', pg_temp
as $$
declare
  v_size constant bigint := (pair_object.metadata ->> 'size')::bigint;
  v_reserved public.listing_images;
  v_image public.listing_images;
begin
  select * into v_reserved from public.listing_images as i where i.original_path = pair_object.object_name;
  if v_reserved.state <> 'awaiting_upload' then
    perform private.refuse_object('already_uploaded', 'This photo was uploaded already.', 'Reserve another upload.');
  elsif v_reserved.id is null or v_reserved.deleted_at is not null or v_reserved.owner_id::text <> uploader then
    perform private.refuse_object('not_reserved', 'No upload is reserved for this path.', 'Call reserve_uploads first.');
  elsif v_size > v_reserved.byte_size then
    perform private.refuse_object('more_bytes_than_reserved', format(
      'The file has %s bytes, %s were reserved.', v_size, v_reserved.byte_size
    ), 'Reserve with the file''s real size.');
  end if;

  -- In Storage's probe a user is signed in, whose update takes the owner's lock whole: take it so from the start.
  if auth.uid() is null then
    perform private.share_owner(v_reserved.owner_id);
  else
    perform private.lock_owner(auth.uid());
  end if;
  perform set_config('imageledger.actor_id', coalesce(uploader, ''), true);
  update public.listing_images as i set
    state = 'uploaded', uploaded_at = clock_timestamp(),
    byte_size = coalesce(v_size, i.byte_size), etag = pair_object.metadata ->> 'eTag'
  where i.id = v_reserved.id and i.state = 'awaiting_upload' and i.deleted_at is null and i.upload_expires_at > now()
  returning * into v_image;
  perform set_config('imageledger.actor_id', '', true);
  if v_image.id is null then
    perform private.refuse_object(
      'reservation_expired', 'The reservation of this upload has expired.', 'Reserve the upload again.'
    );
  end if;

  -- What the reservation was part of, not this upload: that is what the client knows, and a signed URL has no headers.
  perform private.enqueue_processing(v_image, v_image.correlation_id, v_image.trace_parent);
end
$$;

comment on function private.pair_object is
'Marks the reserved row of an original uploaded and orders its processing, or refuses the object.';

-- As it was before it took ids.
drop function if exists private.enqueue_processing(public.listing_images);

create or replace function private.enqueue_processing(
  image public.listing_images, correlation_id text default null, trace_parent text default null
) returns void
language sql volatile
set search_path = '', pg_temp
as $$
  select queue.enqueue(
    actor => 'process_image',
    args => jsonb_build_object(
      'image_id', (enqueue_processing.image).id,
      'owner_id', (enqueue_processing.image).owner_id,
      'listing_id', (enqueue_processing.image).listing_id
    ),
    owner_id => (enqueue_processing.image).owner_id,
    correlation_id => enqueue_processing.correlation_id,
    trace_parent => enqueue_processing.trace_parent
  )
$$;

comment on function private.enqueue_processing is
'Orders the processing of an image, in the caller''s transaction; as part of that transaction''s request unless ids are given.';

create or replace function private.take_in_folder(folder text, uploader text) returns void
language plpgsql volatile
set search_path = '', pg_temp
as $$
declare
  v_owner_id constant uuid := private.uuid_or_null(folder);
  -- The lock also makes a user's deletion wait, so that it finds this object and removes it.
  v_price_id constant text := private.lock_owner(v_owner_id);
  v_limit constant bigint := (select p.storage_bytes_max from public.plans as p where p.price_id = v_price_id);
begin
  if v_price_id is null or folder <> coalesce(uploader, folder) then
    perform private.refuse_object('not_your_folder', 'This folder is not yours.', 'Use the folder with your user id.');
  elsif private.storage_bytes_used(v_owner_id) > v_limit then
    perform private.refuse_object('storage_budget_exceeded', format(
      'This file does not fit into your plan''s limit of %s bytes.', v_limit
    ), 'Delete photos or choose a larger plan.');
  end if;
end
$$;

comment on function private.take_in_folder is
'Lets a written object stay in its user''s folder: the folder''s user exists, is the uploader, and the plan has room.';

create or replace function private.tg_objects__pair() returns trigger
language plpgsql security definer
set search_path = '', pg_temp
as $$
declare
  -- Storage gives the user in owner_id; with the service key it is null.
  v_uploader constant text := nullif(new.owner_id, '');
  v_parts constant text[] := string_to_array(new.name, '/');
begin
  if tg_op = 'UPDATE' and (old.bucket_id, old.name) is distinct from (new.bucket_id, new.name) then
    perform private.refuse_object('objects_do_not_move', 'Objects of the ledger do not move.', 'Upload again.');
  end if;

  if private.is_restored(new.bucket_id, new.name, v_uploader) then
    return null;
  end if;

  if new.bucket_id = 'private' and v_parts[2] = 'inputs' or new.bucket_id = 'public' then
    if new.bucket_id = 'public' and v_parts[1] = 'renders' then
      perform private.take_in_render(new.name, v_uploader);
      return null;
    end if;
    perform private.take_in_folder(v_parts[1], v_uploader);
    if new.bucket_id = 'private' then
      perform private.record_input(new.name, new.metadata);
    end if;
  elsif new.bucket_id = 'private' then
    perform private.pair_object(new.name, v_uploader, new.metadata);
  else
    -- The lock makes the image's deletion wait for this write, so that its removal job finds the object. Whoever lost
    -- the lease and does not know it yet writes what nobody would remove: not where no attempt is under way.
    perform 1 from public.listing_images as i
    where i.id = private.uuid_or_null(v_parts[3]) and v_uploader is null
      and (
        i.state = 'processing' or (i.state = 'uploaded' and i.deleted_at is null)
        or exists (select from public.image_variants as v where v.image_id = i.id and v.path = new.name)
      )
      and new.name = any(
        select private.variant_path(i.owner_id, i.listing_id, i.id, r.role)
        from unnest(private.variant_roles()) as r (role)
      )
    for key share of i;
    if not found then
      perform private.refuse_object('no_such_image', 'No image has this variant.', 'The image may have been deleted.');
    end if;
  end if;
  return null;
end
$$;

comment on function private.tg_objects__pair is
'After each write to our buckets: pairs originals with their reservations and refuses every object that has no row.';

revoke all on function private.tg_site_policies__limit_buckets() from public, anon, authenticated;
revoke all on function private.may_write_object(text, text) from public, anon, authenticated;
revoke all on function private.may_read_object(text, text) from public, anon, authenticated;
revoke all on function private.refuse_object(text, text, text) from public, anon, authenticated;
revoke all on function private.refuse_upload(text) from public, anon, authenticated;
revoke all on function private.pair_object(text, text, jsonb) from public, anon, authenticated;
revoke all on function private.enqueue_processing(public.listing_images, text, text) from public, anon, authenticated;
revoke all on function private.take_in_folder(text, text) from public, anon, authenticated;
revoke all on function private.tg_objects__pair() from public, anon, authenticated;
grant execute on function private.may_write_object(text, text) to authenticated;
grant execute on function private.may_read_object(text, text) to anon, authenticated;

-- Runs for the rolled-back probe too: what it does there is undone with it.
create or replace trigger tg_objects__pair after insert on storage.objects
for each row when (new.bucket_id in ('private', 'media', 'public'))
execute function private.tg_objects__pair();

-- A second write to the same path is an update: new bytes (version, eTag), another name or another bucket.
create or replace trigger tg_objects__pair_again after update on storage.objects
for each row when (
  (old.bucket_id in ('private', 'media', 'public') or new.bucket_id in ('private', 'media', 'public'))
  and (
    old.bucket_id is distinct from new.bucket_id
    or old.name is distinct from new.name
    or old.version is distinct from new.version
    or old.owner_id is distinct from new.owner_id
    or (old.metadata ->> 'eTag') is distinct from (new.metadata ->> 'eTag')
    or (old.metadata ->> 'size') is distinct from (new.metadata ->> 'size')
  )
)
execute function private.tg_objects__pair();

-- No update and no delete for clients: rows go, the worker removes the bytes.
drop policy if exists imageledger_select_public on storage.objects;
create policy imageledger_select_public on storage.objects for select to anon
using (bucket_id = 'media' and private.may_read_object(bucket_id, name));

drop policy if exists imageledger_select_owner on storage.objects;
create policy imageledger_select_owner on storage.objects for select to authenticated
using (bucket_id in ('private', 'media', 'public') and private.may_read_object(bucket_id, name));

drop policy if exists imageledger_insert_owner on storage.objects;
create policy imageledger_insert_owner on storage.objects for insert to authenticated
with check (bucket_id in ('private', 'public') and private.may_write_object(bucket_id, name));

create or replace function private.tg_profiles__enqueue_removal() returns trigger
language plpgsql security definer
set search_path = '', pg_temp
as $$
begin
  perform private.enqueue_removal(g.id, o.bucket_id, array_agg(o.name))
  from gone as g cross join lateral private.folder_objects(g.id) as o
  group by g.id, o.bucket_id;
  return null;
end
$$;

comment on function private.tg_profiles__enqueue_removal is
'With a user go the objects that no row tells of: inputs of generations and the user''s public folder.';

revoke all on function private.tg_profiles__enqueue_removal() from public, anon, authenticated;

create or replace trigger tg_profiles__enqueue_removal after delete on public.profiles
referencing old table as gone
for each statement execute function private.tg_profiles__enqueue_removal();
