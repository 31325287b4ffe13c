create or replace function private.remove_image(image_id uuid) returns public.listing_images
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_image public.listing_images := private.lock_image(image_id);
begin
  -- A replacement that waits for it goes with it: its turn would never come.
  update public.listing_images as i set
    deleted_at = clock_timestamp(), removed_position = i.position, position = null
  where i.owner_id = v_image.owner_id and i.listing_id = v_image.listing_id
    and i.deleted_at is null and (i.id = v_image.id or (i.replaces_id = v_image.id and i.position is null));
  perform private.close_gaps(array[v_image.listing_id]);
  select * into v_image from public.listing_images as i where i.id = v_image.id;
  return v_image;
end
$$;

comment on function private.remove_image is 'The body of public.remove_image.';

create or replace function public.remove_image(image_id uuid) returns public.listing_images
language sql volatile
set search_path = '', pg_temp
as $$
  select * from private.remove_image(remove_image.image_id)
$$;

comment on function public.remove_image is
'Hides an image at once and closes the gap in the order. restore_image brings it back within the undo time; then it is purged with its objects. Answers the image; again: the same.';

revoke all on function private.remove_image(uuid) from public, anon, authenticated, service_role;
revoke all on function public.remove_image(uuid) from public, anon, authenticated, service_role;
grant execute on function private.remove_image(uuid) to authenticated;
grant execute on function public.remove_image(uuid) to authenticated;
