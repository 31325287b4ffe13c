create or replace function private.abandon_fill(fill_id uuid) returns void
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
begin
  perform private.end_fill(
    fill_id, 'fill_gave_up', 'The listing could not be filled in after several attempts. Try again later.', true
  );
end
$$;

comment on function private.abandon_fill is
'Called when the job of a fill is dead: it fails, and every field stays as it was. The job''s own error is for operators and stays on the job.';

revoke all on function private.abandon_fill(uuid) from public, anon, authenticated, service_role;
grant execute on function private.abandon_fill(uuid) to media_worker, service_role;
