-- The way back: the source's column as it was, and the column itself, dropped and made again.

create or replace function legacy.describe_column(relation regclass, name text) returns jsonb
language sql stable
set search_path = '', pg_temp
as $$
  select jsonb_build_object(
    'not_null', a.attnotnull,
    'default', pg_catalog.pg_get_expr(d.adbin, d.adrelid),
    'comment', pg_catalog.col_description(a.attrelid, a.attnum),
    'indexes', (
      select coalesce(jsonb_agg(pg_catalog.pg_get_indexdef(i.indexrelid) order by i.indexrelid), '[]')
      from pg_catalog.pg_index as i
      where i.indrelid = a.attrelid
        and exists (
          select from pg_catalog.pg_depend as n
          where n.objid = i.indexrelid and n.refobjid = a.attrelid and n.refobjsubid = a.attnum
        )
    ),
    'constraints', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'name', c.conname, 'definition', pg_catalog.pg_get_constraintdef(c.oid)
      ) order by c.oid), '[]')
      from pg_catalog.pg_constraint as c
      where c.conrelid = a.attrelid and c.contype = 'c' and a.attnum = any(c.conkey)
    )
  )
  from pg_catalog.pg_attribute as a
  left join pg_catalog.pg_attrdef as d on a.attrelid = d.adrelid and a.attnum = d.adnum
  where a.attrelid = relation and a.attname = describe_column.name and not a.attisdropped
$$;

comment on function legacy.describe_column is 'What goes with a column when it is dropped: default, not null, comment, indexes, checks.';

create or replace function legacy.compare_source(source legacy.sources) returns jsonb
language plpgsql stable
set search_path = '', pg_temp
set row_security = off
as $$
declare
  v_counts jsonb;
  v_has_column constant boolean :=
    legacy.column_type(legacy.locate(source), source.images_column) is not null;
begin
  -- As text: equal values of jsonb can be written in several ways, 1.0 and 1.
  execute format($query$
    select jsonb_build_object(
      'same', count(*) filter (where k.id is not null and s.key is not null and %s),
      'differ', count(*) filter (where k.id is not null and s.key is not null and not %s),
      'not_imported', count(*) filter (where k.id is null),
      'gone_from_source', count(*) filter (where s.key is null)
    )
    from (select p.%I::text as key, %s as images from %s as p) as s
    full join (select * from legacy.products as l where l.schema_name = $1) as k on s.key = k.product_key
  $query$,
    case when v_has_column then 's.images::text is not distinct from k.source::text' else 'false' end,
    case when v_has_column then 's.images::text is not distinct from k.source::text' else 'false' end,
    source.key_column, case when v_has_column then format('p.%I', source.images_column) else 'null::jsonb' end,
    legacy.locate(source)
  ) into v_counts using source.schema_name;
  return v_counts;
end
$$;

comment on function legacy.compare_source is 'How the source''s values stand to what was imported, byte for byte.';

create or replace function legacy.drop_source_column(schema_name text) returns jsonb
language plpgsql volatile
set search_path = '', pg_temp
as $$
#variable_conflict use_variable
declare
  v_source legacy.sources;
  v_table regclass;
  v_counts jsonb;
begin
  select * into v_source from legacy.sources as s where s.schema_name = drop_source_column.schema_name for update;
  if v_source.schema_name is null then
    perform private.refuse(404, 'legacy_schema_not_mapped', format('The schema %I is not mapped.', schema_name),
      'Say whose it is: legacy.map_schema, or imageledger legacy map.');
  elsif v_source.column_dropped_at is not null then
    return jsonb_build_object('schema', schema_name, 'dropped', false);
  end if;
  v_table := legacy.locate(v_source);
  -- From here on nobody writes a value that would be lost.
  execute format('lock table %s in access exclusive mode', v_table);
  v_counts := legacy.compare_source(v_source);
  if (v_counts ->> 'differ')::bigint + (v_counts ->> 'not_imported')::bigint > 0 then
    perform private.refuse(409, 'legacy_source_changed', format(
      'In %s, %s products changed since their import and %s are not imported.',
      v_table, v_counts ->> 'differ', v_counts ->> 'not_imported'
    ), 'Import what is new. What changed since is only in this column: settle that first, or legacy.restore_images overwrites it.');
  end if;
  update legacy.sources as s set
    column_definition = legacy.describe_column(v_table, v_source.images_column), column_dropped_at = now()
  where s.schema_name = drop_source_column.schema_name;
  execute format('alter table %s drop column %I', v_table, v_source.images_column);
  return v_counts || jsonb_build_object('schema', schema_name, 'dropped', true);
end
$$;

comment on function legacy.drop_source_column is
'Drops the source''s column, if every value in it was imported as it is. What it was declared as is kept for legacy.restore_images. Refused while views depend on it.';

create or replace function legacy.restore_images(schema_name text) returns jsonb
language plpgsql volatile
set search_path = '', pg_temp
set row_security = off
as $$
#variable_conflict use_variable
declare
  v_source legacy.sources;
  v_table regclass;
  v_is_missing boolean;
  v_definition jsonb;
  v_restored bigint;
  v_item jsonb;
  v_counts jsonb;
begin
  select * into v_source from legacy.sources as s where s.schema_name = restore_images.schema_name for update;
  if v_source.schema_name is null then
    perform private.refuse(404, 'legacy_schema_not_mapped', format('The schema %I is not mapped.', schema_name),
      'Say whose it is: legacy.map_schema, or imageledger legacy map.');
  end if;
  v_table := legacy.locate(v_source);
  v_definition := coalesce(v_source.column_definition, '{"indexes": [], "constraints": []}');
  execute format('lock table %s in share row exclusive mode', v_table);
  v_is_missing := legacy.column_type(v_table, v_source.images_column) is null;
  if v_is_missing then
    execute format('alter table %s add column %I jsonb', v_table, v_source.images_column);
  end if;

  execute format($query$
    update %1$s as p set %2$I = k.source
    from legacy.products as k
    where k.schema_name = $1 and p.%3$I::text = k.product_key and p.%2$I::text is distinct from k.source::text
  $query$, v_table, v_source.images_column, v_source.key_column) using schema_name;
  get diagnostics v_restored = row_count;

  if v_is_missing then
    if v_definition ->> 'default' is not null then
      execute format('alter table %s alter column %I set default %s',
        v_table, v_source.images_column, v_definition ->> 'default');
      -- Products of after the drop get what they would have got.
      execute format($query$
        update %1$s as p set %2$I = default
        where not exists (select from legacy.products as k where k.schema_name = $1 and k.product_key = p.%3$I::text)
      $query$, v_table, v_source.images_column, v_source.key_column) using schema_name;
    end if;
    if (v_definition ->> 'not_null')::boolean then
      execute format('alter table %s alter column %I set not null', v_table, v_source.images_column);
    end if;
    if v_definition ->> 'comment' is not null then
      execute format('comment on column %s.%I is %L', v_table, v_source.images_column, v_definition ->> 'comment');
    end if;
    for v_item in select c from jsonb_array_elements(v_definition -> 'constraints') as c loop
      execute format('alter table %s add constraint %I %s', v_table, v_item ->> 'name', v_item ->> 'definition');
    end loop;
    for v_item in select c from jsonb_array_elements(v_definition -> 'indexes') as c loop
      execute v_item #>> '{}';
    end loop;
    update legacy.sources as s set column_dropped_at = null
    where s.schema_name = restore_images.schema_name;
  end if;

  v_counts := legacy.compare_source(v_source);
  if (v_counts ->> 'differ')::bigint > 0 then
    perform private.refuse(409, 'legacy_not_restored', format(
      '%s products of %s do not hold what was imported.', v_counts ->> 'differ', v_table
    ), 'Nothing was changed. A trigger of the table may rewrite the column.');
  end if;
  return v_counts || jsonb_build_object('schema', schema_name, 'column_created', v_is_missing, 'restored', v_restored);
end
$$;

comment on function legacy.restore_images is
'Gives the source''s column the values that were imported, byte for byte, whatever became of the listings; makes the column again if it was dropped (as the last one). Products that were not imported stay as they are. The source''s own triggers run.';

revoke all on function legacy.describe_column(regclass, text) from public, anon, authenticated, service_role;
revoke all on function legacy.compare_source(legacy.sources) from public, anon, authenticated, service_role;
revoke all on function legacy.drop_source_column(text) from public, anon, authenticated, service_role;
revoke all on function legacy.restore_images(text) from public, anon, authenticated, service_role;
