create or replace function private.purge_removed(batch int default 1000) returns int
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_until constant timestamptz := (select now() - p.undo_seconds * interval '1 second' from public.site_policies as p);
  v_owner_id uuid;
  v_deleted int;
  v_total int := 0;
begin
  for v_owner_id in
    select distinct d.owner_id from (
      select i.owner_id from public.listing_images as i
      where i.deleted_at <= v_until
      order by i.deleted_at limit batch
    ) as d
  loop
    perform 1 from public.profiles as p where p.id = v_owner_id for no key update skip locked;
    if found then
      delete from public.listing_images as i where i.owner_id = v_owner_id and i.deleted_at <= v_until;
      get diagnostics v_deleted = row_count;
      v_total := v_total + v_deleted;
    end if;
  end loop;
  return v_total;
end
$$;

comment on function private.purge_removed is
'Deletes images whose undo time is over, of the owners of the oldest `batch`; answers how many.';

revoke all on function private.purge_removed(int) from public, anon, authenticated;
grant execute on function private.purge_removed(int) to media_worker, service_role;
