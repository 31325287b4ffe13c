create or replace function private.note_fetch_failure(image_id uuid, code text, message text) returns void
language plpgsql volatile
set search_path = '', pg_temp
as $$
begin
  perform private.share_owner(
    (select i.owner_id from public.listing_images as i where i.id = note_fetch_failure.image_id)
  );
  -- No size any more: nothing is reserved, and nobody can upload to the path.
  update public.listing_images as i set
    byte_size = 0, error = left('Could not be copied from its old address: ' || note_fetch_failure.message, 1000)
  where i.id = note_fetch_failure.image_id and i.state = 'awaiting_upload'
    and i.upload_expires_at = private.no_expiry();
  if found then
    update legacy.images as e set
      fetch_error_code = left(note_fetch_failure.code, 100), fetch_error = left(note_fetch_failure.message, 1000)
    where e.image_id = note_fetch_failure.image_id;
  end if;
end
$$;

comment on function private.note_fetch_failure is
'Says why an imported image still waits for its bytes; it can be fetched again.';

create or replace function private.fail_fetch(
  image_id uuid, job_id bigint, lease_token uuid, code text, message text
) returns void
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
begin
  perform queue.complete(job_id, lease_token);
  perform private.note_fetch_failure(image_id, code, message);
end
$$;

comment on function private.fail_fetch is
'Ends the copy of an imported image that cannot be copied as it is, with the reason, and completes the job.';

revoke all on function private.note_fetch_failure(uuid, text, text) from public, anon, authenticated, service_role;
revoke all on function private.fail_fetch(uuid, bigint, uuid, text, text) from public, anon, authenticated;
grant execute on function private.fail_fetch(uuid, bigint, uuid, text, text) to media_worker, service_role;
