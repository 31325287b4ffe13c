create or replace function private.delete_credential(site text) returns jsonb
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_owner_id constant uuid := private.signed_in();
begin
  perform private.lock_owner(v_owner_id);
  delete from public.site_credentials as c
  where c.owner_id = v_owner_id and c.site = delete_credential.site;
  return private.tell_credential(v_owner_id, delete_credential.site);
end
$$;

comment on function private.delete_credential is 'The body of public.delete_credential.';

create or replace function public.delete_credential(site text) returns jsonb
language sql volatile
set search_path = '', pg_temp
as $$
  select private.delete_credential(delete_credential.site)
$$;

comment on function public.delete_credential is
'Deletes the signed-in user''s secret for a site, Vault''s copy too; nothing happens when there is none. Answers {"site", "is_set", "updated_at", "last_used_at"}.';

revoke all on function private.delete_credential(text) from public, anon, authenticated, service_role;
revoke all on function public.delete_credential(text) from public, anon, authenticated, service_role;
grant execute on function private.delete_credential(text) to authenticated;
grant execute on function public.delete_credential(text) to authenticated;
