-- What `imageledger restore` puts back: the objects of a snapshot are uploaded before their rows are there, so the trigger
-- that pairs objects with rows must know them. Filled and emptied by the restore; at any other time there is nothing in it.

create table if not exists private.restored_objects (
  bucket_id text not null,
  name text not null,
  owner_id text,
  snapshot_id uuid not null,
  constraint restored_objects_pkey primary key (bucket_id, name)
);

comment on table private.restored_objects is
'Objects that a restore under way brings back through Storage, in place of a row that waits for them.';
comment on column private.restored_objects.bucket_id is 'The bucket.';
comment on column private.restored_objects.name is 'The object''s path in it.';
comment on column private.restored_objects.owner_id is 'Who uploaded it; null for what the worker wrote.';
comment on column private.restored_objects.snapshot_id is 'The snapshot that holds its bytes.';

alter table private.restored_objects enable row level security;
revoke all on table private.restored_objects from public, anon, authenticated, service_role;

create or replace function private.is_restored(bucket_id text, object_name text, uploader text) returns boolean
language sql stable
set search_path = '', pg_temp
as $$
  select exists (
    select from private.restored_objects as r
    where r.bucket_id = is_restored.bucket_id and r.name = is_restored.object_name
      -- Bytes come with the service key; only the restore's own session gives them their owner.
      and (uploader is null or r.snapshot_id::text = current_setting('imageledger.restoring', true))
  )
$$;

comment on function private.is_restored is 'Whether a restore under way waits for this object.';

revoke all on function private.is_restored(text, text, text) from public, anon, authenticated, service_role;
