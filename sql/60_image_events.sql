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
    'duplicate_found', 'expired', 'purged', 'deleted', 'listing_published', 'listing_unpublished', 'listing_deleted',
    'withdrawn'
  )),
  constraint data_is_named check (jsonb_typeof(data) = 'object')
);

-- For a history that began before there were all these words.
do $$
begin
  if not exists (
    select from pg_catalog.pg_constraint
    where conname = 'event_is_known' and pg_get_constraintdef(oid) ~ 'duplicate_found.*withdrawn'
  ) then
    alter table public.image_events drop constraint event_is_known, add constraint event_is_known check (event in (
      'reserved', 'imported', 'uploaded', 'processed', 'failed', 'retried', 'review_requested', 'reviewed',
      'reordered', 'labelled', 'unlabelled', 'edited', 'replacement_reserved', 'replaced', 'removed', 'restored',
      'duplicate_found', 'expired', 'purged', 'deleted', 'listing_published', 'listing_unpublished', 'listing_deleted',
      'withdrawn'
    ));
  end if;
end
$$;

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
set search_path = '', pg_temp
as $$
  -- Storage writes as service_role; the pairing trigger says on whose behalf.
  select coalesce(nullif(current_setting('imageledger.actor_id', true), '')::uuid, auth.uid())
$$;

comment on function private.actor_id is 'The signed-in user on whose behalf this transaction writes, if any.';

create or replace function private.actor() returns text
language sql stable
set search_path = '', pg_temp
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
set search_path = '', pg_temp
as $$
declare
  -- One moment for all of a statement, so that no moment shows half of it.
  v_at constant timestamptz := clock_timestamp();
  -- Asked once: an import brings very many rows.
  v_actor constant text := private.actor();
  v_actor_id constant uuid := private.actor_id();
begin
  insert into public.image_events (owner_id, listing_id, image_id, event, actor, actor_id, data, created_at)
  select
    c.owner_id, c.listing_id, c.id,
    case when c.state <> 'awaiting_upload' or c.upload_expires_at = private.no_expiry() then 'imported'
      when c.replaces_id is not null then 'replacement_reserved' else 'reserved' end,
    v_actor, v_actor_id,
    jsonb_strip_nulls(jsonb_build_object(
      'position', c.position, 'is_label', c.is_label, 'file_name', c.file_name, 'replaces_id', c.replaces_id,
      'alt_text', c.alt_text, 'tags', nullif(c.tags, '{}'),
      'state', nullif(c.state, 'awaiting_upload'), 'review_state', nullif(c.review_state, 'not_required')
    )),
    v_at
  from came as c
  order by c.listing_id, c.position;
  return null;
end
$$;

comment on function private.tg_listing_images__record_inserts is 'Writes what came into the history.';

create or replace function private.tg_listing_images__record_deletes() returns trigger
language plpgsql security definer
set search_path = '', pg_temp
as $$
declare
  v_at constant timestamptz := clock_timestamp();
begin
  insert into public.image_events (owner_id, listing_id, image_id, event, actor, actor_id, data, created_at)
  select
    g.owner_id, g.listing_id, g.id,
    case when g.deleted_at is not null and private.actor_id() is null then 'purged'
      when g.state = 'awaiting_upload' and g.upload_expires_at <= now() then 'expired' else 'deleted' end,
    private.actor(), private.actor_id(),
    jsonb_strip_nulls(jsonb_build_object('position', g.position, 'file_name', g.file_name, 'sha256', g.sha256)),
    v_at
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
set search_path = '', pg_temp
as $$
declare
  v_at constant timestamptz := clock_timestamp();
begin
  insert into public.image_events (owner_id, listing_id, image_id, event, actor, actor_id, data, created_at)
  select n.owner_id, n.listing_id, n.id, e.event, private.actor(), private.actor_id(), jsonb_strip_nulls(e.data), v_at
  from was as o
  inner join became as n on o.id = n.id
  cross join lateral (values
    (o.state = 'awaiting_upload' and n.state = 'uploaded', 'uploaded', jsonb_build_object('byte_size', n.byte_size)),
    (o.state <> 'ready' and n.state = 'ready', 'processed', jsonb_build_object(
      'width', n.width, 'height', n.height, 'mime_type', n.mime_type, 'sha256', n.sha256,
      'review_state', n.review_state, 'is_withdrawn', nullif(n.withdrawn_at is not null, false)
    )),
    (o.duplicate_of is distinct from n.duplicate_of and n.duplicate_of is not null, 'duplicate_found',
      jsonb_build_object('duplicate_of', n.duplicate_of)),
    (o.state <> 'failed' and n.state = 'failed', 'failed', jsonb_build_object('code', n.error_code, 'reason', n.error)),
    ((o.state = 'failed' or (o.state = 'ready' and n.withdrawn_at is null))
      and n.state in ('awaiting_upload', 'uploaded', 'processing'), 'retried', '{}'),
    (o.deleted_at is null and n.deleted_at is not null, 'removed', jsonb_build_object(
      'position', o.position,
      'replaced_by', (select r.id from became as r where r.replaces_id = n.id and r.deleted_at is null limit 1)
    )),
    (o.deleted_at is not null and n.deleted_at is null, 'restored', jsonb_build_object('position', n.position)),
    (o.deleted_at is null and o.position is null and n.position is not null, 'replaced',
      jsonb_build_object('position', n.position, 'replaces_id', n.replaces_id)),
    (not o.is_label and n.is_label, 'labelled', '{}'),
    (o.is_label and not n.is_label, 'unlabelled', '{}'),
    (o.withdrawn_at is null and n.withdrawn_at is not null and o.state = 'ready', 'withdrawn', '{}'),
    (o.review_state <> 'pending' and n.review_state = 'pending', 'review_requested', '{}'),
    (o.review_state <> n.review_state and n.review_state <> 'pending'
      and (n.review_state <> 'not_required' or o.state = n.state), 'reviewed',
      jsonb_build_object('review_state', n.review_state, 'reason', n.review_reason, 'provider', n.review_provider)),
    (o.alt_text is distinct from n.alt_text or o.tags <> n.tags, 'edited',
      jsonb_build_object('alt_text', n.alt_text, 'tags', n.tags))
  ) as e (happened, event, data)
  where e.happened
  -- gallery_as_of plays the events in this order: what leaves the order before what enters it, from the front.
  order by n.listing_id, n.position nulls first, n.id;

  -- A gap that closes moves images without changing who comes before whom; only the latter is news.
  insert into public.image_events (owner_id, listing_id, event, actor, actor_id, created_at, data)
  select
    r.owner_id, r.listing_id, 'reordered', private.actor(), private.actor_id(), v_at,
    jsonb_build_object('order', (
      select jsonb_agg(i.id order by i.position)
      from public.listing_images as i
      where i.listing_id = r.listing_id and i.position is not null
    ))
  from (
    select i.owner_id, i.listing_id, i.position < lag(i.position) over (
      partition by i.listing_id order by coalesce(o.position, i.position), i.position
    ) as overtakes
    from public.listing_images as i
    left join was as o on i.id = o.id
    where (i.owner_id, i.listing_id) in (
        select n.owner_id, n.listing_id from was as b inner join became as n on b.id = n.id where b.position <> n.position
      )
      and i.position is not null and (o.id is null or o.position is not null)
  ) as r
  where r.overtakes
  group by r.owner_id, r.listing_id;
  return null;
end
$$;

comment on function private.tg_listing_images__record_updates is 'Writes every change of meaning into the history, once a statement.';

create or replace function private.tg_listings__record_status() returns trigger
language plpgsql security definer
set search_path = '', pg_temp
as $$
declare
  v_listing constant public.listings := coalesce(new, old);
begin
  insert into public.image_events (owner_id, listing_id, event, actor, actor_id, data)
  select
    v_listing.owner_id, v_listing.id,
    case when tg_op = 'DELETE' then 'listing_deleted'
      when v_listing.status = 'published' then 'listing_published' else 'listing_unpublished' end,
    private.actor(), private.actor_id(),
    case when tg_op = 'DELETE' then '{}' else jsonb_build_object('status', v_listing.status) end
  where exists (select from public.profiles as p where p.id = v_listing.owner_id);
  return null;
end
$$;

comment on function private.tg_listings__record_status is
'Tells in the history when all of a listing''s images appeared, disappeared or went with it.';

create or replace function private.tg_image_events__stay() returns trigger
language plpgsql security definer
set search_path = '', pg_temp
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
set search_path = '', pg_temp
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

create or replace trigger tg_listings__record_published after insert on public.listings
for each row when (new.status = 'published') execute function private.tg_listings__record_status();

create or replace trigger tg_listings__record_delete after delete on public.listings
for each row execute function private.tg_listings__record_status();

create or replace trigger tg_image_events__stay before update or truncate on public.image_events
for each statement execute function private.tg_image_events__stay();

create or replace trigger tg_image_events__stay_undeleted after delete on public.image_events
referencing old table as gone
for each statement execute function private.tg_image_events__stay();

-- Always: session_replication_role switches other triggers off.
alter table public.image_events enable always trigger tg_image_events__stay;
alter table public.image_events enable always trigger tg_image_events__stay_undeleted;

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

-- The gate depends on the site's policy: what it showed at a past moment, on the policy of then.
create table if not exists public.site_policy_events (
  id bigint generated always as identity,
  actor text not null,
  data jsonb not null,
  created_at timestamptz not null default clock_timestamp(),
  constraint site_policy_events_pkey primary key (id),
  constraint data_is_named check (jsonb_typeof(data) = 'object')
);

comment on table public.site_policy_events is 'Append-only history of site_policies: what was changed, when. The first row has all of it.';
comment on column public.site_policy_events.id is 'Order of events.';
comment on column public.site_policy_events.actor is 'service_role, or the database login that did it.';
comment on column public.site_policy_events.data is 'The changed columns with their new values.';
comment on column public.site_policy_events.created_at is 'When, to the microsecond.';

create or replace function private.tg_site_policies__record_update() returns trigger
language plpgsql security definer
set search_path = '', pg_temp
as $$
begin
  insert into public.site_policy_events (actor, data)
  select private.actor(), jsonb_object_agg(n.key, n.value)
  from jsonb_each(to_jsonb(new) - 'updated_at') as n
  where n.value is distinct from to_jsonb(old) -> n.key
  having count(*) > 0;
  return null;
end
$$;

comment on function private.tg_site_policies__record_update is 'Writes what an operator changed into the history.';

create or replace function private.tg_site_policy_events__stay() returns trigger
language plpgsql
set search_path = '', pg_temp
as $$
begin
  raise insufficient_privilege using
    message = 'The history of the site''s policy is append-only.', detail = 'history_is_append_only',
    hint = 'Change site_policies; the history follows.';
end
$$;

comment on function private.tg_site_policy_events__stay is 'Refuses every update, delete and truncate.';

create or replace function private.review_required_at(at timestamptz) returns boolean
language sql stable security definer
set search_path = '', pg_temp
as $$
  select (e.data ->> 'photo_review_enabled')::boolean
  from public.site_policy_events as e
  where e.data ? 'photo_review_enabled'
  -- The last one until then; before the history began, what it began with.
  order by e.created_at <= review_required_at.at desc, case when e.created_at <= review_required_at.at then -e.id else e.id end
  limit 1
$$;

comment on function private.review_required_at is 'Whether photos needed an allowing review at a past moment.';

revoke all on function private.tg_site_policies__record_update() from public, anon, authenticated;
revoke all on function private.tg_site_policy_events__stay() from public, anon, authenticated;
revoke all on function private.review_required_at(timestamptz) from public, anon, authenticated;
grant execute on function private.review_required_at(timestamptz) to authenticated;

insert into public.site_policy_events (actor, data)
select
  private.actor() as actor,
  to_jsonb(p) - 'updated_at' as data
from public.site_policies as p
where not exists (select from public.site_policy_events);

create or replace trigger tg_site_policies__record_update after update on public.site_policies
for each row when (old.* is distinct from new.*) execute function private.tg_site_policies__record_update();

create or replace trigger tg_site_policy_events__stay before update or delete or truncate on public.site_policy_events
for each statement execute function private.tg_site_policy_events__stay();

alter table public.site_policy_events enable always trigger tg_site_policy_events__stay;

alter table public.site_policy_events enable row level security;

revoke all on table public.site_policy_events from anon, authenticated, service_role;
revoke all on sequence public.site_policy_events_id_seq from anon, authenticated, service_role;
grant select on table public.site_policy_events to service_role;
