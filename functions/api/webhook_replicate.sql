create or replace function private.receive_replicate(body text) returns jsonb
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_headers constant json := nullif(current_setting('request.headers', true), '')::json;
  v_id constant text := v_headers ->> 'webhook-id';
  v_sent_at constant text := v_headers ->> 'webhook-timestamp';
  v_prediction_id text;
  v_status text;
  v_job public.generation_jobs;
begin
  if octet_length(body) > 1048576 then
    perform private.refuse(413, 'webhook_too_large', 'This is more than 1 MiB.', 'The outputs are fetched without it.');
  end if;
  -- One answer for everything that is wrong with a sender.
  if coalesce(length(v_id), 0) not between 1 and 200 or v_sent_at is null or v_sent_at !~ '^[0-9]{1,12}$'
    or abs(extract(epoch from clock_timestamp()) - v_sent_at::numeric) > 300
    or not private.is_signed('replicate', v_id || '.' || v_sent_at || '.' || body, v_headers ->> 'webhook-signature')
  then
    perform private.refuse(401, 'webhook_not_signed', 'This webhook is not signed as it should be.',
      'Send it again with a current timestamp and signature.');
  end if;
  begin
    v_prediction_id := body::json ->> 'id';
    v_status := body::json ->> 'status';
  exception when data_exception then
    v_status := null;
  end;
  if coalesce(v_prediction_id, '') !~ '^[A-Za-z0-9_-]{1,100}$' or coalesce(v_status, '') !~ '^[a-z]{1,30}$' then
    perform private.refuse(422, 'webhook_malformed', 'This is no prediction.', 'It needs an id and a status.');
  end if;

  select * into v_job from public.generation_jobs as j
  where j.provider = 'replicate' and j.prediction_id = v_prediction_id;
  insert into private.webhook_events (source, id, prediction_id, status, is_used)
  values ('replicate', v_id, v_prediction_id, v_status, v_job.id is not null)
  on conflict (source, id) do nothing;
  -- Which of two events is newer does not matter: the worker asks the provider what is true.
  if found and v_status not in ('starting', 'processing') and private.may_take_render(v_job) then
    perform private.wake_generation(v_job);
  end if;
  return '{"received": true}';
end
$$;

comment on function private.receive_replicate is 'The body of public.webhook_replicate.';

create or replace function public.webhook_replicate(json) returns jsonb
language sql volatile
set search_path = '', pg_temp
begin atomic
-- Bound when it is created: anon may call this, and name nothing in private.
select private.receive_replicate($1::text);
end;

comment on function public.webhook_replicate(json) is
'For Replicate: POST of a prediction as application/json with the headers webhook-id, webhook-timestamp and webhook-signature. Checked over the bytes as sent; records the event once and has the outputs collected. Always the same answer to what is signed.';

revoke all on function private.receive_replicate(text) from public, anon, authenticated, service_role;
revoke all on function public.webhook_replicate(json) from public, anon, authenticated, service_role;
grant execute on function private.receive_replicate(text) to anon, authenticated, service_role;
grant execute on function public.webhook_replicate(json) to anon, authenticated, service_role;
