create or replace function private.reserve_fetch(
  image_id uuid, job_id bigint, lease_token uuid, byte_size bigint, mime_type text
) returns text
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_image public.listing_images;
  v_price_id text;
begin
  perform 1 from queue.jobs as j
  where j.id = job_id and j.lease_token = reserve_fetch.lease_token and j.state = 'running'
  for no key update;
  if not found then
    raise sqlstate 'IL001' using
      message = format('job %s: this attempt does not hold the lease any more', job_id), detail = 'lease_lost';
  end if;
  select * into v_image from public.listing_images as i where i.id = reserve_fetch.image_id;
  v_price_id := private.lock_owner(v_image.owner_id);
  select * into v_image from public.listing_images as i
  where i.id = reserve_fetch.image_id and i.state = 'awaiting_upload' and i.deleted_at is null for update;
  if v_image.id is null then
    return null;
  end if;
  -- What an earlier attempt reserved is counted already.
  perform private.check_budget(v_image.owner_id, v_price_id, reserve_fetch.byte_size - v_image.byte_size);
  update public.listing_images as i set
    byte_size = reserve_fetch.byte_size, mime_type = reserve_fetch.mime_type, error = null,
    original_path = i.owner_id || '/listings/' || i.listing_id || '/' || i.id
      || '.' || private.extension_of(reserve_fetch.mime_type)
  where i.id = v_image.id
  returning * into v_image;
  return v_image.original_path;
end
$$;

comment on function private.reserve_fetch is
'Reserves the real size of an imported image''s bytes within its owner''s budget (402) and answers the path to upload them to, in bucket private; null when it is gone meanwhile. From the upload on it is like every other: the trigger of Storage''s rows orders its processing.';

revoke all on function private.reserve_fetch(uuid, bigint, uuid, bigint, text) from public, anon, authenticated;
grant execute on function private.reserve_fetch(uuid, bigint, uuid, bigint, text) to media_worker, service_role;
