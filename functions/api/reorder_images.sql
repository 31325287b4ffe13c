create or replace function private.reorder_images(listing_id uuid, image_ids uuid[]) returns setof public.listing_images
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_owner_id constant uuid := private.signed_in();
begin
  perform private.lock_owner(v_owner_id);
  perform private.lock_listing(listing_id, v_owner_id);
  perform private.check_permutation(listing_id, coalesce(image_ids, '{}'));

  update public.listing_images as i set position = o.n - 1
  from unnest(reorder_images.image_ids) with ordinality as o (id, n)
  where i.id = o.id and i.position <> o.n - 1;

  return query
  select i.* from public.listing_images as i
  where i.owner_id = v_owner_id and i.listing_id = reorder_images.listing_id and i.position is not null
  order by i.position;
end
$$;

comment on function private.reorder_images is 'The body of public.reorder_images.';

create or replace function private.check_permutation(listing_id uuid, image_ids uuid[]) returns void
language plpgsql stable
set search_path = '', pg_temp
as $$
declare
  v_live constant uuid[] := array(
    select i.id from public.listing_images as i
    where i.listing_id = check_permutation.listing_id and i.position is not null
  );
  v_faults text;
begin
  -- A foreign image and one that does not exist read the same: not in this listing.
  select string_agg(f.fault || ': ' || f.ids, '; ') into v_faults
  from (
    select 'doubled' as fault, string_agg(d.id, ', ') as ids from (
      select coalesce(t.id::text, 'null') as id from unnest(image_ids) as t (id) group by t.id having count(*) > 1
    ) as d
    union all
    select 'not in this listing', string_agg(distinct coalesce(t.id::text, 'null'), ', ')
    from unnest(image_ids) as t (id) where t.id is null or t.id <> all(v_live)
    union all
    select 'missing', string_agg(l.id::text, ', ')
    from unnest(v_live) as l (id) where l.id <> all(array_remove(image_ids, null))
  ) as f
  where f.ids is not null;
  if v_faults is not null then
    perform private.refuse(422, 'not_a_permutation',
      'image_ids is not the listing''s images in another order: ' || left(v_faults, 4000) || '.',
      'Read the listing again and name each of its images once.');
  end if;
end
$$;

comment on function private.check_permutation is 'Refuses an order that doubles, lacks or adds images, and names them.';

create or replace function public.reorder_images(listing_id uuid, image_ids uuid[]) returns setof public.listing_images
language sql volatile
set search_path = '', pg_temp
as $$
  select * from private.reorder_images(reorder_images.listing_id, reorder_images.image_ids)
$$;

comment on function public.reorder_images is
'Puts a listing''s images into this order: each of its live images once, else an error that names the doubled, missing and foreign ids. Answers the images in order.';

revoke all on function private.check_permutation(uuid, uuid[]) from public, anon, authenticated, service_role;
revoke all on function private.reorder_images(uuid, uuid[]) from public, anon, authenticated, service_role;
revoke all on function public.reorder_images(uuid, uuid[]) from public, anon, authenticated, service_role;
grant execute on function private.reorder_images(uuid, uuid[]) to authenticated;
grant execute on function public.reorder_images(uuid, uuid[]) to authenticated;
