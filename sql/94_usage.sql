-- What was consumed. One debit a generation, on success, in the transaction of the success; rows are never changed.

create table if not exists public.usage_ledger (
  id bigint generated always as identity,
  owner_id uuid not null,
  job_id uuid,
  kind text not null,
  units int not null,
  reason text,
  created_at timestamptz not null default now(),
  constraint usage_ledger_pkey primary key (id),
  constraint usage_belongs_to_a_profile foreign key (owner_id) references public.profiles (id) on delete cascade,
  constraint usage_is_of_a_generation_of_its_owner foreign key (owner_id, job_id)
  references public.generation_jobs (owner_id, id) on delete cascade,
  constraint job_is_debited_once unique (owner_id, job_id),
  constraint usage_kind_is_known check (kind in ('debit', 'adjustment')),
  constraint debit_is_one_generation check (kind <> 'debit' or (units = 1 and job_id is not null)),
  constraint adjustment_has_a_reason check (
    kind <> 'adjustment' or (units <> 0 and job_id is null and char_length(reason) between 1 and 500)
  )
);

create index if not exists usage_ledger_owner_id_created_at_idx on public.usage_ledger (owner_id, created_at);

comment on table public.usage_ledger is
'Append-only. Debits are written with a generation''s success, adjustments by operators; users read their own.';
comment on column public.usage_ledger.id is 'Order of entries.';
comment on column public.usage_ledger.owner_id is 'Who consumed.';
comment on column public.usage_ledger.job_id is 'The generation; null for an adjustment.';
comment on column public.usage_ledger.kind is 'debit or adjustment.';
comment on column public.usage_ledger.units is 'Generations: a debit is 1, a credit is negative.';
comment on column public.usage_ledger.reason is 'Why it was adjusted.';
comment on column public.usage_ledger.created_at is 'When; its month (UTC) is the month it counts in.';

alter table public.usage_ledger
add column if not exists adjusted_by text,
add column if not exists idempotency_key text,
drop constraint if exists usage_key_is_short,
add constraint usage_key_is_short check (char_length(idempotency_key) between 1 and 200);
comment on column public.usage_ledger.adjusted_by is 'Which server or login adjusted it; null for a debit.';
comment on column public.usage_ledger.idempotency_key is 'The operator''s own word: the same key adjusts once.';
create unique index if not exists usage_ledger_owner_id_idempotency_key_idx
on public.usage_ledger (owner_id, idempotency_key) where idempotency_key is not null;

create or replace function private.month_begin() returns timestamptz
language sql stable
set search_path = '', pg_temp
as $$
  select date_trunc('month', now(), 'UTC')
$$;

comment on function private.month_begin is 'When the current month began, UTC.';

create or replace function private.generations_used(owner_id uuid) returns int
language sql stable
set search_path = '', pg_temp
as $$
  select coalesce(sum(u.units), 0)::int from public.usage_ledger as u
  where u.owner_id = generations_used.owner_id and u.created_at >= private.month_begin()
$$;

comment on function private.generations_used is 'Generations that a user has consumed in this month (UTC).';

create or replace function private.usage_of(owner_id uuid) returns jsonb
language sql stable
set search_path = '', pg_temp
as $$
  select jsonb_build_object(
    'price_id', l.price_id, 'plan', l.name, 'monthly_generations', l.monthly_generations,
    'used', m.used, 'credits', m.credits,
    'remaining', greatest(0, l.monthly_generations + m.credits - m.used),
    'resets_at', (private.month_begin() at time zone 'UTC' + interval '1 month') at time zone 'UTC'
  )
  from public.profiles as p
  inner join public.plans as l on p.price_id = l.price_id
  cross join lateral (
    select
      coalesce(sum(u.units) filter (where u.kind = 'debit'), 0) as used,
      coalesce(-sum(u.units) filter (where u.kind = 'adjustment'), 0) as credits
    from public.usage_ledger as u
    where u.owner_id = p.id and u.created_at >= private.month_begin()
  ) as m
  where p.id = usage_of.owner_id
$$;

comment on function private.usage_of is
'A user''s month (UTC), as far as the caller may read it: what the plan gives, what operators added or took, what was used, what remains.';

revoke all on function private.usage_of(uuid) from public, anon, authenticated;
grant execute on function private.usage_of(uuid) to authenticated, service_role;
revoke all on function private.month_begin() from public, anon, authenticated;
revoke all on function private.generations_used(uuid) from public, anon, authenticated;
grant execute on function private.month_begin() to authenticated, service_role;
grant execute on function private.generations_used(uuid) to authenticated;

create or replace trigger tg_usage_ledger__stay before update or truncate on public.usage_ledger
for each statement execute function private.tg__stay();

create or replace trigger tg_usage_ledger__stay_undeleted after delete on public.usage_ledger
referencing old table as gone
for each statement execute function private.tg__stay();

alter table public.usage_ledger enable row level security;

revoke all on table public.usage_ledger from anon, authenticated, service_role;
revoke all on sequence public.usage_ledger_id_seq from anon, authenticated, service_role;
grant select on table public.usage_ledger to authenticated, service_role;

drop policy if exists select_owner on public.usage_ledger;
create policy select_owner on public.usage_ledger for select to authenticated using (owner_id = (select auth.uid()));
