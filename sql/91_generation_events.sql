-- What happened to every generation, by whom and when. Written by triggers; never changed; ends with its owner.

create table if not exists public.image_generation_events (
  id bigint generated always as identity,
  owner_id uuid not null,
  session_id uuid,
  job_id uuid,
  event text not null,
  actor text not null,
  actor_id uuid,
  data jsonb not null default '{}',
  created_at timestamptz not null default clock_timestamp(),
  constraint image_generation_events_pkey primary key (id),
  constraint generation_event_belongs_to_a_profile foreign key (owner_id)
  references public.profiles (id) on delete cascade,
  constraint generation_event_is_known check (event in (
    'submitted', 'started', 'accepted', 'cancel_requested', 'succeeded', 'failed', 'canceled', 'deleted',
    'render_deleted', 'replay_stopped', 'session_deleted', 'session_archived', 'session_restored', 'pruned',
    'picture_lost', 'picture_back'
  )),
  constraint generation_event_data_is_named check (jsonb_typeof(data) = 'object')
);

-- What came later.
alter table public.image_generation_events
drop constraint if exists generation_event_is_known,
add constraint generation_event_is_known check (event in (
  'submitted', 'started', 'accepted', 'cancel_requested', 'succeeded', 'failed', 'canceled', 'deleted',
  'render_deleted', 'replay_stopped', 'session_deleted', 'session_archived', 'session_restored', 'pruned',
  'picture_lost', 'picture_back'
));

create index if not exists image_generation_events_owner_id_session_id_id_idx
on public.image_generation_events (owner_id, session_id, id);
create index if not exists image_generation_events_job_id_idx
on public.image_generation_events (job_id) where job_id is not null;

comment on table public.image_generation_events is
'Append-only history of generations. It outlives renders and sessions, and ends with the owner.';
comment on column public.image_generation_events.id is 'Order of events.';
comment on column public.image_generation_events.owner_id is 'Whose generation it was.';
comment on column public.image_generation_events.session_id is 'Whose session it was in.';
comment on column public.image_generation_events.job_id is 'The generation; null when the event is the whole session''s.';
comment on column public.image_generation_events.event is 'What happened.';
comment on column public.image_generation_events.actor is 'user, worker, service_role, or the database login that did it.';
comment on column public.image_generation_events.actor_id is 'The signed-in user who did it.';
comment on column public.image_generation_events.data is 'Reasons, sizes, cost.';
comment on column public.image_generation_events.created_at is 'When, to the microsecond.';

create or replace function private.record_generation_event(
  owner_id uuid, session_id uuid, job_id uuid, event text, data jsonb
) returns void
language sql volatile
set search_path = '', pg_temp
as $$
  insert into public.image_generation_events (owner_id, session_id, job_id, event, actor, actor_id, data)
  select
    record_generation_event.owner_id, record_generation_event.session_id, record_generation_event.job_id,
    record_generation_event.event, private.actor(), private.actor_id(),
    jsonb_strip_nulls(record_generation_event.data)
  -- An erased user leaves no history; cascades run after the profile is gone.
  where exists (select from public.profiles as p where p.id = record_generation_event.owner_id)
$$;

comment on function private.record_generation_event is 'Appends one event, unless its owner is being erased.';

create or replace function private.tg_generation_jobs__record() returns trigger
language plpgsql security definer
set search_path = '', pg_temp
as $$
declare
  v_event record;
begin
  if tg_op = 'INSERT' then
    perform private.record_generation_event(new.owner_id, new.session_id, new.id, 'submitted', jsonb_build_object(
      'mode', new.mode, 'provider', new.provider, 'retry_of_id', new.retry_of_id
    ));
    return null;
  end if;
  for v_event in
    select e.name, e.data
    from (values
      (1, old.status = 'queued' and new.status in ('starting', 'processing'), 'started', '{}'::jsonb),
      (2, old.prediction_id is null and new.prediction_id is not null, 'accepted',
        jsonb_build_object('prediction_id', new.prediction_id)),
      (3, old.cancel_requested_at is null and new.cancel_requested_at is not null, 'cancel_requested', '{}'),
      (4, old.status <> new.status and new.status = 'succeeded', 'succeeded',
        jsonb_build_object('cost', new.cost, 'duration_ms', new.duration_ms)),
      (5, old.status <> new.status and new.status = 'failed', 'failed',
        jsonb_build_object('code', new.error_code, 'reason', new.error)),
      (6, old.status <> new.status and new.status = 'canceled', 'canceled', '{}'),
      (7, old.deleted_at is null and new.deleted_at is not null, 'deleted', '{}')
    ) as e (n, happened, name, data)
    where e.happened
    order by e.n
  loop
    perform private.record_generation_event(
      new.owner_id, coalesce(new.session_id, old.session_id), new.id, v_event.name, v_event.data
    );
  end loop;
  return null;
end
$$;

comment on function private.tg_generation_jobs__record is 'Writes every change of meaning into the history.';

create or replace function private.tg_image_sessions__record_delete() returns trigger
language plpgsql security definer
set search_path = '', pg_temp
as $$
begin
  perform private.record_generation_event(
    old.owner_id, old.id, null, 'session_deleted', jsonb_build_object('title', old.title)
  );
  return null;
end
$$;

comment on function private.tg_image_sessions__record_delete is 'Tells in the history that a session went.';

create or replace function private.tg__stay() returns trigger
language plpgsql security definer
set search_path = '', pg_temp
as $$
begin
  -- The one way out is erasure: the profile is gone already when its cascade comes.
  if tg_op = 'DELETE' then
    if not exists (select from public.profiles as p where p.id in (select g.owner_id from gone as g)) then
      return null;
    end if;
  end if;
  raise insufficient_privilege using
    message = format('Rows of %s are never changed.', tg_table_name), detail = 'history_is_append_only',
    hint = 'They end with their owner: delete the user.';
end
$$;

comment on function private.tg__stay is
'Refuses every update and truncate, and every delete but that of an erased user''s rows.';

revoke all on function private.record_generation_event(uuid, uuid, uuid, text, jsonb) from public, anon, authenticated;
revoke all on function private.tg_generation_jobs__record() from public, anon, authenticated;
revoke all on function private.tg_image_sessions__record_delete() from public, anon, authenticated;
revoke all on function private.tg__stay() from public, anon, authenticated;

create or replace trigger tg_generation_jobs__record_insert after insert on public.generation_jobs
for each row execute function private.tg_generation_jobs__record();

create or replace trigger tg_generation_jobs__record
after update of status, prediction_id, cancel_requested_at, deleted_at on public.generation_jobs
for each row execute function private.tg_generation_jobs__record();

create or replace trigger tg_image_sessions__record_delete after delete on public.image_sessions
for each row execute function private.tg_image_sessions__record_delete();

create or replace trigger tg_image_generation_events__stay before update or truncate on public.image_generation_events
for each statement execute function private.tg__stay();

create or replace trigger tg_image_generation_events__stay_undeleted after delete on public.image_generation_events
referencing old table as gone
for each statement execute function private.tg__stay();

alter table public.image_generation_events enable row level security;

revoke all on table public.image_generation_events from anon, authenticated, service_role;
revoke all on sequence public.image_generation_events_id_seq from anon, authenticated, service_role;
grant select on table public.image_generation_events to authenticated, service_role;

drop policy if exists select_owner on public.image_generation_events;
create policy select_owner on public.image_generation_events for select to authenticated
using (owner_id = (select auth.uid()));
