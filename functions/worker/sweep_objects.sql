create or replace function private.sweep_objects(
  name_from text, name_to text, owner_from uuid, owner_to uuid, older_than interval
) returns table (owner_id uuid, kind text, bucket text, path text, image_id uuid, detail text)
language sql stable
set search_path = '', pg_temp
as $$
  with
  candidates as materialized (
    -- The two joins are the cheap sieve; who else refers to a path is asked below of what is left.
    select
      o.bucket_id, o.name, o.metadata ->> 'size' as byte_size,
      (row_number() over (partition by o.bucket_id)) / 1000 as chunk
    from storage.objects as o
    left join (
      select r.original_path from public.listing_images as r
      where r.owner_id between sweep_objects.owner_from and sweep_objects.owner_to
    ) as i on o.bucket_id = 'private' and o.name = i.original_path
    left join (
      select r.path from public.image_variants as r
      inner join public.listing_images as w on r.image_id = w.id
      where r.owner_id between sweep_objects.owner_from and sweep_objects.owner_to
        and w.owner_id between sweep_objects.owner_from and sweep_objects.owner_to
        -- Those of a label or a rejected photo may have to go, rows and all.
        and not w.is_label and w.review_state <> 'rejected'
    ) as v on o.bucket_id = 'media' and o.name = v.path
    where o.bucket_id in ('private', 'media', 'public')
      and o.name collate "C" >= sweep_objects.name_from
      and o.name collate "C" < coalesce(sweep_objects.name_to, chr(1114111))
      and coalesce(o.updated_at, o.created_at) <= now() - sweep_objects.older_than
      and i.original_path is null and v.path is null
  ),
  referenced as (
    select g.bucket_id, r.path
    from (
      select c.bucket_id, array_agg(c.name) as names from candidates as c group by c.bucket_id, c.chunk
    ) as g
    cross join lateral private.referenced_paths(g.bucket_id, g.names) as r (path)
  ),
  ordered as (
    select j.args ->> 'bucket' as bucket_id, p.path
    from queue.jobs as j cross join jsonb_array_elements_text(j.args -> 'paths') as p (path)
    where j.actor = 'remove_objects' and j.state in ('scheduled', 'ready', 'running')
      and (j.owner_id is null or j.owner_id between sweep_objects.owner_from and sweep_objects.owner_to)
  )
  select
    coalesce(private.uuid_or_null(split_part(c.name, '/', 1)), (
      select j.owner_id from public.generation_jobs as j
      where c.bucket_id = 'public' and starts_with(c.name, 'renders/')
        and j.render_id = private.uuid_or_null(split_part(c.name, '/', 2))
    )), 'orphan_object', c.bucket_id, c.name,
    case when c.bucket_id = 'media' then private.uuid_or_null(split_part(c.name, '/', 3)) end,
    c.byte_size || ' bytes'
  from candidates as c
  where not exists (select from referenced as r where r.bucket_id = c.bucket_id and r.path = c.name)
    and not exists (select from ordered as r where r.bucket_id = c.bucket_id and r.path = c.name)
$$;

comment on function private.sweep_objects is
'Objects that no row refers to and whose removal nobody has ordered, among the names from name_from up to name_to (C order; null: no end). The owners are those whose folders lie in that range.';

revoke all on function private.sweep_objects(text, text, uuid, uuid, interval)
from public, anon, authenticated, service_role;
