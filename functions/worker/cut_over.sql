create or replace function private.cut_over(image_id uuid) returns boolean
language plpgsql volatile
set search_path = '', pg_temp
as $$
declare
  v_new public.listing_images;
  v_old public.listing_images;
begin
  select * into v_new from public.listing_images as i
  where i.id = cut_over.image_id and i.replaces_id is not null
    and i.position is null and i.deleted_at is null and i.state = 'ready';
  if v_new.id is null then
    return false;
  end if;
  perform 1 from public.listings as l where l.id = v_new.listing_id for no key update;
  select * into v_old from public.listing_images as i where i.id = v_new.replaces_id for update;
  -- A label is shown to nobody, so that its successor waits for no review.
  if v_old.position is null
    or not (
      v_old.is_label
      or (v_new.withdrawn_at is null and (v_new.review_state = 'allowed' or not private.review_required()))
    )
  then
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
