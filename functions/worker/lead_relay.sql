create or replace function queue.lead_relay(worker text, lease interval) returns boolean
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
begin
  -- Those that stand by only look: they lock nothing of the leader's.
  if exists (
    select from queue.relays as r
    where r.name = 'outbox' and r.worker <> lead_relay.worker and r.leased_until > now()
  ) then
    return false;
  end if;
  insert into queue.relays as r (name, worker, leased_until)
  values ('outbox', lead_relay.worker, now() + lead_relay.lease)
  on conflict on constraint relays_pkey do update set
    worker = lead_relay.worker,
    leased_until = now() + lead_relay.lease,
    leading_since = case when r.worker = lead_relay.worker then r.leading_since else now() end
  where r.worker = lead_relay.worker or r.leased_until <= now();
  return found;
end
$$;

comment on function queue.lead_relay is
'Whether this process may publish jobs to the message broker for the length of the lease; asked again in time, it stays the one. A lease of 0 hands it over.';

revoke all on function queue.lead_relay(text, interval) from public, anon, authenticated, service_role;
grant execute on function queue.lead_relay(text, interval) to media_worker;
