create or replace function private.fail_image(
  image_id uuid, job_id bigint, lease_token uuid, code text, message text
) returns text
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_id uuid;
begin
  perform queue.complete(job_id, lease_token);
  perform private.share_owner((select i.owner_id from public.listing_images as i where i.id = fail_image.image_id));
  update public.listing_images as i set
    state = 'failed', error_code = left(fail_image.code, 100), error = left(fail_image.message, 1000),
    is_retryable = false
  where i.id = fail_image.image_id and i.state in ('uploaded', 'processing')
  returning i.id into v_id;
  return case when v_id is null then 'gone' else 'failed' end;
end
$$;

comment on function private.fail_image is
'Ends the processing of a file that cannot become a photo, with the reason for its owner, and completes the job. Answers failed, or gone.';

revoke all on function private.fail_image(uuid, bigint, uuid, text, text) from public, anon, authenticated;
grant execute on function private.fail_image(uuid, bigint, uuid, text, text) to media_worker, service_role;
