create or replace function public.usage_summary() returns jsonb
language sql stable
set search_path = ''
as $$
  select jsonb_build_object(
    'price_id', l.price_id, 'plan', l.name, 'monthly_generations', l.monthly_generations,
    'used', private.generations_used(p.id),
    'remaining', greatest(0, l.monthly_generations - private.generations_used(p.id)),
    'resets_at', (private.month_begin() at time zone 'UTC' + interval '1 month') at time zone 'UTC'
  )
  from public.profiles as p
  inner join public.plans as l on p.price_id = l.price_id
  where p.id = (select auth.uid())
$$;

comment on function public.usage_summary is
'The signed-in user''s month (UTC): {"price_id", "plan", "monthly_generations", "used", "remaining", "resets_at"}.';

revoke all on function public.usage_summary() from public, anon, authenticated, service_role;
grant execute on function public.usage_summary() to authenticated;
