create or replace function private.finish_fetch(image_id uuid, job_id bigint, lease_token uuid, result jsonb)
returns void
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
begin
  perform queue.complete(job_id, lease_token);
  update legacy.images as e set
    fetched_at = coalesce(e.fetched_at, clock_timestamp()), fetch_error = null, fetch_error_code = null,
    label_score = coalesce((result ->> 'label_score')::real, e.label_score),
    label_signs = coalesce(nullif(result -> 'label_signs', 'null'), e.label_signs)
  where e.image_id = finish_fetch.image_id;
end
$$;

comment on function private.finish_fetch is
'Notes that the bytes of an imported image are in Storage, and how much they look like a label, and completes the job.';

revoke all on function private.finish_fetch(uuid, bigint, uuid, jsonb) from public, anon, authenticated;
grant execute on function private.finish_fetch(uuid, bigint, uuid, jsonb) to media_worker, service_role;
