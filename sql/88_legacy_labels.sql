-- Which imported labels are doubtful, why, and what operators say about it.

create or replace view legacy.label_review with (security_invoker = true) as
select
  j.schema_name,
  j.product_key,
  j.product_id,
  j.owner_id,
  j.image_count,
  j.ordinal as label_ordinal,
  j.url as label_url,
  j.image_id,
  case when d.verdict is not null then 1
    else round(least(0.99, greatest(0.01, j.confidence))::numeric, 2) end as confidence,
  array_remove(array[
    case when j.label_count > 0 then 'last_of_' || j.image_count end,
    case when j.has_words then 'address_says_label' end,
    case when j.score >= 0.6 then 'looks_like_a_label' end,
    case when j.label_count = 0 then 'only_image' end
  ], null) as speaks_for,
  array_remove(array[
    case when j.label_count > 0 and j.image_count = 2 then 'only_two_images' end,
    case when j.others_have_words then 'another_address_says_label' end,
    case when j.has_photo_words then 'address_says_photo' end,
    case when j.ends_with_double then 'last_entry_was_a_double' end,
    case when j.has_cut then 'images_over_the_limit' end,
    case when j.ends_with_junk then 'last_entry_was_no_image' end,
    case when j.score <= 0.3 then 'looks_like_a_photo' end,
    case when j.other_score >= 0.6 and j.other_score > coalesce(j.score, 0) + 0.2 then 'another_looks_like_a_label' end
  ], null) as speaks_against,
  case when j.other_score >= 0.6 and j.other_score > coalesce(j.score, 0) + 0.2 then j.other_ordinal end
    as suggested_ordinal,
  j.score as label_score,
  d.verdict,
  d.ordinal as decided_ordinal,
  d.decided_by,
  d.decided_at
from (
  select
    g.*,
    case when g.label_count = 0 then 0.9 - 0.6 * coalesce(g.other_score, 0)
      else 0.7 + case when g.image_count = 2 then -0.2 when g.image_count >= 4 then 0.1 else 0 end
    end
    + case when g.has_words then 0.2 when g.others_have_words then -0.45 else 0 end
    - case when g.has_photo_words then 0.2 else 0 end
    - case when g.ends_with_double then 0.3 else 0 end
    - case when g.ends_with_junk then 0.25 else 0 end
    - case when g.has_cut then 0.2 else 0 end
    + case when g.label_count > 0 then coalesce((g.score - 0.45) * 0.8, 0) else 0 end
    - case when g.label_count > 0 and g.other_score > coalesce(g.score, 0) + 0.2 then 0.3 else 0 end as confidence
  from (
    select
      p.schema_name,
p.product_key,
p.id as product_id,
p.owner_id,
      count(*) filter (where e.outcome = 'image') as image_count,
      count(*) filter (where e.is_label) as label_count,
      max(e.ordinal) filter (where e.is_label) as ordinal,
      max(e.url) filter (where e.is_label) as url,
      (array_agg(e.image_id) filter (where e.is_label))[1] as image_id,
      max(e.label_score) filter (where e.is_label) as score,
      max(e.label_score) filter (where not e.is_label) as other_score,
      (array_agg(e.ordinal order by e.label_score desc) filter (where not e.is_label and e.label_score is not null))[1]
        as other_ordinal,
      coalesce(bool_or(w.says_label) filter (where e.is_label), false) as has_words,
      coalesce(bool_or(w.says_label) filter (where not e.is_label and e.outcome = 'image'), false) as others_have_words,
      coalesce(bool_or(w.says_photo) filter (where e.is_label), false) as has_photo_words,
      coalesce((array_agg(e.outcome order by e.ordinal desc))[1] = 'duplicate', false) as ends_with_double,
      coalesce((array_agg(e.outcome order by e.ordinal desc))[1]
        not in ('image', 'duplicate', 'over_limit'), false) as ends_with_junk,
      bool_or(e.outcome = 'over_limit') as has_cut
    from legacy.products as p
    inner join legacy.images as e on p.id = e.product_id
    cross join lateral (
      select
        e.url ~* '[^a-z](label|etikett?e?|(price|hang|swing)[-_ ]?tag|barcode|ean|upc)[^a-z]' as says_label,
        e.url ~* '[^a-z](front|back|main|hero|cover|side|detail|model)[^a-z]' as says_photo
    ) as w
    group by p.id
  ) as g
) as j
left join legacy.label_decisions as d on j.product_id = d.product_id
where j.image_count > 0;

comment on view legacy.label_review is
'Every imported product with images: how sure its label is (or that it has none), what speaks for and against, what an operator decided. List with confidence < 0.7 and verdict is null.';

revoke all on table legacy.label_review from public, anon, authenticated, service_role, media_worker, analyst;

create or replace function legacy.decide_labels(decisions jsonb) returns jsonb
language plpgsql volatile
set search_path = '', pg_temp
as $$
declare
  v_wrong text;
  v_counts jsonb;
begin
  with asked as (
    select
      d.n, d.value ->> 'schema' as schema_name, d.value ->> 'product' as product_key,
      d.value ->> 'label' as label, r.product_id, r.owner_id, r.label_ordinal, i.ordinal, i.image_id, p.listing_id
    from jsonb_array_elements(decisions) with ordinality as d (value, n)
    left join legacy.products as p
      on p.schema_name = d.value ->> 'schema' and p.product_key = d.value ->> 'product'
    left join lateral (
      select p.id as product_id, p.owner_id, (
        select e.ordinal from legacy.images as e where e.product_id = p.id and e.is_label
      ) as label_ordinal
    ) as r on true
    left join legacy.images as i
      on i.product_id = p.id and i.outcome = 'image'
        and i.ordinal::text = case when d.value ->> 'label' = 'ok' then r.label_ordinal::text else d.value ->> 'label' end
  )
  select string_agg(w.what, '; ' order by w.n) into v_wrong
  from (
    select a.n, format('%s: %s/%s: %s', a.n, a.schema_name, a.product_key, case
      when a.product_id is null then 'no such imported product'
      when a.listing_id is null then 'its listing was deleted'
      when coalesce(a.label, '') !~ '^(ok|none|[0-9]{1,9})$' then 'label must be ok, none or an index'
      when a.label not in ('ok', 'none') and a.ordinal is null then 'no image has index ' || a.label
      when count(*) over (partition by a.product_id) > 1 then 'decided twice'
      when a.ordinal is not null and not exists (
        select from public.listing_images as l where l.id = a.image_id and l.position is not null
      ) then 'the image was removed'
    end) as what
    from asked as a
    order by a.n
  ) as w
  where w.what not like '%: ' and w.n <= 1000000
  limit 1;
  if v_wrong is not null then
    perform private.refuse(422, 'legacy_decision_invalid', left('Decisions that make no sense: ' || v_wrong, 2000),
      'Mend them; nothing was changed.');
  end if;

  -- Profiles, then listings, in the order of everybody else.
  perform 1 from public.profiles as f
  where f.id in (
    select p.owner_id from legacy.products as p
    inner join jsonb_array_elements(decisions) as d
      on p.schema_name = d ->> 'schema' and p.product_key = d ->> 'product'
  )
  order by f.id for no key update;
  with asked as materialized (
    select p.id, p.owner_id, p.listing_id, d ->> 'label' = 'ok' as is_ok, (
      select e.ordinal from legacy.images as e
      where e.product_id = p.id and e.outcome = 'image'
        and case when d ->> 'label' = 'ok' then e.is_label else e.ordinal::text = d ->> 'label' end
    ) as ordinal
    from jsonb_array_elements(decisions) as d
    inner join legacy.products as p on p.schema_name = d ->> 'schema' and p.product_key = d ->> 'product'
  ), locked as materialized (
    select l.id from public.listings as l
    where l.id in (select a.listing_id from asked as a) order by l.id for no key update
  ), wanted as materialized (
    select i.id, e.ordinal is not null as is_label
    from locked as k
    inner join asked as a on k.id = a.listing_id
    inner join public.listing_images as i on a.owner_id = i.owner_id and a.listing_id = i.listing_id
    left join legacy.images as e on e.product_id = a.id and e.ordinal = a.ordinal and e.image_id = i.id
    -- A confirmation changes nothing, whatever the seller did since.
    where not a.is_ok and i.position is not null
  ), moved as (
    update public.listing_images as i set is_label = w.is_label
    from wanted as w
    where i.id = w.id and i.is_label <> w.is_label
    returning i.listing_id
  ), noted as (
    insert into legacy.label_decisions as o (product_id, owner_id, verdict, ordinal)
    select a.id, a.owner_id, case when a.is_ok then 'confirmed' else 'corrected' end, a.ordinal
    from asked as a
    on conflict on constraint label_decisions_pkey do update set
    verdict = excluded.verdict, ordinal = excluded.ordinal, decided_by = session_user, decided_at = now()
    returning verdict
  )
  select jsonb_build_object(
    'confirmed', count(*) filter (where n.verdict = 'confirmed'),
    'corrected', count(*) filter (where n.verdict = 'corrected'),
    'listings_changed', (select count(distinct m.listing_id) from moved as m)
  ) into v_counts
  from noted as n;
  return v_counts;
end
$$;

comment on function legacy.decide_labels is
'Confirms or corrects labels, all or nothing: [{"schema", "product", "label": "ok" | "none" | index in the JSONB array}]. Answers counts.';

revoke all on function legacy.decide_labels(jsonb) from public, anon, authenticated, service_role;
