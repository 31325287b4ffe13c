create or replace function private.referenced_paths(bucket text, paths text[]) returns setof text
language sql stable security definer
set search_path = '', pg_temp
as $$
  select i.original_path from public.listing_images as i
  where referenced_paths.bucket = 'private' and i.original_path = any(referenced_paths.paths)
  union
  select v.path from public.image_variants as v
  inner join public.listing_images as i on v.image_id = i.id
  where referenced_paths.bucket = 'media' and v.path = any(referenced_paths.paths)
    and not private.is_withheld(i, (select private.review_required()))
  union
  -- Variants that a worker may be writing right now, before their rows: not of one that was removed before it began.
  select p.path
  from unnest(referenced_paths.paths) as p (path)
  inner join public.listing_images as i on i.id = private.uuid_or_null(split_part(p.path, '/', 3))
  where referenced_paths.bucket = 'media' and (i.state = 'processing' or (i.state = 'uploaded' and i.deleted_at is null))
    and not private.is_withheld(i, (select private.review_required()))
    and starts_with(p.path, i.owner_id::text || '/' || i.listing_id::text || '/')
  union
  select p.path
  from public.render_variants as v
  cross join lateral (values (v.image_path), (v.thumb_path)) as p (path)
  where referenced_paths.bucket = 'public' and p.path = any(referenced_paths.paths)
    and v.render_id = any(
      select private.uuid_or_null(split_part(r.path, '/', 2)) from unnest(referenced_paths.paths) as r (path)
    )
  union
  -- Pictures that a worker may be writing right now, before their rows.
  select p.path
  from unnest(referenced_paths.paths) as p (path)
  inner join public.generation_jobs as j on j.render_id = private.uuid_or_null(split_part(p.path, '/', 2))
  where referenced_paths.bucket = 'public' and starts_with(p.path, 'renders/')
    and private.may_take_render(j)
  union
  select a.path from public.image_assets as a
  where a.bucket = referenced_paths.bucket and a.path = any(referenced_paths.paths)
  union
  -- An upload whose row is gone, and that a generation names again.
  select p.path
  from unnest(referenced_paths.paths) as p (path)
  inner join public.generation_jobs as j on (p.path = j.input1_path or p.path = j.input2_path)
  where referenced_paths.bucket = 'private' and j.deleted_at is null
  union
  -- The public folders of living users hold what no row tells of; a removal there is for deleted users only.
  select p.path
  from unnest(referenced_paths.paths) as p (path)
  inner join public.profiles as o on o.id = private.uuid_or_null(split_part(p.path, '/', 1))
  where referenced_paths.bucket = 'public'
$$;

comment on function private.referenced_paths is
'Those of the paths that a row still refers to: asked at the moment of removal, and they stay. The renderings of a label or a rejected photo do not.';

revoke all on function private.referenced_paths(text, text[]) from public, anon, authenticated;
grant execute on function private.referenced_paths(text, text[]) to media_worker, service_role;
