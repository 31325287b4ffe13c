create or replace function public.usage_summary() returns jsonb
language sql stable
set search_path = '', pg_temp
as $$
  select private.usage_of((select auth.uid()))
$$;

comment on function public.usage_summary is
'The signed-in user''s month (UTC): {"price_id", "plan", "monthly_generations", "used", "credits", "remaining", "resets_at"}. credits is what operators added or, below 0, took.';

revoke all on function public.usage_summary() from public, anon, authenticated, service_role;
grant execute on function public.usage_summary() to authenticated;
