create or replace function private.sweep_renders(owner_from uuid, owner_to uuid, older_than interval)
returns table (owner_id uuid, kind text, bucket text, path text, image_id uuid, detail text)
language sql stable
set search_path = '', pg_temp
as $$
  with pictures as (
    select
      v.owner_id, v.image_path, v.thumb_path, v.lost_code, a.byte_size,
      o.name is not null as is_there, (o.metadata ->> 'size')::bigint as stored_size, t.name is not null as has_thumb
    from public.render_variants as v
    inner join public.image_assets as a on v.owner_id = a.owner_id and v.asset_id = a.id
    left join storage.objects as o on o.bucket_id = 'public' and v.image_path = o.name
    left join storage.objects as t on t.bucket_id = 'public' and v.thumb_path = t.name
    where v.owner_id between sweep_renders.owner_from and sweep_renders.owner_to
      and v.created_at <= now() - sweep_renders.older_than
  )
  select p.owner_id, 'picture_missing', 'public', p.image_path, null::uuid, 'no object'
  from pictures as p where p.lost_code is null and not p.is_there
  union all
  select
    p.owner_id, 'picture_differs', 'public', p.image_path, null::uuid,
    format('%s bytes instead of %s', p.stored_size, p.byte_size)
  from pictures as p where p.lost_code is null and p.stored_size <> p.byte_size
  union all
  select p.owner_id, 'picture_back', 'public', p.image_path, null::uuid, 'the object is there again'
  from pictures as p where p.lost_code = 'picture_missing' and p.stored_size = p.byte_size
  union all
  select p.owner_id, 'thumb_missing', 'public', p.thumb_path, null::uuid, 'no object'
  from pictures as p where p.lost_code is null and p.stored_size = p.byte_size and not p.has_thumb
$$;

comment on function private.sweep_renders is
'What is wrong with the pictures of these owners'' renders: picture_missing, picture_differs, picture_back (lost, and there again), thumb_missing. A picture that is marked as lost is not told again.';

create or replace function private.sweep_render_bytes(owner_from uuid, owner_to uuid, older_than interval)
returns table (
  owner_id uuid, image_id uuid, bucket text, path text, byte_size bigint, sha256 text, etag text
)
language sql stable
set search_path = '', pg_temp
as $$
  select v.owner_id, null::uuid, 'public', p.path, p.byte_size, p.sha256, p.etag
  from public.render_variants as v
  inner join public.image_assets as a on v.owner_id = a.owner_id and v.asset_id = a.id
  inner join storage.objects as o on o.bucket_id = 'public' and v.image_path = o.name
  left join storage.objects as t on t.bucket_id = 'public' and v.thumb_path = t.name
  cross join lateral (values
    (v.image_path, a.byte_size, a.sha256, null::text),
    -- Of a thumbnail nothing is known but what Storage says.
    (t.name, (t.metadata ->> 'size')::bigint, null, t.metadata ->> 'eTag')
  ) as p (path, byte_size, sha256, etag)
  where v.owner_id between sweep_render_bytes.owner_from and sweep_render_bytes.owner_to
    and v.created_at <= now() - sweep_render_bytes.older_than
    and v.lost_code is null and p.path is not null
$$;

comment on function private.sweep_render_bytes is
'The objects of these owners'' renders with what their bytes must be: the SHA-256 of pictures, Storage''s own tag of thumbnails.';

revoke all on function private.sweep_renders(uuid, uuid, interval) from public, anon, authenticated, service_role;
revoke all on function private.sweep_render_bytes(uuid, uuid, interval) from public, anon, authenticated, service_role;
