create or replace function queue.pause(kind text, name text, reason text default null) returns boolean
language plpgsql volatile
set search_path = '', pg_temp
as $$
declare
  v_is_new boolean;
begin
  insert into queue.pauses as p (kind, name, reason)
  values (pause.kind, pause.name, pause.reason)
  on conflict on constraint pauses_pkey do nothing;
  v_is_new := found;
  if v_is_new then
    insert into queue.interventions (action, subject, reason)
    values ('pause', pause.kind || ' ' || pause.name, pause.reason);
  end if;
  return v_is_new;
end
$$;

comment on function queue.pause is
'For operators: no job of this queue, or of this actor (kind), is claimed until queue.resume; running ones end. False when it was paused already.';

create or replace function queue.park(actor text, batch int default 5000) returns int
language plpgsql volatile
set search_path = '', pg_temp
set enable_seqscan = off
as $$
declare
  v_count int;
begin
  perform pg_advisory_xact_lock_shared(queue.pause_lock());
  if not exists (select from queue.pauses as p where p.kind = 'actor' and p.name = park.actor) then
    return 0;
  end if;
  update queue.jobs as j set state = 'scheduled', run_at = 'infinity'
  where j.id = any(array(
    select r.id from queue.jobs as r
    where r.state = 'ready' and r.actor = park.actor
    limit park.batch
    for no key update skip locked
  ));
  get diagnostics v_count = row_count;
  return v_count;
end
$$;

comment on function queue.park is
'For operators: takes the waiting jobs of a paused actor out of the line, a batch at a time; returns how many. queue.take does so with those at its head.';

revoke all on function queue.pause(text, text, text) from public, anon, authenticated, service_role;
revoke all on function queue.park(text, int) from public, anon, authenticated, service_role;
