create or replace function private.expire_reservations(batch int default 1000) returns int
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_owner_id uuid;
  v_deleted int;
  v_total int := 0;
begin
  for v_owner_id in
    select distinct d.owner_id from (
      select i.owner_id from public.listing_images as i
      where i.state = 'awaiting_upload' and i.upload_expires_at <= now()
      order by i.upload_expires_at limit batch
    ) as d
  loop
    -- In the one lock order; an owner who is busy has a turn next time.
    perform 1 from public.profiles as p where p.id = v_owner_id for no key update skip locked;
    if found then
      delete from public.listing_images as i
      where i.owner_id = v_owner_id and i.state = 'awaiting_upload' and i.upload_expires_at <= now();
      get diagnostics v_deleted = row_count;
      v_total := v_total + v_deleted;
    end if;
  end loop;
  return v_total;
end
$$;

comment on function private.expire_reservations is
'Deletes reservations whose bytes never came, of the owners of the oldest `batch`; answers how many.';

revoke all on function private.expire_reservations(int) from public, anon, authenticated;
grant execute on function private.expire_reservations(int) to media_worker, service_role;
