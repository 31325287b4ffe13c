create or replace function private.lock_fill(fill_id uuid) returns public.listing_fills
language plpgsql volatile
set search_path = '', pg_temp
as $$
declare
  v_owner_id constant uuid := private.signed_in();
  v_fill public.listing_fills;
begin
  perform private.lock_filled(v_owner_id, f.listing_id) from public.listing_fills as f
  where f.id = lock_fill.fill_id and f.owner_id = v_owner_id;
  select * into v_fill from public.listing_fills as f
  where f.id = lock_fill.fill_id and f.owner_id = v_owner_id
  for update;
  if v_fill.id is null then
    perform private.refuse(404, 'fill_not_found', 'You have no such fill.', 'Check the id.');
  end if;
  return v_fill;
end
$$;

comment on function private.lock_fill is
'Locks owner, listing, images and fill, in this order, and answers the fill. 404 for an unknown one and for another user''s alike.';

create or replace function private.cancel_fill(fill_id uuid) returns public.listing_fills
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_fill public.listing_fills := private.lock_fill(fill_id);
begin
  if v_fill.status not in ('queued', 'processing') then
    perform private.refuse(409, 'fill_ended', 'The fill has ended.', 'There is nothing to cancel; see undo_fill.');
  end if;
  update public.listing_fills as f set status = 'canceled', completed_at = clock_timestamp()
  where f.id = v_fill.id
  returning * into v_fill;
  return v_fill;
end
$$;

comment on function private.cancel_fill is 'The body of public.cancel_fill.';

create or replace function public.cancel_fill(fill_id uuid) returns public.listing_fills
language sql volatile
set search_path = '', pg_temp
as $$
  select * from private.cancel_fill(cancel_fill.fill_id)
$$;

comment on function public.cancel_fill is
'Ends a fill that is under way: nothing is written, and another can be asked for at once. It counts in the month if the provider has been asked already. Answers its row.';

revoke all on function private.lock_fill(uuid) from public, anon, authenticated, service_role;
revoke all on function private.cancel_fill(uuid) from public, anon, authenticated, service_role;
revoke all on function public.cancel_fill(uuid) from public, anon, authenticated, service_role;
grant execute on function private.cancel_fill(uuid) to authenticated;
grant execute on function public.cancel_fill(uuid) to authenticated;
