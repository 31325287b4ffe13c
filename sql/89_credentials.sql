-- Keys and tokens of marketplaces, one a user and site. Clients write them and never read them; the worker reads one at a
-- time, for the owner of a job that it holds. What is encrypted lies in a table that no role of the API, nor the worker,
-- has any privilege on; what pages show lies in another.
--
-- Where Supabase Vault is there, it keeps the secret, and its key is outside of the database. Else pgcrypto encrypts it, and
-- the key is in private.credential_keys: nobody reaches it through the API, with the service key, as the worker or as an
-- analyst, but a dump or backup of the whole database has both. README.md of functions/ says what follows from that.

create table if not exists public.site_credentials (
  owner_id uuid not null,
  site text not null,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  last_used_at timestamptz,
  use_count int not null default 0,
  constraint site_credentials_pkey primary key (owner_id, site),
  constraint credential_belongs_to_a_profile foreign key (owner_id) references public.profiles (id) on delete cascade,
  -- Not a foreign key: an entry outlives the site's row, and the page shows it all the same.
  constraint site_is_a_short_name check (site ~ '^[a-z][a-z0-9_-]{0,49}$'),
  constraint use_count_is_not_negative check (use_count >= 0)
);

comment on table public.site_credentials is
'That there is a credential, and when it was written and used; never what it is. Written by set_credential and delete_credential.';
comment on column public.site_credentials.owner_id is 'Whose it is.';
comment on column public.site_credentials.site is 'The site''s short name.';
comment on column public.site_credentials.created_at is 'When there first was one.';
comment on column public.site_credentials.updated_at is 'When it was last written. Rotating keys does not count.';
comment on column public.site_credentials.last_used_at is 'When the worker last read it; null since it was last written.';
comment on column public.site_credentials.use_count is 'How often the worker has read it since it was last written.';

create table if not exists private.credential_keys (
  id int generated always as identity,
  key bytea not null default extensions.gen_random_bytes(32),
  created_at timestamptz not null default clock_timestamp(),
  constraint credential_keys_pkey primary key (id),
  constraint key_has_256_bits check (octet_length(key) = 32)
);

comment on table private.credential_keys is
'Keys for pgcrypto, the newest one encrypts. Nobody but the functions below has a privilege on it.';
comment on column private.credential_keys.id is 'The key''s version.';
comment on column private.credential_keys.key is '32 random bytes.';
comment on column private.credential_keys.created_at is 'When it became the newest one.';

insert into private.credential_keys
select from (values (1)) as first_one (n)
where not exists (select from private.credential_keys);

create table if not exists private.credential_secrets (
  owner_id uuid not null,
  site text not null,
  vault_id uuid,
  key_id int,
  ciphertext bytea,
  constraint credential_secrets_pkey primary key (owner_id, site),
  constraint secret_belongs_to_a_credential foreign key (owner_id, site)
  references public.site_credentials (owner_id, site) on delete cascade,
  constraint key_of_a_secret_stays foreign key (key_id) references private.credential_keys (id) on delete restrict,
  constraint vault_secret_is_of_one_credential unique (vault_id),
  constraint secret_is_in_one_place check (
    (vault_id is null) = (ciphertext is not null) and (ciphertext is null) = (key_id is null)
  )
);

create index if not exists credential_secrets_key_id_idx
on private.credential_secrets (key_id) where key_id is not null;

comment on table private.credential_secrets is
'The encrypted secrets, or where Vault keeps them. Nobody but the functions below has a privilege on it.';
comment on column private.credential_secrets.owner_id is 'Whose it is.';
comment on column private.credential_secrets.site is 'For which site.';
comment on column private.credential_secrets.vault_id is 'The row of vault.secrets.';
comment on column private.credential_secrets.key_id is 'Which key encrypted it.';
comment on column private.credential_secrets.ciphertext is
'OpenPGP symmetric message (AES-256, with its integrity check) under a key that is derived for this owner and site: moved to another row it cannot be read.';

create or replace function private.has_vault() returns boolean
language sql stable
set search_path = '', pg_temp
as $$
  -- Asked again with every call: an extension may come, and go.
  select to_regclass('vault.decrypted_secrets') is not null
    and to_regproc('vault.create_secret') is not null and to_regproc('vault.update_secret') is not null
    and pg_catalog.has_schema_privilege('vault', 'usage')
$$;

comment on function private.has_vault is 'Whether Supabase Vault is installed, by its documented interface.';

create or replace function private.credential_phrase(owner_id uuid, site text, key bytea) returns text
language sql stable
set search_path = '', pg_temp
as $$
  select encode(
    extensions.hmac(convert_to('imageledger/1/' || owner_id::text || '/' || site, 'UTF8'), key, 'sha256'), 'hex'
  )
$$;

comment on function private.credential_phrase is 'The key of one credential, derived from a key of the site.';

create or replace function private.seal_credential(owner_id uuid, site text, secret text) returns void
language plpgsql volatile
set search_path = '', pg_temp
as $$
#variable_conflict use_column
declare
  v_vault_id uuid;
  v_key private.credential_keys;
  v_is_there boolean := false;
begin
  select s.vault_id into v_vault_id from private.credential_secrets as s
  where s.owner_id = seal_credential.owner_id and s.site = seal_credential.site
  for update;
  if private.has_vault() then
    -- By parameter, so that no statement text ever holds the secret.
    if v_vault_id is not null then
      execute 'select true from vault.secrets where id = $1' into v_is_there using v_vault_id;
    end if;
    if v_is_there then
      execute 'select vault.update_secret($1, $2)' using v_vault_id, secret;
    else
      execute 'select vault.create_secret($1, $2, $3)' into v_vault_id
      using secret, 'imageledger/' || owner_id::text || '/' || site, 'Credential of a user for a site';
    end if;
    insert into private.credential_secrets as s (owner_id, site, vault_id)
    values (seal_credential.owner_id, seal_credential.site, v_vault_id)
    on conflict (owner_id, site) do update set vault_id = excluded.vault_id, key_id = null, ciphertext = null;
    return;
  end if;

  select * into strict v_key from private.credential_keys as k order by k.id desc limit 1 for key share;
  insert into private.credential_secrets as s (owner_id, site, key_id, ciphertext)
  values (
    seal_credential.owner_id, seal_credential.site, v_key.id,
    extensions.pgp_sym_encrypt_bytea(
      convert_to(secret, 'UTF8'),
      private.credential_phrase(seal_credential.owner_id, seal_credential.site, v_key.key),
      -- The phrase has 256 random bits: stretching it would only cost time.
      'cipher-algo=aes256, compress-algo=0, s2k-count=1024'
    )
  )
  on conflict (owner_id, site) do update set
    vault_id = null, key_id = excluded.key_id, ciphertext = excluded.ciphertext;
end
$$;

comment on function private.seal_credential is
'Writes a secret into Vault where it is there, else encrypted by pgcrypto with the newest key. The caller has checked it.';

create or replace function private.unseal_credential(sealed private.credential_secrets) returns text
language plpgsql stable
set search_path = '', pg_temp
as $$
declare
  v_secret text;
begin
  if (sealed).vault_id is not null then
    if private.has_vault() then
      execute 'select decrypted_secret from vault.decrypted_secrets where id = $1 and name = $2' into v_secret
      using (sealed).vault_id, 'imageledger/' || (sealed).owner_id::text || '/' || (sealed).site;
    end if;
    return v_secret;
  end if;
  select convert_from(
    extensions.pgp_sym_decrypt_bytea(
      (sealed).ciphertext, private.credential_phrase((sealed).owner_id, (sealed).site, k.key)
    ), 'UTF8'
  ) into v_secret
  from private.credential_keys as k
  where k.id = (sealed).key_id;
  return v_secret;
exception
  -- Another row's message, or bytes that were changed. pgcrypto's own error says nothing about the content.
  when external_routine_invocation_exception or invalid_parameter_value then
    return null;
end
$$;

comment on function private.unseal_credential is
'The secret; null when Vault has lost it, or the row was tampered with. Called by read_credential and the rotation only.';

create or replace function private.tg_credential_secrets__forget() returns trigger
language plpgsql security definer
set search_path = '', pg_temp
as $$
begin
  if private.has_vault() then
    execute 'delete from vault.secrets where id = $1' using old.vault_id;
  end if;
  return null;
end
$$;

comment on function private.tg_credential_secrets__forget is
'With the row goes what Vault holds of it: a deleted credential or user, or a secret that moved out of Vault.';

revoke all on function private.has_vault() from public, anon, authenticated, service_role;
revoke all on function private.credential_phrase(uuid, text, bytea) from public, anon, authenticated, service_role;
revoke all on function private.seal_credential(uuid, text, text) from public, anon, authenticated, service_role;
revoke all on function private.unseal_credential(private.credential_secrets)
from public, anon, authenticated, service_role;
revoke all on function private.tg_credential_secrets__forget() from public, anon, authenticated, service_role;

create or replace trigger tg_credential_secrets__forget after delete on private.credential_secrets
for each row when (old.vault_id is not null) execute function private.tg_credential_secrets__forget();

create or replace trigger tg_credential_secrets__forget_moved after update of vault_id on private.credential_secrets
for each row when (old.vault_id is not null and old.vault_id is distinct from new.vault_id)
execute function private.tg_credential_secrets__forget();

alter table public.site_credentials enable row level security;
alter table private.credential_keys enable row level security;
alter table private.credential_secrets enable row level security;

revoke all on table public.site_credentials, private.credential_keys, private.credential_secrets
from public, anon, authenticated, service_role, media_worker, analyst;
revoke all on sequence private.credential_keys_id_seq from public, anon, authenticated, service_role;
grant select on table public.site_credentials to authenticated;

drop policy if exists select_owner on public.site_credentials;
create policy select_owner on public.site_credentials for select to authenticated
using (owner_id = (select auth.uid()));

-- For operators, who log in as the tables' own role (`imageledger keys`).

create or replace function private.credential_status() returns jsonb
language sql stable
set search_path = '', pg_temp
as $$
  select jsonb_build_object(
    'has_vault', private.has_vault(),
    'newest_key', (select max(k.id) from private.credential_keys as k),
    'in_vault', count(*) filter (where s.vault_id is not null),
    'by_key', (
      select coalesce(jsonb_object_agg(k.id, (
        select count(*) from private.credential_secrets as o where o.key_id = k.id
      )), '{}')
      from private.credential_keys as k
    ),
    'pending', count(*) filter (where s.key_id is not null and (
      private.has_vault() or s.key_id < (select max(k.id) from private.credential_keys as k)
    ))
  )
  from private.credential_secrets as s
$$;

comment on function private.credential_status is
'How many credentials there are under which key, and how many wait for a rotation; no key and no secret.';

create or replace function private.begin_rotation() returns jsonb
language plpgsql volatile
set search_path = '', pg_temp
as $$
declare
  v_is_resumed boolean;
  v_key int;
begin
  -- Of two at the same time, the second one continues what the first one began.
  lock table private.credential_keys in share row exclusive mode;
  v_is_resumed := (private.credential_status() ->> 'pending')::int > 0;
  if v_is_resumed then
    v_key := (select max(k.id) from private.credential_keys as k);
  else
    insert into private.credential_keys default values returning id into v_key;
  end if;
  return jsonb_build_object('key', v_key, 'resumed', v_is_resumed);
end
$$;

comment on function private.begin_rotation is
'Makes a new key, which encrypts from now on, unless a rotation was stopped before its end. {"key", "resumed"}.';

create or replace function private.rotate_credentials(
  after_owner_id uuid default null, after_site text default null, batch int default 500
) returns jsonb
language plpgsql volatile
set search_path = '', pg_temp
as $$
declare
  v_sealed private.credential_secrets;
  v_secret text;
  v_last jsonb;
  v_count int := 0;
  v_unreadable int := 0;
begin
  for v_sealed in
    select s.* from private.credential_secrets as s
    where s.key_id is not null
      and (private.has_vault() or s.key_id < (select max(k.id) from private.credential_keys as k))
      and (after_owner_id is null or (s.owner_id, s.site) > (after_owner_id, after_site))
    order by s.owner_id, s.site
    limit batch
    -- One that its owner is just writing gets the newest key by that.
    for update skip locked
  loop
    v_secret := private.unseal_credential(v_sealed);
    if v_secret is null then
      v_unreadable := v_unreadable + 1;
    else
      perform private.seal_credential(v_sealed.owner_id, v_sealed.site, v_secret);
      v_count := v_count + 1;
    end if;
    v_last := jsonb_build_object('owner_id', v_sealed.owner_id, 'site', v_sealed.site);
  end loop;
  return jsonb_build_object('rotated', v_count, 'unreadable', v_unreadable, 'last', v_last);
end
$$;

comment on function private.rotate_credentials is
'Encrypts the next `batch` credentials after this one with the newest key, or moves them into Vault where it came since. {"rotated", "unreadable", "last"}: last is null at the end.';

create or replace function private.drop_credential_keys() returns int
language sql volatile
set search_path = '', pg_temp
as $$
  with gone as (
    delete from private.credential_keys as k
    where k.id < (select max(n.id) from private.credential_keys as n)
      and not exists (select from private.credential_secrets as s where s.key_id = k.id)
    returning k.id
  )
  select count(*)::int from gone
$$;

comment on function private.drop_credential_keys is 'Deletes the old keys that nothing is encrypted with any more; answers how many.';

revoke all on function private.credential_status() from public, anon, authenticated, service_role;
revoke all on function private.begin_rotation() from public, anon, authenticated, service_role;
revoke all on function private.rotate_credentials(uuid, text, int) from public, anon, authenticated, service_role;
revoke all on function private.drop_credential_keys() from public, anon, authenticated, service_role;

create or replace function private.credential_site_exists(site text) returns boolean
language sql stable
set search_path = '', pg_temp
as $$
  select exists (select from public.sites as s where s.id = credential_site_exists.site)
$$;

comment on function private.credential_site_exists is 'Whether there is such a site, switched off or not.';

revoke all on function private.credential_site_exists(text) from public, anon, authenticated, service_role;

-- Full: an entry for a site that is no more is shown, and a site without an entry is.
create or replace view public.credentials with (security_invoker = true) as
with own as (
  select
    c.site,
    c.updated_at,
    c.last_used_at
  from public.site_credentials as c
  where c.owner_id = (select auth.uid())
)

select
  coalesce(o.site, s.id) as site,
  s.name,
  s.is_enabled,
  o.site is not null as is_set,
  o.updated_at,
  o.last_used_at
from public.sites as s
full join own as o on s.id = o.site;

comment on view public.credentials is
'Every site, with or without a credential of the signed-in user, and entries for sites that are no more. Order by site.';
comment on column public.credentials.site is 'The site''s short name: what set_credential takes.';
comment on column public.credentials.name is 'What people call the site; null when it is no more.';
comment on column public.credentials.is_enabled is 'Whether exports to it are switched on; null when it is no more.';
comment on column public.credentials.is_set is 'Whether there is a credential. What it is, nobody is told.';
comment on column public.credentials.updated_at is 'When it was last written; null without one.';
comment on column public.credentials.last_used_at is 'When the worker last read it; null since it was last written.';

revoke all on table public.credentials from anon, authenticated, service_role;
grant select on table public.credentials to authenticated;
