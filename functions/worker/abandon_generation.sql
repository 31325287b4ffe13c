create or replace function private.abandon_generation(generation_id uuid, error text) returns void
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
begin
  perform private.end_generation(
    generation_id, 'generation_gave_up', 'This picture could not be made after several attempts. Try again later.', true
  );
  perform private.remove_attempts(generation_id);
end
$$;

comment on function private.abandon_generation is
'Called when the job of a generation is dead: it fails and can be retried. The job''s own error is for operators and stays on the job.';

revoke all on function private.abandon_generation(uuid, text) from public, anon, authenticated;
grant execute on function private.abandon_generation(uuid, text) to media_worker, service_role;
