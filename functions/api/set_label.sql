create or replace function private.set_label(image_id uuid, is_label boolean) returns public.listing_images
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_image public.listing_images := private.lock_image(image_id);
begin
  if set_label.is_label is null then
    perform private.refuse(422, 'is_label_missing', 'is_label is null.', 'Send true or false.');
  elsif v_image.position is null then
    perform private.refuse(409, 'image_not_live', 'The image was removed, or waits to replace another.',
      'Restore it first.');
  elsif set_label.is_label and exists (
    select from public.listing_images as i
    where i.listing_id = v_image.listing_id and i.is_label and i.position is not null and i.id <> v_image.id
  ) then
    perform private.refuse_second_label();
  end if;
  update public.listing_images as i set is_label = set_label.is_label
  where i.id = v_image.id and i.is_label <> set_label.is_label
  returning * into v_image;
  select * into v_image from public.listing_images as i where i.id = set_label.image_id;
  return v_image;
end
$$;

comment on function private.set_label is 'The body of public.set_label.';

create or replace function public.set_label(image_id uuid, is_label boolean) returns public.listing_images
language sql volatile
set search_path = '', pg_temp
as $$
  select * from private.set_label(set_label.image_id, set_label.is_label)
$$;

comment on function public.set_label is
'Marks an image as its listing''s label, or as a photo again. A label never passes the gate; a listing has one. Answers the image.';

revoke all on function private.set_label(uuid, boolean) from public, anon, authenticated, service_role;
revoke all on function public.set_label(uuid, boolean) from public, anon, authenticated, service_role;
grant execute on function private.set_label(uuid, boolean) to authenticated;
grant execute on function public.set_label(uuid, boolean) to authenticated;
