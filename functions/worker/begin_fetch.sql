create or replace function private.begin_fetch(image_id uuid, job_id bigint, lease_token uuid) returns jsonb
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
begin
  perform private.check_lease(job_id, lease_token);
  return (
    select jsonb_build_object(
      'url', e.url, 'hosts', (select coalesce(jsonb_agg(h.host), '[]') from legacy.fetch_hosts as h),
      'limits', jsonb_build_object(
        'max_bytes', p.image_bytes_max, 'max_pixels', (p.image_megapixels_max * 1000000)::bigint,
        'min_side', p.image_side_min, 'max_aspect', p.image_aspect_max
      )
    )
    from public.listing_images as i
    inner join legacy.images as e on i.id = e.image_id
    cross join public.site_policies as p
    where i.id = begin_fetch.image_id and i.state = 'awaiting_upload' and i.deleted_at is null
  );
end
$$;

comment on function private.begin_fetch is
'Where the worker finds the bytes of an imported image, from which hosts it may take them, and what they may be; null when there is nothing to do: gone, removed, or copied already. IL001 when the lease was lost.';

revoke all on function private.begin_fetch(uuid, bigint, uuid) from public, anon, authenticated;
grant execute on function private.begin_fetch(uuid, bigint, uuid) to media_worker, service_role;
