-- A user's collections of own renders. Everybody has one that stays: the favourites.

create table if not exists public.collections (
  id uuid not null default gen_random_uuid(),
  owner_id uuid not null default auth.uid(),
  name text not null,
  is_default boolean not null default false,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint collections_pkey primary key (id),
  constraint collection_is_known_by_its_owner unique (owner_id, id),
  constraint collection_belongs_to_a_profile foreign key (owner_id) references public.profiles (id) on delete cascade,
  constraint collection_name_is_short check (char_length(btrim(name)) between 1 and 100)
);

create unique index if not exists collections_owner_id_is_default_idx
on public.collections (owner_id) where is_default;
-- No two of a name: nothing else can pass for the favourites.
create unique index if not exists collections_owner_id_name_idx on public.collections (owner_id, lower(btrim(name)));

comment on table public.collections is 'A user''s collections. Owners make, rename and delete them, all but the favourites.';
comment on column public.collections.id is 'Given by the database.';
comment on column public.collections.owner_id is 'Who made it.';
comment on column public.collections.name is 'Unique among its owner''s. Editable.';
comment on column public.collections.is_default is 'The favourites: one a user, made at sign-up, neither renamed nor deleted.';
comment on column public.collections.created_at is 'When it was made.';
comment on column public.collections.updated_at is 'When it was last changed.';

alter table public.collections
add column if not exists rule jsonb,
drop constraint if exists rule_is_named,
add constraint rule_is_named check (jsonb_typeof(rule) = 'object'),
drop constraint if exists default_collection_is_picked_by_hand,
add constraint default_collection_is_picked_by_hand check (not is_default or rule is null);
comment on column public.collections.rule is
'Of a smart collection: which renders it shows, {"mode", "room_type", "style", "model", "tag": a word or several, "from", "to": times, "days": of the last so many}, all optional. See smart_collection_renders. Editable.';

create table if not exists public.collection_items (
  collection_id uuid not null,
  render_id uuid not null,
  owner_id uuid not null default auth.uid(),
  created_at timestamptz not null default clock_timestamp(),
  -- The owner in it, or a taken key would tell what is in somebody else's collection.
  constraint collection_items_pkey primary key (owner_id, collection_id, render_id),
  constraint item_belongs_to_a_collection_of_its_owner foreign key (owner_id, collection_id)
  references public.collections (owner_id, id) on delete cascade,
  constraint item_is_a_render_of_its_owner foreign key (owner_id, render_id)
  references public.renders (owner_id, id) on delete cascade
);

-- Until 0.1.0 the key was without the owner, and told whoever guessed an id that the item exists.
do $$
begin
  if exists (
    select from pg_catalog.pg_constraint as k
    where k.conrelid = 'public.collection_items'::regclass
      and k.conname = 'collection_items_pkey' and cardinality(k.conkey) = 2
  ) then
    alter table public.collection_items
    drop constraint collection_items_pkey,
    add constraint collection_items_pkey primary key (owner_id, collection_id, render_id);
  end if;
end
$$;

create index if not exists collection_items_owner_id_collection_id_created_at_idx
on public.collection_items (owner_id, collection_id, created_at desc);
create index if not exists collection_items_render_id_idx on public.collection_items (render_id, owner_id);

comment on table public.collection_items is 'Which renders are in which collection. Deleting an item deletes no render.';
comment on column public.collection_items.collection_id is 'The collection.';
comment on column public.collection_items.render_id is 'The render, of the same owner.';
comment on column public.collection_items.owner_id is 'Whose both are.';
comment on column public.collection_items.created_at is 'When it was added.';

create or replace function private.tg_profiles__create_favorites() returns trigger
language plpgsql security definer
set search_path = ''
as $$
begin
  insert into public.collections (owner_id, name, is_default) values (new.id, 'My Favorites', true)
  on conflict do nothing;
  return null;
end
$$;

comment on function private.tg_profiles__create_favorites is 'Gives each new user the collection that stays.';

create or replace function private.tg_collections__keep_default() returns trigger
language plpgsql security definer
set search_path = ''
as $$
begin
  if exists (select from public.profiles as p where p.id = old.owner_id) then
    perform private.refuse(403, 'default_collection_stays', 'The favourites are neither renamed nor deleted.',
      'Make a collection of your own.');
  end if;
  return coalesce(new, old);
end
$$;

comment on function private.tg_collections__keep_default is
'Refuses to delete or change the default collection while its owner exists.';

revoke all on function private.tg_profiles__create_favorites() from public, anon, authenticated;
revoke all on function private.tg_collections__keep_default() from public, anon, authenticated;

create or replace trigger tg_profiles__create_favorites after insert on public.profiles
for each row execute function private.tg_profiles__create_favorites();

create or replace trigger tg_collections__check_user before insert on public.collections
for each statement execute function private.tg__check_user();

create or replace trigger tg_collection_items__check_user before insert on public.collection_items
for each statement execute function private.tg__check_user();

create or replace trigger tg_collections__keep_default before delete on public.collections
for each row when (old.is_default) execute function private.tg_collections__keep_default();

create or replace trigger tg_collections__keep_default_unchanged before update on public.collections
for each row when (
  old.is_default
  and (old.name, old.is_default, old.owner_id, old.rule)
  is distinct from (new.name, new.is_default, new.owner_id, new.rule)
)
execute function private.tg_collections__keep_default();

create or replace trigger tg_collections__stamp before update on public.collections
for each row when (old.* is distinct from new.*) execute function private.tg__stamp_updated_at();

-- Users who signed up before this was installed.
insert into public.collections (owner_id, name, is_default)
select
  p.id as owner_id,
  'My Favorites' as name,
  true as is_default
from public.profiles as p
where not exists (
  select from public.collections as c
  where c.owner_id = p.id and c.is_default
);

alter table public.collections enable row level security;
alter table public.collection_items enable row level security;

revoke all on table public.collections, public.collection_items from anon, authenticated, service_role;
grant select, delete, insert (name, rule), update (name, rule) on table public.collections to authenticated;
grant select, delete, insert (collection_id, render_id) on table public.collection_items to authenticated;
grant select on table public.collections, public.collection_items to service_role;

drop policy if exists select_owner on public.collections;
create policy select_owner on public.collections for select to authenticated using (owner_id = (select auth.uid()));

drop policy if exists insert_owner on public.collections;
create policy insert_owner on public.collections for insert to authenticated
with check (owner_id = (select auth.uid()));

drop policy if exists update_owner on public.collections;
create policy update_owner on public.collections for update to authenticated
using (owner_id = (select auth.uid())) with check (owner_id = (select auth.uid()));

drop policy if exists delete_owner on public.collections;
create policy delete_owner on public.collections for delete to authenticated
using (owner_id = (select auth.uid()));

drop policy if exists select_owner on public.collection_items;
create policy select_owner on public.collection_items for select to authenticated
using (owner_id = (select auth.uid()));

drop policy if exists insert_owner on public.collection_items;
create policy insert_owner on public.collection_items for insert to authenticated
with check (owner_id = (select auth.uid()));

drop policy if exists delete_owner on public.collection_items;
create policy delete_owner on public.collection_items for delete to authenticated
using (owner_id = (select auth.uid()));
