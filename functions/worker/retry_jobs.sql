create or replace function queue.revive(job queue.jobs) returns void
language plpgsql volatile
set search_path = '', pg_temp
as $$
declare
  v_image_id constant uuid := private.uuid_or_null(job.args ->> 'image_id');
begin
  if job.actor not in ('process_image', 'review_image') then
    return;
  end if;
  perform queue.carry_on(job.correlation_id, job.trace_parent);
  perform private.share_owner((select i.owner_id from public.listing_images as i where i.id = v_image_id));
  if job.actor = 'process_image' then
    update public.listing_images as i set
      state = 'uploaded', error = null, error_code = null, is_retryable = false
    where i.id = v_image_id and i.state = 'failed' and i.error_code = 'processing_gave_up' and i.deleted_at is null;
  else
    -- Orders a review, which is this very job: it waits already.
    update public.listing_images as i set review_state = 'pending', review_reason = null
    where i.id = v_image_id and i.state = 'ready' and i.review_state = 'error' and i.deleted_at is null;
  end if;
end
$$;

comment on function queue.revive is
'The contrary of queue.bury: what a dead job left behind waits for it again.';

create or replace function queue.retry(ids bigint[], reason text default null)
returns table (id bigint, outcome text)
language plpgsql volatile
set search_path = '', pg_temp
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  v_job queue.jobs;
begin
  -- All the jobs before any of what they are about: the order of locks.
  perform from queue.jobs as j where j.id = any(retry.ids) order by j.id for no key update skip locked;
  for v_job in
    select j.* from queue.jobs as j where j.id = any(retry.ids)
    order by j.owner_id, j.id
    for no key update skip locked
  loop
    id := v_job.id;
    outcome := case
      when v_job.state = 'running' then 'running'
      when v_job.state = 'ready' then 'ready already'
      when v_job.state = 'succeeded' then 'succeeded'
      when v_job.run_at = 'infinity' and v_job.state = 'scheduled' then 'paused'
      when v_job.actor = 'generate' and v_job.state <> 'scheduled' then 'retry_generation instead'
      -- Its fill has failed with a reason; the photos and texts may be others by now.
      when v_job.actor = 'fill_listing' and v_job.state <> 'scheduled' then 'request_fill instead'
      when v_job.state <> 'scheduled' and v_job.dedupe_key is not null and exists (
        select from queue.jobs as w
        where w.dedupe_key = v_job.dedupe_key and w.state in ('scheduled', 'ready') and w.id <> v_job.id
      ) then 'superseded'
      else 'retried'
    end;
    if outcome = 'retried' then
      begin
        update queue.jobs as j set
          state = 'scheduled', run_at = now(), finished_at = null,
          attempts = case when v_job.state = 'scheduled' then j.attempts else 0 end
        where j.id = v_job.id;
        insert into queue.interventions (action, job_id, reason, before)
        values ('retry', v_job.id, retry.reason, queue.summary(v_job));
        if v_job.state <> 'scheduled' then
          perform queue.revive(v_job);
        end if;
        perform queue.notify(v_job.queue);
      exception when unique_violation then
        outcome := 'superseded';
      end;
    end if;
    return next;
  end loop;
end
$$;

comment on function queue.retry is
'For operators: dead, canceled and waiting-for-a-retry jobs are due now, with all their attempts again; what they had come to is kept in queue.interventions. One row a job that is not being changed by somebody else: retried, or why not.';

revoke all on function queue.revive(queue.jobs) from public, anon, authenticated, service_role;
revoke all on function queue.retry(bigint[], text) from public, anon, authenticated, service_role;
