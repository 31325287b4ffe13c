create or replace function private.abandon_generation(generation_id uuid, error text) returns void
language plpgsql volatile security definer
set search_path = ''
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

create or replace function private.remove_attempts(generation_id uuid) returns void
language plpgsql volatile
set search_path = ''
as $$
declare
  v_job public.generation_jobs;
begin
  select * into v_job from public.generation_jobs as j where j.id = remove_attempts.generation_id;
  -- The removal asks again, so that what succeeded meanwhile keeps its own.
  perform private.enqueue_removal(v_job.owner_id, 'public', array_agg(o.name))
  from storage.objects as o
  where o.bucket_id = 'public' and v_job.status <> 'succeeded'
    and o.name collate "C" >= 'renders/' || v_job.render_id || '/'
    and o.name collate "C" < 'renders/' || v_job.render_id || '0'
  having count(*) > 0;
end
$$;

comment on function private.remove_attempts is
'Orders the removal of the pictures that attempts have stored for a generation that did not succeed.';

revoke all on function private.remove_attempts(uuid) from public, anon, authenticated;
revoke all on function private.abandon_generation(uuid, text) from public, anon, authenticated;
grant execute on function private.abandon_generation(uuid, text) to media_worker, service_role;
