create or replace function private.person_columns() returns table (relation regclass, column_name name)
language sql stable
set search_path = '', pg_temp
as $$
  -- From the catalog, so that a table of tomorrow is covered: every uuid column that is a key of a user, by a foreign
  -- key or by its name. What Auth itself keeps counts as far as this role may read it.
  select c.oid::regclass, a.attname
  from pg_catalog.pg_class as c
  inner join pg_catalog.pg_attribute as a on c.oid = a.attrelid
  where c.relnamespace::regnamespace::text in ('public', 'private', 'analytics', 'legacy', 'auth')
    and c.relkind in ('r', 'p') and not c.relispartition
    and a.attnum > 0 and not a.attisdropped and a.atttypid = 'uuid'::regtype
    and c.oid <> 'private.erasures'::regclass
    and pg_catalog.has_table_privilege(c.oid, 'select')
    and (
      c.oid = 'auth.users'::regclass and a.attname = 'id'
      or a.attname ~ '^([a-z]+_)?(owner|user|profile|actor|author|seller|buyer|reviewer)_id$'
      or a.attname in ('created_by', 'updated_by', 'deleted_by')
      or exists (
        select from pg_catalog.pg_constraint as f
        where f.conrelid = c.oid and f.contype = 'f' and a.attnum = any(f.conkey)
          and f.confrelid in ('auth.users'::regclass, 'public.profiles'::regclass)
      )
    )
$$;

comment on function private.person_columns is 'Every column of a table that says whose a row is.';

create or replace function private.erasure_report(user_id uuid) returns jsonb
language plpgsql stable security definer
set search_path = '', pg_temp
as $$
declare
  v_erasure private.erasures;
  v_column record;
  v_count bigint;
  v_rows jsonb := '{}';
  v_objects jsonb;
  v_removals jsonb;
begin
  select * into v_erasure from private.erasures as e where e.user_id = erasure_report.user_id;
  for v_column in
    select p.relation, string_agg(format('%I = $1', p.column_name), ' or ') as is_theirs
    from private.person_columns() as p group by p.relation order by p.relation::text
  loop
    execute format('select count(*) from %s where %s', v_column.relation, v_column.is_theirs)
    into v_count using erasure_report.user_id;
    v_rows := v_rows || jsonb_build_object(v_column.relation::text, v_count);
  end loop;

  select jsonb_object_agg(b.id, (
    select count(*) from storage.objects as o
    where o.bucket_id = b.id and (
      (o.name collate "C" >= erasure_report.user_id || '/' and o.name collate "C" < erasure_report.user_id || '0')
      or o.owner_id = erasure_report.user_id::text
    )
  )) into v_objects from storage.buckets as b;

  select jsonb_build_object(
    'waiting', count(*) filter (where j.state in ('scheduled', 'ready', 'running')),
    'dead', count(*) filter (where j.state = 'dead')
  ) into v_removals
  from queue.jobs as j
  where j.actor = 'remove_objects'
    and (j.owner_id = erasure_report.user_id or starts_with(j.args -> 'paths' ->> 0, erasure_report.user_id || '/'));

  return jsonb_build_object(
    'user_id', erasure_report.user_id,
    'erased_at', v_erasure.erased_at,
    'object_count', v_erasure.object_count,
    'byte_count', v_erasure.byte_count,
    'last_removal_at', v_erasure.last_removal_at,
    'completed_at', v_erasure.completed_at,
    'rows', v_rows,
    'objects', v_objects,
    'removals', v_removals,
    'is_complete',
    (select sum(r.value::bigint) = 0 from jsonb_each_text(v_rows || v_objects) as r)
    and (v_removals ->> 'waiting') = '0',
    'checked_at', clock_timestamp()
  );
end
$$;

comment on function private.erasure_report is
'For operators: the proof that nothing of a user is left, counted now: rows by table, objects by bucket, removals still waiting; and when it was deleted and Storage confirmed the last removal (null when the user was deleted before this was recorded, or never).';

revoke all on function private.person_columns() from public, anon, authenticated, service_role;
revoke all on function private.erasure_report(uuid) from public, anon, authenticated, service_role;
grant execute on function private.erasure_report(uuid) to service_role;
