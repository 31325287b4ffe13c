create or replace function private.restore_image(image_id uuid) returns public.listing_images
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_image public.listing_images := private.lock_image(image_id);
  v_policy public.site_policies;
  v_count int;
  v_twin public.listing_images;
begin
  if v_image.deleted_at is null then
    return v_image;
  end if;
  select * into v_policy from public.site_policies;
  if v_image.deleted_at + v_policy.undo_seconds * interval '1 second' <= now() then
    perform private.refuse(410, 'undo_time_over', format(
      'The image was removed more than %s seconds ago.', v_policy.undo_seconds
    ), 'Upload it again.');
  elsif v_image.removed_position is null then
    perform private.refuse(409, 'replacement_not_restorable', 'A replacement that never took its place does not come back.',
      'Reserve another replacement.');
  end if;
  select count(*) into v_count from public.listing_images as i
  where i.listing_id = v_image.listing_id and i.position is not null;
  perform private.check_room(
    v_image.listing_id, v_count, jsonb_build_array(jsonb_build_object('is_label', v_image.is_label)), v_policy
  );

  if v_policy.duplicate_images <> 'allow' then
    v_twin := private.find_twin(v_image, v_image.sha256);
    if v_policy.duplicate_images = 'refuse' and v_twin.id is not null then
      perform private.refuse(409, 'duplicate_image',
        'The listing has this photo already: ' || private.name_twin(v_twin) || '.', 'Remove that one first.');
    end if;
  end if;

  -- Back to its place, or to the end where the listing has become shorter; those behind it make room.
  v_count := least(v_image.removed_position, v_count);
  update public.listing_images as i set
    position = case when i.id = v_image.id then v_count else i.position + 1 end,
    deleted_at = case when i.id = v_image.id then null else i.deleted_at end,
    duplicate_of = case when i.id = v_image.id then v_twin.id else i.duplicate_of end,
    removed_position = case when i.id = v_image.id then null else i.removed_position end
  where i.owner_id = v_image.owner_id and i.listing_id = v_image.listing_id
    and (i.id = v_image.id or i.position >= v_count);

  select * into v_image from public.listing_images as i where i.id = v_image.id;
  if v_image.state in ('uploaded', 'processing') then
    -- Its job found it removed and left it alone.
    perform private.enqueue_processing(v_image);
  end if;
  return v_image;
end
$$;

comment on function private.restore_image is 'The body of public.restore_image.';

create or replace function public.restore_image(image_id uuid) returns public.listing_images
language sql volatile
set search_path = '', pg_temp
as $$
  select * from private.restore_image(restore_image.image_id)
$$;

comment on function public.restore_image is
'Brings a removed image back within the undo time, to its place in the order where possible. Answers the image; again: the same.';

revoke all on function private.restore_image(uuid) from public, anon, authenticated, service_role;
revoke all on function public.restore_image(uuid) from public, anon, authenticated, service_role;
grant execute on function private.restore_image(uuid) to authenticated;
grant execute on function public.restore_image(uuid) to authenticated;
