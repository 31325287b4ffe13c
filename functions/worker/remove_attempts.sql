create or replace function private.remove_attempts(generation_id uuid) returns void
language plpgsql volatile
set search_path = '', pg_temp
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
