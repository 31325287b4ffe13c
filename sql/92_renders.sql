-- What generations became: one render a job, its pictures in bucket public. Objects follow rows, as photos do.

create table if not exists public.renders (
  id uuid not null,
  owner_id uuid not null,
  job_id uuid not null,
  created_at timestamptz not null default clock_timestamp(),
  constraint renders_pkey primary key (id),
  constraint render_is_known_by_its_owner unique (owner_id, id),
  constraint job_has_one_render unique (owner_id, job_id),
  constraint render_belongs_to_a_job_of_its_owner foreign key (owner_id, job_id)
  references public.generation_jobs (owner_id, id) on delete cascade
);

-- The list that users open: newest first, in pages.
create index if not exists renders_owner_id_created_at_idx on public.renders (owner_id, created_at desc, id desc);

comment on table public.renders is 'One row a generation that succeeded. Written by the worker; owners may delete: the pictures go, the job stays.';
comment on column public.renders.id is 'Part of every object''s name; as generation_jobs.render_id.';
comment on column public.renders.owner_id is 'Whose it is.';
comment on column public.renders.job_id is 'The generation that made it.';
comment on column public.renders.created_at is 'When it was made.';

alter table public.renders add column if not exists tags text[] not null default '{}';
comment on column public.renders.tags is 'The owner''s own words, as many and as long as site_policies says. Editable.';

create table if not exists public.render_variants (
  id uuid not null default gen_random_uuid(),
  render_id uuid not null,
  owner_id uuid not null,
  idx int not null,
  asset_id uuid not null,
  image_path text not null,
  thumb_path text not null,
  width int not null,
  height int not null,
  created_at timestamptz not null default now(),
  constraint render_variants_pkey primary key (id),
  constraint variant_is_unique_per_render unique (render_id, idx),
  constraint variant_belongs_to_a_render_of_its_owner foreign key (owner_id, render_id)
  references public.renders (owner_id, id) on delete cascade,
  constraint variant_has_an_asset_of_its_owner foreign key (owner_id, asset_id)
  references public.image_assets (owner_id, id) on delete cascade,
  constraint variant_idx_is_not_negative check (idx >= 0),
  constraint variant_paths_follow_from_the_keys check (
    image_path = 'renders/' || render_id::text || '/' || idx || '.webp'
    and thumb_path = 'renders/' || render_id::text || '/' || idx || '_thumb.webp'
  ),
  constraint variant_size_fits_webp check (width between 1 and 16383 and height between 1 and 16383)
);

alter table public.render_variants
add column if not exists lost_at timestamptz,
add column if not exists lost_code text,
drop constraint if exists lost_picture_has_a_reason,
add constraint lost_picture_has_a_reason check (
  (lost_at is null) = (lost_code is null) and lost_code in ('picture_missing', 'picture_differs')
);

create index if not exists render_variants_owner_id_render_id_idx on public.render_variants (owner_id, render_id);
create index if not exists render_variants_asset_id_idx on public.render_variants (asset_id, owner_id);

comment on table public.render_variants is 'The pictures of a render, in bucket public. Written by the worker only.';
comment on column public.render_variants.id is 'Given by the database.';
comment on column public.render_variants.render_id is 'The render.';
comment on column public.render_variants.owner_id is 'Whose it is.';
comment on column public.render_variants.idx is 'Counts from 0.';
comment on column public.render_variants.asset_id is 'The asset that the next generation can start from.';
comment on column public.render_variants.image_path is 'Object in bucket public: renders/{render}/{idx}.webp.';
comment on column public.render_variants.thumb_path is 'Object in bucket public: renders/{render}/{idx}_thumb.webp.';
comment on column public.render_variants.width is 'Pixels.';
comment on column public.render_variants.height is 'Pixels.';
comment on column public.render_variants.created_at is 'When it was made.';
comment on column public.render_variants.lost_at is 'When a sweep found that Storage has lost it; null while it is there.';
comment on column public.render_variants.lost_code is
'picture_missing or picture_differs: it was made and paid for, and nobody can make it again.';

create or replace function private.render_path(render_id uuid, idx int, is_thumb boolean) returns text
language sql immutable parallel safe
set search_path = '', pg_temp
as $$
  select 'renders/' || render_id::text || '/' || idx || case when is_thumb then '_thumb' else '' end || '.webp'
$$;

comment on function private.render_path is 'The one name that a picture of a render can have in bucket public.';

create or replace function private.may_take_render(job public.generation_jobs) returns boolean
language sql immutable
set search_path = '', pg_temp
as $$
  -- One that ran out of time may still succeed.
  select (job).deleted_at is null
    and ((job).status in ('starting', 'processing') or ((job).status, (job).error_code) = ('failed', 'timed_out'))
$$;

comment on function private.may_take_render is 'Whether a worker may still write pictures for this generation.';

create or replace function private.take_in_render(object_name text, uploader text) returns void
language plpgsql volatile
set search_path = '', pg_temp
as $$
begin
  -- The lock makes the job's end and deletion wait for this write, so that their removal finds the object.
  perform 1 from public.generation_jobs as j
  where j.render_id = private.uuid_or_null(split_part(object_name, '/', 2))
    and uploader is null and private.may_take_render(j)
    and object_name ~ '^renders/[^/]+/[0-9]{1,2}(_thumb)?\.webp$'
  for share of j;
  if not found and uploader is null then
    -- A thumbnail can be made again from a picture that is there.
    perform 1 from public.render_variants as v
    where v.render_id = private.uuid_or_null(split_part(object_name, '/', 2))
      and v.thumb_path = object_name and v.lost_at is null
    for share of v;
  end if;
  if not found then
    perform private.refuse_object('no_such_render', 'No generation waits for this picture.',
      'It may have been canceled or deleted.');
  end if;
end
$$;

comment on function private.take_in_render is 'Lets the worker''s picture of a known, unfinished generation stay in bucket public, and a thumbnail that is made again; nothing else.';

create or replace function private.tg_renders__record_delete() returns trigger
language plpgsql security definer
set search_path = '', pg_temp
as $$
begin
  perform private.record_generation_event(
    old.owner_id, (select j.session_id from public.generation_jobs as j where j.id = old.job_id), old.job_id,
    'render_deleted', jsonb_build_object(
      'render_id', old.id,
      'collections', (
        select count(*) from public.collection_items as i where i.owner_id = old.owner_id and i.render_id = old.id
      ),
      'community_items', (select count(*) from public.community_items as i where i.render_id = old.id)
    )
  );
  return old;
end
$$;

comment on function private.tg_renders__record_delete is
'Tells in the history that a render went, and from how many collections, before they let go of it.';

create or replace function private.newest_thumb(owner_id uuid, session_id uuid) returns text
language sql stable
set search_path = '', pg_temp
as $$
  select v.thumb_path
  from public.generation_jobs as j
  inner join public.renders as r on j.owner_id = r.owner_id and j.id = r.job_id
  inner join public.render_variants as v on r.owner_id = v.owner_id and r.id = v.render_id
  where j.owner_id = newest_thumb.owner_id and j.session_id = newest_thumb.session_id and j.deleted_at is null
  order by r.created_at desc, v.idx
  limit 1
$$;

comment on function private.newest_thumb is 'The last picture that a session has, small; null when there is none.';

create or replace function private.tg_render_variants__enqueue_removal() returns trigger
language plpgsql security definer
set search_path = '', pg_temp
as $$
begin
  perform private.enqueue_removal(o.owner_id, 'public', array_agg(o.path))
  from (
    select g.owner_id, g.image_path as path from gone as g
    union all
    select g.owner_id, g.thumb_path from gone as g
  ) as o
  group by o.owner_id;
  update public.image_sessions as s set thumbnail_path = private.newest_thumb(s.owner_id, s.id)
  from gone as g where s.owner_id = g.owner_id and s.thumbnail_path = g.thumb_path;
  delete from public.image_assets as a using gone as g where a.owner_id = g.owner_id and a.id = g.asset_id;
  return null;
end
$$;

comment on function private.tg_render_variants__enqueue_removal is
'Orders the removal of exactly the objects of deleted pictures, in the deleting transaction; their assets go too.';

create or replace function private.tg_renders__check_tags() returns trigger
language plpgsql security definer
set search_path = '', pg_temp
as $$
begin
  perform private.check_tags(new.tags);
  return new;
end
$$;

comment on function private.tg_renders__check_tags is 'Holds tags to the site''s limits.';

revoke all on function private.tg_renders__check_tags() from public, anon, authenticated;

create or replace function private.tg_render_variants__record_loss() returns trigger
language plpgsql security definer
set search_path = '', pg_temp
as $$
begin
  perform private.record_generation_event(
    new.owner_id, j.session_id, j.id, case when new.lost_at is null then 'picture_back' else 'picture_lost' end,
    jsonb_build_object('render_id', new.render_id, 'idx', new.idx, 'code', new.lost_code)
  )
  from public.renders as r inner join public.generation_jobs as j on r.owner_id = j.owner_id and r.job_id = j.id
  where r.owner_id = new.owner_id and r.id = new.render_id;
  return null;
end
$$;

comment on function private.tg_render_variants__record_loss is
'Tells in the history that a picture is lost, or is there again.';

revoke all on function private.render_path(uuid, int, boolean) from public, anon, authenticated;
revoke all on function private.may_take_render(public.generation_jobs) from public, anon, authenticated;
revoke all on function private.take_in_render(text, text) from public, anon, authenticated;
revoke all on function private.newest_thumb(uuid, uuid) from public, anon, authenticated;
revoke all on function private.tg_render_variants__record_loss() from public, anon, authenticated;
revoke all on function private.tg_renders__record_delete() from public, anon, authenticated;
revoke all on function private.tg_render_variants__enqueue_removal() from public, anon, authenticated;

create or replace trigger tg_renders__lock_owner before delete on public.renders
for each statement execute function private.tg_listings__lock_owner();

create or replace trigger tg_renders__check_tags before update of tags on public.renders
for each row when (new.tags is distinct from old.tags) execute function private.tg_renders__check_tags();

create or replace trigger tg_renders__record_delete before delete on public.renders
for each row execute function private.tg_renders__record_delete();

create or replace trigger tg_render_variants__enqueue_removal after delete on public.render_variants
referencing old table as gone
for each statement execute function private.tg_render_variants__enqueue_removal();

create or replace trigger tg_render_variants__record_loss after update of lost_at on public.render_variants
for each row when ((old.lost_at is null) <> (new.lost_at is null))
execute function private.tg_render_variants__record_loss();

alter table public.renders enable row level security;
alter table public.render_variants enable row level security;

revoke all on table public.renders, public.render_variants from anon, authenticated, service_role;
grant select, delete on table public.renders to authenticated, service_role;
grant update (tags) on table public.renders to authenticated;
grant select on table public.render_variants to authenticated, service_role;

drop policy if exists select_owner on public.renders;
create policy select_owner on public.renders for select to authenticated using (owner_id = (select auth.uid()));

drop policy if exists update_owner on public.renders;
create policy update_owner on public.renders for update to authenticated
using (owner_id = (select auth.uid())) with check (owner_id = (select auth.uid()));

drop policy if exists delete_owner on public.renders;
create policy delete_owner on public.renders for delete to authenticated using (owner_id = (select auth.uid()));

drop policy if exists select_owner on public.render_variants;
create policy select_owner on public.render_variants for select to authenticated using (owner_id = (select auth.uid()));
