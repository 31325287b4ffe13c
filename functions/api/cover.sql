create or replace function public.cover(public.listings) returns setof public.listing_covers
language sql stable rows 1
begin atomic
select
  c.listing_id,
  c.owner_id,
  c.image_id,
  c.alt_text,
  c.width,
  c.height,
  c.thumbhash,
  c.variants
from public.listing_covers as c
where c.listing_id = ($1).id;
end;

comment on function public.cover(public.listings) is
'A listing''s first photo that passes the gate, to embed it: listings?select=*,cover(*). One row, so that it comes as an object or null. Inlined.';

revoke all on function public.cover(public.listings) from public, anon, authenticated, service_role;
grant execute on function public.cover(public.listings) to anon, authenticated, service_role;
