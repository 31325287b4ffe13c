create or replace function queue.bury(job queue.jobs, error text) returns void
language plpgsql volatile
set search_path = '', pg_temp
as $$
declare
  v_image_id uuid;
begin
  perform queue.carry_on(job.correlation_id, job.trace_parent);
  if job.actor = 'process_image' then
    v_image_id := (job.args ->> 'image_id')::uuid;
    perform private.abandon_image(v_image_id, bury.error);
    -- What the failed attempts have stored. The removal asks again, so a retry keeps what it writes.
    perform private.enqueue_removal(i.owner_id, 'media', array_agg(private.variant_path(i.owner_id, i.listing_id, i.id, r.role)))
    from public.listing_images as i
    cross join unnest(private.variant_roles()) as r (role)
    where i.id = v_image_id and i.state = 'failed'
    group by i.owner_id;
  elsif job.actor = 'fetch_image' then
    perform private.note_fetch_failure(
      (job.args ->> 'image_id')::uuid, 'gave_up', 'it did not come in several attempts.'
    );
  elsif job.actor = 'generate' then
    perform private.abandon_generation((job.args ->> 'generation_id')::uuid, bury.error);
  elsif job.actor = 'review_image' then
    perform private.abandon_review((job.args ->> 'image_id')::uuid);
  elsif job.actor = 'fill_listing' then
    perform private.abandon_fill((job.args ->> 'fill_id')::uuid);
  end if;
exception
  -- Worth another try of the whole. Anything else must not keep the job from its end.
  when deadlock_detected or serialization_failure or lock_not_available then
    raise;
  when others then
    raise warning 'job %: %', job.id, sqlerrm;
end
$$;

comment on function queue.bury is
'What a dead job leaves to do, by actor: an image that could not be processed, or reviewed, gets a reason instead of waiting for ever.';

revoke all on function queue.bury(queue.jobs, text) from public, anon, authenticated, service_role;
