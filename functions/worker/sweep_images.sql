create or replace function private.is_lost(error_code text) returns boolean
language sql immutable parallel safe
set search_path = '', pg_temp
return error_code in ('original_missing', 'original_differs');

comment on function private.is_lost is
'Whether an image failed because its original is gone or is not what was uploaded: known, and not looked at again.';

create or replace function private.must_be_rendered(image public.listing_images, review_required boolean)
returns boolean
language sql stable
set search_path = '', pg_temp
as $$
  select not private.is_withheld(image, must_be_rendered.review_required) and (
    (image).withdrawn_at is null
    -- Withdrawn, but by now it may be shown; a removed one is rendered when it is restored.
    or ((image).deleted_at is null and not private.becomes_label(image))
  )
$$;

comment on function private.must_be_rendered is 'Whether a ready image has to have all its variants.';

create or replace function private.sweep_images(owner_from uuid, owner_to uuid, older_than interval)
returns table (owner_id uuid, kind text, bucket text, path text, image_id uuid, detail text)
language sql stable
set search_path = '', pg_temp
as $$
  with
  images as materialized (
    select
      i.id, i.owner_id, i.original_path, i.byte_size, i.state, i.deleted_at,
      i.state = 'failed' and private.is_lost(i.error_code) as is_lost,
      i.state = 'ready' and case
        when not i.is_label and i.review_state <> 'rejected' and i.withdrawn_at is null then true
        else private.must_be_rendered(i, (select private.review_required()))
      end as is_rendered
    from public.listing_images as i
    where i.owner_id between sweep_images.owner_from and sweep_images.owner_to
      and i.updated_at <= now() - sweep_images.older_than
  ),
  objects as (
    select o.bucket_id, o.name, (o.metadata ->> 'size')::bigint as byte_size
    from storage.objects as o
    where o.bucket_id in ('private', 'media')
      and o.name collate "C" >= sweep_images.owner_from::text
      and o.name collate "C" < sweep_images.owner_to::text || '0'
  ),
  originals as (
    select
      i.owner_id, i.id, i.original_path,
      case
        when i.state = 'awaiting_upload' then 'upload_unnoticed'
        when o.name is null then 'original_missing'
        else 'original_differs'
      end as kind,
      case
        when i.state = 'awaiting_upload' then 'the bytes are there'
        when o.name is null then 'no object'
        else format('%s bytes instead of %s', o.byte_size, i.byte_size)
      end as detail
    from images as i
    left join objects as o on o.bucket_id = 'private' and i.original_path = o.name
    where (i.state <> 'awaiting_upload' and not i.is_lost and (o.name is null or o.byte_size <> i.byte_size))
      or (i.state = 'awaiting_upload' and o.name is not null)
  ),
  variants as (
    select
      i.owner_id, i.id,
      case when bool_or(o.name is null) then 'variant_missing' else 'variant_differs' end as kind,
      string_agg(
        s.role || case
          when v.role is null then ': no row'
          when o.name is null then ': no object'
          else format(': %s bytes instead of %s', o.byte_size, v.byte_size)
        end, ', ' order by s.max_side
      ) as detail
    from images as i
    cross join public.variant_specs as s
    left join public.image_variants as v on i.id = v.image_id and s.role = v.role
    left join objects as o on o.bucket_id = 'media' and v.path = o.name
    where (i.is_rendered and (v.role is null or o.name is null or o.byte_size <> v.byte_size))
      -- Of an image that is not shown only the rows that point nowhere are wrong.
      or (i.state in ('ready', 'failed') and not i.is_rendered and v.role is not null and o.name is null)
    group by i.owner_id, i.id
  )
  select o.owner_id, o.kind, 'private', o.original_path, o.id, o.detail from originals as o
  union all
  select v.owner_id, v.kind, 'media', null, v.id, v.detail from variants as v
  -- A lost original is the worse news, and its repair covers the variants.
  where not exists (select from originals as o where o.id = v.id)
  union all
  select i.owner_id, 'stuck', 'private', i.original_path, i.id, format('%s, and no job', i.state)
  from images as i
  where i.state in ('uploaded', 'processing') and i.deleted_at is null
    and not exists (select from originals as o where o.id = i.id)
    and not exists (
      select from queue.jobs as j
      where j.actor = 'process_image' and j.state in ('scheduled', 'ready', 'running')
        and j.args ->> 'image_id' = i.id::text
    )
$$;

comment on function private.sweep_images is
'What is wrong with the images of these owners, at most one finding an image: original_missing, original_differs, upload_unnoticed, variant_missing, variant_differs, stuck.';

create or replace function private.sweep_bytes(owner_from uuid, owner_to uuid, older_than interval)
returns table (
  owner_id uuid, image_id uuid, bucket text, path text, byte_size bigint, sha256 text, etag text
)
language sql stable
set search_path = '', pg_temp
as $$
  select i.owner_id, i.id, o.bucket_id, o.name, i.byte_size, i.sha256, null
  from public.listing_images as i
  inner join storage.objects as o on o.bucket_id = 'private' and i.original_path = o.name
  where i.owner_id between sweep_bytes.owner_from and sweep_bytes.owner_to
    and i.updated_at <= now() - sweep_bytes.older_than
    and i.state <> 'awaiting_upload' and not (i.state = 'failed' and private.is_lost(i.error_code))
  union all
  select i.owner_id, i.id, o.bucket_id, o.name, v.byte_size, null, o.metadata ->> 'eTag'
  from public.listing_images as i
  inner join public.image_variants as v on i.id = v.image_id
  inner join storage.objects as o on o.bucket_id = 'media' and v.path = o.name
  where i.owner_id between sweep_bytes.owner_from and sweep_bytes.owner_to
    and i.updated_at <= now() - sweep_bytes.older_than
    and i.state = 'ready' and (
      (not i.is_label and i.review_state <> 'rejected' and i.withdrawn_at is null)
      or private.must_be_rendered(i, (select private.review_required()))
    )
$$;

comment on function private.sweep_bytes is
'The objects of these owners'' images with what their bytes must be: the size, and the SHA-256 (originals that were processed) or Storage''s own tag (variants).';

revoke all on function private.sweep_images(uuid, uuid, interval) from public, anon, authenticated, service_role;
revoke all on function private.must_be_rendered(public.listing_images, boolean)
from public, anon, authenticated, service_role;
revoke all on function private.is_lost(text) from public, anon, authenticated, service_role;
revoke all on function private.sweep_bytes(uuid, uuid, interval) from public, anon, authenticated, service_role;
