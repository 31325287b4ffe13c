create or replace function queue.resume(kind text, name text) returns int
language plpgsql volatile
set search_path = '', pg_temp
set enable_seqscan = off
as $$
declare
  v_queue text;
  v_count int := 0;
begin
  perform pg_advisory_xact_lock(queue.pause_lock());
  delete from queue.pauses as p where p.kind = resume.kind and p.name = resume.name;
  if not found then
    return null;
  end if;
  insert into queue.interventions (action, subject) values ('resume', resume.kind || ' ' || resume.name);
  if resume.kind = 'actor' then
    update queue.jobs as j set run_at = now()
    where j.state = 'scheduled' and j.run_at = 'infinity' and j.actor = resume.name;
    get diagnostics v_count = row_count;
    for v_queue in
      select distinct j.queue from queue.jobs as j
      where j.state = 'scheduled' and j.run_at = now() and j.actor = resume.name
    loop
      perform queue.notify(v_queue);
    end loop;
  else
    perform queue.notify(resume.name);
  end if;
  return v_count;
end
$$;

comment on function queue.resume is
'For operators: ends a pause, makes an actor''s parked jobs due and wakes the workers. Returns how many were parked; null when nothing was paused.';

revoke all on function queue.resume(text, text) from public, anon, authenticated, service_role;
