create or replace function private.begin_image(image_id uuid, job_id bigint, lease_token uuid) returns jsonb
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_image public.listing_images;
begin
  perform private.check_lease(job_id, lease_token);
  perform private.share_owner((select i.owner_id from public.listing_images as i where i.id = begin_image.image_id));
  update public.listing_images as i set state = 'processing'
  where i.id = begin_image.image_id and i.state in ('uploaded', 'processing') and i.deleted_at is null
  returning * into v_image;
  if v_image.id is null then
    -- Removed while an attempt worked that was killed: what that has stored belongs to nobody until it is restored.
    update public.listing_images as i set state = 'uploaded'
    where i.id = begin_image.image_id and i.state = 'processing' and i.deleted_at is not null;
    return null;
  end if;
  return jsonb_build_object(
    'image_id', v_image.id, 'owner_id', v_image.owner_id, 'listing_id', v_image.listing_id,
    'bucket', 'private', 'path', v_image.original_path,
    'byte_size', v_image.byte_size, 'mime_type', v_image.mime_type, 'etag', v_image.etag,
    'limits', (
      select jsonb_build_object(
        'max_bytes', p.image_bytes_max, 'max_pixels', (p.image_megapixels_max * 1000000)::bigint,
        'min_side', p.image_side_min, 'max_aspect', p.image_aspect_max
      )
      from public.site_policies as p
    ),
    'variants', (
      select
        jsonb_agg(
          jsonb_build_object('role', s.role, 'max_side', s.max_side, 'quality', s.quality)
          order by s.max_side desc
        )
      from public.variant_specs as s
    )
  )
  -- A label is measured and never rendered.
  || case when private.becomes_label(v_image) then '{"as_label": true, "variants": []}'::jsonb else '{"as_label": false}'::jsonb end;
end
$$;

comment on function private.begin_image is
'What the worker needs to process an image, which is then in state processing; null when there is nothing to do: gone, removed, ready or failed.';

revoke all on function private.begin_image(uuid, bigint, uuid) from public, anon, authenticated;
grant execute on function private.begin_image(uuid, bigint, uuid) to media_worker, service_role;
