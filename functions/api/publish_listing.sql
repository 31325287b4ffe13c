create or replace function public.publish_listing(listing_id uuid) returns jsonb
language plpgsql volatile
set search_path = '', pg_temp
as $$
declare
  v_listing public.listings;
  v_missing text[];
begin
  select * into v_listing from public.listings as l
  where l.id = publish_listing.listing_id and l.owner_id = (select auth.uid())
  for no key update;
  if v_listing.id is null then
    perform private.refuse(404, 'listing_not_found', 'You have no such listing.', 'Check the id.');
  end if;
  v_missing := private.missing_to_publish(v_listing);
  if v_missing = '{}' then
    update public.listings as l set status = 'published' where l.id = v_listing.id returning * into v_listing;
  end if;
  return jsonb_build_object('listing_id', v_listing.id, 'status', v_listing.status, 'missing', to_jsonb(v_missing));
end
$$;

comment on function public.publish_listing is
'Publishes a listing that has all it needs. Answers {"listing_id", "status", "missing"}: missing names what lacks (title, price, currency, photo), and the status stays while it is not empty.';

revoke all on function public.publish_listing(uuid) from public, anon, authenticated, service_role;
grant execute on function public.publish_listing(uuid) to authenticated;
