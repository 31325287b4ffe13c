create or replace function private.order_as_of(listing_id uuid, at timestamptz) returns uuid[]
language plpgsql stable
set search_path = '', pg_temp
as $$
declare
  v_order uuid[] := '{}';
  v_place int;
  v_event record;
begin
  for v_event in
    select e.image_id, e.event, e.data
    from public.image_events as e
    where e.owner_id = auth.uid() and e.listing_id = order_as_of.listing_id and e.created_at <= order_as_of.at
      and e.event in ('reserved', 'imported', 'replaced', 'restored', 'removed', 'expired', 'purged', 'deleted', 'reordered')
    order by e.id
  loop
    if v_event.event = 'reordered' then
      v_order := array(
        select o.id::uuid from jsonb_array_elements_text(v_event.data -> 'order') with ordinality as o (id, n) order by o.n
      );
    elsif v_event.event in ('removed', 'expired', 'purged', 'deleted') then
      v_order := array_remove(v_order, v_event.image_id);
    elsif v_event.data ? 'position' then
      v_place := (v_event.data ->> 'position')::int;
      v_order := v_order[:v_place] || v_event.image_id || v_order[v_place + 1:];
    end if;
  end loop;
  return v_order;
end
$$;

comment on function private.order_as_of is
'The live images of one''s own listing in the order of a past moment, played from the history.';

create or replace function public.gallery_as_of(listing_id uuid, at timestamptz)
returns table (image_id uuid, "position" int, alt_text text, tags text[], is_public boolean) -- noqa: RF06
language sql stable
set search_path = '', pg_temp
as $$
  with told as materialized (
    select e.id, e.image_id, e.event, e.data
    from public.image_events as e
    where e.owner_id = (select auth.uid()) and e.listing_id = gallery_as_of.listing_id and e.created_at <= gallery_as_of.at
  )
  select o.image_id, (o.n - 1)::int, words.data ->> 'alt_text',
    array(select jsonb_array_elements_text(words.data -> 'tags')),
    coalesce((
      select t.event = 'listing_published' from told as t
      where t.event in ('listing_published', 'listing_unpublished', 'listing_deleted') order by t.id desc limit 1
    ), false)
  from unnest(private.order_as_of(gallery_as_of.listing_id, gallery_as_of.at)) with ordinality as o (image_id, n)
  -- Of each fact that the gate asks for, what was told last.
  cross join lateral (
    select (t.event = 'processed' and not t.data ? 'is_withdrawn') or (t.event = 'imported' and t.data ->> 'state' = 'ready')
        as is_ready
    from told as t
    where t.image_id = o.image_id and t.event in ('reserved', 'replacement_reserved', 'imported', 'processed', 'failed', 'retried',
        'withdrawn')
    order by t.id desc limit 1
  ) as processing
  cross join lateral (
    select t.event = 'labelled' or coalesce((t.data ->> 'is_label')::boolean, false) as is_label from told as t
    where t.image_id = o.image_id and t.event in ('reserved', 'replacement_reserved', 'imported', 'labelled', 'unlabelled')
    order by t.id desc limit 1
  ) as label
  left join lateral (
    select t.data ->> 'review_state' as review_state from told as t
    where t.image_id = o.image_id and t.event in ('imported', 'processed', 'review_requested', 'reviewed')
    order by t.id desc limit 1
  ) as review on true
  cross join lateral (
    select t.data from told as t
    where t.image_id = o.image_id and t.event in ('reserved', 'replacement_reserved', 'imported', 'edited')
    order by t.id desc limit 1
  ) as words
  where processing.is_ready and not label.is_label
    and (review.review_state = 'allowed' or not private.review_required_at(gallery_as_of.at))
  order by o.n
$$;

comment on function public.gallery_as_of is
'What the gallery of one''s own listing showed at a past moment, from the history alone, so also of what is gone since: images in order, the words that stood with them, and whether others saw them (is_public). Empty for anybody else''s listing.';

revoke all on function private.order_as_of(uuid, timestamptz) from public, anon, authenticated, service_role;
revoke all on function public.gallery_as_of(uuid, timestamptz) from public, anon, authenticated, service_role;
grant execute on function private.order_as_of(uuid, timestamptz) to authenticated;
grant execute on function public.gallery_as_of(uuid, timestamptz) to authenticated;
