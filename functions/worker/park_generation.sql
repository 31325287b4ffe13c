create or replace function private.park_generation(
  generation_id uuid, job_id bigint, lease_token uuid, pause interval,
  progress int default null, prediction_id text default null, is_withdrawn boolean default false
) returns text
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_job public.generation_jobs;
  v_is_news boolean;
begin
  perform private.check_lease(job_id, lease_token);
  -- Before the job waits again: whoever holds the owner, to cancel, must not find a waiting job that waits for him.
  perform private.share_owner(
    (select j.owner_id from public.generation_jobs as j where j.id = park_generation.generation_id)
  );
  select * into v_job from public.generation_jobs as j where j.id = park_generation.generation_id;
  -- A webhook that came before anybody knew the prediction's id is as good as one that comes now.
  update private.webhook_events as e set is_used = true
  where e.source = v_job.provider and not e.is_used
    and e.prediction_id = coalesce(park_generation.prediction_id, v_job.prediction_id)
    and e.status not in ('starting', 'processing');
  v_is_news := found or v_job.cancel_requested_at is not null;
  perform queue.postpone(
    job_id, lease_token, case when v_is_news then interval '0' else least(pause, interval '1 hour') end
  );
  if is_withdrawn then
    update public.generation_providers as p
    set paused_until = greatest(p.paused_until, clock_timestamp() + least(pause, interval '1 hour'))
    where p.name = v_job.provider;
  end if;
  update public.generation_jobs as j set
    status = case when j.status = 'failed' or park_generation.prediction_id is null then j.status else 'processing' end,
    progress = greatest(j.progress, least(coalesce(park_generation.progress, 0), 99)),
    prediction_id = coalesce(park_generation.prediction_id, j.prediction_id),
    submitted_at = case
      when is_withdrawn and coalesce(park_generation.prediction_id, j.prediction_id) is null then null
      else j.submitted_at
    end
  where j.id = park_generation.generation_id and private.may_take_render(j);
  return case when found then 'parked' else 'gone' end;
end
$$;

comment on function private.park_generation is
'A generation waits, and no thread with it: its job is due again after the pause, or at once when there is news. is_withdrawn: the provider did not take the call, and wants nobody to call before that. Answers parked or gone.';

revoke all on function private.park_generation(uuid, bigint, uuid, interval, int, text, boolean)
from public, anon, authenticated;
grant execute on function private.park_generation(uuid, bigint, uuid, interval, int, text, boolean)
to media_worker, service_role;
