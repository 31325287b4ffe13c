-- A buyer's named lists of published listings. They hold references, never pictures: what a list shows is asked of the
-- gate each time, so nothing is left of a listing that was taken off sale.

alter table public.site_policies
add column if not exists saved_lists_max int not null default 100
constraint saved_lists_max_is_sensible check (saved_lists_max between 0 and 10000),
add column if not exists saved_list_items_max int not null default 1000
constraint saved_list_items_max_is_sensible check (saved_list_items_max between 1 and 100000);

comment on column public.site_policies.saved_lists_max is 'Saved lists of one user.';
comment on column public.site_policies.saved_list_items_max is 'Listings in one saved list.';

create table if not exists public.saved_lists (
  id uuid not null default gen_random_uuid(),
  owner_id uuid not null default auth.uid(),
  name text not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint saved_lists_pkey primary key (id),
  constraint saved_list_is_known_by_its_owner unique (owner_id, id),
  constraint saved_list_belongs_to_a_profile foreign key (owner_id) references public.profiles (id) on delete cascade,
  constraint saved_list_name_is_short check (char_length(btrim(name)) between 1 and 100)
);

create unique index if not exists saved_lists_owner_id_name_idx on public.saved_lists (owner_id, lower(btrim(name)));

comment on table public.saved_lists is 'A buyer''s lists of listings; nobody else knows of them.';
comment on column public.saved_lists.id is 'Given by the database.';
comment on column public.saved_lists.owner_id is 'Who saves: the signed-in user.';
comment on column public.saved_lists.name is 'Unique among its owner''s. Editable.';
comment on column public.saved_lists.created_at is 'When it was made.';
comment on column public.saved_lists.updated_at is 'When it was last changed.';

create table if not exists public.saved_list_items (
  list_id uuid not null,
  listing_id uuid not null,
  owner_id uuid not null default auth.uid(),
  created_at timestamptz not null default clock_timestamp(),
  -- The owner in it, or a taken key would tell what is in somebody else's list.
  constraint saved_list_items_pkey primary key (owner_id, list_id, listing_id),
  constraint item_belongs_to_a_saved_list_of_its_owner foreign key (owner_id, list_id)
  references public.saved_lists (owner_id, id) on delete cascade,
  -- No owner in it, since the listing is somebody else's. The policy lets in what the buyer can see, and is asked first: the
  -- key says nothing about hidden listings.
  constraint item_is_a_listing foreign key (listing_id) references public.listings (id) on delete cascade
);

create index if not exists saved_list_items_owner_id_list_id_created_at_idx
on public.saved_list_items (owner_id, list_id, created_at, listing_id);
create index if not exists saved_list_items_listing_id_idx on public.saved_list_items (listing_id);

comment on table public.saved_list_items is
'Which listings are in which list. One that was taken off sale stays, unseen, and is back when it is published again; a deleted one goes.';
comment on column public.saved_list_items.list_id is 'The list.';
comment on column public.saved_list_items.listing_id is 'The listing, published when it was saved.';
comment on column public.saved_list_items.owner_id is 'Whose list it is.';
comment on column public.saved_list_items.created_at is 'When it was saved; the order of the list.';

create or replace function private.tg_saved_lists__check_room() returns trigger
language plpgsql security definer
set search_path = ''
as $$
declare
  v_limit constant int := (select p.saved_lists_max from public.site_policies as p);
  v_count int;
begin
  -- The statement's turn on the profile was taken before it: what others of the same user insert is seen here.
  select max(n.count) into v_count
  from (select count(*) from public.saved_lists as s where s.owner_id in (select a.owner_id from added as a) group by s.owner_id) as n;
  if v_count > v_limit then
    perform private.refuse(409, 'too_many_saved_lists',
      format('That would be %s saved lists, more than the limit of %s.', v_count, v_limit), 'Delete one first.');
  end if;
  return null;
end
$$;

comment on function private.tg_saved_lists__check_room is 'Holds saved_lists_max.';

create or replace function private.tg_saved_list_items__check_room() returns trigger
language plpgsql security definer
set search_path = ''
as $$
declare
  v_limit constant int := (select p.saved_list_items_max from public.site_policies as p);
  v_count int;
begin
  select max(n.count) into v_count
  from (
    select count(*) from public.saved_list_items as i
    where (i.owner_id, i.list_id) in (select a.owner_id, a.list_id from added as a)
    group by i.list_id
  ) as n;
  if v_count > v_limit then
    perform private.refuse(409, 'too_many_saved_listings',
      format('That would be %s listings in one list, more than the limit of %s.', v_count, v_limit), 'Start another list.');
  end if;
  return null;
end
$$;

comment on function private.tg_saved_list_items__check_room is 'Holds saved_list_items_max.';

revoke all on function private.tg_saved_lists__check_room() from public, anon, authenticated;
revoke all on function private.tg_saved_list_items__check_room() from public, anon, authenticated;

create or replace trigger tg_saved_lists__check_user before insert on public.saved_lists
for each statement execute function private.tg__check_user();

create or replace trigger tg_saved_list_items__check_user before insert on public.saved_list_items
for each statement execute function private.tg__check_user();

create or replace trigger tg_saved_lists__lock_owner before insert on public.saved_lists
for each statement execute function private.tg_listings__lock_owner();

create or replace trigger tg_saved_lists__check_room after insert on public.saved_lists
referencing new table as added for each statement execute function private.tg_saved_lists__check_room();

create or replace trigger tg_saved_list_items__lock_owner before insert on public.saved_list_items
for each statement execute function private.tg_listings__lock_owner();

create or replace trigger tg_saved_list_items__check_room after insert on public.saved_list_items
referencing new table as added for each statement execute function private.tg_saved_list_items__check_room();

create or replace trigger tg_saved_lists__stamp before update on public.saved_lists
for each row when (old.* is distinct from new.*) execute function private.tg__stamp_updated_at();

alter table public.saved_lists enable row level security;
alter table public.saved_list_items enable row level security;

revoke all on table public.saved_lists, public.saved_list_items from anon, authenticated, service_role;
grant select, delete, insert (name), update (name) on table public.saved_lists to authenticated;
grant select, delete, insert (list_id, listing_id) on table public.saved_list_items to authenticated;
grant select on table public.saved_lists, public.saved_list_items to service_role;

drop policy if exists select_owner on public.saved_lists;
create policy select_owner on public.saved_lists for select to authenticated using (owner_id = (select auth.uid()));

drop policy if exists insert_owner on public.saved_lists;
create policy insert_owner on public.saved_lists for insert to authenticated
with check (owner_id = (select auth.uid()));

drop policy if exists update_owner on public.saved_lists;
create policy update_owner on public.saved_lists for update to authenticated
using (owner_id = (select auth.uid())) with check (owner_id = (select auth.uid()));

drop policy if exists delete_owner on public.saved_lists;
create policy delete_owner on public.saved_lists for delete to authenticated using (owner_id = (select auth.uid()));

drop policy if exists select_owner on public.saved_list_items;
create policy select_owner on public.saved_list_items for select to authenticated
using (owner_id = (select auth.uid()));

drop policy if exists insert_owner on public.saved_list_items;
create policy insert_owner on public.saved_list_items for insert to authenticated
with check (
  owner_id = (select auth.uid())
  and exists (
    select from public.listings as l
    where l.id = saved_list_items.listing_id and l.status = 'published'
  )
);

drop policy if exists delete_owner on public.saved_list_items;
create policy delete_owner on public.saved_list_items for delete to authenticated
using (owner_id = (select auth.uid()));

create or replace view public.saved_list_covers with (security_invoker = true) as
select
  s.id as list_id,
  s.owner_id,
  f.listing_id,
  f.image_id,
  f.alt_text,
  f.width,
  f.height,
  f.thumbhash,
  f.variants
from public.saved_lists as s
cross join lateral (
  select c.*
  from public.saved_list_items as i
  inner join public.listings as l on i.listing_id = l.id and l.status = 'published'
  -- The limit keeps the planner from looking for the covers of every listing there is.
  cross join lateral (
    select v.* from private.visible_covers as v
    where v.owner_id = l.owner_id and v.listing_id = l.id
    order by v.listing_id limit 1
  ) as c
  where i.owner_id = s.owner_id and i.list_id = s.id
  order by i.created_at, i.listing_id
  limit 1
) as f;

comment on view public.saved_list_covers is
'The picture of each saved list: the cover of its first listing that has one today. No row where none has.';
comment on column public.saved_list_covers.list_id is 'The list.';
comment on column public.saved_list_covers.owner_id is 'Whose list it is.';
comment on column public.saved_list_covers.listing_id is 'The listing whose cover it is.';
comment on column public.saved_list_covers.image_id is 'The photo.';
comment on column public.saved_list_covers.alt_text is 'Description for those who cannot see it.';
comment on column public.saved_list_covers.width is 'Pixels of the original, upright.';
comment on column public.saved_list_covers.height is 'Pixels of the original, upright.';
comment on column public.saved_list_covers.thumbhash is 'Placeholder, base64.';
comment on column public.saved_list_covers.variants is '{role: {path, width, height, byte_size}}, objects in bucket media.';

revoke all on table public.saved_list_covers from anon, authenticated, service_role;
grant select on table public.saved_list_covers to authenticated, service_role;
