create or replace function private.add_asset(path text, role text) returns public.image_assets
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_owner_id constant uuid := private.signed_in();
  v_asset public.image_assets;
begin
  -- First: nobody removes the upload while it is looked at.
  perform private.lock_owner(v_owner_id);
  if role is null or role not in ('input', 'mask') then
    perform private.refuse(422, 'role_not_known', 'The role is neither input nor mask.', 'Send input or mask.');
  elsif not coalesce(private.is_own_input(v_owner_id, path), false) then
    perform private.refuse(404, 'input_not_found', 'You have no such upload below inputs/ in bucket private.',
      'Upload it to {your id}/inputs/{uuid}.{ext} first.');
  end if;
  insert into public.image_assets as a (owner_id, role, bucket, path, mime_type, byte_size, idle_since)
  select
    v_owner_id, add_asset.role, o.bucket_id, o.name, o.metadata ->> 'mimetype', (o.metadata ->> 'size')::bigint,
    clock_timestamp()
  from storage.objects as o
  where o.bucket_id = 'private' and o.name = add_asset.path
  on conflict on constraint asset_is_one_object do update set
    role = excluded.role, idle_since = case when a.idle_since is not null then excluded.idle_since end
  returning a.* into v_asset;
  return v_asset;
end
$$;

comment on function private.add_asset is 'The body of public.add_asset.';

create or replace function public.add_asset(path text, role text default 'input') returns public.image_assets
language sql volatile
set search_path = '', pg_temp
as $$
  select * from private.add_asset(add_asset.path, add_asset.role)
$$;

comment on function public.add_asset is
'Makes an uploaded input or mask ({owner}/inputs/{uuid}.{ext} in bucket private) an asset that submit_generation can name. Again: the same asset.';

revoke all on function private.add_asset(text, text) from public, anon, authenticated, service_role;
revoke all on function public.add_asset(text, text) from public, anon, authenticated, service_role;
grant execute on function private.add_asset(text, text) to authenticated;
grant execute on function public.add_asset(text, text) to authenticated;
