create or replace function queue.release(ids bigint[], tokens uuid[]) returns int
language plpgsql volatile security definer
set search_path = '', pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  v_job queue.jobs;
  v_count int := 0;
begin
  for v_job in
    select j.*
    from unnest(ids, tokens) as mine (id, token)
    join queue.jobs as j on j.id = mine.id and j.lease_token = mine.token
    where j.state = 'running'
    for no key update of j
  loop
    v_count := v_count + 1;
    if v_job.dedupe_key is not null and exists (
      select from queue.jobs as j where j.dedupe_key = v_job.dedupe_key and j.state in ('scheduled', 'ready')
    ) then
      perform queue.end_attempt(v_job, 'given back', true, interval '0');
      continue;
    end if;
    -- Back to its place, but not before the head: a tag from the past would let its owner's next jobs
    -- overtake everybody.
    update queue.jobs as j
    set state = 'ready', attempts = j.attempts - 1, leased_until = null, lease_token = null, worker = null,
      tag = greatest(
        j.tag,
        (
          select h.tag from queue.jobs as h
          where h.state = 'ready' and h.queue = j.queue and h.priority = j.priority
          order by h.tag limit 1
        )
      )
    where j.id = v_job.id;
    perform queue.notify(v_job.queue);
  end loop;
  return v_count;
end
$$;

comment on function queue.release is
'Gives jobs back that were claimed and not finished (shutdown, too much prefetched): ready at once, the attempt does not count.';

revoke all on function queue.release(bigint[], uuid[]) from public, anon, authenticated, service_role;
grant execute on function queue.release(bigint[], uuid[]) to media_worker;
