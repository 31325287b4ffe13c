create or replace function private.read_credential(
  owner_id uuid, site text, job_id bigint, lease_token uuid
) returns text
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_sealed private.credential_secrets;
  v_secret text;
begin
  perform private.check_lease(job_id, lease_token);
  -- A worker that is led astray reads what its job's owner has, and nobody else's; nor does it order jobs for others to do so.
  if not exists (
    select from queue.jobs as j
    where j.id = read_credential.job_id and j.owner_id = read_credential.owner_id and not j.is_sent
  ) then
    return null;
  end if;
  update public.site_credentials as c set last_used_at = clock_timestamp(), use_count = c.use_count + 1
  where c.owner_id = read_credential.owner_id and c.site = read_credential.site;
  if not found then
    return null;
  end if;
  select * into v_sealed from private.credential_secrets as s
  where s.owner_id = read_credential.owner_id and s.site = read_credential.site;
  v_secret := private.unseal_credential(v_sealed);
  return v_secret;
end
$$;

comment on function private.read_credential is
'The secret of the owner of a job that the caller holds, for one site, and records the use; null when there is none, it cannot be read, or a worker ordered the job itself. Execute: media_worker alone.';

revoke all on function private.read_credential(uuid, text, bigint, uuid)
from public, anon, authenticated, service_role;
grant execute on function private.read_credential(uuid, text, bigint, uuid) to media_worker;
