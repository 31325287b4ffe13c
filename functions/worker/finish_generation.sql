create or replace function private.finish_generation(
  generation_id uuid, job_id bigint, lease_token uuid, result jsonb
) returns text
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_job public.generation_jobs;
begin
  -- First: it locks the job, and refuses an attempt that was given up.
  perform queue.complete(job_id, lease_token);
  perform private.lock_owner(
    (select j.owner_id from public.generation_jobs as j where j.id = finish_generation.generation_id)
  );
  select * into v_job from public.generation_jobs as j where j.id = finish_generation.generation_id for update;

  if v_job.status = 'succeeded' and v_job.deleted_at is null then
    return 'succeeded';
  elsif v_job.id is null or not private.may_take_render(v_job) or v_job.cancel_requested_at is not null then
    if private.may_take_render(v_job) then
      update public.generation_jobs as j set status = 'canceled', error = null, error_code = null,
        is_retryable = false, completed_at = clock_timestamp()
      where j.id = v_job.id;
    end if;
    perform private.enqueue_removal(v_job.owner_id, 'public', private.result_paths(result));
    return case when v_job.id is null or v_job.deleted_at is not null then 'gone' else 'canceled' end;
  end if;

  perform private.store_render(v_job, result -> 'outputs');
  perform private.measure_inputs(v_job.owner_id, result -> 'inputs');
  insert into public.usage_ledger (owner_id, job_id, kind, units) values (v_job.owner_id, v_job.id, 'debit', 1);
  update public.generation_jobs as j set
    status = 'succeeded', progress = 100, error = null, error_code = null, is_retryable = false,
    model = coalesce(result ->> 'model', j.model), cost = (result ->> 'cost')::numeric,
    completed_at = clock_timestamp(),
    duration_ms = extract(epoch from clock_timestamp() - coalesce(j.started_at, j.created_at)) * 1000
  where j.id = v_job.id
  returning * into v_job;
  update public.image_sessions as s set
    thumbnail_path = private.render_path(v_job.render_id, 0, true), model = v_job.model, updated_at = clock_timestamp()
  where s.id = v_job.session_id and s.owner_id = v_job.owner_id;
  perform private.replay_next(v_job);
  return 'succeeded';
end
$$;

comment on function private.finish_generation is
'Render, pictures, debit, status and acknowledgement in one transaction: succeeded; canceled or gone when its owner wants no result, which is then removed.';

create or replace function private.result_paths(result jsonb) returns text[]
language sql immutable
set search_path = '', pg_temp
as $$
  select coalesce(array_agg(p.path), '{}')
  from jsonb_to_recordset(result -> 'outputs') as o (image_path text, thumb_path text)
  cross join lateral (values (o.image_path), (o.thumb_path)) as p (path)
  where starts_with(p.path, 'renders/')
$$;

comment on function private.result_paths is 'The objects that a worker wrote for a result.';

create or replace function private.store_render(job public.generation_jobs, outputs jsonb) returns void
language plpgsql volatile
set search_path = '', pg_temp
as $$
begin
  if coalesce(jsonb_array_length(outputs), 0) = 0 then
    raise exception using errcode = 'IL003', detail = 'outputs_missing',
      message = format('generation %s: a result without a picture', job.id);
  end if;
  insert into public.renders (id, owner_id, job_id) values (job.render_id, job.owner_id, job.id);
  with output as (
    select o.* from jsonb_to_recordset(outputs) as o (
      idx int, image_path text, thumb_path text, width int, height int, byte_size bigint, sha256 text
    )
  ), asset as (
    insert into public.image_assets (
      owner_id, job_id, role, bucket, path, mime_type, byte_size, width, height, sha256
    )
    select job.owner_id, job.id, 'output', 'public', o.image_path, 'image/webp', o.byte_size, o.width, o.height, o.sha256
    from output as o
    returning id, path
  )
  insert into public.render_variants (render_id, owner_id, idx, asset_id, image_path, thumb_path, width, height)
  select job.render_id, job.owner_id, o.idx, a.id, o.image_path, o.thumb_path, o.width, o.height
  from output as o inner join asset as a on o.image_path = a.path;
end
$$;

comment on function private.store_render is 'Writes the render of a generation with its pictures; IL003 when there is none.';

create or replace function private.measure_inputs(owner_id uuid, inputs jsonb) returns void
language sql volatile
set search_path = '', pg_temp
as $$
  update public.image_assets as a set
    mime_type = i.mime_type, byte_size = i.byte_size, width = i.width, height = i.height, sha256 = i.sha256
  from jsonb_to_recordset(measure_inputs.inputs) as i (
    asset_id uuid, mime_type text, byte_size bigint, width int, height int, sha256 text
  )
  where a.owner_id = measure_inputs.owner_id and a.id = i.asset_id and a.role <> 'output'
$$;

comment on function private.measure_inputs is 'Writes what uploaded pictures turned out to be.';

create or replace function private.replay_next(job public.generation_jobs) returns void
language plpgsql volatile
set search_path = '', pg_temp
as $$
declare
  v_template public.generation_jobs;
  v_source_idx int;
  v_request jsonb;
  v_policy public.site_policies;
begin
  select * into v_template from public.generation_jobs as j
  where j.owner_id = (job).owner_id and j.id = (job).replay_job_ids[1];
  if v_template.id is null or (job).session_id is null then
    return;
  end if;
  select * into v_policy from public.site_policies;
  v_request := private.request_of(v_template)
    || jsonb_build_object('session_id', (job).session_id, 'parent_job_id', (job).id);
  -- What the template took from its own parent, this one takes from the new parent.
  select v.idx into v_source_idx
  from public.image_assets as a
  inner join public.render_variants as v on v.owner_id = a.owner_id and v.asset_id = a.id
  where a.owner_id = (job).owner_id and a.id = v_template.source_asset_id and a.job_id = v_template.parent_job_id;
  if v_source_idx is not null then
    v_request := v_request || (
      select jsonb_build_object('source_asset_id', v.asset_id) from public.render_variants as v
      where v.render_id = (job).render_id and v.idx <= v_source_idx order by v.idx desc limit 1
    );
  end if;
  perform private.check_generation(
    (job).owner_id, (select p.price_id from public.profiles as p where p.id = (job).owner_id), v_request, v_policy
  );
  perform private.insert_generation((job).owner_id, v_request, v_policy, v_template.id, (job).replay_job_ids[2:]);
exception
  -- A finished generation is not lost because the next cannot begin.
  when sqlstate 'PT402' or sqlstate 'PT409' or sqlstate 'PT422' then
    perform private.record_generation_event(
      (job).owner_id, (job).session_id, (job).id, 'replay_stopped', jsonb_build_object('reason', sqlerrm)
    );
end
$$;

comment on function private.replay_next is 'Orders the next step of a replay on what this one made, or tells in the history why not.';

revoke all on function private.finish_generation(uuid, bigint, uuid, jsonb) from public, anon, authenticated;
revoke all on function private.result_paths(jsonb) from public, anon, authenticated;
revoke all on function private.store_render(public.generation_jobs, jsonb) from public, anon, authenticated;
revoke all on function private.measure_inputs(uuid, jsonb) from public, anon, authenticated;
revoke all on function private.replay_next(public.generation_jobs) from public, anon, authenticated;
grant execute on function private.finish_generation(uuid, bigint, uuid, jsonb) to media_worker, service_role;
