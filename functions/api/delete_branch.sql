create or replace function private.delete_branch(job_id uuid) returns setof uuid
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_job constant public.generation_jobs := private.lock_generation(job_id);
  v_ids uuid[];
begin
  with recursive down as (
    select j.id, j.owner_id from public.generation_jobs as j where j.id = v_job.id
    union
    select c.id, c.owner_id
    from down as d
    inner join public.generation_jobs as c on c.parent_job_id = d.id and c.owner_id = d.owner_id
    where c.deleted_at is null
  )
  select array_agg(d.id) into v_ids from down as d;
  perform private.discard_generations(v_job.owner_id, v_ids);
  return query select unnest(v_ids);
end
$$;

comment on function private.delete_branch is 'The body of public.delete_branch.';

create or replace function public.delete_branch(job_id uuid) returns setof uuid
language sql volatile
set search_path = '', pg_temp
as $$
  select * from private.delete_branch(delete_branch.job_id)
$$;

comment on function public.delete_branch is
'Deletes a generation and all that continue it from their session, with their pictures; what is in flight is canceled. Answers their ids.';

revoke all on function private.delete_branch(uuid) from public, anon, authenticated, service_role;
revoke all on function public.delete_branch(uuid) from public, anon, authenticated, service_role;
grant execute on function private.delete_branch(uuid) to authenticated;
grant execute on function public.delete_branch(uuid) to authenticated;
