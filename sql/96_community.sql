-- Collections that everybody sees. Written by operators; an item points to a render or to a picture elsewhere, and
-- taking it away deletes a link, never a render.

create table if not exists public.community_collections (
  id uuid not null default gen_random_uuid(),
  name text not null,
  description text,
  is_featured boolean not null default false,
  position int not null default 0,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint community_collections_pkey primary key (id),
  constraint community_name_is_short check (char_length(btrim(name)) between 1 and 100),
  constraint community_description_is_bounded check (char_length(description) <= 2000)
);

-- The list that everybody opens: featured first.
create index if not exists community_collections_is_featured_position_idx
on public.community_collections (is_featured desc, position, id);

comment on table public.community_collections is 'Collections for everybody. Public read; written by operators only.';
comment on column public.community_collections.id is 'Given by the database.';
comment on column public.community_collections.name is 'What it is called.';
comment on column public.community_collections.description is 'What it is about.';
comment on column public.community_collections.is_featured is 'Whether it comes first.';
comment on column public.community_collections.position is 'Place among its like.';
comment on column public.community_collections.created_at is 'When it was made.';
comment on column public.community_collections.updated_at is 'When it was last changed.';

create or replace function private.are_apply_settings(settings jsonb) returns boolean
language sql immutable
set search_path = ''
as $$
  select case when jsonb_typeof(settings) <> 'object' then false else not exists (
    select from jsonb_each(settings) as s (key, value)
    where case
      when s.key in ('mode') then s.value #>> '{}' not in ('redesign', 'staging', 'compose', 'imagine', 'edit')
      when s.key in ('prompt', 'negative_prompt', 'room_type', 'style', 'provider', 'model')
        then jsonb_typeof(s.value) <> 'string' or char_length(s.value #>> '{}') > 4000
      when s.key = 'params' then jsonb_typeof(s.value) <> 'object' or private.params_errors(s.value, null) <> '{}'
      else true
    end
  ) end
$$;

comment on function private.are_apply_settings is
'Whether these are arguments that submit_generation takes: what a visitor applies to a picture of their own.';

create table if not exists public.community_items (
  id uuid not null default gen_random_uuid(),
  collection_id uuid not null,
  render_id uuid,
  variant_idx int,
  image_path text,
  thumb_path text,
  image_url text,
  title text,
  position int not null default 0,
  apply_settings jsonb not null default '{}',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint community_items_pkey primary key (id),
  constraint community_item_belongs_to_a_collection foreign key (collection_id)
  references public.community_collections (id) on delete cascade,
  constraint community_item_is_a_picture_of_a_render foreign key (render_id, variant_idx)
  references public.render_variants (render_id, idx) on delete cascade,
  constraint community_item_is_a_render_or_a_url check (
    (render_id is null) = (image_url is not null)
    and (render_id is null) = (variant_idx is null)
    and (render_id is null) = (image_path is null)
    and (render_id is null) = (thumb_path is null)
  ),
  constraint image_url_is_https check (image_url ~ '^https://[^\s<>"]+$' and char_length(image_url) <= 2000),
  constraint community_title_is_short check (char_length(title) <= 200),
  constraint apply_settings_are_arguments check (private.are_apply_settings(apply_settings))
);

create index if not exists community_items_collection_id_position_idx
on public.community_items (collection_id, position, id);
create index if not exists community_items_render_id_idx
on public.community_items (render_id, variant_idx) where render_id is not null;

comment on table public.community_items is 'Pictures of community collections. Public read; written by operators only.';
comment on column public.community_items.id is 'Given by the database.';
comment on column public.community_items.collection_id is 'The collection.';
comment on column public.community_items.render_id is 'A user''s render; the item goes when its owner deletes it.';
comment on column public.community_items.variant_idx is 'Which picture of the render; the first unless given.';
comment on column public.community_items.image_path is 'The render''s object in bucket public; filled in by the database.';
comment on column public.community_items.thumb_path is 'The same, small.';
comment on column public.community_items.image_url is 'A picture elsewhere, instead of a render.';
comment on column public.community_items.title is 'What it is called.';
comment on column public.community_items.position is 'Place in the collection.';
comment on column public.community_items.apply_settings is 'Arguments of submit_generation that give a picture this look.';
comment on column public.community_items.created_at is 'When it was added.';
comment on column public.community_items.updated_at is 'When it was last changed.';

create or replace function private.tg_community_items__fill_paths() returns trigger
language plpgsql security definer
set search_path = ''
as $$
begin
  if new.render_id is null then
    new.variant_idx := null;
    new.image_path := null;
    new.thumb_path := null;
  else
    new.variant_idx := coalesce(new.variant_idx, 0);
    -- By the keys, so that visitors need not read the render's row.
    new.image_path := private.render_path(new.render_id, new.variant_idx, false);
    new.thumb_path := private.render_path(new.render_id, new.variant_idx, true);
  end if;
  return new;
end
$$;

comment on function private.tg_community_items__fill_paths is 'Writes where the picture of an item''s render lies.';

revoke all on function private.are_apply_settings(jsonb) from public, anon, authenticated;
grant execute on function private.are_apply_settings(jsonb) to service_role;
revoke all on function private.tg_community_items__fill_paths() from public, anon, authenticated;

create or replace trigger tg_community_items__fill_paths before insert or update on public.community_items
for each row execute function private.tg_community_items__fill_paths();

create or replace trigger tg_community_items__stamp before update on public.community_items
for each row when (old.* is distinct from new.*) execute function private.tg__stamp_updated_at();

create or replace trigger tg_community_collections__stamp before update on public.community_collections
for each row when (old.* is distinct from new.*) execute function private.tg__stamp_updated_at();

alter table public.community_collections enable row level security;
alter table public.community_items enable row level security;

revoke all on table public.community_collections, public.community_items from anon, authenticated, service_role;
grant select on table public.community_collections, public.community_items to anon, authenticated;
grant select, insert, update, delete on table public.community_collections, public.community_items to service_role;

drop policy if exists select_public on public.community_collections;
create policy select_public on public.community_collections for select to anon, authenticated using (true);

drop policy if exists select_public on public.community_items;
create policy select_public on public.community_items for select to anon, authenticated using (true);
