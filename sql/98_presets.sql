-- What can be chosen, as rows: modes, room types, styles, sizes, and the values a form begins with. Frontends read them and
-- submit_generation refuses what is none of them, so that no list is written down twice.

create or replace function private.is_side(side jsonb) returns boolean
language sql immutable
set search_path = '', pg_temp
as $$
  select coalesce(case when jsonb_typeof(side) = 'number' then (side)::numeric end, 0) between 64 and 16383
    and (side)::numeric = trunc((side)::numeric)
$$;

comment on function private.is_side is 'Whether this is a number of pixels that a picture''s side can have.';

create table if not exists public.presets (
  kind text not null,
  name text not null,
  title text not null,
  description text,
  data jsonb not null default '{}',
  position int not null default 0,
  is_default boolean not null default false,
  is_enabled boolean not null default true,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint presets_pkey primary key (kind, name),
  constraint preset_kind_is_known check (kind in ('mode', 'room_type', 'style', 'size', 'param')),
  constraint preset_name_is_a_short_word check (name ~ '^[a-z0-9][a-z0-9_]{0,49}$'),
  constraint preset_title_is_short check (char_length(btrim(title)) between 1 and 100),
  constraint preset_description_is_bounded check (char_length(description) <= 500),
  constraint preset_data_is_named check (jsonb_typeof(data) = 'object'),
  constraint mode_preset_is_a_mode check (
    kind <> 'mode' or name in ('redesign', 'staging', 'compose', 'imagine', 'edit')
  ),
  constraint size_preset_has_sides check (
    kind <> 'size' or (private.is_side(data -> 'width') is true and private.is_side(data -> 'height') is true)
  ),
  constraint default_preset_is_enabled check (is_enabled or not is_default)
);

-- The list that every form opens; and one of a kind that it begins with.
create index if not exists presets_kind_position_idx on public.presets (kind, position, name);
create unique index if not exists presets_kind_is_default_idx on public.presets (kind) where is_default;

comment on table public.presets is 'What a generation can be made of. Public read; written by operators only.';
comment on column public.presets.kind is
'mode, room_type and style are arguments of submit_generation, size is params.size, param a number of params.';
comment on column public.presets.name is 'What is sent.';
comment on column public.presets.title is 'What people read.';
comment on column public.presets.description is 'What it does, for people.';
comment on column public.presets.data is
'Of a mode {"pictures", "needs_prompt", "takes_mask"}, of a size {"width", "height"}, of a param {"low", "high", "default"}.';
comment on column public.presets.position is 'Place among its kind.';
comment on column public.presets.is_default is 'What a form begins with; at most one a kind.';
comment on column public.presets.is_enabled is 'Whether it can be chosen. One that was used is switched off, not deleted, so that old recipes can be read.';
comment on column public.presets.created_at is 'When the row was made.';
comment on column public.presets.updated_at is 'When the row was last changed.';

-- Seeds only: what an operator changed or switched off stays so.
insert into public.presets (kind, name, title, position, is_default, data)
values
('mode', 'imagine', 'Imagine', 1, true, '{"pictures": 0, "needs_prompt": true, "takes_mask": false}'),
('mode', 'redesign', 'Redesign', 2, false, '{"pictures": 1, "needs_prompt": false, "takes_mask": false}'),
('mode', 'staging', 'Staging', 3, false, '{"pictures": 1, "needs_prompt": false, "takes_mask": false}'),
('mode', 'compose', 'Compose', 4, false, '{"pictures": 2, "needs_prompt": false, "takes_mask": false}'),
('mode', 'edit', 'Edit', 5, false, '{"pictures": 1, "needs_prompt": true, "takes_mask": true}'),
('room_type', 'living_room', 'Living room', 1, true, '{}'),
('room_type', 'bedroom', 'Bedroom', 2, false, '{}'),
('room_type', 'kitchen', 'Kitchen', 3, false, '{}'),
('room_type', 'dining_room', 'Dining room', 4, false, '{}'),
('room_type', 'bathroom', 'Bathroom', 5, false, '{}'),
('room_type', 'home_office', 'Home office', 6, false, '{}'),
('room_type', 'nursery', 'Nursery', 7, false, '{}'),
('room_type', 'hallway', 'Hallway', 8, false, '{}'),
('room_type', 'balcony', 'Balcony', 9, false, '{}'),
('room_type', 'garden', 'Garden', 10, false, '{}'),
('room_type', 'shop', 'Shop', 11, false, '{}'),
('style', 'modern', 'Modern', 1, true, '{}'),
('style', 'scandinavian', 'Scandinavian', 2, false, '{}'),
('style', 'minimalist', 'Minimalist', 3, false, '{}'),
('style', 'industrial', 'Industrial', 4, false, '{}'),
('style', 'mid_century', 'Mid-century', 5, false, '{}'),
('style', 'bohemian', 'Bohemian', 6, false, '{}'),
('style', 'rustic', 'Rustic', 7, false, '{}'),
('style', 'traditional', 'Traditional', 8, false, '{}'),
('style', 'japandi', 'Japandi', 9, false, '{}'),
('style', 'coastal', 'Coastal', 10, false, '{}'),
('style', 'art_deco', 'Art deco', 11, false, '{}'),
('size', 'square', 'Square', 1, true, '{"width": 1024, "height": 1024}'),
('size', 'landscape', 'Landscape', 2, false, '{"width": 1216, "height": 832}'),
('size', 'portrait', 'Portrait', 3, false, '{"width": 832, "height": 1216}'),
('size', 'wide', 'Wide', 4, false, '{"width": 1344, "height": 768}'),
('size', 'tall', 'Tall', 5, false, '{"width": 768, "height": 1344}'),
('size', 'small', 'Small', 6, false, '{"width": 512, "height": 512}'),
('param', 'steps', 'Steps', 1, false, '{"low": 1, "high": 150, "default": 30}'),
('param', 'guidance', 'Guidance', 2, false, '{"low": 0, "high": 50, "default": 7}'),
('param', 'strength', 'Strength', 3, false, '{"low": 0, "high": 1, "default": 0.6}'),
('param', 'count', 'Pictures', 4, false, '{"low": 1, "high": 4, "default": 1}')
on conflict do nothing;

create or replace function private.preset_errors(request jsonb) returns text[]
language sql stable
set search_path = '', pg_temp
as $$
  select coalesce(array_agg(
    case
      when not w.is_listed then format('%s: %s is not known.', w.argument, left(w.value, 50))
      else format('%s: %s is not offered.', w.argument, left(w.value, 50))
    end
    order by w.n
  ), '{}')
  from (
    select
      a.n, a.argument, a.value,
      exists (select from public.presets as p where p.kind = a.kind and p.name = a.value) as is_listed
    from (values
      (1, 'mode', 'mode', request ->> 'mode'),
      (2, 'room_type', 'room_type', request ->> 'room_type'),
      (3, 'style', 'style', request ->> 'style'),
      (4, 'size', 'params.size', request -> 'params' ->> 'size')
    ) as a (n, kind, argument, value)
    -- What is too long or no mode at all is told already.
    where char_length(a.value) <= 100
      and (a.kind <> 'mode' or a.value in ('redesign', 'staging', 'compose', 'imagine', 'edit'))
      and not exists (
        select from public.presets as p where p.kind = a.kind and p.name = a.value and p.is_enabled
      )
  ) as w
$$;

comment on function private.preset_errors is
'What a request names that is no preset, or one that is switched off, each as "argument: what."';

create or replace function private.size_errors(params jsonb) returns text[]
language sql immutable
set search_path = '', pg_temp
as $$
  select case
    when jsonb_typeof(params) = 'object' and params ? 'size' and (params ? 'width' or params ? 'height')
      then array['params.size: takes the place of width and height, not both.']
    else '{}'
  end
$$;

comment on function private.size_errors is 'A size by name and one by numbers contradict each other.';

create or replace function private.sized_params(params jsonb) returns jsonb
language sql stable
set search_path = '', pg_temp
as $$
  select coalesce((
    select (sized_params.params - 'size')
      || jsonb_build_object('width', p.data -> 'width', 'height', p.data -> 'height')
    from public.presets as p where p.kind = 'size' and p.name = sized_params.params ->> 'size'
  ), sized_params.params)
$$;

comment on function private.sized_params is
'The parameters with a named size as its numbers: recipes keep what they meant when a preset changes.';

revoke all on function private.is_side(jsonb) from public, anon, authenticated;
revoke all on function private.preset_errors(jsonb) from public, anon, authenticated;
revoke all on function private.size_errors(jsonb) from public, anon, authenticated;
revoke all on function private.sized_params(jsonb) from public, anon, authenticated;
-- A check of the table asks it, as whoever writes there.
grant execute on function private.is_side(jsonb) to service_role;

create or replace trigger tg_presets__stamp before update on public.presets
for each row when (old.* is distinct from new.*) execute function private.tg__stamp_updated_at();

alter table public.presets enable row level security;

revoke all on table public.presets from anon, authenticated, service_role;
grant select on table public.presets to anon, authenticated;
grant select, insert, update, delete on table public.presets to service_role;

drop policy if exists select_public on public.presets;
create policy select_public on public.presets for select to anon, authenticated using (true);
