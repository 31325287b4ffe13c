create or replace function private.expire_fills(batch int default 100) returns int
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_until constant timestamptz := (
    select now() - p.fill_seconds_max * interval '1 second' from public.site_policies as p
  );
  v_id uuid;
  v_count int := 0;
begin
  for v_id in
    select f.id from public.listing_fills as f
    where f.status in ('queued', 'processing') and f.created_at <= v_until
    order by f.created_at limit batch
    for update skip locked
  loop
    perform private.end_fill(v_id, 'timed_out', 'Filling in the listing took too long. Nothing was changed.', true);
    v_count := v_count + 1;
  end loop;
  return v_count;
end
$$;

comment on function private.expire_fills is
'Fails fills without an end after site_policies.fill_seconds_max, the oldest `batch`; answers how many. What comes later is not written.';

revoke all on function private.expire_fills(int) from public, anon, authenticated, service_role;
grant execute on function private.expire_fills(int) to media_worker, service_role;
