create or replace function private.abandon_image(image_id uuid, error text) returns void
language sql volatile security definer
set search_path = '', pg_temp
as $$
  select private.share_owner((select i.owner_id from public.listing_images as i where i.id = abandon_image.image_id));
  update public.listing_images as i set
    state = 'failed', error_code = 'processing_gave_up', is_retryable = true,
    error = 'This photo could not be processed after several attempts. Try again later.'
  where i.id = abandon_image.image_id and i.state in ('uploaded', 'processing')
$$;

comment on function private.abandon_image is
'Called when the processing job of an image is dead: the image fails and can be retried. The job''s own error is for operators and stays on the job.';

revoke all on function private.abandon_image(uuid, text) from public, anon, authenticated;
grant execute on function private.abandon_image(uuid, text) to media_worker, service_role;
