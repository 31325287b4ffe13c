-- Collections that everybody sees. An item points to a render or to a picture elsewhere, and taking it away deletes a
-- link, never a render.
--
-- Who may write: servers with the service key, and users whose token says app_metadata.role = admin. Only the service
-- key can write app_metadata (auth.admin.updateUserById); user_metadata, which users write themselves, counts for
-- nothing. As with every claim, a change counts from the user's next token on.

create or replace function private.is_admin() returns boolean
language sql stable
set search_path = '', pg_temp
as $$
  select coalesce(auth.jwt() -> 'app_metadata' ->> 'role' = 'admin', false)
$$;

comment on function private.is_admin is 'Whether the caller''s token says app_metadata.role = admin.';

revoke all on function private.is_admin() from public, anon, authenticated;
grant execute on function private.is_admin() to authenticated;

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

comment on table public.community_collections is 'Collections for everybody. Public read; written by administrators and operators.';
comment on column public.community_collections.id is 'Given by the database.';
comment on column public.community_collections.name is 'What it is called.';
comment on column public.community_collections.description is 'What it is about.';
comment on column public.community_collections.is_featured is 'Whether it comes first.';
comment on column public.community_collections.position is 'Place among its like.';
comment on column public.community_collections.created_at is 'When it was made.';
comment on column public.community_collections.updated_at is 'When it was last changed.';

create or replace function private.apply_settings_errors(settings jsonb) returns text[]
language sql immutable
set search_path = '', pg_temp
as $$
  select case when jsonb_typeof(settings) is distinct from 'object' then array['apply_settings: must be an object.'] else (
    select coalesce(array_agg('apply_settings.' || e.error order by e.error), '{}')
    from jsonb_each(settings) as s (key, value)
    cross join lateral unnest(
      case
        when s.key = 'mode' and coalesce(s.value #>> '{}' in ('redesign', 'staging', 'compose', 'imagine', 'edit'), false)
          then '{}'
        when s.key = 'mode' then array['mode: must be redesign, staging, compose, imagine or edit.']
        when s.key in ('prompt', 'negative_prompt', 'room_type', 'style', 'provider', 'model')
          and jsonb_typeof(s.value) = 'string' and char_length(s.value #>> '{}') <= 4000 then '{}'
        when s.key in ('prompt', 'negative_prompt', 'room_type', 'style', 'provider', 'model')
          then array[s.key || ': must be text of up to 4000 characters.']
        when s.key = 'params' then private.params_errors(s.value, null)
        else array[left(s.key, 50) || ': is no argument of submit_generation that others can apply.']
      end
    ) as e (error)
  ) end
$$;

comment on function private.apply_settings_errors is
'What is wrong with settings that a visitor applies to a picture of their own, each as "apply_settings.argument: what."';

create or replace function private.are_apply_settings(settings jsonb) returns boolean
language sql immutable
set search_path = '', pg_temp
as $$
  select private.apply_settings_errors(settings) = '{}'
$$;

comment on function private.are_apply_settings is
'Whether these are arguments that submit_generation takes: what a visitor applies to a picture of their own.';

create or replace function private.is_image_url(url text) returns boolean
language sql immutable
set search_path = '', pg_temp
as $$
  -- https, a public host's name without login or address, a port at most, and nothing that ends a URL in a page.
  select char_length(url) <= 2000
    and url ~* '^https://([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])(:[0-9]{1,5})?([/?#][!-~]*)?$'
    and url !~ '[<>"''`\\]' and url !~* '\.(local|localhost|internal|lan|home|arpa)([:/?#]|$)'
$$;

comment on function private.is_image_url is 'Whether this is the https address of something on a public host.';

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
  constraint image_url_is_https check (private.is_image_url(image_url)),
  constraint community_title_is_short check (char_length(title) <= 200),
  constraint apply_settings_are_arguments check (private.are_apply_settings(apply_settings))
);

create index if not exists community_items_collection_id_position_idx
on public.community_items (collection_id, position, id);
create index if not exists community_items_render_id_idx
on public.community_items (render_id, variant_idx) where render_id is not null;

comment on table public.community_items is 'Pictures of community collections. Public read; written by administrators and operators.';
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

-- What came later.
alter table public.community_items
drop constraint if exists image_url_is_https,
add constraint image_url_is_https check (private.is_image_url(image_url));

create or replace function private.tg_community_items__fill_paths() returns trigger
language plpgsql security definer
set search_path = '', pg_temp
as $$
declare
  v_errors text[] := private.apply_settings_errors(new.apply_settings);
begin
  if (new.render_id is null) = (new.image_url is null) then
    v_errors := array['render_id: an item has either a render_id or an image_url.'] || v_errors;
  elsif new.image_url is not null and not private.is_image_url(new.image_url) then
    v_errors := array['image_url: must be an https address on a public host.'] || v_errors;
  end if;
  if v_errors <> '{}' then
    perform private.refuse(422, 'community_item_invalid', array_to_string(v_errors, ' '), 'Correct: ' || (
      select string_agg(split_part(e.error, ':', 1), ', ' order by e.n)
      from unnest(v_errors) with ordinality as e (error, n)
    ));
  end if;
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

comment on function private.tg_community_items__fill_paths is
'Refuses an item with everything that is wrong with it, and writes where the picture of its render lies.';

revoke all on function private.apply_settings_errors(jsonb) from public, anon, authenticated;
revoke all on function private.are_apply_settings(jsonb) from public, anon, authenticated;
revoke all on function private.is_image_url(text) from public, anon, authenticated;
-- The table's checks ask them, as whoever writes there.
grant execute on function private.apply_settings_errors(jsonb) to authenticated, service_role;
grant execute on function private.are_apply_settings(jsonb) to authenticated, service_role;
grant execute on function private.is_image_url(text) to authenticated, service_role;
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
-- Administrators: see the policies. Nobody chooses an id.
grant insert (name, description, is_featured, position), update (name, description, is_featured, position), delete
on table public.community_collections to authenticated;
grant
insert (collection_id, render_id, variant_idx, image_url, title, position, apply_settings),
update (collection_id, render_id, variant_idx, image_url, title, position, apply_settings),
delete
on table public.community_items to authenticated;

drop policy if exists select_public on public.community_collections;
create policy select_public on public.community_collections for select to anon, authenticated using (true);

drop policy if exists select_public on public.community_items;
create policy select_public on public.community_items for select to anon, authenticated using (true);

drop policy if exists insert_admin on public.community_collections;
create policy insert_admin on public.community_collections for insert to authenticated
with check ((select private.is_admin()));

drop policy if exists update_admin on public.community_collections;
create policy update_admin on public.community_collections for update to authenticated
using ((select private.is_admin())) with check ((select private.is_admin()));

drop policy if exists delete_admin on public.community_collections;
create policy delete_admin on public.community_collections for delete to authenticated
using ((select private.is_admin()));

drop policy if exists insert_admin on public.community_items;
create policy insert_admin on public.community_items for insert to authenticated
with check ((select private.is_admin()));

drop policy if exists update_admin on public.community_items;
create policy update_admin on public.community_items for update to authenticated
using ((select private.is_admin())) with check ((select private.is_admin()));

drop policy if exists delete_admin on public.community_items;
create policy delete_admin on public.community_items for delete to authenticated
using ((select private.is_admin()));
