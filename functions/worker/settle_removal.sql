create or replace function private.settle_removal(bucket text, paths text[]) returns int
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_image record;
  v_count int := 0;
begin
  for v_image in
    select i.owner_id, i.id from public.listing_images as i
    where settle_removal.bucket = 'media'
      and i.id in (
        select private.uuid_or_null(split_part(p.path, '/', 3)) from unnest(settle_removal.paths) as p (path)
      )
      -- A worker may have stored some of them, and its rows are to come: finish_image finds the image as uploaded,
      -- and has it rendered again.
      and (i.state = 'processing' or exists (
        select from public.image_variants as v
        where v.image_id = i.id and v.path = any(settle_removal.paths)
          and not exists (select from storage.objects as o where o.bucket_id = 'media' and o.name = v.path)
      ))
    order by i.owner_id, i.id
  loop
    perform private.share_owner(v_image.owner_id);
    -- Whoever waited for the row decides on what it is now.
    update public.listing_images as i set
      withdrawn_at = clock_timestamp(),
      state = case
        when i.state = 'processing' then 'uploaded'
        when i.state <> 'ready' or private.is_withheld(i, private.review_required()) then i.state
        else 'uploaded'
      end
    where i.id = v_image.id and not private.is_rendered(i.id);
    if found then
      delete from public.image_variants as v where v.image_id = v_image.id;
      v_count := v_count + 1;
    end if;
  end loop;
  return v_count;
end
$$;

comment on function private.settle_removal is
'After objects were removed: what lost its renderings is withdrawn or, when it may be shown again by now, rendered again. Answers how many images. A removal and a change of mind can overtake each other; this is where they meet.';

revoke all on function private.settle_removal(text, text[]) from public, anon, authenticated;
grant execute on function private.settle_removal(text, text[]) to media_worker, service_role;
