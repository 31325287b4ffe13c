create or replace function private.report_generation(
  generation_id uuid, job_id bigint, lease_token uuid,
  progress int default null, prediction_id text default null, is_submitting boolean default false
) returns text
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_job public.generation_jobs;
begin
  perform private.check_lease(job_id, lease_token);
  perform private.share_owner(
    (select j.owner_id from public.generation_jobs as j where j.id = report_generation.generation_id)
  );
  update public.generation_jobs as j set
    -- One that ran out of time stays failed until it succeeds after all.
    status = case when j.status = 'failed' or report_generation.prediction_id is null then j.status else 'processing' end,
    -- It never goes back, whatever a second attempt sees.
    progress = greatest(j.progress, least(coalesce(report_generation.progress, 0), 99)),
    prediction_id = coalesce(report_generation.prediction_id, j.prediction_id),
    submitted_at = case when is_submitting then coalesce(j.submitted_at, clock_timestamp()) else j.submitted_at end
  where j.id = report_generation.generation_id and private.may_take_render(j)
  returning * into v_job;
  return case
    when v_job.id is null then 'gone'
    when v_job.cancel_requested_at is not null then 'canceled'
    else 'go'
  end;
end
$$;

comment on function private.report_generation is
'What the worker knows meanwhile: that it is about to ask the provider, the provider''s id, percent. Answers go, canceled (its owner wants no result) or gone.';

revoke all on function private.report_generation(uuid, bigint, uuid, int, text, boolean)
from public, anon, authenticated;
grant execute on function private.report_generation(uuid, bigint, uuid, int, text, boolean)
to media_worker, service_role;
