create or replace function private.insert_reservations(
  owner_id uuid, listing_id uuid, first_position int, files jsonb, policy public.site_policies,
  replaces_id uuid default null
) returns jsonb
language sql volatile
set search_path = '', pg_temp
as $$
  with ids as materialized (
    select gen_random_uuid() as id, f.file, f.n
    from jsonb_array_elements(insert_reservations.files) with ordinality as f (file, n)
  ), rows as (
    insert into public.listing_images (
      id, listing_id, owner_id, position, is_label, alt_text, tags, original_path,
      file_name, mime_type, byte_size, upload_expires_at, replaces_id
    )
    select
      i.id, insert_reservations.listing_id, insert_reservations.owner_id,
      -- A replacement gets its place when its turn comes.
      case when insert_reservations.replaces_id is null then first_position + i.n - 1 end,
      coalesce((i.file ->> 'is_label')::boolean, false),
      i.file ->> 'alt_text',
      array(select t from jsonb_array_elements_text(coalesce(nullif(i.file -> 'tags', 'null'), '[]')) as t),
      insert_reservations.owner_id || '/listings/' || insert_reservations.listing_id || '/' || i.id
        || '.' || private.extension_of(i.file ->> 'mime_type'),
      i.file ->> 'file_name', i.file ->> 'mime_type', (i.file ->> 'byte_size')::bigint,
      now() + (policy).reservation_seconds * interval '1 second',
      insert_reservations.replaces_id
    from ids as i
    returning id, original_path
  )
  select jsonb_agg(
    jsonb_build_object('image_id', r.id, 'bucket', 'private', 'path', r.original_path) order by i.n
  )
  from rows as r inner join ids as i on i.id = r.id
$$;

comment on function private.insert_reservations is
'Writes the rows of checked files and answers their paths in the files'' order. The caller holds the locks.';

create or replace function private.reserve_uploads(listing_id uuid, files jsonb) returns jsonb
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_owner_id constant uuid := private.signed_in();
  v_policy public.site_policies;
  v_price_id text;
  v_next int;
begin
  select * into v_policy from public.site_policies;
  perform private.check_files(files, v_policy);
  v_price_id := private.lock_owner(v_owner_id);
  perform private.lock_listing(listing_id, v_owner_id);

  select count(*) into v_next from public.listing_images as i
  where i.owner_id = v_owner_id and i.listing_id = reserve_uploads.listing_id and i.position is not null;
  perform private.check_room(listing_id, v_next, files, v_policy);
  perform private.check_budget(v_owner_id, v_price_id, private.total_bytes(files));

  return private.insert_reservations(v_owner_id, listing_id, v_next, files, v_policy);
end
$$;

comment on function private.reserve_uploads is 'The body of public.reserve_uploads.';

create or replace function public.reserve_uploads(listing_id uuid, files jsonb) returns jsonb
language sql volatile
set search_path = '', pg_temp
as $$
  select private.reserve_uploads(reserve_uploads.listing_id, reserve_uploads.files)
$$;

comment on function public.reserve_uploads is
'Reserves one row and one path for each file, all or none. files: [{"file_name", "mime_type", "byte_size", "alt_text"?, "tags"?, "is_label"?}]. Answers [{"image_id", "bucket", "path"}] in the same order; upload each file to exactly its path.';

revoke all on function public.reserve_uploads(uuid, jsonb) from public, anon, authenticated, service_role;
revoke all on function private.reserve_uploads(uuid, jsonb) from public, anon, authenticated, service_role;
revoke all on function private.insert_reservations(uuid, uuid, int, jsonb, public.site_policies, uuid)
from public, anon, authenticated, service_role;
grant execute on function public.reserve_uploads(uuid, jsonb) to authenticated;
grant execute on function private.reserve_uploads(uuid, jsonb) to authenticated;
