-- What happened to every image, by whom and when. Written by triggers, whatever path a change took; never changed.
-- Rows outlive their image and listing: they answer "why did my image disappear?". They end with their owner.

create table if not exists public.image_events (
  id bigint generated always as identity,
  owner_id uuid not null,
  listing_id uuid not null,
  image_id uuid,
  event text not null,
  actor text not null,
  actor_id uuid,
  data jsonb not null default '{}',
  -- Not now(): an upload and what follows it must be told apart to the millisecond.
  created_at timestamptz not null default clock_timestamp(),
  constraint image_events_pkey primary key (id),
  constraint event_is_known check (event in (
    'reserved', 'imported', 'uploaded', 'processed', 'failed', 'retried', 'review_requested', 'reviewed',
    'reordered', 'labelled', 'unlabelled', 'edited', 'replacement_reserved', 'replaced', 'removed', 'restored',
    'expired', 'purged', 'deleted', 'listing_published', 'listing_unpublished', 'listing_deleted', 'withdrawn'
  )),
  constraint data_is_named check (jsonb_typeof(data) = 'object')
);

create index if not exists image_events_owner_id_listing_id_id_idx on public.image_events (owner_id, listing_id, id);
create index if not exists image_events_image_id_idx on public.image_events (image_id) where image_id is not null;

comment on table public.image_events is
'Append-only history of every image. No foreign keys: it outlives what it tells of, and ends with the owner.';
comment on column public.image_events.id is 'Order of events.';
comment on column public.image_events.owner_id is 'Whose image it was.';
comment on column public.image_events.listing_id is 'Whose listing it was.';
comment on column public.image_events.image_id is 'The image; null when the event is the whole listing''s.';
comment on column public.image_events.event is 'What happened.';
comment on column public.image_events.actor is 'user, worker, service_role, or the database login that did it.';
comment on column public.image_events.actor_id is 'The signed-in user who did it.';
comment on column public.image_events.data is 'What changed: positions, reasons, sizes.';
comment on column public.image_events.created_at is 'When, to the microsecond.';

create or replace function private.actor_id() returns uuid
language sql stable
set search_path = ''
as $$
  -- Storage writes as service_role; the pairing trigger says on whose behalf.
  select coalesce(nullif(current_setting('imageledger.actor_id', true), '')::uuid, auth.uid())
$$;

comment on function private.actor_id is 'The signed-in user on whose behalf this transaction writes, if any.';

create or replace function private.actor() returns text
language sql stable
set search_path = ''
as $$
  select case
    when private.actor_id() is not null then 'user'
    when auth.role() = 'service_role' then 'service_role'
    when session_user = 'media_worker' then 'worker'
    else session_user::text
  end
$$;

comment on function private.actor is 'Who writes: user, service_role, worker or the name of a database login.';

create or replace function private.tg_listing_images__record_inserts() returns trigger
language plpgsql security definer
set search_path = ''
as $$
begin
  insert into public.image_events (owner_id, listing_id, image_id, event, actor, actor_id, data)
  select
    c.owner_id, c.listing_id, c.id,
    case when c.state <> 'awaiting_upload' then 'imported'
      when c.replaces_id is not null then 'replacement_reserved' else 'reserved' end,
    private.actor(), private.actor_id(),
    jsonb_strip_nulls(jsonb_build_object(
      'position', c.position, 'is_label', c.is_label, 'file_name', c.file_name, 'replaces_id', c.replaces_id
    ))
  from came as c
  order by c.listing_id, c.position;
  return null;
end
$$;

comment on function private.tg_listing_images__record_inserts is 'Writes what came into the history.';

create or replace function private.tg_listing_images__record_deletes() returns trigger
language plpgsql security definer
set search_path = ''
as $$
begin
  insert into public.image_events (owner_id, listing_id, image_id, event, actor, actor_id, data)
  select
    g.owner_id, g.listing_id, g.id,
    case when g.deleted_at is not null then 'purged'
      when g.state = 'awaiting_upload' and g.upload_expires_at <= now() then 'expired' else 'deleted' end,
    private.actor(), private.actor_id(),
    jsonb_strip_nulls(jsonb_build_object('position', g.position, 'file_name', g.file_name, 'sha256', g.sha256))
  from gone as g
  -- An erased user leaves no history; cascades run after the profile is gone.
  where exists (select from public.profiles as p where p.id = g.owner_id)
  order by g.listing_id, g.position desc;
  return null;
end
$$;

comment on function private.tg_listing_images__record_deletes is 'Writes what went into the history: deleted, purged after its undo time, or expired.';

create or replace function private.tg_listing_images__record_updates() returns trigger
language plpgsql security definer
set search_path = ''
as $$
begin
  insert into public.image_events (owner_id, listing_id, image_id, event, actor, actor_id, data)
  select n.owner_id, n.listing_id, n.id, e.event, private.actor(), private.actor_id(), jsonb_strip_nulls(e.data)
  from was as o
  inner join became as n on o.id = n.id
  cross join lateral (values
    (o.state = 'awaiting_upload' and n.state = 'uploaded', 'uploaded', jsonb_build_object('byte_size', n.byte_size)),
    (o.state <> 'ready' and n.state = 'ready', 'processed', jsonb_build_object(
      'width', n.width, 'height', n.height, 'mime_type', n.mime_type, 'sha256', n.sha256
    )),
    (o.state <> 'failed' and n.state = 'failed', 'failed', jsonb_build_object('code', n.error_code, 'reason', n.error)),
    (n.state = 'uploaded' and (o.state = 'failed' or (o.state = 'ready' and n.withdrawn_at is null)), 'retried', '{}'),
    (o.deleted_at is null and n.deleted_at is not null, 'removed', jsonb_build_object('position', o.position)),
    (o.deleted_at is not null and n.deleted_at is null, 'restored', jsonb_build_object('position', n.position)),
    (o.deleted_at is null and o.position is null and n.position is not null, 'replaced',
      jsonb_build_object('position', n.position, 'replaces_id', n.replaces_id)),
    (not o.is_label and n.is_label, 'labelled', '{}'),
    (o.is_label and not n.is_label, 'unlabelled', '{}'),
    (o.withdrawn_at is null and n.withdrawn_at is not null and o.state = 'ready', 'withdrawn', '{}'),
    (o.review_state <> 'pending' and n.review_state = 'pending', 'review_requested', '{}'),
    (o.review_state <> n.review_state and n.review_state in ('allowed', 'rejected', 'error'), 'reviewed',
      jsonb_build_object('review_state', n.review_state, 'reason', n.review_reason, 'provider', n.review_provider)),
    (o.alt_text is distinct from n.alt_text or o.tags <> n.tags, 'edited',
      jsonb_build_object('alt_text', n.alt_text, 'tags', n.tags))
  ) as e (happened, event, data)
  where e.happened;

  -- A gap that closes moves images without changing who comes before whom; only the latter is news.
  insert into public.image_events (owner_id, listing_id, event, actor, actor_id, data)
  select
    r.owner_id, r.listing_id, 'reordered', private.actor(), private.actor_id(),
    jsonb_build_object('order', (
      select jsonb_agg(i.id order by i.position)
      from public.listing_images as i
      where i.listing_id = r.listing_id and i.position is not null
    ))
  from (
    select n.owner_id, n.listing_id, n.position < lag(n.position) over (
      partition by n.listing_id order by o.position
    ) as overtakes
    from was as o
    inner join became as n on o.id = n.id
    where o.position is not null and n.position is not null and o.position <> n.position
  ) as r
  where r.overtakes
  group by r.owner_id, r.listing_id;
  return null;
end
$$;

comment on function private.tg_listing_images__record_updates is 'Writes every change of meaning into the history, once a statement.';

create or replace function private.tg_listings__record_status() returns trigger
language plpgsql security definer
set search_path = ''
as $$
begin
  insert into public.image_events (owner_id, listing_id, event, actor, actor_id, data)
  select
    old.owner_id, old.id,
    case when tg_op = 'DELETE' then 'listing_deleted'
      when new.status = 'published' then 'listing_published' else 'listing_unpublished' end,
    private.actor(), private.actor_id(),
    case when tg_op = 'DELETE' then '{}' else jsonb_build_object('status', new.status) end
  where exists (select from public.profiles as p where p.id = old.owner_id);
  return null;
end
$$;

comment on function private.tg_listings__record_status is
'Tells in the history when all of a listing''s images appeared, disappeared or went with it.';

create or replace function private.tg_image_events__stay() returns trigger
language plpgsql security definer
set search_path = ''
as $$
begin
  -- The one way out is erasure: the owner is gone, and the delete touches nobody else's.
  if tg_op = 'DELETE' then
    if not exists (select from auth.users as u where u.id in (select g.owner_id from gone as g)) then
      return null;
    end if;
  end if;
  raise insufficient_privilege using
    message = 'The history of images is append-only.', detail = 'history_is_append_only',
    hint = 'It ends with its owner: delete the user.';
end
$$;

comment on function private.tg_image_events__stay is
'Refuses every update and truncate, and every delete but that of a deleted user''s events.';

create or replace function private.tg_profiles__erase_history() returns trigger
language plpgsql security definer
set search_path = ''
as $$
begin
  delete from public.image_events as e where e.owner_id = old.id;
  return null;
end
$$;

comment on function private.tg_profiles__erase_history is 'Erasure: with the user go the user''s events.';

revoke all on function private.actor_id() from public, anon, authenticated;
revoke all on function private.actor() from public, anon, authenticated;
revoke all on function private.tg_listing_images__record_inserts() from public, anon, authenticated;
revoke all on function private.tg_listing_images__record_deletes() from public, anon, authenticated;
revoke all on function private.tg_listing_images__record_updates() from public, anon, authenticated;
revoke all on function private.tg_listings__record_status() from public, anon, authenticated;
revoke all on function private.tg_image_events__stay() from public, anon, authenticated;
revoke all on function private.tg_profiles__erase_history() from public, anon, authenticated;

create or replace trigger tg_listing_images__record_inserts after insert on public.listing_images
referencing new table as came
for each statement execute function private.tg_listing_images__record_inserts();

create or replace trigger tg_listing_images__record_deletes after delete on public.listing_images
referencing old table as gone
for each statement execute function private.tg_listing_images__record_deletes();

create or replace trigger tg_listing_images__record_updates after update on public.listing_images
referencing old table as was new table as became
for each statement execute function private.tg_listing_images__record_updates();

create or replace trigger tg_listings__record_status after update of status on public.listings
for each row when (old.status <> new.status and 'published' in (old.status, new.status))
execute function private.tg_listings__record_status();

create or replace trigger tg_listings__record_delete after delete on public.listings
for each row execute function private.tg_listings__record_status();

create or replace trigger tg_image_events__stay before update or truncate on public.image_events
for each statement execute function private.tg_image_events__stay();

create or replace trigger tg_image_events__stay_undeleted after delete on public.image_events
referencing old table as gone
for each statement execute function private.tg_image_events__stay();

-- Deferred to the commit: by then the cascade has waited for everybody who was writing about one of the user's images.
drop trigger if exists tg_profiles__erase_history on public.profiles;
create constraint trigger tg_profiles__erase_history after delete on public.profiles
deferrable initially deferred
for each row execute function private.tg_profiles__erase_history();

alter table public.image_events enable row level security;

revoke all on table public.image_events from anon, authenticated, service_role;
revoke all on sequence public.image_events_id_seq from anon, authenticated, service_role;
grant select on table public.image_events to authenticated, service_role;

drop policy if exists select_owner on public.image_events;
create policy select_owner on public.image_events for select to authenticated using (owner_id = (select auth.uid()));
