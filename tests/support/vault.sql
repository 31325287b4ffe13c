-- A stand-in for the extension supabase_vault (0.3), for tests: its documented SQL interface, with the names, signatures and
-- grants of a hosted project (postgres may select and delete, and write by the functions only). It is not the extension:
-- pgcrypto with a fixed word in place of libsodium with a key outside of the database. Run by the superuser.
create schema vault;

create table vault.secrets (
  id uuid primary key default gen_random_uuid(),
  name text unique,
  description text not null default '',
  secret text not null,
  key_id uuid,
  nonce bytea default extensions.gen_random_bytes(16),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);

create view vault.decrypted_secrets as
select
  s.id, s.name, s.description, s.secret,
  extensions.pgp_sym_decrypt(decode(s.secret, 'base64'), 'stand-in' || s.id) as decrypted_secret,
  s.key_id, s.nonce, s.created_at, s.updated_at
from vault.secrets as s;

create function vault.create_secret(
  new_secret text, new_name text default null, new_description text default '', new_key_id uuid default null
) returns uuid
language plpgsql security definer set search_path = '' as $$
declare
  v_id uuid := gen_random_uuid();
begin
  insert into vault.secrets (id, secret, name, description)
  values (v_id, encode(extensions.pgp_sym_encrypt(new_secret, 'stand-in' || v_id), 'base64'), new_name, new_description);
  return v_id;
end
$$;

create function vault.update_secret(
  secret_id uuid, new_secret text default null, new_name text default null, new_description text default null,
  new_key_id uuid default null
) returns void
language sql security definer set search_path = '' as $$
  update vault.secrets as s set
    secret = coalesce(encode(extensions.pgp_sym_encrypt(new_secret, 'stand-in' || s.id), 'base64'), s.secret),
    name = coalesce(new_name, s.name), description = coalesce(new_description, s.description), updated_at = now()
  where s.id = secret_id
$$;

revoke all on all functions in schema vault from public;
grant usage on schema vault to postgres;
grant select, delete on vault.secrets, vault.decrypted_secrets to postgres;
grant execute on all functions in schema vault to postgres;
