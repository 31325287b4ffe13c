create or replace function private.begin_fill(fill_id uuid, job_id bigint, lease_token uuid) returns jsonb
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_fill public.listing_fills;
  v_listing public.listings;
begin
  perform private.check_lease(job_id, lease_token);
  update public.listing_fills as f set
    status = 'processing', started_at = coalesce(f.started_at, clock_timestamp())
  where f.id = begin_fill.fill_id and f.status in ('queued', 'processing')
  returning * into v_fill;
  if v_fill.id is null then
    return null;
  end if;
  select * into v_listing from public.listings as l
  where l.owner_id = v_fill.owner_id and l.id = v_fill.listing_id;
  return jsonb_build_object(
    'fill_id', v_fill.id, 'listing_id', v_fill.listing_id, 'provider', v_fill.provider,
    'submitted_at', v_fill.submitted_at,
    -- What the provider may know: nothing of its owner, no number, no price that could end in a text.
    'listing', (
      select coalesce(jsonb_object_agg(f.field, to_jsonb(v_listing) ->> f.field), '{}')
      from public.fill_fields as f where f.target = 'listing' and to_jsonb(v_listing) ? f.field
    ),
    'fields', (
      select coalesce(jsonb_agg(to_jsonb(f) - 'is_enabled' order by f.field), '[]')
      from public.fill_fields as f where f.field = any(v_fill.fields)
    ),
    'keys', (select coalesce(jsonb_agg(k.key order by k.key), '[]') from jsonb_object_keys(v_fill.old_values) as k (key)),
    'photos', private.fill_pictures(v_fill.owner_id, v_fill.listing_id)
  );
end
$$;

comment on function private.begin_fill is
'What the worker needs for a fill, which is then processing: fields, keys to answer, texts, and photos through the gate. Null when there is nothing to do: gone or ended.';

create or replace function private.fill_pictures(owner_id uuid, listing_id uuid) returns jsonb
language sql stable
set search_path = '', pg_temp
as $$
  select coalesce(
    jsonb_agg(
      jsonb_build_object(
        'image_id', i.id, 'bucket', 'media', 'path', v.path, 'byte_size', v.byte_size,
        'file_name', i.file_name, 'alt_text', i.alt_text, 'tags', i.tags
      )
      order by p.n
    ), '[]'
  )
  from private.fill_photos(fill_pictures.owner_id, fill_pictures.listing_id) as p
  inner join public.listing_images as i on p.image_id = i.id
  inner join public.image_variants as v on i.id = v.image_id and v.role = 'preview'
$$;

comment on function private.fill_pictures is 'The photos of a fill with their renderings, in order.';

revoke all on function private.begin_fill(uuid, bigint, uuid) from public, anon, authenticated, service_role;
revoke all on function private.fill_pictures(uuid, uuid) from public, anon, authenticated, service_role;
grant execute on function private.begin_fill(uuid, bigint, uuid) to media_worker, service_role;
