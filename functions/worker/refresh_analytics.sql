create or replace function private.refresh_analytics(batch int default 1, at_once boolean default false) returns int
language plpgsql volatile security definer
set search_path = '', pg_temp
-- Sorts and hashes of a million rows stay in memory.
set work_mem = '64MB'
as $$
declare
  v_snapshot private.analytics_snapshots;
  v_began timestamptz;
  v_error text;
  v_count int := 0;
  -- Nearly all that is counted comes by jobs; the rest waits for refresh_every.
  v_last_news constant timestamptz := (
    select max(j.finished_at) from unnest(array['succeeded', 'dead', 'canceled']) as s (state)
    cross join lateral (
      select f.finished_at from queue.jobs as f
      where f.state = s.state and f.finished_at is not null order by f.finished_at desc limit 1
    ) as j
  );
begin
  for v_snapshot in
    select * from private.analytics_snapshots as s
    where at_once or s.tried_at is null or s.tried_at + s.refresh_every <= clock_timestamp()
      -- While counting is cheap, nobody waits an hour for the first photos: at most a three-thousandth of a core each.
      or (
        v_last_news > s.refreshed_at and s.error is null
        and s.tried_at + greatest(interval '1 minute', s.took_ms * interval '3 seconds') <= clock_timestamp()
      )
    order by s.place, s.name limit batch
    for update skip locked
  loop
    v_began := clock_timestamp();
    v_error := null;
    begin
      if v_snapshot.name = 'storage_by_owner' then
        perform private.count_storage();
      else
        -- What has never been counted can only be filled at once; nobody reads it yet.
        execute format('refresh materialized view %s analytics.%I', case when (
          select m.ispopulated from pg_catalog.pg_matviews as m
          where m.schemaname = 'analytics' and m.matviewname = v_snapshot.name
        ) then 'concurrently' else '' end, v_snapshot.name);
      end if;
    exception when others then
      -- One that cannot be counted does not keep the others from it; analytics.freshness shows that it is late.
      v_error := sqlerrm;
      raise warning 'analytics.% was not refreshed: %', v_snapshot.name, v_error;
    end;
    update private.analytics_snapshots as s set
      tried_at = clock_timestamp(),
      error = v_error,
      refreshed_at = case when v_error is null then v_began else s.refreshed_at end,
      took_ms = case
        when v_error is null then extract(epoch from clock_timestamp() - v_began) * 1000 else s.took_ms
      end
    where s.name = v_snapshot.name;
    v_count := v_count + 1;
  end loop;
  return v_count;
end
$$;

comment on function private.refresh_analytics is
'Counts anew what is due of schema analytics (after refresh_every; after a minute where something happened and counting takes milliseconds), `batch` of them at most, or with at_once whatever it is; answers how many. Readers do not wait.';

revoke all on function private.refresh_analytics(int, boolean) from public, anon, authenticated;
grant execute on function private.refresh_analytics(int, boolean) to media_worker, service_role;
