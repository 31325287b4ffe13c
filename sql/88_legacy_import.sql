-- From a tenant's products to listings and images: bulk statements, one transaction a schema, counted before it ends.

create or replace function legacy.locate(source legacy.sources) returns regclass
language plpgsql stable
set search_path = '', pg_temp
as $$
declare
  v_table record;
begin
  -- By exact names: to_regclass would fold and parse what a tenant could have chosen.
  select c.oid, c.relkind into v_table
  from pg_catalog.pg_class as c
  inner join pg_catalog.pg_namespace as n on c.relnamespace = n.oid
  where n.nspname = source.schema_name and c.relname = source.table_name;
  if v_table.oid is null then
    perform private.refuse(404, 'legacy_table_missing', format(
      'There is no table %I.%I.', source.schema_name, source.table_name
    ), 'Check the schema''s and the table''s names; they are taken literally.');
  elsif v_table.relkind not in ('r', 'p') then
    perform private.refuse(422, 'legacy_not_a_table', format(
      '%I.%I is not a table.', source.schema_name, source.table_name
    ), 'Map the table itself: reading a view would run what its maker wrote into it.');
  end if;
  return v_table.oid;
end
$$;

comment on function legacy.locate is 'The source''s table. Refuses views and foreign tables, which would run a tenant''s code with an operator''s rights.';

create or replace function legacy.column_type(relation regclass, name text) returns text
language sql stable
set search_path = '', pg_temp
as $$
  select pg_catalog.format_type(a.atttypid, null) from pg_catalog.pg_attribute as a
  where a.attrelid = relation and a.attname = column_type.name and a.attnum > 0 and not a.attisdropped
$$;

comment on function legacy.column_type is 'Type of a table''s column; null when there is none.';

create or replace function legacy.guess_columns(relation regclass) returns jsonb
language sql stable
set search_path = '', pg_temp
as $$
  select coalesce(jsonb_object_agg(g.target, g.name), '{}')
  from (
    select distinct on (c.target) c.target, c.name
    from (values
      ('title', 'title', 1), ('title', 'name', 2), ('sku', 'sku', 1), ('description', 'description', 1),
      ('price', 'price', 1), ('currency', 'currency', 1), ('brand', 'brand', 1), ('category', 'category', 1),
      ('condition', 'condition', 1), ('size', 'size', 1), ('color', 'color', 1), ('color', 'colour', 2)
    ) as c (target, name, rank)
    where legacy.column_type(guess_columns.relation, c.name) is not null
    order by c.target, c.rank
  ) as g
$$;

comment on function legacy.guess_columns is 'Which columns of a source have the names of a listing''s, or usual other ones.';

create or replace function legacy.map_schema(
  schema_name text, owner_id uuid, table_name text default 'products', key_column text default 'id',
  images_column text default 'images', columns jsonb default null, url_key text default 'url',
  order_key text default 'order', base_url text default null
) returns legacy.sources
language plpgsql volatile
set search_path = '', pg_temp
as $$
#variable_conflict use_column
declare
  v_source legacy.sources;
  v_table regclass;
  v_unknown text;
begin
  if not exists (select from public.profiles as p where p.id = map_schema.owner_id) then
    perform private.refuse(404, 'legacy_owner_missing', format('There is no user %s.', map_schema.owner_id),
      'Create the user first; the mapping names its id in auth.users.');
  end if;
  if exists (
    select from legacy.sources as s
    where s.schema_name = map_schema.schema_name and s.imported_at is not null and s.owner_id <> map_schema.owner_id
  ) then
    perform private.refuse(409, 'legacy_owner_fixed', format(
      'The products of %I were imported for another user.', map_schema.schema_name
    ), 'Listings do not change hands.');
  end if;
  v_source.schema_name := map_schema.schema_name;
  v_source.table_name := map_schema.table_name;
  v_table := legacy.locate(v_source);
  select string_agg(quote_ident(c.name), ', ') into v_unknown
  from (
    select map_schema.key_column union all select map_schema.images_column
    union all select v.value from jsonb_each_text(coalesce(map_schema.columns, '{}')) as v
  ) as c (name)
  where legacy.column_type(v_table, c.name) is null
    and not (c.name = map_schema.images_column and exists (
      select from legacy.sources as s
      where s.schema_name = map_schema.schema_name and s.column_dropped_at is not null
    ));
  select concat_ws(', ', v_unknown, string_agg(quote_ident(k.name) || ' (of listings)', ', ')) into v_unknown
  from jsonb_object_keys(coalesce(map_schema.columns, '{}')) as k (name)
  where k.name not in (
    'title', 'sku', 'description', 'price', 'currency', 'brand', 'category', 'condition', 'size', 'color'
  );
  if v_unknown <> '' then
    perform private.refuse(422, 'legacy_column_missing', format('%s has no column %s.', v_table, v_unknown),
      'Name the columns that there are.');
  elsif coalesce(legacy.column_type(v_table, map_schema.images_column), 'jsonb') <> 'jsonb' then
    perform private.refuse(422, 'legacy_column_not_jsonb', format(
      '%I of %s is of type %s, not jsonb.', map_schema.images_column, v_table,
      legacy.column_type(v_table, map_schema.images_column)
    ), 'Map a jsonb column.');
  end if;

  insert into legacy.sources as s (
    schema_name, owner_id, table_name, key_column, images_column, columns, url_key, order_key, base_url
  )
  values (
    map_schema.schema_name, map_schema.owner_id, map_schema.table_name, map_schema.key_column,
    map_schema.images_column, coalesce(map_schema.columns, legacy.guess_columns(v_table)), map_schema.url_key,
    map_schema.order_key, map_schema.base_url
  )
  on conflict on constraint sources_pkey do update set
  owner_id = excluded.owner_id, table_name = excluded.table_name, key_column = excluded.key_column,
  images_column = excluded.images_column, columns = excluded.columns, url_key = excluded.url_key,
  order_key = excluded.order_key, base_url = excluded.base_url
  returning * into v_source;
  return v_source;
end
$$;

comment on function legacy.map_schema is
'Says whose a tenant''s schema is and where its products are. columns null: by their usual names. Changes nothing in the source.';

create or replace function legacy.entries(
  source jsonb, url_key text, order_key text, base_url text, images_max int
)
returns table (ordinal int, outcome text, url text, place int, is_label boolean)
language sql immutable
as $$
  -- No SET: it is inlined into the functions that ask it, which pin theirs.
  select
    r.ordinal,
    case
      when r.problem is not null then r.problem
      when r.copy > 1 then 'duplicate'
      -- The last one stays: taken for a photo, the next to last would be shown in the label's stead.
      when r.seat between images_max - 1 and r.count - 2 then 'over_limit'
      else 'image'
    end as outcome,
    r.url,
    case when r.is_live and r.seat not between images_max - 1 and r.count - 2
      then least(r.seat, images_max - 1)::int end as place,
    coalesce(r.is_live and r.count >= 2 and r.seat = r.count - 1, false) as is_label
  from (
    select
      c.*,
      c.problem is null and c.copy = 1 as is_live,
      row_number() over (partition by c.problem is null and c.copy = 1 order by c.rank, c.ordinal) - 1 as seat,
      count(*) filter (where c.problem is null and c.copy = 1) over () as count
    from (
      select
        u.ordinal,
        u.rank,
        u.problem,
        case when u.problem is null then u.url end as url,
        row_number() over (partition by u.problem is null, u.url order by u.rank, u.ordinal) as copy
      from (
        select
          (e.n - 1)::int as ordinal,
          -- The place that it names, else its index.
          coalesce(case
            when jsonb_typeof(e.entry) <> 'object' then null
            when jsonb_typeof(e.entry -> order_key) = 'number' then (e.entry ->> order_key)::numeric
            when e.entry ->> order_key ~ '^\s*-?[0-9]{1,9}\s*$' then (e.entry ->> order_key)::numeric
          end, e.n - 1) as rank,
          case
            when e.word like '//%' then 'https:' || e.word
            when e.word !~* '^[a-z][a-z0-9+.-]*:' then rtrim(base_url, '/') || '/' || ltrim(e.word, '/')
            else e.word
          end as url,
          case
            when e.word is null then case jsonb_typeof(e.entry)
              when 'null' then 'null_entry'
              when 'array' then 'nested'
              when 'object' then
                case when jsonb_typeof(e.entry -> url_key) in ('object', 'array') then 'nested' else 'no_url' end
              else 'not_text'
            end
            when e.word = '' then 'empty'
            when length(e.word) > 2000 then 'too_long'
            when e.word ~ '[[:cntrl:]<>"]' then 'not_a_url'
            when e.word ~* '^(https?:)?//[^\s/?#]' then null
            when e.word ~* '^[a-z][a-z0-9+.-]*:' then 'scheme_refused'
            when base_url is null then 'not_a_url'
          end as problem
        from (
          select
            l.entry,
            l.n,
            btrim(case jsonb_typeof(l.entry)
              when 'string' then l.entry #>> '{}'
              when 'object' then case when jsonb_typeof(l.entry -> url_key) = 'string' then l.entry ->> url_key end
            end, E' \t\r\n') as word
          from jsonb_array_elements(case coalesce(jsonb_typeof(source), 'null')
            when 'array' then source when 'null' then '[]' else jsonb_build_array(source)
          end) with ordinality as l (entry, n)
          -- Keeps what was computed from being computed again wherever it is used.
          offset 0
        ) as e
        offset 0
      ) as u
    ) as c
  ) as r
$$;

comment on function legacy.entries is
'Every entry of one value with what becomes of it: an image with its place (order by the order key, else by index), or the reason why it is none. Something else than an array counts as its only entry, null as none. The last of two or more images is the label.';

create or replace function legacy.insert_listings(source legacy.sources, since timestamptz) returns jsonb
language plpgsql volatile
set search_path = '', pg_temp
-- Rows that a policy would hide must not be left out: an error instead.
set row_security = off
as $$
declare
  v_table constant regclass := legacy.locate(source);
  v_text text;
  v_counts jsonb;
begin
  select string_agg(
    case when source.columns ? t.name then format('nullif(btrim(p.%I::text), '''')', source.columns ->> t.name)
      else 'null::text' end || ' as ' || t.name, ', ' order by t.n
  ) into v_text
  from unnest(array[
    'title', 'sku', 'description', 'price', 'currency', 'brand', 'category', 'condition', 'size', 'color'
  ]) with ordinality as t (name, n);

  -- One statement, so that all of it sees the source at one moment.
  execute format($query$
    with src as materialized (
      select gen_random_uuid() as id, p.%1$I::text as product_key, p.%2$I as images, %3$s
      from %4$s as p
      where not exists (
        select from legacy.products as k where k.schema_name = $1 and k.product_key = p.%1$I::text
      )
    ), fit as materialized (
      select
        s.*,
        s.price ~ '^[0-9]{1,10}(\.[0-9]{1,20})?$' as has_price,
        upper(s.currency) ~ '^[A-Z]{3}$' as has_currency,
        char_length(s.sku) <= 100
          and row_number() over (partition by s.sku order by s.product_key) = 1
          and not exists (select from public.listings as l where l.owner_id = $2 and l.sku = s.sku) as has_sku
      from src as s
    ), listed as (
      insert into public.listings (
        id, owner_id, sku, title, description, price, currency, brand, category, condition, size, color
      )
      select
        f.id, $2, case when f.has_sku then f.sku end, left(f.title, 500), left(f.description, 20000),
        case when f.has_price then round(f.price::numeric, 2) end, case when f.has_currency then upper(f.currency) end,
        left(f.brand, 200), left(f.category, 200), left(f.condition, 200), left(f.size, 200), left(f.color, 200)
      from fit as f
    ), kept as (
      insert into legacy.products (id, schema_name, product_key, owner_id, listing_id, source, imported_at, notes)
      select
        f.id, $1, f.product_key, $2, f.id, f.images, $3,
        array_remove(array[
          case when not f.has_sku then 'sku_taken' end,
          case when not f.has_price then 'price_unreadable' end,
          case when not f.has_currency then 'currency_unreadable' end,
          case when char_length(f.title) > 500 then 'title_cut' end,
          case when char_length(f.description) > 20000 then 'description_cut' end,
          case when greatest(char_length(f.brand), char_length(f.category), char_length(f.condition),
            char_length(f.size), char_length(f.color)) > 200 then 'word_cut' end
        ], null)
      from fit as f
    )
    select jsonb_build_object(
      'in_source', (select count(*) from %4$s),
      'known', (select count(*) from %4$s as p where exists (
        select from legacy.products as k where k.schema_name = $1 and k.product_key = p.%1$I::text
      )),
      'products', (select count(*) from src)
    )
  $query$, source.key_column, source.images_column, v_text, v_table)
  into v_counts using source.schema_name, source.owner_id, insert_listings.since;
  return v_counts;
end
$$;

comment on function legacy.insert_listings is 'Reads the source once: a draft and a legacy.products row for every product that is not imported yet. Answers counts.';

create or replace function legacy.insert_images(source legacy.sources, since timestamptz) returns jsonb
language plpgsql volatile
set search_path = '', pg_temp
as $$
declare
  v_max constant int := (select p.images_per_listing_max from public.site_policies as p);
  v_counts jsonb;
begin
  with entries as materialized (
    select
      p.id as product_id, e.ordinal, e.outcome, e.url, e.place, e.is_label,
      case when e.outcome = 'image' then gen_random_uuid() end as image_id,
      lower(substring(e.url from '\.([A-Za-z]{3,4})(?:[?#]|$)')) as ending
    from legacy.products as p
    cross join lateral legacy.entries(p.source, source.url_key, source.order_key, source.base_url, v_max) as e
    where p.schema_name = source.schema_name and p.imported_at = insert_images.since
  ), kept as (
    insert into legacy.images (product_id, ordinal, owner_id, outcome, url, position, is_label, image_id)
    select e.product_id, e.ordinal, source.owner_id, e.outcome, e.url, e.place, e.is_label, e.image_id
    from entries as e
  ), live as (
    insert into public.listing_images (
      id, listing_id, owner_id, position, is_label, original_path, file_name, mime_type, byte_size, upload_expires_at
    )
    select
      e.image_id, e.product_id, source.owner_id, e.place, e.is_label,
      source.owner_id::text || '/listings/' || e.product_id::text || '/' || e.image_id::text || '.'
        || case when e.ending in ('png', 'webp', 'heic', 'heif') then e.ending else 'jpg' end,
      coalesce(nullif(left(substring(e.url from '/([^/?#]+)/*(?:[?#]|$)'), 255), ''), 'image'),
      case when e.ending in ('png', 'webp', 'heic', 'heif') then 'image/' || e.ending else 'image/jpeg' end,
      0, private.no_expiry()
    from entries as e
    where e.outcome = 'image'
  )
  select jsonb_build_object(
    'entries', coalesce(sum(c.entries), 0),
    'images', coalesce(sum(c.entries) filter (where c.outcome = 'image'), 0),
    'labels', coalesce(sum(c.labels), 0),
    'oddities', coalesce(jsonb_object_agg(c.outcome, c.entries) filter (where c.outcome <> 'image'), '{}')
  ) into v_counts
  from (
    select e.outcome, count(*) as entries, count(*) filter (where e.is_label) as labels
    from entries as e group by e.outcome
  ) as c;
  return v_counts;
end
$$;

comment on function legacy.insert_images is
'Writes every entry of the products imported at this moment, and a row of public.listing_images for each image: awaiting its bytes for ever, of no size, so that no gallery shows it, no budget counts it and nobody but legacy''s own fetch can upload it.';

create or replace function legacy.check_import(source legacy.sources, since timestamptz, counts jsonb) returns void
language plpgsql stable
set search_path = '', pg_temp
as $$
declare
  v_found jsonb;
  v_wrong text;
begin
  -- Counted anew from the tables, and from the source's values by other means than the import's.
  select jsonb_build_object(
    'products', count(*),
    'entries', coalesce(sum(case jsonb_typeof(p.source)
      when 'array' then jsonb_array_length(p.source) when 'null' then 0
      else case when p.source is null then 0 else 1 end
    end), 0)
  ) into v_found
  from legacy.products as p
  inner join public.listings as l on p.owner_id = l.owner_id and p.listing_id = l.id
  where p.schema_name = source.schema_name and p.imported_at = check_import.since;

  select v_found || jsonb_build_object(
    'images', coalesce(sum(c.images), 0), 'labels', coalesce(sum(c.labels), 0),
    'gaps', count(*) filter (where c.images <> c.last + 1),
    'labels_due', count(*) filter (where c.images >= 2), 'labels_astray', count(*) filter (where c.label <> c.last)
  ) into v_found
  from (
    select count(*) as images, max(i.position) as last, count(*) filter (where i.is_label) as labels,
      max(i.position) filter (where i.is_label) as label
    from legacy.products as p
    inner join public.listing_images as i on p.owner_id = i.owner_id and p.id = i.listing_id
    where p.schema_name = source.schema_name and p.imported_at = check_import.since
    group by p.id
  ) as c;

  select string_agg(format('%s: %s, not %s', w.what, w.found, w.expected), '; ') into v_wrong
  from (values
    ('products', v_found ->> 'products', counts ->> 'products'),
    ('products of the source', (counts ->> 'known')::bigint + (counts ->> 'products')::bigint || '', counts ->> 'in_source'),
    ('entries', v_found ->> 'entries', counts ->> 'entries'),
    ('images', v_found ->> 'images', counts ->> 'images'),
    ('images and oddities', (v_found ->> 'images')::bigint
      + (select coalesce(sum(o.value::bigint), 0) from jsonb_each_text(counts -> 'oddities') as o) || '',
      v_found ->> 'entries'),
    ('labels', v_found ->> 'labels', counts ->> 'labels'),
    ('labels of listings with two or more images', v_found ->> 'labels', v_found ->> 'labels_due'),
    ('labels that are not last', v_found ->> 'labels_astray', '0'),
    ('listings with gaps', v_found ->> 'gaps', '0')
  ) as w (what, found, expected)
  where w.found is distinct from w.expected;
  if v_wrong is not null then
    perform private.refuse(409, 'legacy_counts_differ', format(
      'The import of %I does not add up: %s.', source.schema_name, v_wrong
    ), 'Nothing was imported. Look at the source; then import again.');
  end if;
end
$$;

comment on function legacy.check_import is 'Raises unless every product, every entry and every label is accounted for.';

create or replace function legacy.import_images(schema_name text) returns jsonb
language plpgsql volatile
set search_path = '', pg_temp
-- One import at a time sorts and keeps all of a schema; the default would do it on disk.
set work_mem = '128MB'
set jit = off
as $$
#variable_conflict use_variable
declare
  -- Also what tells this import's products from those of others.
  v_since constant timestamptz := clock_timestamp();
  v_source legacy.sources;
  v_counts jsonb;
begin
  -- One import of a schema at a time; another waits here and then finds nothing to do.
  select * into v_source from legacy.sources as s where s.schema_name = import_images.schema_name for update;
  if v_source.schema_name is null then
    perform private.refuse(404, 'legacy_schema_not_mapped', format('The schema %I is not mapped.', schema_name),
      'Say whose it is: legacy.map_schema, or imageledger legacy map.');
  elsif v_source.column_dropped_at is not null then
    perform private.refuse(409, 'legacy_column_dropped', format(
      'The column %I of %I was dropped after its import.', v_source.images_column, schema_name
    ), 'Restore it first: legacy.restore_images.');
  end if;
  perform private.lock_owner(v_source.owner_id);

  begin
    v_counts := legacy.insert_listings(v_source, v_since);
  exception when not_null_violation or unique_violation then
    perform private.refuse(422, 'legacy_key_unusable', format(
      'Products of %I cannot be told apart by %I: %s.', schema_name, v_source.key_column, sqlerrm
    ), 'Map a column that is unique and never null.');
  end;
  if (v_counts ->> 'products')::bigint > 0 then
    -- The planner knows nothing of what was just written.
    analyze legacy.products;
    v_counts := v_counts || legacy.insert_images(v_source, v_since);
    analyze public.listing_images;
    perform legacy.check_import(v_source, v_since, v_counts);
    update legacy.sources as s set imported_at = v_since where s.schema_name = import_images.schema_name;
    insert into legacy.import_runs (schema_name, owner_id, report, started_at)
    values (schema_name, v_source.owner_id, v_counts, v_since);
  else
    v_counts := v_counts || '{"entries": 0, "images": 0, "labels": 0, "oddities": {}}';
  end if;
  return v_counts || jsonb_build_object(
    'schema', schema_name, 'owner_id', v_source.owner_id,
    'seconds', round(extract(epoch from clock_timestamp() - v_since)::numeric, 3)
  );
end
$$;

comment on function legacy.import_images is
'Imports the products of a mapped schema that are not imported yet, with their images, all or nothing, and answers validated counts. Again: changes nothing. The source is only read.';

create or replace function legacy.plan_images(schema_name text) returns jsonb
language plpgsql stable
set search_path = '', pg_temp
set row_security = off
as $$
#variable_conflict use_variable
declare
  v_source legacy.sources;
  v_table regclass;
  v_plan jsonb;
begin
  select * into v_source from legacy.sources as s where s.schema_name = plan_images.schema_name;
  if v_source.schema_name is null then
    perform private.refuse(404, 'legacy_schema_not_mapped', format('The schema %I is not mapped.', schema_name),
      'Say whose it is: legacy.map_schema, or imageledger legacy map.');
  elsif v_source.column_dropped_at is not null then
    return jsonb_build_object('schema', schema_name, 'column_dropped_at', v_source.column_dropped_at);
  end if;
  v_table := legacy.locate(v_source);
  execute format($query$
    with entries as (
      select p.%1$I::text as product_key, e.outcome, e.is_label
      from %3$s as p
      left join lateral legacy.entries(p.%2$I, $2, $3, $4, $5) as e on true
      where not exists (
        select from legacy.products as k where k.schema_name = $1 and k.product_key = p.%1$I::text
      )
    )
    select jsonb_build_object(
      'in_source', (select count(*) from %3$s),
      'products', (select count(distinct e.product_key) from entries as e),
      'entries', coalesce(sum(c.entries), 0),
      'images', coalesce(sum(c.entries) filter (where c.outcome = 'image'), 0),
      'labels', coalesce(sum(c.labels), 0),
      'oddities', coalesce(jsonb_object_agg(c.outcome, c.entries) filter (where c.outcome <> 'image'), '{}')
    )
    from (
      select e.outcome, count(*) as entries, count(*) filter (where e.is_label) as labels
      from entries as e where e.outcome is not null group by e.outcome
    ) as c
  $query$, v_source.key_column, v_source.images_column, v_table) into v_plan
  using schema_name, v_source.url_key, v_source.order_key, v_source.base_url,
    (select p.images_per_listing_max from public.site_policies as p);
  return jsonb_build_object('schema', schema_name, 'owner_id', v_source.owner_id) || v_plan;
end
$$;

comment on function legacy.plan_images is 'What an import would do now: products that are not imported yet, images, labels, and what is no image. Only reads.';

revoke all on function legacy.locate(legacy.sources) from public, anon, authenticated, service_role;
revoke all on function legacy.column_type(regclass, text) from public, anon, authenticated, service_role;
revoke all on function legacy.guess_columns(regclass) from public, anon, authenticated, service_role;
revoke all on function legacy.map_schema(text, uuid, text, text, text, jsonb, text, text, text)
from public, anon, authenticated, service_role;
revoke all on function legacy.entries(jsonb, text, text, text, int) from public, anon, authenticated, service_role;
revoke all on function legacy.insert_listings(legacy.sources, timestamptz)
from public, anon, authenticated, service_role;
revoke all on function legacy.insert_images(legacy.sources, timestamptz) from public, anon, authenticated, service_role;
revoke all on function legacy.check_import(legacy.sources, timestamptz, jsonb)
from public, anon, authenticated, service_role;
revoke all on function legacy.import_images(text) from public, anon, authenticated, service_role;
revoke all on function legacy.plan_images(text) from public, anon, authenticated, service_role;
