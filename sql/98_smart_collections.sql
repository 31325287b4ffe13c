-- Collections that fill themselves: a rule instead of items. Nothing is copied; the view asks the rule.

create or replace function private.rule_moment(moment jsonb) returns timestamptz
language plpgsql stable
set search_path = '', pg_temp
as $$
begin
  -- With its zone, so that it means the same to everybody.
  if jsonb_typeof(moment) = 'string' and moment #>> '{}'
    ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}(:?[0-9]{2})?)$'
  then
    return (moment #>> '{}')::timestamptz;
  end if;
  return null;
exception
  when datetime_field_overflow or invalid_datetime_format or invalid_time_zone_displacement_value then
    return null;
end
$$;

comment on function private.rule_moment is 'A time of a rule; null for what is none.';

create or replace function private.is_words(words jsonb) returns boolean
language sql immutable
set search_path = '', pg_temp
as $$
  select case jsonb_typeof(words)
    when 'string' then char_length(words #>> '{}') between 1 and 200
    when 'array' then jsonb_array_length(words) between 1 and 50 and not exists (
      select from jsonb_array_elements(words) as w (word)
      where jsonb_typeof(w.word) <> 'string' or char_length(w.word #>> '{}') not between 1 and 200
    )
    else false
  end
$$;

comment on function private.is_words is 'Whether this is a word, or 1 to 50 of them.';

create or replace function private.rule_errors(rule jsonb) returns text[]
language sql stable
set search_path = '', pg_temp
as $$
  select case when jsonb_typeof(rule) is distinct from 'object' then array['rule: must be an object.'] else (
    select coalesce(array_agg(e.error order by e.n, e.error), '{}')
    from (
      select 1 as n, format('rule.%s: is not known.', left(k.key, 50)) as error
      from jsonb_object_keys(rule) as k (key)
      where k.key not in ('mode', 'room_type', 'style', 'model', 'tag', 'from', 'to', 'days')
      union all
      select 2, format('rule.%s: must be a word or up to 50 words.', k.key)
      from unnest(array['mode', 'room_type', 'style', 'model', 'tag']) as k (key)
      where rule ? k.key and not private.is_words(rule -> k.key)
      union all
      select 3, format('rule.mode: %s is no mode.', left(m.mode, 50))
      from jsonb_array_elements_text(
        case jsonb_typeof(rule -> 'mode')
          when 'array' then rule -> 'mode' when 'string' then jsonb_build_array(rule -> 'mode') else '[]'
        end
      ) as m (mode)
      where private.is_words(rule -> 'mode') and m.mode not in ('redesign', 'staging', 'compose', 'imagine', 'edit')
      union all
      select 4, format('rule.%s: must be a time with its zone, such as 2026-01-31T00:00:00Z.', k.key)
      from unnest(array['from', 'to']) as k (key)
      where rule ? k.key and private.rule_moment(rule -> k.key) is null
      union all
      select 5, 'rule.to: is not after from.'
      where private.rule_moment(rule -> 'from') >= private.rule_moment(rule -> 'to')
      union all
      select 6, 'rule.days: must be a whole number from 1 to 3650.'
      where rule ? 'days' and case
        when jsonb_typeof(rule -> 'days') <> 'number' then true
        else (rule ->> 'days')::numeric not between 1 and 3650
          or (rule ->> 'days')::numeric <> trunc((rule ->> 'days')::numeric)
      end
    ) as e
  ) end
$$;

comment on function private.rule_errors is 'Everything that is wrong with a smart collection''s rule, each as "rule.member: what."';

create or replace function private.tg_collections__check_rule() returns trigger
language plpgsql security definer
set search_path = '', pg_temp
as $$
declare
  v_errors constant text[] := private.rule_errors(new.rule);
begin
  if v_errors <> '{}' then
    perform private.refuse(422, 'rule_invalid', array_to_string(v_errors, ' '), 'Correct: ' || (
      select string_agg(distinct split_part(e.error, ':', 1), ', ') from unnest(v_errors) as e (error)
    ));
  elsif exists (select from public.collection_items as i where i.owner_id = new.owner_id and i.collection_id = new.id) then
    perform private.refuse(409, 'collection_has_items', 'The collection was filled by hand.',
      'Take its items away first, or make another collection with this rule.');
  end if;
  return new;
end
$$;

comment on function private.tg_collections__check_rule is
'Refuses a rule that says nothing that can be asked, and one for a collection that was filled by hand.';

create or replace function private.tg_collection_items__check_by_hand() returns trigger
language plpgsql security definer
set search_path = '', pg_temp
as $$
declare
  v_rule jsonb;
begin
  -- The lock makes a rule wait that is written at the same moment; it then finds this item.
  select c.rule into v_rule from public.collections as c
  where c.id = new.collection_id and c.owner_id = new.owner_id
  for share;
  if v_rule is not null then
    perform private.refuse(409, 'collection_is_smart', 'A smart collection is filled by its rule.',
      'Choose another collection, or take its rule away.');
  end if;
  return new;
end
$$;

comment on function private.tg_collection_items__check_by_hand is 'Nothing is put into a smart collection by hand.';

revoke all on function private.rule_moment(jsonb) from public, anon, authenticated;
revoke all on function private.is_words(jsonb) from public, anon, authenticated;
revoke all on function private.rule_errors(jsonb) from public, anon, authenticated;
revoke all on function private.tg_collections__check_rule() from public, anon, authenticated;
revoke all on function private.tg_collection_items__check_by_hand() from public, anon, authenticated;

create or replace trigger tg_collections__check_rule before insert or update of rule on public.collections
for each row when (new.rule is not null) execute function private.tg_collections__check_rule();

create or replace trigger tg_collection_items__check_by_hand before insert on public.collection_items
for each row execute function private.tg_collection_items__check_by_hand();

create or replace view public.smart_collection_renders with (security_invoker = true) as
select
  c.id as collection_id,
  r.owner_id,
  r.id as render_id,
  r.job_id,
  r.tags,
  r.created_at,
  j.session_id,
  j.mode,
  j.room_type,
  j.style,
  j.model,
  v.image_path,
  v.thumb_path
from public.collections as c
inner join public.renders as r
  on
    c.owner_id = r.owner_id
    -- Ranges of the index on the owner's renders by time.
    and r.created_at >= greatest(
      coalesce((c.rule ->> 'from')::timestamptz, '-infinity'),
      coalesce(now() - (c.rule ->> 'days')::numeric::int * interval '1 day', '-infinity')
    )
    and r.created_at < coalesce((c.rule ->> 'to')::timestamptz, 'infinity')
inner join public.generation_jobs as j on r.owner_id = j.owner_id and r.job_id = j.id
left join public.render_variants as v on r.owner_id = v.owner_id and r.id = v.render_id and v.idx = 0
where
  c.rule is not null
  and (not c.rule ? 'mode' or c.rule -> 'mode' ? j.mode)
  and (not c.rule ? 'room_type' or c.rule -> 'room_type' ? j.room_type)
  and (not c.rule ? 'style' or c.rule -> 'style' ? j.style)
  and (not c.rule ? 'model' or c.rule -> 'model' ? j.model)
  and (not c.rule ? 'tag' or c.rule -> 'tag' ?| r.tags);

comment on view public.smart_collection_renders is
'What the owner''s smart collections hold right now: ?collection_id=eq.…&order=created_at.desc&limit=24.';
comment on column public.smart_collection_renders.collection_id is 'The collection whose rule holds for the render.';
comment on column public.smart_collection_renders.owner_id is 'Whose both are.';
comment on column public.smart_collection_renders.render_id is 'The render.';
comment on column public.smart_collection_renders.job_id is 'The generation that made it.';
comment on column public.smart_collection_renders.tags is 'As renders.tags.';
comment on column public.smart_collection_renders.created_at is 'When the render was made.';
comment on column public.smart_collection_renders.session_id is 'As generation_jobs.session_id.';
comment on column public.smart_collection_renders.mode is 'As generation_jobs.mode.';
comment on column public.smart_collection_renders.room_type is 'As generation_jobs.room_type.';
comment on column public.smart_collection_renders.style is 'As generation_jobs.style.';
comment on column public.smart_collection_renders.model is 'As generation_jobs.model.';
comment on column public.smart_collection_renders.image_path is 'Object in bucket public: the first picture.';
comment on column public.smart_collection_renders.thumb_path is 'The same, small.';

revoke all on table public.smart_collection_renders from anon, authenticated, service_role;
grant select on table public.smart_collection_renders to authenticated, service_role;
