create or replace function private.archive_sessions(batch int default 500) returns int
language sql volatile security definer
set search_path = '', pg_temp
as $$
  with idle as (
    select s.id from public.image_sessions as s
    where s.archived_at is null
      and s.updated_at <= (
        select now() - p.session_idle_seconds * interval '1 second' from public.site_policies as p
      )
      and not exists (
        select from public.generation_jobs as j
        where j.session_id = s.id and j.owner_id = s.owner_id and j.status in ('queued', 'starting', 'processing')
      )
    order by s.updated_at limit batch
    for update skip locked
  ),
  archived as (
    update public.image_sessions as s set archived_at = clock_timestamp()
    from idle as i where s.id = i.id
    returning s.owner_id, s.id
  )
  select count(*)::int from archived as a
  cross join lateral private.record_generation_event(a.owner_id, a.id, null, 'session_archived', '{}') as e
$$;

comment on function private.archive_sessions is
'Archives sessions in which nothing happened for site_policies.session_idle_seconds, the oldest `batch`; answers how many. Nothing is deleted.';

revoke all on function private.archive_sessions(int) from public, anon, authenticated;
grant execute on function private.archive_sessions(int) to media_worker, service_role;
