-- How much one user may order in how short a time. What is refused here is told with its own code, and when it may be
-- tried again.

alter table public.site_policies
add column if not exists generation_daily_max int not null default 500,
add column if not exists generation_rate_max int not null default 60,
add column if not exists generation_session_rate_max int not null default 30,
drop constraint if exists generation_daily_max_is_sensible,
add constraint generation_daily_max_is_sensible check (generation_daily_max between 0 and 1000000),
drop constraint if exists generation_rate_max_is_sensible,
add constraint generation_rate_max_is_sensible check (generation_rate_max between 1 and 10000),
drop constraint if exists generation_session_rate_max_is_sensible,
add constraint generation_session_rate_max_is_sensible check (generation_session_rate_max between 1 and 10000);

comment on column public.site_policies.generation_daily_max is
'Generations that one user may order on one day (UTC), whatever becomes of them. 0: none.';
comment on column public.site_policies.generation_rate_max is 'Generations that one user may order within a minute.';
comment on column public.site_policies.generation_session_rate_max is
'Generations that may be ordered in one session within a minute.';

create or replace function private.check_rates(
  owner_id uuid, session_id uuid, policy public.site_policies, count int default 1
) returns void
language plpgsql volatile
set search_path = '', pg_temp
as $$
declare
  v_now constant timestamptz := clock_timestamp();
  v_day constant timestamptz := date_trunc('day', v_now, 'UTC');
  v_today constant bigint := (
    select count(*) from public.generation_jobs as j
    where j.owner_id = check_rates.owner_id and j.created_at >= v_day
  );
  v_lately constant bigint := (
    select count(*) from public.generation_jobs as j
    where j.owner_id = check_rates.owner_id and j.created_at > v_now - interval '1 minute'
  );
  v_here constant bigint := (
    select count(*) from public.generation_jobs as j
    where j.session_id = check_rates.session_id and j.owner_id = check_rates.owner_id
      and j.created_at > v_now - interval '1 minute'
  );
begin
  -- What a replay orders is paced by its own steps: of it the day alone counts every one.
  if v_today + check_rates.count > (policy).generation_daily_max then
    perform private.refuse(429, 'generation_daily_cap', format(
      'You have ordered %s generations today, of %s that are possible.', v_today, (policy).generation_daily_max
    ), 'Wait for ' || to_char(v_day at time zone 'UTC' + interval '1 day', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') || '.');
  elsif v_lately >= (policy).generation_rate_max then
    perform private.refuse(429, 'generation_rate_exceeded', format(
      'You may order %s generations a minute.', (policy).generation_rate_max
    ), 'Wait a minute.');
  elsif v_here >= (policy).generation_session_rate_max then
    perform private.refuse(429, 'session_rate_exceeded', format(
      'You may order %s generations a minute in one session.', (policy).generation_session_rate_max
    ), 'Wait a minute, or begin another session.');
  end if;
end
$$;

comment on function private.check_rates is
'Refuses more generations than the site lets a user order in a day, a minute, and a minute in one session. The caller holds the owner''s lock. The steps of a replay are counted when it is ordered.';

revoke all on function private.check_rates(uuid, uuid, public.site_policies, int) from public, anon, authenticated;
