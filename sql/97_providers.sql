-- What the site allows its providers of generations, and what they tell by webhook.

create table if not exists public.generation_providers (
  name text not null,
  concurrency_max int,
  calls_per_minute_max int,
  paused_until timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint generation_providers_pkey primary key (name),
  constraint provider_name_is_a_word check (name ~ '^[a-z][a-z0-9_]{0,62}$'),
  constraint concurrency_max_is_sensible check (concurrency_max between 0 and 10000),
  constraint calls_per_minute_max_is_sensible check (calls_per_minute_max between 0 and 100000)
);

-- Modest numbers: a new account of any of these services has them. `local` has no limit.
insert into public.generation_providers (name, concurrency_max, calls_per_minute_max)
values ('local', null, null), ('replicate', 10, 60), ('openai', 4, 5), ('google', 4, 10), ('stability', 4, 60)
on conflict (name) do nothing;

comment on table public.generation_providers is
'Caps of each provider, over all worker processes; written by operators. A provider without a row has none.';
comment on column public.generation_providers.name is 'As in site_policies.generation_providers.';
comment on column public.generation_providers.concurrency_max is 'Generations at the same time; null: no limit; 0: none.';
comment on column public.generation_providers.calls_per_minute_max is 'Paid calls in any 60 seconds; null: no limit; 0: none.';
comment on column public.generation_providers.paused_until is 'No call before this: the provider asked for a pause.';
comment on column public.generation_providers.created_at is 'When the row was made.';
comment on column public.generation_providers.updated_at is 'When it was last changed.';

-- What holds a provider's place.
create index if not exists generation_jobs_provider_submitted_idx
on public.generation_jobs (provider) where submitted_at is not null and status in ('starting', 'processing');

-- Calls that are not answered, or whose answer was lost.
create index if not exists generation_jobs_provider_submitted_at_idx
on public.generation_jobs (provider, submitted_at) where submitted_at is not null and prediction_id is null;

create table if not exists private.provider_calls (
  id bigint generated always as identity,
  provider text not null,
  generation_id uuid not null,
  called_at timestamptz not null default clock_timestamp(),
  constraint provider_calls_pkey primary key (id)
);

create index if not exists provider_calls_provider_called_at_idx on private.provider_calls (provider, called_at);
create index if not exists provider_calls_called_at_idx on private.provider_calls (called_at);

comment on table private.provider_calls is 'Paid calls that were begun, for the caps; kept for an hour.';

create table if not exists private.webhook_secrets (
  id bigint generated always as identity,
  source text not null,
  secret text not null,
  created_at timestamptz not null default now(),
  retired_at timestamptz,
  constraint webhook_secrets_pkey primary key (id),
  constraint webhook_source_is_known check (source in ('replicate')),
  constraint webhook_secret_is_base64 check (secret ~ '^whsec_[A-Za-z0-9+/]{20,200}={0,2}$')
);

comment on table private.webhook_secrets is
'Keys that senders sign with: two at the same time while one is replaced. Nobody reads them but the check.';

create table if not exists private.webhook_events (
  source text not null,
  id text not null,
  prediction_id text not null,
  status text not null,
  is_used boolean not null default false,
  received_at timestamptz not null default clock_timestamp(),
  constraint webhook_events_pkey primary key (source, id)
);

create index if not exists webhook_events_prediction_id_idx
on private.webhook_events (source, prediction_id) where not is_used;
create index if not exists webhook_events_received_at_idx on private.webhook_events (received_at);

comment on table private.webhook_events is
'Deliveries whose signature held, each once; kept for a week. is_used: somebody has looked at the provider because of it.';

create or replace function private.generation_key(generation_id uuid) returns text
language sql immutable
set search_path = '', pg_temp
as $$
  select 'generate:' || generation_id::text
$$;

comment on function private.generation_key is 'The dedupe_key of a generation''s job: one waits, one runs.';

create or replace function private.wake_generation(job public.generation_jobs) returns void
language sql volatile
set search_path = '', pg_temp
as $$
  -- A waiting job comes forward; a running one is followed by another, which finds out what has changed.
  select queue.enqueue(
    actor => 'generate', args => jsonb_build_object('generation_id', (job).id, 'render_id', (job).render_id),
    owner_id => (job).owner_id, dedupe_key => private.generation_key((job).id), max_attempts => 5
  );
  select queue.notify('default');
$$;

comment on function private.wake_generation is 'Has a worker look at a generation now, and not when it would have.';

create or replace function private.tg_generation_jobs__wake() returns trigger
language plpgsql security definer
set search_path = '', pg_temp
as $$
begin
  perform private.wake_generation(new);
  return null;
end
$$;

comment on function private.tg_generation_jobs__wake is 'Somebody has to tell the provider that nobody wants the result.';

create or replace function private.is_signed(source text, message text, signatures text) returns boolean
language plpgsql volatile
set search_path = '', pg_temp
as $$
declare
  -- Equal time whatever is wrong: what is compared are two digests under a key that nobody knows.
  v_key constant bytea := extensions.gen_random_bytes(32);
  v_is_signed boolean;
begin
  select coalesce(bool_or(extensions.hmac(g.given, v_key, 'sha256') = extensions.hmac(e.expected, v_key, 'sha256')), false)
  into v_is_signed
  from (
    select convert_to('v1,' || encode(extensions.hmac(
      convert_to(is_signed.message, 'UTF8'), decode(substr(s.secret, 7), 'base64'), 'sha256'
    ), 'base64'), 'UTF8') as expected
    from private.webhook_secrets as s
    where s.source = is_signed.source and (s.retired_at is null or s.retired_at > clock_timestamp())
  ) as e
  cross join (
    select convert_to(w.word, 'UTF8') as given
    from regexp_split_to_table(left(is_signed.signatures, 4000), ' ') as w (word)
  ) as g;
  return v_is_signed;
end
$$;

comment on function private.is_signed is
'Whether one of the signatures ("v1,<base64>", separated by spaces) is of this message, under a secret that is not retired.';

revoke all on function private.wake_generation(public.generation_jobs) from public, anon, authenticated;
revoke all on function private.generation_key(uuid) from public, anon, authenticated;
revoke all on function private.tg_generation_jobs__wake() from public, anon, authenticated;
revoke all on function private.is_signed(text, text, text) from public, anon, authenticated;

create or replace trigger tg_generation_jobs__wake
after update of cancel_requested_at, deleted_at on public.generation_jobs
for each row when (
  old.status in ('starting', 'processing')
  and (
    (old.cancel_requested_at is null and new.cancel_requested_at is not null)
    or (old.deleted_at is null and new.deleted_at is not null)
  )
)
execute function private.tg_generation_jobs__wake();

create or replace trigger tg_generation_providers__stamp before update on public.generation_providers
for each row when (old.* is distinct from new.*) execute function private.tg__stamp_updated_at();

alter table public.generation_providers enable row level security;
alter table private.provider_calls enable row level security;
alter table private.webhook_secrets enable row level security;
alter table private.webhook_events enable row level security;

revoke all on table public.generation_providers from anon, authenticated, service_role;
revoke all on table private.provider_calls, private.webhook_secrets, private.webhook_events
from public, anon, authenticated, service_role;
revoke all on sequence private.provider_calls_id_seq, private.webhook_secrets_id_seq
from public, anon, authenticated, service_role;
grant select, insert, update, delete on table public.generation_providers to service_role;
