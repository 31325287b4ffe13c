create or replace function private.begin_generation(generation_id uuid, job_id bigint, lease_token uuid) returns jsonb
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_job public.generation_jobs;
begin
  perform private.check_lease(job_id, lease_token);
  perform private.share_owner(
    (select j.owner_id from public.generation_jobs as j where j.id = begin_generation.generation_id)
  );
  update public.generation_jobs as j set
    status = case when j.status = 'queued' then 'starting' else j.status end,
    started_at = coalesce(j.started_at, clock_timestamp())
  where j.id = begin_generation.generation_id and j.deleted_at is null
    and (private.is_in_flight(j.status) or private.may_come_late(j))
  returning * into v_job;
  if v_job.id is null then
    select * into v_job from public.generation_jobs as j
    where j.id = begin_generation.generation_id and j.status = 'canceled' and j.prediction_id is not null;
    if v_job.id is not null then
      -- It ended here; the provider does not know yet.
      return private.request_of(v_job) || jsonb_build_object(
        'generation_id', v_job.id, 'render_id', v_job.render_id, 'prediction_id', v_job.prediction_id,
        'submitted_at', v_job.submitted_at, 'is_canceled', true, 'is_late', false, 'seconds_since', 0,
        'max_side', 1, 'limits', '{}'::jsonb, 'inputs', '[]'::jsonb
      );
    end if;
    -- Ran out of time, and nobody is left who could bring a late success.
    perform private.end_generation(
      begin_generation.generation_id, 'generation_gave_up', 'This picture took too long. Try again later.', true
    );
    return null;
  end if;
  return private.request_of(v_job) || jsonb_build_object(
    'generation_id', v_job.id, 'owner_id', v_job.owner_id, 'render_id', v_job.render_id,
    'prediction_id', v_job.prediction_id, 'submitted_at', v_job.submitted_at,
    'is_canceled', v_job.cancel_requested_at is not null,
    'limits', (
      select jsonb_build_object(
        'max_bytes', p.image_bytes_max, 'max_pixels', (p.image_megapixels_max * 1000000)::bigint,
        'min_side', 1, 'max_aspect', p.image_aspect_max
      )
      from public.site_policies as p
    ),
    'max_side', (select p.generation_side_max from public.site_policies as p),
    'is_late', v_job.status = 'failed',
    'seconds_since', extract(epoch from clock_timestamp() - coalesce(v_job.submitted_at, v_job.created_at)),
    'inputs', private.generation_inputs(v_job)
  );
end
$$;

comment on function private.begin_generation is
'What the worker needs for a generation, which is then starting; null when there is nothing to do: gone, deleted or ended.';

create or replace function private.may_come_late(job public.generation_jobs) returns boolean
language sql stable
set search_path = '', pg_temp
as $$
  -- A provider was asked, and may answer within a day.
  select ((job).status, (job).error_code) = ('failed', 'timed_out') and (job).deleted_at is null
    and (job).submitted_at > now() - interval '1 day'
$$;

comment on function private.may_come_late is 'Whether a generation that ran out of time may still succeed.';

create or replace function private.generation_inputs(job public.generation_jobs) returns jsonb
language sql stable
set search_path = '', pg_temp
as $$
  -- The owner again, in every way a picture is named.
  select coalesce(jsonb_agg(
    jsonb_build_object(
      'role', i.role, 'asset_id', a.id, 'bucket', a.bucket, 'path', a.path,
      'byte_size', a.byte_size
    ) order by i.n
  ), '[]')
  from (values
    (1, 'source', (job).source_asset_id, null),
    (2, 'mask', (job).mask_asset_id, null),
    (3, 'input1', null, (job).input1_path),
    (4, 'input2', null, (job).input2_path)
  ) as i (n, role, asset_id, path)
  inner join public.image_assets as a
    on a.owner_id = (job).owner_id and (a.id = i.asset_id or (a.bucket = 'private' and a.path = i.path))
$$;

comment on function private.generation_inputs is 'The pictures that a generation reads, all of its owner''s.';

revoke all on function private.begin_generation(uuid, bigint, uuid) from public, anon, authenticated;
revoke all on function private.may_come_late(public.generation_jobs) from public, anon, authenticated;
revoke all on function private.generation_inputs(public.generation_jobs) from public, anon, authenticated;
grant execute on function private.begin_generation(uuid, bigint, uuid) to media_worker, service_role;
