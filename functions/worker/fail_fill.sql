create or replace function private.fail_fill(
  fill_id uuid, job_id bigint, lease_token uuid, code text, message text, is_retryable boolean
) returns text
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
begin
  perform queue.complete(job_id, lease_token);
  return private.end_fill(fill_id, code, message, is_retryable);
end
$$;

comment on function private.fail_fill is
'Ends a fill without an answer, with the reason for its owner, and completes the job; every field stays as it was. Answers failed, or gone.';

revoke all on function private.fail_fill(uuid, bigint, uuid, text, text, boolean)
from public, anon, authenticated, service_role;
grant execute on function private.fail_fill(uuid, bigint, uuid, text, text, boolean) to media_worker, service_role;
