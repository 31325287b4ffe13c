create or replace function public.list_cover(public.saved_lists) returns setof public.saved_list_covers
language sql stable rows 1
begin atomic
select
  c.list_id,
  c.owner_id,
  c.listing_id,
  c.image_id,
  c.alt_text,
  c.width,
  c.height,
  c.thumbhash,
  c.variants
from public.saved_list_covers as c
where c.list_id = ($1).id;
end;

comment on function public.list_cover(public.saved_lists) is
'A saved list''s picture, to embed it: saved_lists?select=*,cover:list_cover(*). An object or null. Inlined.';

revoke all on function public.list_cover(public.saved_lists) from public, anon, authenticated, service_role;
grant execute on function public.list_cover(public.saved_lists) to authenticated, service_role;
