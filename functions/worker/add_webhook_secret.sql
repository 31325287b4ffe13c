create or replace function private.add_webhook_secret(source text, secret text) returns bigint
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_id bigint;
begin
  perform pg_advisory_xact_lock(hashtext('private.webhook_secrets'));
  if coalesce(secret, '') !~ '^whsec_[A-Za-z0-9+/]{20,200}={0,2}$' or length(rtrim(substr(secret, 7), '=')) % 4 = 1 then
    perform private.refuse(422, 'webhook_secret_malformed', 'This is no webhook secret.',
      'It begins with whsec_ and goes on in base64, as the provider shows it.');
  end if;
  select s.id into v_id from private.webhook_secrets as s
  where s.source = add_webhook_secret.source and s.secret = add_webhook_secret.secret and s.retired_at is null;
  if v_id is not null then
    return v_id;
  end if;
  if 2 <= (
    select count(*) from private.webhook_secrets as s
    where s.source = add_webhook_secret.source and (s.retired_at is null or s.retired_at > clock_timestamp())
  ) then
    perform private.refuse(409, 'two_webhook_secrets', 'Two secrets are valid already.',
      'Retire one: private.retire_webhook_secret(id).');
  end if;
  insert into private.webhook_secrets (source, secret)
  values (add_webhook_secret.source, add_webhook_secret.secret) returning id into v_id;
  return v_id;
end
$$;

comment on function private.add_webhook_secret is
'For operators: from now on webhooks of a source may be signed with this secret too. Two at most are valid at a time. Answers its id.';

create or replace function private.retire_webhook_secret(secret_id bigint, at timestamptz default now()) returns int
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_left int;
begin
  update private.webhook_secrets as s set retired_at = least(s.retired_at, retire_webhook_secret.at)
  where s.id = secret_id;
  select count(*) into v_left from private.webhook_secrets as s
  where s.source = (select o.source from private.webhook_secrets as o where o.id = secret_id)
    and (s.retired_at is null or s.retired_at > clock_timestamp());
  return v_left;
end
$$;

comment on function private.retire_webhook_secret is
'For operators: what is signed with this secret is refused from then on. Answers how many of its source are still valid.';

revoke all on function private.add_webhook_secret(text, text) from public, anon, authenticated;
revoke all on function private.retire_webhook_secret(bigint, timestamptz) from public, anon, authenticated;
grant execute on function private.add_webhook_secret(text, text) to service_role;
grant execute on function private.retire_webhook_secret(bigint, timestamptz) to service_role;
