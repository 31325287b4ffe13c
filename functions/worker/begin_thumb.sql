create or replace function private.begin_thumb(variant_id uuid) returns jsonb
language sql stable security definer
set search_path = '', pg_temp
as $$
  select jsonb_build_object(
    'image_path', v.image_path, 'thumb_path', v.thumb_path, 'byte_size', a.byte_size,
    'limits', jsonb_build_object(
      'max_bytes', p.image_bytes_max, 'max_pixels', (p.image_megapixels_max * 1000000)::bigint,
      'min_side', 1, 'max_aspect', p.image_aspect_max
    )
  )
  from public.render_variants as v
  inner join public.image_assets as a on v.owner_id = a.owner_id and v.asset_id = a.id
  cross join public.site_policies as p
  where v.id = begin_thumb.variant_id and v.lost_code is null
$$;

comment on function private.begin_thumb is
'What the worker needs to make a picture''s thumbnail again; null when the picture is gone.';

revoke all on function private.begin_thumb(uuid) from public, anon, authenticated, service_role;
grant execute on function private.begin_thumb(uuid) to media_worker, service_role;
