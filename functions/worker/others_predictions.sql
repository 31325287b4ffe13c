create or replace function private.others_predictions(generation_id uuid, prediction_ids text[]) returns text[]
language sql stable security definer
set search_path = ''
as $$
  select coalesce(array_agg(j.prediction_id), '{}')
  from public.generation_jobs as j
  where j.provider = (
    select o.provider from public.generation_jobs as o where o.id = others_predictions.generation_id
  )
    and j.prediction_id = any(others_predictions.prediction_ids) and j.id <> others_predictions.generation_id
$$;

comment on function private.others_predictions is
'Those of a provider''s predictions that other generations have: when a lost one is looked for by its recipe, which may be theirs too.';

revoke all on function private.others_predictions(uuid, text[]) from public, anon, authenticated;
grant execute on function private.others_predictions(uuid, text[]) to media_worker, service_role;
