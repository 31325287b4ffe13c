-- What reserving, ordering and removing have in common: which listing, are the files within the limits, is there room
-- and budget. Each limit has its own code, and its message names the limit and the value.

create or replace function private.lock_listing(listing_id uuid, owner_id uuid) returns void
language plpgsql volatile
set search_path = '', pg_temp
as $$
begin
  perform 1 from public.listings as l
  where l.id = lock_listing.listing_id and l.owner_id = lock_listing.owner_id
  for no key update;
  if not found then
    -- The same words for unknown and for somebody else's: no oracle.
    perform private.refuse(404, 'listing_not_found', 'You have no such listing.', 'Check the id.');
  end if;
end
$$;

comment on function private.lock_listing is
'Second lock of every change to a listing''s images, after the owner''s. 404 for an unknown listing and for another user''s alike.';

create or replace function private.lock_image(image_id uuid) returns public.listing_images
language plpgsql volatile
set search_path = '', pg_temp
as $$
declare
  v_owner_id constant uuid := private.signed_in();
  v_image public.listing_images;
begin
  perform private.lock_owner(v_owner_id);
  perform 1 from public.listings as l
  where l.owner_id = v_owner_id
    and l.id = (
      select i.listing_id from public.listing_images as i
      where i.id = lock_image.image_id and i.owner_id = v_owner_id
    )
  for no key update;
  select * into v_image from public.listing_images as i
  where i.id = lock_image.image_id and i.owner_id = v_owner_id for update;
  if v_image.id is null then
    perform private.refuse(404, 'image_not_found', 'You have no such image.', 'Check the id.');
  end if;
  return v_image;
end
$$;

comment on function private.lock_image is
'Locks owner, listing and image, in this order, and answers the image. 404 for an unknown image and for another user''s alike.';

create or replace function private.extension_of(mime_type text) returns text
language sql immutable parallel safe
return case mime_type
  when 'image/jpeg' then 'jpg'
  when 'image/png' then 'png'
  when 'image/webp' then 'webp'
  when 'image/heic' then 'heic'
  when 'image/heif' then 'heif'
end;

comment on function private.extension_of is 'The extension of an object of this type; names that users choose never become part of a path.';

create or replace function private.total_bytes(files jsonb) returns bigint
language sql immutable
set search_path = '', pg_temp
as $$
  select coalesce(sum((f ->> 'byte_size')::bigint), 0)::bigint from jsonb_array_elements(files) as f
$$;

comment on function private.total_bytes is 'Bytes of all files of a checked reservation.';

create or replace function private.check_files(files jsonb, policy public.site_policies) returns void
language plpgsql stable
set search_path = '', pg_temp
as $$
declare
  v_count int;
  v_file record;
begin
  if files is null or jsonb_typeof(files) <> 'array' then
    perform private.refuse(422, 'files_malformed', 'files is not an array.',
      'Send [{"file_name", "mime_type", "byte_size"}].');
  end if;
  v_count := jsonb_array_length(files);
  if v_count = 0 then
    perform private.refuse(422, 'files_empty', 'There is no file to reserve for.', 'Send at least one file.');
  elsif v_count > policy.upload_batch_max then
    perform private.refuse(422, 'batch_too_large', format(
      'There are %s files, more than the limit of %s in one call.', v_count, policy.upload_batch_max
    ), 'Reserve them in several calls.');
  end if;
  for v_file in
    select e.file, e.n, format('File %s', e.n) as name from jsonb_array_elements(files) with ordinality as e (file, n)
  loop
    perform private.check_file(v_file.file, v_file.name, policy);
  end loop;
  if (select count(*) > 1 from jsonb_array_elements(files) as f where (f ->> 'is_label')::boolean) then
    perform private.refuse(422, 'more_than_one_label', 'More than one file is marked as the label.',
      'A listing has one label: set is_label on one file.');
  end if;
end
$$;

comment on function private.check_files is 'Refuses what the site''s policy refuses, before a byte is sent.';

create or replace function private.check_file(file jsonb, name text, policy public.site_policies) returns void
language plpgsql stable
set search_path = '', pg_temp
as $$
declare
  v_size numeric;
begin
  if jsonb_typeof(file) <> 'object'
    or jsonb_typeof(file -> 'file_name') is distinct from 'string'
    or jsonb_typeof(file -> 'mime_type') is distinct from 'string'
    or jsonb_typeof(file -> 'byte_size') is distinct from 'number'
    or coalesce(jsonb_typeof(file -> 'alt_text'), 'null') not in ('string', 'null')
    or coalesce(jsonb_typeof(file -> 'is_label'), 'null') not in ('boolean', 'null')
    or coalesce(jsonb_typeof(file -> 'tags'), 'null') not in ('array', 'null')
    or jsonb_typeof(file -> 'tags') = 'array' and jsonb_path_exists(file, '$.tags[*] ? (@.type() != "string")')
  then
    perform private.refuse(422, 'file_malformed', name || ' is not described as it should be.',
      'Send {"file_name": text, "mime_type": text, "byte_size": number, "alt_text"?: text, "tags"?: [text], "is_label"?: boolean}.');
  end if;
  v_size := (file ->> 'byte_size')::numeric;
  if char_length(file ->> 'file_name') not between 1 and 255 then
    perform private.refuse(422, 'file_name_length', format(
      '%s has a name of %s characters; the limit is 255, and one at least.', name, char_length(file ->> 'file_name')
    ), 'Shorten the name.');
  elsif file ->> 'mime_type' = '' then
    perform private.refuse(415, 'type_not_accepted', name || ' has an empty mime_type.',
      'Browsers that know no HEIC leave it empty: tell the type by the name''s ending, here and in the upload. Send one of: '
      || array_to_string(policy.image_mime_types, ', ') || '.');
  elsif not (file ->> 'mime_type') = any(policy.image_mime_types) then
    perform private.refuse(415, 'type_not_accepted', format(
      '%s is of type %s, which is not accepted.', name, left(file ->> 'mime_type', 100)
    ), 'Send one of: ' || array_to_string(policy.image_mime_types, ', ') || '.');
  elsif v_size <> trunc(v_size) or v_size < 1 then
    perform private.refuse(422, 'byte_size_invalid', name || ' has a byte_size that is not a positive whole number.',
      'Send the file''s size in bytes.');
  elsif v_size > policy.image_bytes_max then
    perform private.refuse(413, 'file_too_large', format(
      '%s has %s bytes, more than the limit of %s.', name, v_size, policy.image_bytes_max
    ), 'Send a smaller file.');
  end if;
end
$$;

comment on function private.check_file is 'Refuses one file''s description that is malformed or beyond the site''s policy.';

create or replace function private.check_room(
  listing_id uuid, live_count int, files jsonb, policy public.site_policies
) returns void
language plpgsql stable
set search_path = '', pg_temp
as $$
begin
  if live_count + jsonb_array_length(files) > policy.images_per_listing_max then
    perform private.refuse(409, 'too_many_images', format(
      'The listing has %s images and would have %s, more than the limit of %s.',
      live_count, live_count + jsonb_array_length(files), policy.images_per_listing_max
    ), 'Remove images or send fewer.');
  end if;
  if exists (select from jsonb_array_elements(files) as f where (f ->> 'is_label')::boolean)
    and exists (
      select from public.listing_images as i
      where i.listing_id = check_room.listing_id and i.is_label and i.position is not null
    )
  then
    perform private.refuse_second_label();
  end if;
end
$$;

comment on function private.check_room is 'Refuses more images than a listing may have, and a second label.';

create or replace function private.refuse_second_label() returns void
language plpgsql stable
set search_path = '', pg_temp
as $$
begin
  perform private.refuse(409, 'label_exists', 'The listing has a label already.',
    'Take the flag from the other image first.');
end
$$;

comment on function private.refuse_second_label is 'A listing has one label.';

create or replace function private.find_twin(image public.listing_images, sha256 text) returns public.listing_images
language sql stable
set search_path = '', pg_temp
as $$
  select i.* from public.listing_images as i
  where i.owner_id = (find_twin.image).owner_id and i.listing_id = (find_twin.image).listing_id
    and i.sha256 = find_twin.sha256 and i.ready_at is not null and i.state <> 'failed' and i.deleted_at is null
    and i.id <> (find_twin.image).id
    -- What waits to replace an image is no second copy of it: one of the two will go.
    and ((find_twin.image).position is not null or i.id is distinct from (find_twin.image).replaces_id)
    and (i.position is not null or i.replaces_id is distinct from (find_twin.image).id)
  order by i.position nulls last, i.id
  limit 1
$$;

comment on function private.find_twin is
'The image of the same listing that has these bytes: processed, and neither removed nor replaced. The caller holds the listing''s lock.';

create or replace function private.name_twin(twin public.listing_images) returns text
language sql immutable
set search_path = '', pg_temp
as $$
  select concat_ws(', ', (twin).file_name, 'photo ' || ((twin).position + 1), (twin).id)
$$;

comment on function private.name_twin is 'An image in words for sellers: its file''s name, its place and its id.';

create or replace function private.folder_objects(owner_id uuid)
returns table (bucket_id text, name text, metadata jsonb)
language sql stable
set search_path = '', pg_temp
-- The planner does not know the folder, takes it for a large part of all objects and would read them all.
set enable_seqscan = off
as $$
  -- By range, which the index serves: 0 is the character after the slash.
  select o.bucket_id, o.name, o.metadata
  from (values
    ('private', folder_objects.owner_id::text || '/inputs/', folder_objects.owner_id::text || '/inputs0'),
    ('public', folder_objects.owner_id::text || '/', folder_objects.owner_id::text || '0')
  ) as f (bucket_id, low, high)
  inner join storage.objects as o
    on f.bucket_id = o.bucket_id and o.name collate "C" >= f.low and o.name collate "C" < f.high
$$;

comment on function private.folder_objects is
'The objects of a user that no row of the ledger tells of: generation inputs and the public folder.';

create or replace function private.storage_bytes_used(owner_id uuid) returns bigint
language sql stable
set search_path = '', pg_temp
as $$
  select coalesce(sum(b.byte_size), 0)::bigint
  from (
    select i.byte_size from public.listing_images as i
    where i.owner_id = storage_bytes_used.owner_id
      and (i.state <> 'awaiting_upload' or i.upload_expires_at > now())
    union all
    select (o.metadata ->> 'size')::bigint from private.folder_objects(storage_bytes_used.owner_id) as o
  ) as b
$$;

comment on function private.storage_bytes_used is
'Bytes that a user stores: originals, removed ones that can still be restored, open reservations, generation inputs and the public folder.';

create or replace function private.check_budget(owner_id uuid, price_id text, more_bytes bigint) returns void
language plpgsql stable
set search_path = '', pg_temp
as $$
declare
  v_used constant bigint := private.storage_bytes_used(owner_id);
  v_limit constant bigint := (select p.storage_bytes_max from public.plans as p where p.price_id = check_budget.price_id);
begin
  if v_used + more_bytes > coalesce(v_limit, 0) then
    perform private.refuse(402, 'storage_budget_exceeded', format(
      'Your photos would take %s bytes, more than your plan''s limit of %s.', v_used + more_bytes, coalesce(v_limit, 0)
    ), 'Delete photos or choose a larger plan.');
  end if;
end
$$;

comment on function private.check_budget is
'Refuses what the plan has no room for. The caller holds the owner''s lock, so that parallel reservations are counted.';

revoke all on function private.lock_listing(uuid, uuid) from public, anon, authenticated;
revoke all on function private.lock_image(uuid) from public, anon, authenticated;
revoke all on function private.extension_of(text) from public, anon, authenticated;
revoke all on function private.total_bytes(jsonb) from public, anon, authenticated;
revoke all on function private.check_files(jsonb, public.site_policies) from public, anon, authenticated;
revoke all on function private.check_file(jsonb, text, public.site_policies) from public, anon, authenticated;
revoke all on function private.check_room(uuid, int, jsonb, public.site_policies) from public, anon, authenticated;
revoke all on function private.refuse_second_label() from public, anon, authenticated;
revoke all on function private.find_twin(public.listing_images, text) from public, anon, authenticated;
revoke all on function private.name_twin(public.listing_images) from public, anon, authenticated;
revoke all on function private.folder_objects(uuid) from public, anon, authenticated;
revoke all on function private.storage_bytes_used(uuid) from public, anon, authenticated;
revoke all on function private.check_budget(uuid, text, bigint) from public, anon, authenticated;

create or replace function private.tg_site_policies__settle_replacements() returns trigger
language plpgsql security definer
set search_path = '', pg_temp
as $$
begin
  -- A page, so that the switch waits for few; maintenance lets in the rest.
  perform private.settle_replacements();
  return null;
end
$$;

comment on function private.tg_site_policies__settle_replacements is
'Switching the review off lets replacements in that only waited for it.';

revoke all on function private.tg_site_policies__settle_replacements() from public, anon, authenticated;

create or replace trigger tg_site_policies__settle_replacements
after update of photo_review_enabled on public.site_policies for each row
when (old.photo_review_enabled and not new.photo_review_enabled)
execute function private.tg_site_policies__settle_replacements();
