create or replace function private.submit_generation(request jsonb) returns public.generation_jobs
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_owner_id constant uuid := private.signed_in();
  v_request jsonb;
  v_digest text;
  v_price_id text;
  v_policy public.site_policies;
  v_job public.generation_jobs;
begin
  -- Before it is copied, and before anybody waits for it: a few megabytes of brackets are gigabytes in memory.
  if pg_column_size(request -> 'params') > 65536 then
    perform private.refuse(422, 'generation_invalid', 'params: are larger than 65536 bytes.', 'Correct: params');
  end if;
  v_request := jsonb_strip_nulls(request);
  v_digest := encode(sha256(convert_to(v_request::text, 'UTF8')), 'hex');
  select * into v_policy from public.site_policies;
  v_price_id := private.lock_owner(v_owner_id);
  select * into v_job from public.generation_jobs as j
  where j.owner_id = v_owner_id and j.idempotency_key = v_request ->> 'idempotency_key';
  if v_job.id is not null then
    if v_job.request_digest <> v_digest then
      perform private.refuse(422, 'idempotency_key_reused', 'This idempotency key was used for another request.',
        'Use a new key for a new request.');
    end if;
    return v_job;
  end if;

  perform private.check_generation(v_owner_id, v_price_id, v_request, v_policy);
  if v_request ->> 'session_id' is null and v_request ->> 'parent_job_id' is not null then
    v_request := v_request || jsonb_build_object('session_id', (
      select j.session_id from public.generation_jobs as j where j.id = (v_request ->> 'parent_job_id')::uuid
    ));
  elsif v_request ->> 'session_id' is not null and v_request ->> 'parent_job_id' is null then
    v_request := v_request || jsonb_build_object('parent_job_id', (
      select j.id from public.generation_jobs as j
      where j.session_id = (v_request ->> 'session_id')::uuid and j.owner_id = v_owner_id
        and j.status = 'succeeded' and j.deleted_at is null
      order by j.created_at desc limit 1
    ));
  end if;
  perform private.check_rates(v_owner_id, (v_request ->> 'session_id')::uuid, v_policy);
  return private.insert_generation(v_owner_id, v_request || jsonb_build_object('digest', v_digest), v_policy);
end
$$;

comment on function private.submit_generation is 'The body of public.submit_generation.';

create or replace function public.submit_generation(
  mode text,
  prompt text default null,
  negative_prompt text default null,
  room_type text default null,
  style text default null,
  provider text default null,
  model text default null,
  params jsonb default '{}',
  session_id uuid default null,
  parent_job_id uuid default null,
  source_asset_id uuid default null,
  mask_asset_id uuid default null,
  input1_path text default null,
  input2_path text default null,
  idempotency_key text default null
) returns public.generation_jobs
language sql volatile
set search_path = '', pg_temp
as $$
  select * from private.submit_generation(jsonb_build_object(
    'mode', submit_generation.mode, 'prompt', submit_generation.prompt,
    'negative_prompt', submit_generation.negative_prompt, 'room_type', submit_generation.room_type,
    'style', submit_generation.style, 'provider', submit_generation.provider, 'model', submit_generation.model,
    'params', submit_generation.params, 'session_id', submit_generation.session_id,
    'parent_job_id', submit_generation.parent_job_id, 'source_asset_id', submit_generation.source_asset_id,
    'mask_asset_id', submit_generation.mask_asset_id, 'input1_path', submit_generation.input1_path,
    'input2_path', submit_generation.input2_path, 'idempotency_key', submit_generation.idempotency_key
  ))
$$;

comment on function public.submit_generation is
'Orders a generation, in a new session or an existing one. imagine takes a prompt; redesign and staging one picture; compose two; edit a prompt, a picture and optionally a mask. A picture is source_asset_id, or input1_path and input2_path in bucket private. The parent is the session''s last success unless given. The same idempotency_key answers the same generation.';

revoke all on function private.submit_generation(jsonb) from public, anon, authenticated, service_role;
revoke all on function public.submit_generation(
  text, text, text, text, text, text, text, jsonb, uuid, uuid, uuid, uuid, text, text, text
) from public, anon, authenticated, service_role;
grant execute on function private.submit_generation(jsonb) to authenticated;
grant execute on function public.submit_generation(
  text, text, text, text, text, text, text, jsonb, uuid, uuid, uuid, uuid, text, text, text
) to authenticated;
