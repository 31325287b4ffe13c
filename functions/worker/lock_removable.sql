create or replace function private.lock_removable(bucket text, paths text[]) returns setof text
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
begin
  -- A failed image can be retried at any moment, a removed one restored, and its new variants have the old names. The
  -- lock makes that wait until the caller's transaction ends, which is after Storage has answered. Nobody is waited for
  -- here, since no lock on the owner was taken first: whoever is busy with the image makes this attempt fail (55P03).
  if lock_removable.bucket = 'media' then
    perform 1 from public.listing_images as i
    where (i.state = 'failed' or (i.state = 'uploaded' and i.deleted_at is not null))
      and i.id in (
        select private.uuid_or_null(split_part(p.path, '/', 3)) from unnest(lock_removable.paths) as p (path)
      )
    for share of i nowait;
  elsif lock_removable.bucket = 'private' then
    -- An upload can be named by a generation at any moment; whoever does so locks its owner first.
    perform 1 from public.profiles as o
    where o.id in (
      select private.uuid_or_null(split_part(p.path, '/', 1))
      from unnest(lock_removable.paths) as p (path) where split_part(p.path, '/', 2) = 'inputs'
    )
    for share of o nowait;
  end if;
  -- A statement of its own: it sees what was committed before the lock.
  return query
  select p.path from unnest(lock_removable.paths) as p (path)
  except
  select r.path from private.referenced_paths(lock_removable.bucket, lock_removable.paths) as r (path);
end
$$;

comment on function private.lock_removable is
'Those of the paths that no row refers to, and that none will before the transaction ends: remove them from Storage inside of it.';

revoke all on function private.lock_removable(text, text[]) from public, anon, authenticated;
grant execute on function private.lock_removable(text, text[]) to media_worker, service_role;
