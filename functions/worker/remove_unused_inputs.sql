create or replace function private.remove_unused_inputs(batch int default 200) returns int
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_until constant timestamptz := (
    select now() - p.input_unused_seconds * interval '1 second' from public.site_policies as p
  );
  v_owner_id uuid;
  v_paths text[];
  v_total int := 0;
begin
  for v_owner_id in
    select distinct d.owner_id from (
      select a.owner_id from public.image_assets as a
      where a.idle_since <= v_until
      order by a.idle_since limit batch
    ) as d
  loop
    -- In the one lock order; an owner who is busy has a turn next time.
    perform 1 from public.profiles as p where p.id = v_owner_id for no key update skip locked;
    if found then
      update public.image_assets as a set idle_since = null
      where a.owner_id = v_owner_id and a.idle_since <= v_until and private.is_input_used(a);
      with gone as (
        delete from public.image_assets as a
        where a.owner_id = v_owner_id and a.idle_since <= v_until and a.role <> 'output'
        returning a.path
      )
      select array_agg(g.path) into v_paths from gone as g;
      perform private.enqueue_removal(v_owner_id, 'private', v_paths);
      v_total := v_total + coalesce(cardinality(v_paths), 0);
    end if;
  end loop;
  return v_total;
end
$$;

comment on function private.remove_unused_inputs is
'Deletes uploads that no generation has read for site_policies.input_unused_seconds, of the owners of the oldest `batch`, and orders the removal of their objects; answers how many.';

revoke all on function private.remove_unused_inputs(int) from public, anon, authenticated;
grant execute on function private.remove_unused_inputs(int) to media_worker, service_role;
