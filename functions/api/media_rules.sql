create or replace function public.media_rules() returns jsonb
language sql stable
set search_path = '', pg_temp
as $$
  select
    to_jsonb(p) - '{id,created_at,updated_at}'::text[]
    || jsonb_build_object(
      'variants', (
        select
          jsonb_agg(
            jsonb_build_object('role', s.role, 'max_side', s.max_side, 'quality', s.quality)
            order by s.max_side
          )
        from public.variant_specs as s
      ),
      'plans', (
        select jsonb_object_agg(l.price_id, jsonb_build_object('storage_bytes_max', l.storage_bytes_max))
        from public.plans as l
      )
    )
  from public.site_policies as p
$$;

comment on function public.media_rules is
'Every limit and switch of site_policies by its column''s name, image_mime_types, the variants and what plans may store: what a client needs to know before it reserves.';

revoke all on function public.media_rules() from public, anon, authenticated, service_role;
grant execute on function public.media_rules() to anon, authenticated, service_role;
