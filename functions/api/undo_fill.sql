create or replace function private.undo_fill(fill_id uuid) returns public.listing_fills
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_fill public.listing_fills := private.lock_fill(fill_id);
  v_listing public.listings;
  v_values jsonb;
  v_back jsonb;
  v_kept text[];
begin
  if v_fill.undone_at is not null then
    return v_fill;
  elsif v_fill.status <> 'succeeded' then
    perform private.refuse(409, 'fill_not_succeeded', 'This fill has written nothing.', 'There is nothing to undo.');
  end if;
  select * into v_listing from public.listings as l
  where l.id = v_fill.listing_id and l.owner_id = v_fill.owner_id;
  if v_listing.id is null then
    perform private.refuse(404, 'listing_not_found', 'The listing of this fill was deleted.', 'There is nothing to undo.');
  end if;
  v_values := private.fill_values(v_listing);
  select
    coalesce(jsonb_object_agg(a.key, v_fill.old_values -> a.key) filter (where v_values -> a.key = a.value), '{}'),
    coalesce(array_agg(a.key order by a.key) filter (where v_values -> a.key is distinct from a.value), '{}')
  into v_back, v_kept
  from jsonb_each(v_fill.applied) as a;
  perform private.write_values(v_listing, v_back);
  update public.listing_fills as f set undone_at = clock_timestamp(), kept = v_kept
  where f.id = v_fill.id
  returning * into v_fill;
  return v_fill;
end
$$;

comment on function private.undo_fill is 'The body of public.undo_fill.';

create or replace function public.undo_fill(fill_id uuid) returns public.listing_fills
language sql volatile
set search_path = '', pg_temp
as $$
  select * from private.undo_fill(undo_fill.fill_id)
$$;

comment on function public.undo_fill is
'Puts back what the fields held before a fill, but for those that were edited since, which kept names. A second call does nothing. Answers the fill.';

revoke all on function private.undo_fill(uuid) from public, anon, authenticated, service_role;
revoke all on function public.undo_fill(uuid) from public, anon, authenticated, service_role;
grant execute on function private.undo_fill(uuid) to authenticated;
grant execute on function public.undo_fill(uuid) to authenticated;
