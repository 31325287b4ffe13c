create or replace function private.finish_fill(
  fill_id uuid, job_id bigint, lease_token uuid, proposed jsonb, model text, usage jsonb
) returns text
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_fill public.listing_fills;
  v_listing public.listings;
  v_plan jsonb;
  v_rule text;
  v_message text;
begin
  -- First: it locks the job, and refuses an attempt that was given up.
  perform queue.complete(job_id, lease_token);
  v_listing := private.lock_filled(f.owner_id, f.listing_id)
  from public.listing_fills as f where f.id = finish_fill.fill_id;
  select * into v_fill from public.listing_fills as f where f.id = finish_fill.fill_id for update;
  if v_fill.id is null or v_fill.status <> 'processing' or v_listing.id is null then
    return 'gone';
  end if;
  v_plan := private.plan_fill(v_fill, v_listing, proposed);
  begin
    perform private.write_values(v_listing, v_plan -> 'applied');
    update public.listing_fills as f set
      status = 'succeeded', completed_at = clock_timestamp(), model = finish_fill.model, usage = finish_fill.usage,
      result = v_plan -> 'result', applied = v_plan -> 'applied', skipped = f.skipped || (v_plan -> 'skipped')
    where f.id = v_fill.id;
    return 'succeeded';
  exception
    -- A limit that holds for a person, too: all of it is undone, and the row says which one.
    when integrity_constraint_violation or data_exception or sqlstate 'PT422' or sqlstate 'PT409' then
      get stacked diagnostics v_rule = constraint_name, v_message = message_text;
  end;
  update public.listing_fills as f set model = finish_fill.model, usage = finish_fill.usage, result = v_plan -> 'result'
  where f.id = v_fill.id;
  return private.end_fill(
    v_fill.id, 'value_refused', 'An answer breaks a rule: ' || coalesce(nullif(replace(v_rule, '_', ' '), '') || '.', v_message),
    true
  );
end
$$;

comment on function private.finish_fill is
'Writes what the provider proposed (by key) where the fields still hold what they held at the request, and acknowledges, in one transaction: succeeded; failed when a value breaks a rule of the tables, with every field as it was; gone when nobody wants it.';

create or replace function private.plan_fill(fill public.listing_fills, listing public.listings, proposed jsonb)
returns jsonb
language sql stable
set search_path = '', pg_temp
as $$
  with key as (
    select
      o.key, proposed -> o.key as new,
      case
        when private.is_blank(proposed -> o.key)
          or jsonb_typeof(proposed -> o.key) <> case when o.key ~ '/tags$' then 'array' else 'string' end then 'no_value'
        when not v.there ? o.key then 'photo_gone'
        when not private.is_same_value(v.there -> o.key, o.value) then 'edited'
        when proposed -> o.key = o.value then 'same'
      end as why_not
    -- Only what was asked for, whatever was answered.
    from jsonb_each((fill).old_values) as o
    cross join (select private.fill_values(listing) as there) as v
  )
  select jsonb_build_object(
    'result', coalesce(jsonb_object_agg(k.key, k.new) filter (where k.new is not null), '{}'),
    'applied', coalesce(jsonb_object_agg(k.key, k.new) filter (where k.why_not is null), '{}'),
    'skipped', coalesce(jsonb_object_agg(k.key, k.why_not) filter (where k.why_not is not null), '{}')
  )
  from key as k
$$;

comment on function private.plan_fill is
'What of an answer is written, and what is not and why: {"result", "applied", "skipped"}, each by key.';

revoke all on function private.finish_fill(uuid, bigint, uuid, jsonb, text, jsonb)
from public, anon, authenticated, service_role;
revoke all on function private.plan_fill(public.listing_fills, public.listings, jsonb)
from public, anon, authenticated, service_role;
grant execute on function private.finish_fill(uuid, bigint, uuid, jsonb, text, jsonb) to media_worker, service_role;
