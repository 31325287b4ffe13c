create or replace function private.request_fill(
  listing_id uuid, fields text[], overwrite boolean, provider text, idempotency_key text
) returns public.listing_fills
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
#variable_conflict use_column
declare
  v_owner_id constant uuid := private.signed_in();
  v_overwrite constant boolean := coalesce(overwrite, false);
  v_digest constant text := encode(sha256(convert_to(jsonb_build_object(
    'listing_id', listing_id, 'fields', fields, 'overwrite', coalesce(overwrite, false), 'provider', provider
  )::text, 'UTF8')), 'hex');
  v_listing public.listings;
  v_fill public.listing_fills;
  v_targets jsonb;
begin
  perform private.lock_owner(v_owner_id);
  select * into v_fill from public.listing_fills as f
  where f.owner_id = v_owner_id and f.idempotency_key = request_fill.idempotency_key;
  if v_fill.id is not null then
    if v_fill.request_digest <> v_digest then
      perform private.refuse(422, 'idempotency_key_reused', 'This idempotency key was used for another request.',
        'Use a new key for a new request.');
    end if;
    return v_fill;
  end if;

  select * into v_listing from public.listings as l where l.id = request_fill.listing_id and l.owner_id = v_owner_id;
  if v_listing.id is null then
    perform private.refuse(404, 'listing_not_found', 'You have no such listing.', 'Check the id.');
  end if;
  perform private.check_fill(v_owner_id, fields, provider, idempotency_key);
  v_targets := private.fill_targets(v_listing, fields, v_overwrite);
  if v_targets -> 'old_values' = '{}' then
    perform private.refuse(409, 'nothing_to_fill', 'Every one of these fields holds something already, or there is no photo to describe.',
      'Set overwrite to write over it.');
  end if;

  insert into public.listing_fills (
    owner_id, listing_id, fields, overwrite, provider, old_values, skipped, idempotency_key, request_digest
  )
  values (
    v_owner_id, v_listing.id, array(select jsonb_array_elements_text(v_targets -> 'fields')), v_overwrite,
    coalesce(provider, (select p.fill_providers[1] from public.site_policies as p)),
    v_targets -> 'old_values', v_targets -> 'skipped', idempotency_key, v_digest
  )
  returning * into v_fill;
  perform queue.enqueue(
    actor => 'fill_listing', args => jsonb_build_object('fill_id', v_fill.id), owner_id => v_owner_id, max_attempts => 5
  );
  return v_fill;
end
$$;

comment on function private.request_fill is 'The body of public.request_fill.';

create or replace function private.check_fill(
  owner_id uuid, fields text[], provider text, idempotency_key text
) returns void
language plpgsql stable
set search_path = '', pg_temp
as $$
declare
  v_errors text[];
  v_id uuid;
  v_used int;
  v_limit int;
begin
  select coalesce(array_agg(e.error order by e.n), '{}') into v_errors
  from (
    select 1 as n, 'fields: name at least one, or leave it out.' as error where cardinality(fields) = 0
    union all
    select 2, format('fields: %s is not known.', coalesce(left(w.field, 50), 'null'))
    from unnest(fields) as w (field)
    where not exists (select from public.fill_fields as f where f.field = w.field and f.is_enabled)
    union all
    select 3, format('provider: %s is none of %s.', left(provider, 50), array_to_string(p.fill_providers, ', '))
    from public.site_policies as p where not provider = any(p.fill_providers)
    union all
    select 4, 'idempotency_key: must have 1 to 200 characters.'
    where char_length(idempotency_key) not between 1 and 200
  ) as e;
  if v_errors <> '{}' then
    perform private.refuse(422, 'fill_invalid', array_to_string(v_errors, ' '),
      'Correct: ' || (select string_agg(distinct split_part(e, ':', 1), ', ') from unnest(v_errors) as e));
  end if;

  select f.id into v_id from public.listing_fills as f
  where f.owner_id = check_fill.owner_id and f.status in ('queued', 'processing');
  if v_id is not null then
    perform private.refuse(409, 'fill_in_flight', format('Fill %s is under way.', v_id),
      'Wait for it, or cancel it: ' || v_id);
  end if;

  v_used := private.fills_used(owner_id);
  select l.monthly_fills into v_limit
  from public.profiles as p inner join public.plans as l on p.price_id = l.price_id
  where p.id = check_fill.owner_id;
  if v_used >= coalesce(v_limit, 0) then
    perform private.refuse(402, 'fill_quota_spent', format(
      'You have used %s of the %s fills of this month.', v_used, coalesce(v_limit, 0)
    ), 'Choose a larger plan, or wait for ' || to_char(date_trunc('month', now() at time zone 'UTC') + interval '1 month', 'YYYY-MM-DD') || '.');
  end if;
end
$$;

comment on function private.check_fill is
'Refuses a request that is wrong, then one too many at a time, then one beyond the plan. The caller holds the owner''s lock.';

create or replace function private.fill_targets(listing public.listings, fields text[], overwrite boolean) returns jsonb
language sql stable
set search_path = '', pg_temp
as $$
  with wanted as (
    select f.field, f.target from public.fill_fields as f
    -- Without a list: every field that is empty.
    where f.is_enabled and (fields is null or f.field = any(fields))
  ), key as (
    select w.field as name, w.field, v.value
    from wanted as w
    inner join jsonb_each(private.fill_values(listing)) as v on w.field = v.key
    where w.target = 'listing'
    union all
    select v.key, w.field, v.value
    from wanted as w
    cross join private.fill_photos((listing).owner_id, (listing).id) as p
    inner join jsonb_each(private.fill_values(listing)) as v
      on v.key = 'images/' || p.image_id::text || '/' || w.field
    where w.target = 'image'
  )
  select jsonb_build_object(
    'old_values', coalesce(jsonb_object_agg(k.name, k.value) filter (where overwrite or private.is_blank(k.value)), '{}'),
    'skipped', coalesce(
      jsonb_object_agg(k.name, 'not_empty') filter (where fields is not null and not overwrite and not private.is_blank(k.value)), '{}'
    ),
    'fields', coalesce(jsonb_agg(distinct k.field) filter (where overwrite or private.is_blank(k.value)), '[]')
  )
  from key as k
$$;

comment on function private.fill_targets is
'What a request is about: {"old_values": by key, "skipped": by key, "fields"}. Fields that hold something are skipped, unless they are to be overwritten.';

create or replace function public.request_fill(
  listing_id uuid,
  fields text[] default null,
  overwrite boolean default false,
  provider text default null,
  idempotency_key text default null
) returns public.listing_fills
language sql volatile
set search_path = '', pg_temp
as $$
  select * from private.request_fill(
    request_fill.listing_id, request_fill.fields, request_fill.overwrite, request_fill.provider,
    request_fill.idempotency_key
  )
$$;

comment on function public.request_fill is
'Has a machine write the named fields of a listing (see fill_fields), those that are empty, or all with overwrite; without names every empty one. The same idempotency_key answers the same fill. Answers its row: poll status.';

revoke all on function private.request_fill(uuid, text[], boolean, text, text)
from public, anon, authenticated, service_role;
revoke all on function private.check_fill(uuid, text[], text, text) from public, anon, authenticated, service_role;
revoke all on function private.fill_targets(public.listings, text[], boolean)
from public, anon, authenticated, service_role;
revoke all on function public.request_fill(uuid, text[], boolean, text, text)
from public, anon, authenticated, service_role;
grant execute on function private.request_fill(uuid, text[], boolean, text, text) to authenticated;
grant execute on function public.request_fill(uuid, text[], boolean, text, text) to authenticated;
