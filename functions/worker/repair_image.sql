create or replace function private.repair_image(image_id uuid, kind text) returns text
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_image public.listing_images;
  v_object storage.objects;
begin
  perform private.share_owner((select i.owner_id from public.listing_images as i where i.id = repair_image.image_id));
  select * into v_image from public.listing_images as i where i.id = repair_image.image_id for update;
  select * into v_object from storage.objects as o where o.bucket_id = 'private' and o.name = v_image.original_path;

  if private.is_lost(kind) and v_image.state not in ('awaiting_upload', 'failed')
    or private.is_lost(kind) and v_image.state = 'failed' and not private.is_lost(v_image.error_code) then
    -- The variants that are there stay: nobody is shown them, and they may be the last that is left of the photo.
    update public.listing_images as i set
      state = 'failed', error_code = repair_image.kind, is_retryable = false,
      error = case repair_image.kind
        when 'original_missing' then 'The uploaded file is not in storage any more. Please upload it again.'
        else 'The stored file is not the one that was uploaded. Please upload it again.'
      end
    where i.id = v_image.id;
    perform private.drop_dangling_variants(v_image.id);
    return 'failed';
  elsif kind in ('variant_missing', 'variant_differs') and v_image.state = 'ready'
    and private.must_be_rendered(v_image, private.review_required()) then
    -- Not shown until it is whole again. A removed one is rendered when it is restored.
    update public.listing_images as i set state = 'uploaded' where i.id = v_image.id returning * into v_image;
  elsif kind in ('variant_missing', 'variant_differs') and v_image.state in ('ready', 'failed') then
    perform private.drop_dangling_variants(v_image.id);
    return 'cleared';
  elsif kind = 'upload_unnoticed' and v_image.state = 'awaiting_upload' and v_object.id is not null then
    update public.listing_images as i set
      state = 'uploaded', uploaded_at = v_object.created_at,
      byte_size = coalesce((v_object.metadata ->> 'size')::bigint, i.byte_size), etag = v_object.metadata ->> 'eTag'
    where i.id = v_image.id
    returning * into v_image;
  elsif kind <> 'stuck' or v_image.state is null or v_image.state not in ('uploaded', 'processing') then
    return 'nothing';
  end if;

  if v_image.deleted_at is null and not exists (
    select from queue.jobs as j
    where j.actor = 'process_image' and j.state in ('scheduled', 'ready')
      and j.args ->> 'image_id' = v_image.id::text
  ) then
    perform private.enqueue_processing(v_image);
  end if;
  return 'processing';
end
$$;

comment on function private.repair_image is
'Mends what sweep found about an image, if that is still so: failed (the original is lost), processing (rendered again), cleared (rows without objects), or nothing.';

create or replace function private.drop_dangling_variants(image_id uuid) returns void
language sql volatile
set search_path = '', pg_temp
as $$
  delete from public.image_variants as v
  where v.image_id = drop_dangling_variants.image_id
    and not exists (select from storage.objects as o where o.bucket_id = 'media' and o.name = v.path)
$$;

comment on function private.drop_dangling_variants is 'Deletes the rows of variants that have no object.';

revoke all on function private.repair_image(uuid, text) from public, anon, authenticated, service_role;
revoke all on function private.drop_dangling_variants(uuid) from public, anon, authenticated, service_role;
