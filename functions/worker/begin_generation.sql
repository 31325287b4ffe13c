create or replace function private.begin_generation(generation_id uuid, job_id bigint, lease_token uuid) returns jsonb
language plpgsql volatile security definer
set search_path = ''
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
  where j.id = begin_generation.generation_id and j.deleted_at is null and private.is_in_flight(j.status)
  returning * into v_job;
  if v_job.id is null then
    -- Ran out of time, and its worker was lost: nobody is left who could bring a late success.
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
    'seconds_left', (
      select p.generation_seconds_max - extract(epoch from clock_timestamp() - v_job.created_at)
      from public.site_policies as p
    ),
    'inputs', private.generation_inputs(v_job)
  );
end
$$;

comment on function private.begin_generation is
'What the worker needs for a generation, which is then starting; null when there is nothing to do: gone, deleted or ended.';

create or replace function private.generation_inputs(job public.generation_jobs) returns jsonb
language sql stable
set search_path = ''
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

create or replace function private.check_lease(job_id bigint, lease_token uuid) returns void
language plpgsql stable
set search_path = ''
as $$
begin
  if not exists (
    select from queue.jobs as q
    where q.id = check_lease.job_id and q.lease_token = check_lease.lease_token and q.state = 'running'
  ) then
    raise sqlstate 'IL001' using
      message = format('job %s: this attempt does not hold the lease any more', job_id), detail = 'lease_lost';
  end if;
end
$$;

comment on function private.check_lease is 'Raises IL001 (lease_lost) when the attempt was given up, before it costs anything.';

revoke all on function private.begin_generation(uuid, bigint, uuid) from public, anon, authenticated;
revoke all on function private.generation_inputs(public.generation_jobs) from public, anon, authenticated;
revoke all on function private.check_lease(bigint, uuid) from public, anon, authenticated;
grant execute on function private.begin_generation(uuid, bigint, uuid) to media_worker, service_role;
