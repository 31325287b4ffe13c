-- Plans, and one profile a user. Names and addresses stay in auth.users; nothing here leaks an e-mail address.

create table if not exists public.plans (
  price_id text not null,
  name text not null,
  monthly_generations int not null,
  storage_bytes_max bigint not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint plans_pkey primary key (price_id),
  constraint price_id_is_a_short_word check (price_id ~ '^[A-Za-z0-9_.-]{1,100}$'),
  constraint name_is_short check (char_length(name) between 1 and 100),
  constraint monthly_generations_is_not_negative check (monthly_generations >= 0),
  constraint storage_bytes_max_is_not_negative check (storage_bytes_max >= 0)
);

comment on table public.plans is 'What a user may consume. Public read; written by operators only.';
comment on column public.plans.price_id is 'The payment provider''s price, or any stable word: free.';
comment on column public.plans.name is 'What people call the plan.';
comment on column public.plans.monthly_generations is 'Generations a calendar month (UTC).';
comment on column public.plans.storage_bytes_max is 'Bytes of originals that a user may keep, open reservations included.';
comment on column public.plans.created_at is 'When the row was made.';
comment on column public.plans.updated_at is 'When the row was last changed.';

-- Seeds only: an operator's own figures stay as they are.
insert into public.plans (price_id, name, monthly_generations, storage_bytes_max)
values
  ('free', 'Free', 25, 5::bigint * 1024 * 1024 * 1024),
  ('pro', 'Pro', 500, 100::bigint * 1024 * 1024 * 1024),
  ('business', 'Business', 5000, 1000::bigint * 1024 * 1024 * 1024)
on conflict (price_id) do nothing;

create table if not exists public.profiles (
  id uuid not null,
  price_id text not null default 'free',
  display_name text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint profiles_pkey primary key (id),
  constraint profile_is_a_user foreign key (id) references auth.users (id) on delete cascade,
  constraint profile_has_a_plan foreign key (price_id) references public.plans (price_id)
  on update cascade on delete restrict,
  constraint display_name_is_short check (char_length(display_name) between 1 and 100)
);

create index if not exists profiles_price_id_idx on public.profiles (price_id);

comment on table public.profiles is
'One row a user, made at sign-up and gone with the user. The row is also the lock that a user''s changes to order, number and size of images take turns on.';
comment on column public.profiles.id is 'The user: auth.users.id.';
comment on column public.profiles.price_id is 'The plan. Set by operators, never by its owner.';
comment on column public.profiles.display_name is 'What the user wants to be called.';
comment on column public.profiles.created_at is 'When the profile was made.';
comment on column public.profiles.updated_at is 'When the profile was last changed.';

create or replace function private.tg_users__create_profile() returns trigger
language plpgsql security definer
set search_path = '', pg_temp
as $$
begin
  insert into public.profiles (id) values (new.id) on conflict (id) do nothing;
  return null;
end
$$;

comment on function private.tg_users__create_profile is 'Gives each new user a profile on the default plan.';

revoke all on function private.tg_users__create_profile() from public, anon, authenticated;

create or replace trigger tg_users__create_profile after insert on auth.users
for each row execute function private.tg_users__create_profile();

create or replace trigger tg_profiles__stamp before update on public.profiles
for each row when (old.* is distinct from new.*) execute function private.tg__stamp_updated_at();

create or replace trigger tg_plans__stamp before update on public.plans
for each row when (old.* is distinct from new.*) execute function private.tg__stamp_updated_at();

-- Users who signed up before this was installed.
insert into public.profiles (id) select u.id from auth.users as u on conflict (id) do nothing;

create or replace function private.lock_owner(owner_id uuid) returns text
language plpgsql volatile
set search_path = '', pg_temp
as $$
declare
  v_price_id text;
begin
  -- What is counted after the lock would be counted in a snapshot from before it: limits would let several through.
  if current_setting('transaction_isolation') <> 'read committed' then
    perform private.refuse(
      500, 'isolation_not_supported',
      format('This transaction is %s; limits hold in read committed.', current_setting('transaction_isolation')),
      'Reset default_transaction_isolation of the role or the database: imageledger doctor names it.'
    );
  end if;
  select p.price_id into v_price_id from public.profiles as p where p.id = lock_owner.owner_id for no key update;
  return v_price_id;
end
$$;

comment on function private.lock_owner is
'First lock of every change to order, number or size of a user''s images; answers the plan, null without a profile. In read committed only. The one lock order is: job, profile, listing, image.';

create or replace function private.share_owner(owner_id uuid) returns void
language sql volatile
set search_path = '', pg_temp
as $$
  select from public.profiles as p where p.id = share_owner.owner_id for share
$$;

comment on function private.share_owner is
'First lock of every change to an image that leaves the order alone: uploads and workers go together, but not while the order changes. Rewriting a row re-checks its place, and would wait for the mover who waits for the row.';

create or replace function private.signed_in() returns uuid
language plpgsql stable
set search_path = '', pg_temp
as $$
declare
  v_user_id constant uuid := auth.uid();
begin
  if v_user_id is null then
    perform private.refuse(401, 'not_signed_in', 'Nobody is signed in.', 'Sign in first.');
  elsif not exists (select from public.profiles as p where p.id = v_user_id) then
    -- An access token outlives its user until it expires.
    perform private.refuse(401, 'user_is_gone', 'The account that this session belongs to was deleted.',
      'Sign out, and sign in with another account.');
  end if;
  return v_user_id;
end
$$;

comment on function private.signed_in is 'The signed-in user, or 401: nobody is, or the account was deleted.';

create or replace function private.tg__check_user() returns trigger
language plpgsql security definer
set search_path = '', pg_temp
as $$
begin
  if auth.uid() is not null then
    perform private.signed_in();
  end if;
  return null;
end
$$;

comment on function private.tg__check_user is
'Before users insert: a deleted user''s token, which is valid until it expires, is told so, not that a foreign key is violated.';

revoke all on function private.signed_in() from public, anon, authenticated;
revoke all on function private.tg__check_user() from public, anon, authenticated;
revoke all on function private.lock_owner(uuid) from public, anon, authenticated;
revoke all on function private.share_owner(uuid) from public, anon, authenticated;

alter table public.plans enable row level security;
alter table public.profiles enable row level security;

revoke all on table public.plans, public.profiles from anon, authenticated, service_role;
grant select on table public.plans to anon, authenticated;
grant select, insert, update, delete on table public.plans to service_role;
grant select, update (display_name) on table public.profiles to authenticated;
grant select, update (price_id, display_name) on table public.profiles to service_role;

drop policy if exists select_public on public.plans;
create policy select_public on public.plans for select to anon, authenticated using (true);

drop policy if exists select_owner on public.profiles;
create policy select_owner on public.profiles for select to authenticated using (id = (select auth.uid()));

drop policy if exists update_owner on public.profiles;
create policy update_owner on public.profiles for update to authenticated
using (id = (select auth.uid())) with check (id = (select auth.uid()));
