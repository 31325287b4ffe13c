-- What a listing needs before buyers see it, whichever way its status is changed.

create or replace function private.missing_to_publish(listing public.listings) returns text[]
language sql stable
set search_path = '', pg_temp
as $$
  select coalesce(array_agg(m.name order by m.n), '{}')
  from (values
    (1, 'title', coalesce(btrim((missing_to_publish.listing).title), '') = ''),
    (2, 'price', (missing_to_publish.listing).price is null),
    (3, 'currency', (missing_to_publish.listing).currency is null),
    (4, 'photo', not exists (
      select from public.listing_images as i
      where i.owner_id = (missing_to_publish.listing).owner_id
        and i.listing_id = (missing_to_publish.listing).id
        and private.passes_gate(i, (select private.review_required()))
    ))
  ) as m (n, name, is_missing)
  where m.is_missing
$$;

comment on function private.missing_to_publish is 'What a listing lacks: of title, price, currency and photo.';

create or replace function private.tg_listings__check_complete() returns trigger
language plpgsql
set search_path = '', pg_temp
as $$
declare
  v_missing constant text[] := private.missing_to_publish(new);
begin
  if v_missing <> '{}' then
    perform private.refuse(422, 'listing_incomplete',
      'The listing cannot be published; it lacks: ' || array_to_string(v_missing, ', ') || '.',
      'Complete it, then call publish_listing.');
  end if;
  return new;
end
$$;

comment on function private.tg_listings__check_complete is 'Keeps incomplete listings from being published by a plain update.';

revoke all on function private.missing_to_publish(public.listings) from public, anon, authenticated;
revoke all on function private.tg_listings__check_complete() from public, anon, authenticated;
grant execute on function private.missing_to_publish(public.listings) to authenticated, service_role;
grant execute on function private.refuse(int, text, text, text) to authenticated, service_role;

create or replace trigger tg_listings__check_complete before update of status on public.listings
for each row when (new.status = 'published' and old.status <> 'published')
execute function private.tg_listings__check_complete();
