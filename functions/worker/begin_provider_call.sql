create or replace function private.begin_provider_call(
  generation_id uuid, job_id bigint, lease_token uuid, inputs jsonb default '[]'
) returns jsonb
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_job public.generation_jobs;
  v_seconds numeric;
begin
  perform private.check_lease(job_id, lease_token);
  select * into v_job from public.generation_jobs as j where j.id = begin_provider_call.generation_id;
  perform private.share_owner(v_job.owner_id);
  -- Whoever wants to call this provider counts after this one has.
  perform 1 from public.generation_providers as p where p.name = v_job.provider for no key update;
  v_seconds := private.provider_pause(v_job);
  if v_seconds > 0 then
    return jsonb_build_object('answer', 'wait', 'seconds', v_seconds);
  end if;
  update public.generation_jobs as j set submitted_at = coalesce(j.submitted_at, clock_timestamp())
  where j.id = begin_provider_call.generation_id and j.deleted_at is null and j.status in ('starting', 'processing')
  returning * into v_job;
  if not found then
    return jsonb_build_object('answer', 'gone');
  elsif v_job.cancel_requested_at is not null then
    return jsonb_build_object('answer', 'canceled');
  end if;
  insert into private.provider_calls (provider, generation_id) values (v_job.provider, v_job.id);
  -- Now: later attempts ask the provider and need the pictures no more.
  perform private.measure_inputs(v_job.owner_id, inputs);
  return jsonb_build_object('answer', 'go');
end
$$;

comment on function private.begin_provider_call is
'Asked right before a provider is: {"answer": go}, wait with seconds when its caps say so, canceled or gone. From go on the provider''s answer may be lost, and a paid call is not repeated blindly. Writes what the inputs are.';

create or replace function private.provider_pause(job public.generation_jobs) returns numeric
language plpgsql volatile
set search_path = '', pg_temp
as $$
declare
  v_now constant timestamptz := clock_timestamp();
  v_provider public.generation_providers;
  v_free_at timestamptz;
begin
  select * into v_provider from public.generation_providers as p where p.name = (job).provider;
  if v_provider.paused_until > v_now then
    return ceil(extract(epoch from v_provider.paused_until - v_now));
  end if;
  if v_provider.concurrency_max <= (
    select count(*) from public.generation_jobs as j
    where j.provider = (job).provider and j.submitted_at is not null and j.status in ('starting', 'processing')
      and j.id <> (job).id
  ) then
    return 1 + random();
  end if;
  if v_provider.calls_per_minute_max is not null then
    -- The oldest of as many calls as are allowed has to be a minute old.
    select c.called_at + interval '1 minute' into v_free_at from private.provider_calls as c
    where c.provider = (job).provider and c.called_at > v_now - interval '1 minute'
    order by c.called_at desc offset greatest(v_provider.calls_per_minute_max - 1, 0) limit 1;
    if v_free_at is not null then
      return extract(epoch from v_free_at - v_now) + random() / 10;
    elsif v_provider.calls_per_minute_max = 0 then
      return 60;
    end if;
  end if;
  return 0;
end
$$;

comment on function private.provider_pause is
'Seconds until a generation may ask its provider; 0: now. The caller holds the lock on the provider''s row.';

revoke all on function private.begin_provider_call(uuid, bigint, uuid, jsonb) from public, anon, authenticated;
revoke all on function private.provider_pause(public.generation_jobs) from public, anon, authenticated;
grant execute on function private.begin_provider_call(uuid, bigint, uuid, jsonb) to media_worker, service_role;
