-- Replaced: it knew what others had been told, and nothing of calls whose answers nobody was told yet.
drop function if exists private.others_predictions(uuid, text[]);

create or replace function private.tell_prediction(generation_id uuid, prediction_ids text[]) returns jsonb
language plpgsql stable security definer
set search_path = '', pg_temp
as $$
declare
  v_job public.generation_jobs;
  v_left text[];
begin
  select * into v_job from public.generation_jobs as j where j.id = tell_prediction.generation_id;
  select coalesce(array_agg(p.id), '{}') into v_left
  from unnest(tell_prediction.prediction_ids) as p (id)
  where not exists (
    select 1 from public.generation_jobs as j
    where j.provider = v_job.provider and j.prediction_id = p.id and j.id <> v_job.id
  );
  if cardinality(v_left) = 0 then
    return '{"answer": "none"}';
  elsif cardinality(v_left) > 1 or private.may_be_anothers(v_job) then
    return '{"answer": "unclear"}';
  end if;
  return jsonb_build_object('answer', 'found', 'prediction_id', v_left[1]);
end
$$;

comment on function private.tell_prediction is
'Which of a provider''s predictions is this generation''s, whose call was lost: {"answer": found} with the prediction_id; none: all are other generations''; unclear: it may be another''s, whose answer may be lost as well.';

create or replace function private.may_be_anothers(job public.generation_jobs) returns boolean
language sql stable
set search_path = '', pg_temp
as $$
  -- From before this one's call: as much as clocks may differ and a call may take.
  select exists (
    select 1 from public.generation_jobs as o
    where o.provider = (job).provider and o.prediction_id is null and o.id <> (job).id
      and o.submitted_at > (job).submitted_at - interval '10 minutes'
      and o.params -> 'seed' = (job).params -> 'seed'
      -- An own earlier attempt at the same picture: better used than paid for nothing.
      and (
        o.owner_id <> (job).owner_id
        or private.request_of(o) - '{session_id,parent_job_id}'::text[]
        <> private.request_of(job) - '{session_id,parent_job_id}'::text[]
      )
  ) or exists (
    -- A user who is gone: nobody knows any more what was asked, nor what was told.
    select 1 from private.provider_calls as c
    where c.provider = (job).provider and c.called_at > (job).submitted_at - interval '10 minutes'
      and not exists (select 1 from public.generation_jobs as o where o.id = c.generation_id)
  )
$$;

comment on function private.may_be_anothers is
'Whether a prediction that looks like this generation''s can be that of a call of somebody else, or for another picture, whose answer is not known.';

revoke all on function private.tell_prediction(uuid, text[]) from public, anon, authenticated;
revoke all on function private.may_be_anothers(public.generation_jobs) from public, anon, authenticated;
grant execute on function private.tell_prediction(uuid, text[]) to media_worker, service_role;
