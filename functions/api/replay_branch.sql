create or replace function private.branch_to(job_id uuid) returns uuid[]
language sql stable
set search_path = '', pg_temp
as $$
  with recursive up as (
    select j.id, j.owner_id, j.parent_job_id, 0 as height from public.generation_jobs as j where j.id = branch_to.job_id
    union all
    select p.id, p.owner_id, p.parent_job_id, u.height + 1
    from up as u
    inner join public.generation_jobs as p on p.id = u.parent_job_id and p.owner_id = u.owner_id
    where u.height < 1000
  )
  select array_agg(u.id order by u.height desc) from up as u
$$;

comment on function private.branch_to is 'The generations from the root to this one, in order.';

create or replace function private.replay_branch(job_id uuid) returns public.generation_jobs
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_job constant public.generation_jobs := private.lock_generation(job_id);
  v_price_id constant text := private.lock_owner(v_job.owner_id);
  v_branch constant uuid[] := private.branch_to(job_id);
  v_root public.generation_jobs;
  v_policy public.site_policies;
  v_request jsonb;
begin
  select * into v_policy from public.site_policies;
  select * into v_root from public.generation_jobs as j where j.id = v_branch[1];
  v_request := private.request_of(v_root) || jsonb_build_object('session_id', v_job.session_id);
  perform private.check_generation(v_job.owner_id, v_price_id, v_request, v_policy, cardinality(v_branch));
  perform private.check_rates(v_job.owner_id, v_job.session_id, v_policy, cardinality(v_branch));
  return private.insert_generation(v_job.owner_id, v_request, v_policy, v_root.id, v_branch[2:]);
end
$$;

comment on function private.replay_branch is 'The body of public.replay_branch.';

create or replace function public.replay_branch(job_id uuid) returns public.generation_jobs
language sql volatile
set search_path = '', pg_temp
as $$
  select * from private.replay_branch(replay_branch.job_id)
$$;

comment on function public.replay_branch is
'Runs the recipes from the root to this generation again, each on what the one before it made, as a new branch from a new root. Answers the new root; the others follow as each one succeeds. The plan must have room for all.';

revoke all on function private.branch_to(uuid) from public, anon, authenticated, service_role;
revoke all on function private.replay_branch(uuid) from public, anon, authenticated, service_role;
revoke all on function public.replay_branch(uuid) from public, anon, authenticated, service_role;
grant execute on function private.replay_branch(uuid) to authenticated;
grant execute on function public.replay_branch(uuid) to authenticated;
