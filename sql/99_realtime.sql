-- What streams to clients on a Supabase project: progress of generations, and sessions as they change. Where there is no
-- Realtime, clients poll with one index look-up; functions/README.md has the query.
--
-- Realtime asks the policies for INSERT and UPDATE, not for DELETE, which goes to everybody who listens, with the columns
-- of the replica identity. So that is the primary key, whatever somebody made of it by hand, and the primary key is
-- random and part of no other name. For this reason renders are not in the publication: their id is the folder of
-- their pictures in bucket public. A client learns of a render by its generation's success.

alter table public.generation_jobs replica identity default;
alter table public.image_sessions replica identity default;

create or replace function private.publish_progress() returns int
language plpgsql volatile
set search_path = '', pg_temp
as $$
declare
  v_table record;
  v_count int := 0;
begin
  -- No Realtime here; or everything is published already, which is its operator's own choice.
  if not exists (select from pg_catalog.pg_publication as p where p.pubname = 'supabase_realtime' and not p.puballtables) then
    return 0;
  end if;
  for v_table in
    select t.name
    from (values ('generation_jobs'), ('image_sessions')) as t (name)
    where not exists (
      select from pg_catalog.pg_publication_tables as p
      where p.pubname = 'supabase_realtime' and p.schemaname = 'public' and p.tablename = t.name
    )
  loop
    execute format('alter publication supabase_realtime add table public.%I', v_table.name);
    v_count := v_count + 1;
  end loop;
  return v_count;
exception
  when insufficient_privilege then
    -- Polling works without it: no reason to stop a migration.
    raise warning 'The publication supabase_realtime is not ours to change: progress does not stream.' using
      hint = 'As its owner: alter publication supabase_realtime add table public.generation_jobs, public.image_sessions;';
    return 0;
end
$$;

comment on function private.publish_progress is
'Adds the tables whose changes clients follow to Supabase''s publication, where there is one; answers how many were added. An operator who made the publication later calls it again.';

revoke all on function private.publish_progress() from public, anon, authenticated, service_role;

do $$
begin
  perform private.publish_progress();
end
$$;
