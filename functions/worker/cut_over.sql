create or replace function private.cut_over(image_id uuid) returns boolean
language plpgsql volatile
set search_path = ''
as $$
declare
  v_new public.listing_images;
  v_old public.listing_images;
begin
  select * into v_new from public.listing_images as i
  where i.id = cut_over.image_id and i.replaces_id is not null
    and i.position is null and i.deleted_at is null and i.state = 'ready'
    and (i.review_state = 'allowed' or not private.review_required() or private.becomes_label(i));
  if v_new.id is null then
    return false;
  end if;
  perform 1 from public.listings as l where l.id = v_new.listing_id for no key update;
  select * into v_old from public.listing_images as i where i.id = v_new.replaces_id for update;
  if v_old.position is null then
    return false;
  end if;

  -- One statement: at no moment are there two photos in the place, or none.
  update public.listing_images as i set
    position = case when i.id = v_new.id then v_old.position end,
    is_label = v_old.is_label,
    removed_position = case when i.id = v_old.id then v_old.position end,
    deleted_at = case when i.id = v_old.id then clock_timestamp() end
  where i.id in (v_new.id, v_old.id);
  return true;
end
$$;

comment on function private.cut_over is
'Puts a replacement that passes into the place of the photo it replaces, which is removed; false while there is nothing to do. The caller holds the owner''s lock.';

revoke all on function private.cut_over(uuid) from public, anon, authenticated;
