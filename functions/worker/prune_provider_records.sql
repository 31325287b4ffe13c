create or replace function private.prune_provider_records(batch int default 1000) returns int
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_calls int;
  v_events int;
begin
  delete from private.provider_calls as c where c.id in (
    select o.id from private.provider_calls as o
    where o.called_at < now() - interval '1 hour' order by o.called_at limit batch
  );
  get diagnostics v_calls = row_count;
  delete from private.webhook_events as e where (e.source, e.id) in (
    select o.source, o.id from private.webhook_events as o
    where o.received_at < now() - interval '7 days' order by o.received_at limit batch
  );
  get diagnostics v_events = row_count;
  return greatest(v_calls, v_events);
end
$$;

comment on function private.prune_provider_records is
'Maintenance: forgets calls of an hour ago and webhooks of a week ago, `batch` of each; answers how many.';

revoke all on function private.prune_provider_records(int) from public, anon, authenticated;
grant execute on function private.prune_provider_records(int) to media_worker, service_role;
