create or replace function private.set_credential(site text, secret text) returns jsonb
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
#variable_conflict use_column
declare
  v_owner_id constant uuid := private.signed_in();
begin
  -- No message, hint or constraint below may ever repeat the secret.
  if set_credential.site is null or set_credential.site !~ '^[a-z][a-z0-9_-]{0,49}$' then
    perform private.refuse(422, 'site_malformed', 'A site is named by a short lower-case word.', 'See the view credentials for the names.');
  elsif not private.credential_site_exists(set_credential.site) then
    perform private.refuse(422, 'site_unknown', format('There is no site %s.', set_credential.site), 'See the view credentials for the names.');
  elsif coalesce(secret, '') !~ '\S' then
    perform private.refuse(422, 'secret_empty', 'The secret is empty.', 'Call delete_credential to take one away.');
  elsif octet_length(secret) > 16384 then
    perform private.refuse(422, 'secret_too_long', 'The secret has more than 16384 bytes.', 'Store the key or token only.');
  end if;
  perform private.lock_owner(v_owner_id);
  if (
    select count(*) from public.site_credentials as c where c.owner_id = v_owner_id and c.site <> set_credential.site
  ) >= 100 then
    perform private.refuse(409, 'too_many_credentials', 'You have credentials for 100 sites.', 'Delete one with delete_credential.');
  end if;
  insert into public.site_credentials as c (owner_id, site)
  values (v_owner_id, set_credential.site)
  on conflict (owner_id, site) do update set updated_at = clock_timestamp(), last_used_at = null, use_count = 0;
  perform private.seal_credential(v_owner_id, set_credential.site, secret);
  return private.tell_credential(v_owner_id, set_credential.site);
end
$$;

comment on function private.set_credential is 'The body of public.set_credential.';

create or replace function private.tell_credential(owner_id uuid, site text) returns jsonb
language sql stable
set search_path = '', pg_temp
as $$
  select jsonb_build_object(
    'site', tell_credential.site, 'is_set', count(*) = 1, 'updated_at', max(c.updated_at), 'last_used_at', max(c.last_used_at)
  )
  from public.site_credentials as c
  where c.owner_id = tell_credential.owner_id and c.site = tell_credential.site
$$;

comment on function private.tell_credential is 'What a client may know of a credential.';

create or replace function public.set_credential(site text, secret text) returns jsonb
language sql volatile
set search_path = '', pg_temp
as $$
  select private.set_credential(set_credential.site, set_credential.secret)
$$;

comment on function public.set_credential is
'Stores the signed-in user''s secret for a site, encrypted, in place of the one before. It never comes back. Answers {"site", "is_set", "updated_at", "last_used_at"}.';

revoke all on function private.set_credential(text, text) from public, anon, authenticated, service_role;
revoke all on function private.tell_credential(uuid, text) from public, anon, authenticated, service_role;
revoke all on function public.set_credential(text, text) from public, anon, authenticated, service_role;
grant execute on function private.set_credential(text, text) to authenticated;
grant execute on function public.set_credential(text, text) to authenticated;
