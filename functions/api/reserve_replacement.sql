create or replace function private.reserve_replacement(image_id uuid, file jsonb) returns jsonb
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_files constant jsonb := jsonb_build_array(
    case when jsonb_typeof(file) = 'object' then file - 'is_label' else file end
  );
  v_image public.listing_images;
  v_policy public.site_policies;
begin
  select * into v_policy from public.site_policies;
  perform private.check_files(v_files, v_policy);
  v_image := private.lock_image(image_id);
  if v_image.position is null then
    perform private.refuse(409, 'image_not_live', 'The image was removed, or waits to replace another.',
      'Restore it first, or replace the image that is shown.');
  elsif exists (
    select from public.listing_images as i
    where i.replaces_id = v_image.id and i.position is null and i.deleted_at is null
      and (i.state <> 'awaiting_upload' or i.upload_expires_at > now())
      and i.state <> 'failed' and i.review_state not in ('rejected', 'error')
  ) then
    perform private.refuse(409, 'replacement_exists', 'The image is being replaced already.',
      'Wait for that replacement, or remove it.');
  end if;
  perform private.check_budget(
    v_image.owner_id, private.lock_owner(v_image.owner_id), private.total_bytes(v_files)
  );
  -- One that failed or was rejected has had its turn.
  update public.listing_images as i set deleted_at = clock_timestamp()
  where i.owner_id = v_image.owner_id and i.listing_id = v_image.listing_id
    and i.replaces_id = v_image.id and i.position is null and i.deleted_at is null and i.state <> 'awaiting_upload';
  return private.insert_reservations(
    v_image.owner_id, v_image.listing_id, 0, v_files, v_policy, v_image.id
  ) -> 0;
end
$$;

comment on function private.reserve_replacement is 'The body of public.reserve_replacement.';

create or replace function public.reserve_replacement(image_id uuid, file jsonb) returns jsonb
language sql volatile
set search_path = '', pg_temp
as $$
  select private.reserve_replacement(reserve_replacement.image_id, reserve_replacement.file)
$$;

comment on function public.reserve_replacement is
'Reserves a path for a new version of an image, which stays until the new one passes the gate; then the new one takes its place and label flag. A replacement that failed or was rejected gives way to the next. file: {"file_name", "mime_type", "byte_size", "alt_text"?, "tags"?}. Answers {"image_id", "bucket", "path"} of the new image.';

revoke all on function private.reserve_replacement(uuid, jsonb) from public, anon, authenticated, service_role;
revoke all on function public.reserve_replacement(uuid, jsonb) from public, anon, authenticated, service_role;
grant execute on function private.reserve_replacement(uuid, jsonb) to authenticated;
grant execute on function public.reserve_replacement(uuid, jsonb) to authenticated;
