-- What a recipe must be. Everything that is wrong is found in one go and told in one answer.

create or replace function private.params_errors(params jsonb, policy public.site_policies) returns text[]
language plpgsql immutable
set search_path = '', pg_temp
as $$
declare
  v_errors text[] := '{}';
  v_param record;
  v_rule record;
begin
  if jsonb_typeof(params) <> 'object' then
    return array['params: must be an object.'];
  end if;
  for v_param in select e.key, e.value from jsonb_each(params) as e order by e.key loop
    select r.* into v_rule
    from (values
      ('width', 'int', 64, coalesce((policy).generation_side_max, 16383)),
      ('height', 'int', 64, coalesce((policy).generation_side_max, 16383)),
      ('steps', 'int', 1, 150),
      ('guidance', 'number', 0, 50),
      ('strength', 'number', 0, 1),
      ('seed', 'int', 0, 2147483647),
      ('count', 'int', 1, coalesce((policy).generation_count_max, 16)),
      ('scheduler', 'word', null, null),
      ('size', 'word', null, null)
    ) as r (name, kind, low, high)
    where r.name = v_param.key;
    if v_rule.name is null then
      v_errors := v_errors || format('params.%s: is not known.', left(v_param.key, 50));
    elsif v_rule.kind = 'word' then
      if jsonb_typeof(v_param.value) <> 'string' or (v_param.value #>> '{}') !~ '^[A-Za-z0-9_ +-]{1,50}$' then
        v_errors := v_errors || format('params.%s: must be a short word.', v_rule.name);
      end if;
    elsif jsonb_typeof(v_param.value) <> 'number' then
      v_errors := v_errors || format('params.%s: must be a number.', v_rule.name);
    elsif (v_param.value)::numeric not between v_rule.low and v_rule.high then
      v_errors := v_errors || format('params.%s: must be from %s to %s.', v_rule.name, v_rule.low, v_rule.high);
    elsif v_rule.kind = 'int' and (v_param.value)::numeric <> trunc((v_param.value)::numeric) then
      v_errors := v_errors || format('params.%s: must be a whole number.', v_rule.name);
    end if;
  end loop;
  return v_errors;
end
$$;

comment on function private.params_errors is 'What is wrong with params, each as "params.name: what."; empty when nothing is.';

create or replace function private.words_errors(request jsonb, policy public.site_policies) returns text[]
language sql immutable
set search_path = '', pg_temp
as $$
  select coalesce(array_agg(e.error order by e.n), '{}')
  from (
    values
    (1, request ->> 'mode' is null, 'mode: is missing.'),
    (2, request ->> 'mode' not in ('redesign', 'staging', 'compose', 'imagine', 'edit'),
      'mode: must be redesign, staging, compose, imagine or edit.'),
    (3, request ->> 'mode' in ('imagine', 'edit') and coalesce(btrim(request ->> 'prompt'), '') = '',
      'prompt: is missing.'),
    (4, char_length(request ->> 'prompt') > (policy).generation_prompt_length_max, format(
      'prompt: has %s characters, more than the limit of %s.',
      char_length(request ->> 'prompt'), (policy).generation_prompt_length_max
    )),
    (5, char_length(request ->> 'negative_prompt') > (policy).generation_prompt_length_max, format(
      'negative_prompt: has %s characters, more than the limit of %s.',
      char_length(request ->> 'negative_prompt'), (policy).generation_prompt_length_max
    )),
    (6, char_length(request ->> 'room_type') > 100, 'room_type: has more than 100 characters.'),
    (7, char_length(request ->> 'style') > 100, 'style: has more than 100 characters.'),
    (8, char_length(request ->> 'model') > 200, 'model: has more than 200 characters.'),
    (9, not (request ->> 'provider') = any((policy).generation_providers), format(
      'provider: %s is none of %s.', left(request ->> 'provider', 50), array_to_string((policy).generation_providers, ', ')
    )),
    (10, char_length(request ->> 'idempotency_key') not between 1 and 200,
      'idempotency_key: must have 1 to 200 characters.')
  ) as e (n, is_wrong, error)
  where e.is_wrong
$$;

comment on function private.words_errors is 'What is wrong with a request''s words, each as "argument: what."';

create or replace function private.is_own_input(owner_id uuid, path text) returns boolean
language sql stable
set search_path = '', pg_temp
as $$
  select starts_with(is_own_input.path, is_own_input.owner_id::text || '/inputs/') and exists (
    select from storage.objects as o where o.bucket_id = 'private' and o.name = is_own_input.path
  )
$$;

comment on function private.is_own_input is 'Whether this is an uploaded input of the user.';

create or replace function private.picture_errors(owner_id uuid, request jsonb) returns text[]
language sql stable
set search_path = '', pg_temp
as $$
  with found as (
    select
      num_nonnulls(request ->> 'source_asset_id', request ->> 'input1_path', request ->> 'input2_path') as pictures,
      case request ->> 'mode'
        when 'imagine' then 0 when 'redesign' then 1 when 'staging' then 1 when 'edit' then 1 when 'compose' then 2
      end as wanted
  )
  select coalesce(array_agg(e.error order by e.n), '{}')
  from found as f
  cross join lateral (
    values
    (1, f.pictures <> f.wanted, format(
      'inputs: %s takes %s of source_asset_id, input1_path and input2_path, not %s.',
      request ->> 'mode', f.wanted, f.pictures
    )),
    (2, request ->> 'mask_asset_id' is not null and request ->> 'mode' <> 'edit', 'mask_asset_id: only edit takes a mask.'),
    (3, request ->> 'input1_path' is not null and not private.is_own_input(picture_errors.owner_id, request ->> 'input1_path'),
      'input1_path: you have no such upload below inputs/ in bucket private.'),
    (4, request ->> 'input2_path' is not null and not private.is_own_input(picture_errors.owner_id, request ->> 'input2_path'),
      'input2_path: you have no such upload below inputs/ in bucket private.'),
    (5, request ->> 'source_asset_id' is not null and not exists (
      select from public.image_assets as a
      where a.owner_id = picture_errors.owner_id and a.id = (request ->> 'source_asset_id')::uuid
    ), 'source_asset_id: you have no such asset.'),
    (6, request ->> 'mask_asset_id' is not null and not exists (
      select from public.image_assets as a
      where a.owner_id = picture_errors.owner_id and a.id = (request ->> 'mask_asset_id')::uuid
    ), 'mask_asset_id: you have no such asset.')
  ) as e (n, is_wrong, error)
  where e.is_wrong
$$;

comment on function private.picture_errors is 'What is wrong with a request''s pictures: too many, too few, not the user''s own.';

create or replace function private.place_errors(owner_id uuid, request jsonb) returns text[]
language sql stable
set search_path = '', pg_temp
as $$
  with found as (
    select
      exists (
        select from public.image_sessions as s
        where s.owner_id = place_errors.owner_id and s.id = (request ->> 'session_id')::uuid
      ) as has_session,
      (
        select j.session_id from public.generation_jobs as j
        where j.owner_id = place_errors.owner_id and j.id = (request ->> 'parent_job_id')::uuid
          and j.deleted_at is null
      ) as parents_session
  )
  select coalesce(array_agg(e.error order by e.n), '{}')
  from found as f
  cross join lateral (
    values
    (1, request ->> 'session_id' is not null and not f.has_session, 'session_id: you have no such session.'),
    (2, request ->> 'parent_job_id' is not null and f.parents_session is null,
      'parent_job_id: you have no such generation.'),
    (3, f.parents_session <> (request ->> 'session_id')::uuid, 'parent_job_id: is of another session.')
  ) as e (n, is_wrong, error)
  where e.is_wrong
$$;

comment on function private.place_errors is 'What is wrong with a request''s place in the tree.';

create or replace function private.generation_errors(owner_id uuid, request jsonb, policy public.site_policies)
returns text[]
language plpgsql stable
set search_path = '', pg_temp
as $$
begin
  return private.words_errors(request, policy)
    || private.preset_errors(request)
    || private.picture_errors(generation_errors.owner_id, request)
    || private.place_errors(generation_errors.owner_id, request)
    || private.params_errors(coalesce(request -> 'params', '{}'), policy)
    || private.size_errors(request -> 'params');
end
$$;

comment on function private.generation_errors is 'Everything that is wrong with a request, each as "argument: what."';

create or replace function private.session_title(request jsonb) returns text
language sql immutable
set search_path = '', pg_temp
as $$
  select coalesce(
    nullif(left(btrim(regexp_replace(request ->> 'prompt', '\s+', ' ', 'g')), 80), ''),
    concat_ws(', ', initcap(request ->> 'mode'), nullif(request ->> 'room_type', ''), nullif(request ->> 'style', ''))
  )
$$;

comment on function private.session_title is 'What a session is called until its owner names it: the beginning of the prompt.';

create or replace function private.check_quota(owner_id uuid, price_id text, more int) returns void
language plpgsql stable
set search_path = '', pg_temp
as $$
declare
  v_used constant int := private.generations_used(owner_id);
  v_limit constant int := (
    select p.monthly_generations from public.plans as p where p.price_id = check_quota.price_id
  );
begin
  if v_used + more > coalesce(v_limit, 0) then
    perform private.refuse(402, 'generation_quota_spent', format(
      'You have used %s of the %s generations of this month.', v_used, coalesce(v_limit, 0)
    ), 'Choose a larger plan, or wait for ' || to_char(private.month_begin() at time zone 'UTC' + interval '1 month', 'YYYY-MM-DD') || '.');
  end if;
end
$$;

comment on function private.check_quota is
'Refuses more generations than the plan has left in this month (UTC). The caller holds the owner''s lock.';

create or replace function private.check_none_in_flight(owner_id uuid) returns void
language plpgsql stable
set search_path = '', pg_temp
as $$
declare
  v_id constant uuid := (
    select j.id from public.generation_jobs as j
    where j.owner_id = check_none_in_flight.owner_id and j.status in ('queued', 'starting', 'processing')
  );
begin
  if v_id is not null then
    perform private.refuse(409, 'generation_in_flight', format('Generation %s is under way.', v_id),
      'Wait for it, or cancel it: ' || v_id);
  end if;
end
$$;

comment on function private.check_none_in_flight is 'Refuses a second generation at a time; the hint ends with the running one''s id.';

create or replace function private.refuse_generation(
  errors text[], is_well_formed boolean, request jsonb, policy public.site_policies
) returns void
language plpgsql stable
set search_path = '', pg_temp
as $$
declare
  v_message constant text := array_to_string(errors, ' ');
  v_wrong constant text[] := array(
    select split_part(e.error, ':', 1) from unnest(errors) with ordinality as e (error, n) order by e.n
  );
  v_hint constant text := 'Correct: ' || array_to_string(v_wrong, ', ');
begin
  -- Where nothing but one of the site's limits is in the way, the code says which.
  if is_well_formed and errors <@ private.prompt_errors(request, policy) then
    perform private.refuse(422, 'prompt_refused', v_message, v_hint);
  elsif is_well_formed and v_wrong <@ array['prompt', 'negative_prompt'] then
    perform private.refuse(422, 'prompt_too_long', v_message, v_hint);
  elsif is_well_formed and v_wrong <@ array['params.width', 'params.height'] then
    perform private.refuse(422, 'picture_too_large', v_message, v_hint);
  elsif is_well_formed and v_wrong <@ array['params.count'] then
    perform private.refuse(422, 'too_many_pictures', v_message, v_hint);
  elsif is_well_formed and v_wrong <@ array['provider'] then
    perform private.refuse(422, 'provider_not_offered', v_message, v_hint);
  end if;
  perform private.refuse(422, 'generation_invalid', v_message, v_hint);
end
$$;

comment on function private.refuse_generation is
'Refuses a request with everything that is wrong: generation_invalid, or a limit''s own code when there is nothing else.';

create or replace function private.check_generation(
  owner_id uuid, price_id text, request jsonb, policy public.site_policies, count int default 1
) returns void
language plpgsql stable
set search_path = '', pg_temp
as $$
declare
  v_errors constant text[] := private.generation_errors(owner_id, request, policy)
    || private.prompt_errors(request, policy);
begin
  if v_errors <> '{}' then
    perform private.refuse_generation(v_errors, private.generation_errors(owner_id, request, null) = '{}', request, policy);
  end if;
  perform private.check_none_in_flight(owner_id);
  perform private.check_quota(owner_id, price_id, count);
end
$$;

comment on function private.check_generation is
'Refuses a request that is wrong, all of it in one answer, then one too many at a time, then one beyond the plan. The caller holds the owner''s lock.';

create or replace function private.insert_generation(
  owner_id uuid, request jsonb, policy public.site_policies,
  retry_of_id uuid default null, replay_job_ids uuid[] default '{}'
) returns public.generation_jobs
language plpgsql volatile
set search_path = '', pg_temp
as $$
declare
  v_session_id uuid := (request ->> 'session_id')::uuid;
  v_job public.generation_jobs;
begin
  insert into public.image_assets (owner_id, role, bucket, path, mime_type, byte_size)
  select insert_generation.owner_id, 'input', o.bucket_id, o.name, o.metadata ->> 'mimetype', (o.metadata ->> 'size')::bigint
  from storage.objects as o
  where o.bucket_id = 'private' and o.name in (request ->> 'input1_path', request ->> 'input2_path')
  on conflict (bucket, path) do nothing;

  if v_session_id is null then
    insert into public.image_sessions (owner_id, title)
    values (insert_generation.owner_id, private.session_title(request)) returning id into v_session_id;
  else
    update public.image_sessions as s set updated_at = clock_timestamp(), archived_at = null where s.id = v_session_id;
  end if;

  insert into public.generation_jobs (
    owner_id, session_id, parent_job_id, retry_of_id, replay_job_ids, mode, room_type, style, provider, model,
    prompt, negative_prompt, params, source_asset_id, mask_asset_id, input1_path, input2_path, idempotency_key,
    request_digest
  )
  values (
    insert_generation.owner_id, v_session_id, (request ->> 'parent_job_id')::uuid, insert_generation.retry_of_id,
    insert_generation.replay_job_ids, request ->> 'mode', request ->> 'room_type', request ->> 'style',
    coalesce(request ->> 'provider', (policy).generation_providers[1]), request ->> 'model',
    request ->> 'prompt', request ->> 'negative_prompt',
    jsonb_build_object('seed', trunc(random() * 2147483647)::bigint)
    || private.sized_params(coalesce(request -> 'params', '{}')),
    (request ->> 'source_asset_id')::uuid, (request ->> 'mask_asset_id')::uuid,
    request ->> 'input1_path', request ->> 'input2_path', request ->> 'idempotency_key', request ->> 'digest'
  )
  returning * into v_job;
  update public.image_assets as a set idle_since = null
  from unnest(private.inputs_of(v_job)) as i (id)
  where a.owner_id = v_job.owner_id and a.id = i.id and a.idle_since is not null;

  perform queue.enqueue(
    actor => 'generate', args => jsonb_build_object('generation_id', v_job.id, 'render_id', v_job.render_id),
    owner_id => v_job.owner_id, dedupe_key => private.generation_key(v_job.id), max_attempts => 5
  );
  return v_job;
end
$$;

comment on function private.insert_generation is
'Writes a checked request as a queued generation, with its session where it has none, and orders the work.';

create or replace function private.request_of(job public.generation_jobs) returns jsonb
language sql immutable
set search_path = '', pg_temp
as $$
  select jsonb_strip_nulls(jsonb_build_object(
    'session_id', (job).session_id, 'parent_job_id', (job).parent_job_id,
    'mode', (job).mode, 'room_type', (job).room_type, 'style', (job).style,
    'provider', (job).provider, 'model', (job).model,
    'prompt', (job).prompt, 'negative_prompt', (job).negative_prompt, 'params', (job).params,
    'source_asset_id', (job).source_asset_id, 'mask_asset_id', (job).mask_asset_id,
    'input1_path', (job).input1_path, 'input2_path', (job).input2_path
  ))
$$;

comment on function private.request_of is 'The recipe of a generation, as the request that would repeat it.';

create or replace function private.lock_generation(job_id uuid) returns public.generation_jobs
language plpgsql volatile
set search_path = '', pg_temp
as $$
declare
  v_owner_id constant uuid := private.signed_in();
  v_job public.generation_jobs;
begin
  perform private.lock_owner(v_owner_id);
  select * into v_job from public.generation_jobs as j
  where j.id = lock_generation.job_id and j.owner_id = v_owner_id and j.deleted_at is null
  for update;
  if v_job.id is null then
    perform private.refuse(404, 'generation_not_found', 'You have no such generation.', 'Check the id.');
  end if;
  return v_job;
end
$$;

comment on function private.lock_generation is
'Locks owner and generation, in this order, and answers it. 404 for an unknown generation and for another user''s alike.';

revoke all on function private.params_errors(jsonb, public.site_policies) from public, anon, authenticated;
revoke all on function private.words_errors(jsonb, public.site_policies) from public, anon, authenticated;
revoke all on function private.is_own_input(uuid, text) from public, anon, authenticated;
revoke all on function private.picture_errors(uuid, jsonb) from public, anon, authenticated;
revoke all on function private.place_errors(uuid, jsonb) from public, anon, authenticated;
revoke all on function private.generation_errors(uuid, jsonb, public.site_policies) from public, anon, authenticated;
revoke all on function private.session_title(jsonb) from public, anon, authenticated;
revoke all on function private.check_quota(uuid, text, int) from public, anon, authenticated;
revoke all on function private.check_none_in_flight(uuid) from public, anon, authenticated;
revoke all on function private.refuse_generation(text[], boolean, jsonb, public.site_policies)
from public, anon, authenticated;
revoke all on function private.check_generation(uuid, text, jsonb, public.site_policies, int)
from public, anon, authenticated;
revoke all on function private.insert_generation(uuid, jsonb, public.site_policies, uuid, uuid[])
from public, anon, authenticated;
revoke all on function private.request_of(public.generation_jobs) from public, anon, authenticated;
revoke all on function private.lock_generation(uuid) from public, anon, authenticated;
-- A check of community_items asks it, as whoever writes there.
grant execute on function private.params_errors(jsonb, public.site_policies) to authenticated, service_role;
