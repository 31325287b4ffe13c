create or replace function public.gallery(public.listings) returns setof public.gallery
language sql stable rows 20
begin atomic
select
  g.id,
  g.listing_id,
  g.owner_id,
  g.position,
  g.alt_text,
  g.width,
  g.height,
  g.thumbhash,
  g.ready_at,
  g.listing_status,
  g.variants
from public.gallery as g
where g.listing_id = ($1).id
order by g.position;
end;

comment on function public.gallery(public.listings) is
'A listing''s photos through the gate, in order, to embed them: listings?select=*,gallery(*). PostgREST finds no foreign key behind the view. Inlined.';

revoke all on function public.gallery(public.listings) from public, anon, authenticated, service_role;
grant execute on function public.gallery(public.listings) to anon, authenticated, service_role;
