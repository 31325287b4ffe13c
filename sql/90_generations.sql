-- Sessions of generations: a tree of jobs, what they read and what they made. Jobs are submitted by
-- submit_generation only and filled in by the worker; a job cannot name another user's session, parent, asset or input,
-- because every key carries the owner.

alter table public.site_policies
add column if not exists generation_side_max int not null default 2048,
add column if not exists generation_count_max int not null default 4,
add column if not exists generation_providers text[] not null default array['local'],
drop constraint if exists generation_side_max_is_sensible,
add constraint generation_side_max_is_sensible check (generation_side_max between 64 and 16383),
drop constraint if exists generation_count_max_is_sensible,
add constraint generation_count_max_is_sensible check (generation_count_max between 1 and 16),
drop constraint if exists generation_providers_are_named,
add constraint generation_providers_are_named check (
  cardinality(generation_providers) > 0 and array_position(generation_providers, null) is null
);

comment on column public.site_policies.generation_side_max is 'Pixels of the longer side of a generated picture.';
comment on column public.site_policies.generation_count_max is 'Pictures of one generation.';
comment on column public.site_policies.generation_providers is 'Who may generate; the first one is the default.';

create table if not exists public.image_sessions (
  id uuid not null default gen_random_uuid(),
  owner_id uuid not null,
  title text not null,
  model text,
  thumbnail_path text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint image_sessions_pkey primary key (id),
  constraint session_is_known_by_its_owner unique (owner_id, id),
  constraint session_belongs_to_a_profile foreign key (owner_id) references public.profiles (id) on delete cascade,
  constraint session_title_is_short check (char_length(title) between 1 and 200)
);

-- The list that users open: newest first, in pages.
create index if not exists image_sessions_owner_id_updated_at_idx
on public.image_sessions (owner_id, updated_at desc, id desc);

-- Whose thumbnail a deleted picture was.
create index if not exists image_sessions_owner_id_thumbnail_path_idx
on public.image_sessions (owner_id, thumbnail_path) where thumbnail_path is not null;

comment on table public.image_sessions is
'A tree of generations. Made by submit_generation; owners may edit the title and delete; its pictures go with it.';
comment on column public.image_sessions.id is 'Given by the database.';
comment on column public.image_sessions.owner_id is 'Whose it is.';
comment on column public.image_sessions.title is 'From the first prompt, until its owner writes another. Editable.';
comment on column public.image_sessions.model is 'The model of the last generation that succeeded.';
comment on column public.image_sessions.thumbnail_path is 'Object in bucket public: the last picture that there is, small.';
comment on column public.image_sessions.created_at is 'When it was begun.';
comment on column public.image_sessions.updated_at is 'When something last happened in it.';

alter table public.image_sessions add column if not exists archived_at timestamptz;
comment on column public.image_sessions.archived_at is
'When it left the list of active_sessions, after site_policies.session_idle_seconds. restore_session, or another generation in it, brings it back.';
-- What maintenance looks for.
create index if not exists image_sessions_updated_at_idx
on public.image_sessions (updated_at) where archived_at is null;

create table if not exists public.image_assets (
  id uuid not null default gen_random_uuid(),
  owner_id uuid not null,
  job_id uuid,
  role text not null,
  bucket text not null,
  path text not null,
  mime_type text,
  byte_size bigint,
  width int,
  height int,
  sha256 text,
  created_at timestamptz not null default now(),
  constraint image_assets_pkey primary key (id),
  constraint asset_is_known_by_its_owner unique (owner_id, id),
  constraint asset_is_one_object unique (bucket, path),
  constraint asset_belongs_to_a_profile foreign key (owner_id) references public.profiles (id) on delete cascade,
  constraint asset_role_is_known check (role in ('input', 'mask', 'output')),
  constraint asset_lies_where_its_role_says check (
    case when role = 'output' then bucket = 'public' and starts_with(path, 'renders/')
      else bucket = 'private' and starts_with(path, owner_id::text || '/inputs/') end
  ),
  constraint output_was_measured check (
    role <> 'output'
    or (byte_size is not null and width is not null and height is not null and sha256 is not null)
  ),
  constraint asset_size_is_positive check (width > 0 and height > 0 and byte_size >= 0),
  constraint asset_sha256_is_hex check (sha256 ~ '^[0-9a-f]{64}$')
);

comment on table public.image_assets is
'Pictures that generations read and made. Inputs and masks by add_asset or submit_generation, outputs by the worker.';
comment on column public.image_assets.id is 'Given by the database: what source_asset_id and mask_asset_id name.';
comment on column public.image_assets.owner_id is 'Whose it is.';
comment on column public.image_assets.job_id is 'The generation that made an output; null for what was uploaded.';
comment on column public.image_assets.role is 'input, mask or output.';
comment on column public.image_assets.bucket is 'private for inputs and masks, public for outputs.';
comment on column public.image_assets.path is '{owner}/inputs/{uuid}.{ext}, or renders/{render}/{idx}.webp.';
comment on column public.image_assets.mime_type is 'As declared; once read, what the content is.';
comment on column public.image_assets.byte_size is 'Bytes as stored.';
comment on column public.image_assets.width is 'Pixels; null until it was read.';
comment on column public.image_assets.height is 'Pixels; null until it was read.';
comment on column public.image_assets.sha256 is 'Of the stored bytes, hex; null until they were read.';
comment on column public.image_assets.created_at is 'When the row was made.';

alter table public.image_assets add column if not exists idle_since timestamptz;
comment on column public.image_assets.idle_since is
'Since when no generation reads this upload; null while one does. After site_policies.input_unused_seconds it is removed.';
-- What maintenance looks for.
create index if not exists image_assets_idle_since_idx
on public.image_assets (idle_since) where idle_since is not null;

create table if not exists public.generation_jobs (
  id uuid not null default gen_random_uuid(),
  owner_id uuid not null,
  session_id uuid,
  parent_job_id uuid,
  retry_of_id uuid,
  replay_job_ids uuid[] not null default '{}',
  mode text not null,
  room_type text,
  style text,
  provider text not null,
  model text,
  prompt text,
  negative_prompt text,
  params jsonb not null default '{}',
  source_asset_id uuid,
  mask_asset_id uuid,
  input1_path text,
  input2_path text,
  status text not null default 'queued',
  progress int not null default 0,
  prediction_id text,
  submitted_at timestamptz,
  cancel_requested_at timestamptz,
  idempotency_key text,
  request_digest text,
  render_id uuid not null default gen_random_uuid(),
  error text,
  error_code text,
  is_retryable boolean not null default false,
  cost numeric(12, 6),
  duration_ms int,
  created_at timestamptz not null default clock_timestamp(),
  started_at timestamptz,
  completed_at timestamptz,
  deleted_at timestamptz,
  updated_at timestamptz not null default now(),
  constraint generation_jobs_pkey primary key (id),
  constraint generation_is_known_by_its_owner unique (owner_id, id),
  constraint generation_belongs_to_a_profile foreign key (owner_id) references public.profiles (id) on delete cascade,
  constraint generation_belongs_to_a_session_of_its_owner foreign key (owner_id, session_id)
  references public.image_sessions (owner_id, id) on delete set null (session_id),
  constraint parent_is_of_the_same_owner foreign key (owner_id, parent_job_id)
  references public.generation_jobs (owner_id, id) on delete set null (parent_job_id),
  constraint retried_generation_is_of_the_same_owner foreign key (owner_id, retry_of_id)
  references public.generation_jobs (owner_id, id) on delete set null (retry_of_id),
  constraint source_asset_is_of_the_same_owner foreign key (owner_id, source_asset_id)
  references public.image_assets (owner_id, id) on delete set null (source_asset_id),
  constraint mask_asset_is_of_the_same_owner foreign key (owner_id, mask_asset_id)
  references public.image_assets (owner_id, id) on delete set null (mask_asset_id),
  constraint inputs_are_of_the_same_owner check (
    starts_with(input1_path, owner_id::text || '/inputs/') and starts_with(input2_path, owner_id::text || '/inputs/')
  ),
  constraint idempotency_key_is_unique_per_owner unique (owner_id, idempotency_key),
  constraint prediction_is_unique_per_provider unique (provider, prediction_id),
  constraint render_id_is_unique unique (render_id),
  constraint mode_is_known check (mode in ('redesign', 'staging', 'compose', 'imagine', 'edit')),
  constraint generation_status_is_known check (
    status in ('queued', 'starting', 'processing', 'succeeded', 'failed', 'canceled')
  ),
  constraint ended_generation_has_a_time check (
    (status in ('succeeded', 'failed', 'canceled')) = (completed_at is not null)
  ),
  constraint failed_generation_has_a_reason check (
    (status = 'failed') = (error is not null and error_code is not null)
  ),
  constraint progress_is_a_percentage check (progress between 0 and 100),
  constraint params_are_named check (jsonb_typeof(params) = 'object'),
  constraint cost_and_duration_are_not_negative check (cost >= 0 and duration_ms >= 0),
  constraint idempotency_key_is_short check (char_length(idempotency_key) between 1 and 200),
  constraint generation_words_are_short check (
    char_length(room_type) <= 100 and char_length(style) <= 100 and char_length(model) <= 200
  )
);

-- One at a time, also under races.
create unique index if not exists generation_jobs_owner_id_in_flight_idx
on public.generation_jobs (owner_id) where status in ('queued', 'starting', 'processing');
create index if not exists generation_jobs_owner_id_created_at_idx
on public.generation_jobs (owner_id, created_at desc, id desc);
create index if not exists generation_jobs_owner_id_status_created_at_idx
on public.generation_jobs (owner_id, status, created_at desc);
create index if not exists generation_jobs_session_id_created_at_idx
on public.generation_jobs (session_id, owner_id, created_at) where session_id is not null;
create index if not exists generation_jobs_parent_job_id_idx
on public.generation_jobs (parent_job_id, owner_id) where parent_job_id is not null;
create index if not exists generation_jobs_retry_of_id_idx
on public.generation_jobs (retry_of_id, owner_id) where retry_of_id is not null;
create index if not exists generation_jobs_source_asset_id_idx
on public.generation_jobs (source_asset_id, owner_id) where source_asset_id is not null;
create index if not exists generation_jobs_mask_asset_id_idx
on public.generation_jobs (mask_asset_id, owner_id) where mask_asset_id is not null;
create index if not exists generation_jobs_input1_path_idx
on public.generation_jobs (input1_path) where input1_path is not null;
create index if not exists generation_jobs_input2_path_idx
on public.generation_jobs (input2_path) where input2_path is not null;
-- What maintenance looks for.
create index if not exists generation_jobs_created_at_idx
on public.generation_jobs (created_at) where status in ('queued', 'starting', 'processing');
create index if not exists generation_jobs_completed_at_idx
on public.generation_jobs (completed_at) where status in ('failed', 'canceled');

comment on table public.generation_jobs is
'Generations and their recipes. Submitted by submit_generation, filled in by the worker; a row stays for audit when its pictures are deleted, and ends with its owner; one that failed or was canceled, after site_policies.generation_failed_seconds.';
comment on column public.generation_jobs.id is 'Given by the database.';
comment on column public.generation_jobs.owner_id is 'Who submitted it.';
comment on column public.generation_jobs.session_id is 'Its tree; null once the session was deleted.';
comment on column public.generation_jobs.parent_job_id is 'What it continues; null at a root.';
comment on column public.generation_jobs.retry_of_id is 'The generation whose recipe it repeats.';
comment on column public.generation_jobs.replay_job_ids is 'What a replay has still to repeat after this one, in order.';
comment on column public.generation_jobs.mode is 'redesign, staging, compose, imagine or edit.';
comment on column public.generation_jobs.room_type is 'A word for the prompt.';
comment on column public.generation_jobs.style is 'A word for the prompt.';
comment on column public.generation_jobs.provider is 'Who generates: one of site_policies.generation_providers.';
comment on column public.generation_jobs.model is 'As asked for; once it succeeded, the model that did it.';
comment on column public.generation_jobs.prompt is 'What to show.';
comment on column public.generation_jobs.negative_prompt is 'What not to show.';
comment on column public.generation_jobs.params is
'width, height, steps, guidance, strength, scheduler, seed, count. The seed is always there, so that a recipe can be repeated.';
comment on column public.generation_jobs.source_asset_id is 'The picture that is changed.';
comment on column public.generation_jobs.mask_asset_id is 'White where the source is changed.';
comment on column public.generation_jobs.input1_path is 'Object in bucket private: {owner}/inputs/{uuid}.{ext}.';
comment on column public.generation_jobs.input2_path is 'The second picture of a composition.';
comment on column public.generation_jobs.status is 'queued, starting, processing, then succeeded, failed or canceled.';
comment on column public.generation_jobs.progress is 'Percent.';
comment on column public.generation_jobs.prediction_id is 'What the provider calls it: a second attempt asks for it and does not pay again.';
comment on column public.generation_jobs.submitted_at is 'Right before the provider was asked: from then on its answer may be lost, and a paid call is not repeated blindly.';
comment on column public.generation_jobs.cancel_requested_at is 'When its owner wanted no result any more.';
comment on column public.generation_jobs.idempotency_key is 'The client''s own word: the same key answers the same generation.';
comment on column public.generation_jobs.request_digest is 'Of what was asked with that key.';
comment on column public.generation_jobs.render_id is 'The render it will become; part of its objects'' names.';
comment on column public.generation_jobs.error is 'Why it failed, for people.';
comment on column public.generation_jobs.error_code is 'Why it failed, a stable word.';
comment on column public.generation_jobs.is_retryable is 'Whether the same recipe may succeed later.';
comment on column public.generation_jobs.cost is 'What the provider took, in US dollars.';
comment on column public.generation_jobs.duration_ms is 'From start to result.';
comment on column public.generation_jobs.created_at is 'When it was submitted.';
comment on column public.generation_jobs.started_at is 'When a worker first took it.';
comment on column public.generation_jobs.completed_at is 'When it ended.';
comment on column public.generation_jobs.deleted_at is 'When its owner deleted it from the session.';
comment on column public.generation_jobs.updated_at is 'When the row was last changed.';

do $$
begin
  if not exists (
    select from pg_catalog.pg_constraint
    where conname = 'output_was_made_by_its_owner' and conrelid = 'public.image_assets'::regclass
  ) then
    alter table public.image_assets add constraint output_was_made_by_its_owner foreign key (owner_id, job_id)
    references public.generation_jobs (owner_id, id) on delete cascade;
  end if;
end
$$;

create index if not exists image_assets_owner_id_job_id_idx on public.image_assets (owner_id, job_id);

create or replace function private.is_in_flight(status text) returns boolean
language sql immutable parallel safe
set search_path = '', pg_temp
as $$
  select status in ('queued', 'starting', 'processing')
$$;

comment on function private.is_in_flight is 'Whether a generation has not ended.';

create or replace function private.discard_generations(owner_id uuid, job_ids uuid[]) returns void
language plpgsql volatile
set search_path = '', pg_temp
as $$
begin
  update public.generation_jobs as j set
    deleted_at = clock_timestamp(),
    replay_job_ids = '{}',
    status = case when private.is_in_flight(j.status) then 'canceled' else j.status end,
    completed_at = coalesce(j.completed_at, clock_timestamp())
  where j.owner_id = discard_generations.owner_id and j.id = any(job_ids) and j.deleted_at is null;
  delete from public.renders as r where r.owner_id = discard_generations.owner_id and r.job_id = any(job_ids);
end
$$;

comment on function private.discard_generations is
'Deletes generations from their session: renders with their bytes go, what is in flight is canceled, the rows stay for audit. The caller holds the owner''s lock.';

create or replace function private.tg_generation_jobs__discard() returns trigger
language plpgsql security definer
set search_path = '', pg_temp
as $$
begin
  -- An erased user's rows go by themselves, their objects too.
  if exists (select from public.profiles as p where p.id = old.owner_id) then
    perform private.discard_generations(old.owner_id, array[old.id]);
  end if;
  return null;
end
$$;

comment on function private.tg_generation_jobs__discard is
'With a session, whose deletion cuts its generations loose, go its pictures; the generations stay for audit.';

create or replace function private.tg_generation_jobs__miss_source() returns trigger
language plpgsql security definer
set search_path = '', pg_temp
as $$
begin
  update public.generation_jobs as j set
    status = 'failed', completed_at = clock_timestamp(), error_code = 'input_missing',
    error = 'A picture that it starts from was deleted.'
  where j.id = new.id and j.status in ('queued', 'starting');
  return null;
end
$$;

comment on function private.tg_generation_jobs__miss_source is
'Fails what has not been asked for yet when its source or mask is deleted: nobody pays for a change of nothing.';

revoke all on function private.tg_generation_jobs__miss_source() from public, anon, authenticated;
revoke all on function private.is_in_flight(text) from public, anon, authenticated;
revoke all on function private.discard_generations(uuid, uuid[]) from public, anon, authenticated;
revoke all on function private.tg_generation_jobs__discard() from public, anon, authenticated;

create or replace trigger tg_image_sessions__lock_owner before delete on public.image_sessions
for each statement execute function private.tg_listings__lock_owner();

create or replace trigger tg_generation_jobs__discard after update of session_id on public.generation_jobs
for each row when (old.session_id is not null and new.session_id is null)
execute function private.tg_generation_jobs__discard();

create or replace trigger tg_generation_jobs__miss_source
after update of source_asset_id, mask_asset_id on public.generation_jobs
for each row when (
  new.submitted_at is null and private.is_in_flight(new.status) and (
    (old.source_asset_id is not null and new.source_asset_id is null)
    or (old.mask_asset_id is not null and new.mask_asset_id is null)
  )
)
execute function private.tg_generation_jobs__miss_source();

create or replace trigger tg_image_sessions__stamp before update on public.image_sessions
for each row when (old.* is distinct from new.* and (new.archived_at is null or old.archived_at is not null))
execute function private.tg__stamp_updated_at();

create or replace trigger tg_generation_jobs__stamp before update on public.generation_jobs
for each row when (old.* is distinct from new.*) execute function private.tg__stamp_updated_at();

alter table public.image_sessions enable row level security;
alter table public.image_assets enable row level security;
alter table public.generation_jobs enable row level security;

revoke all on table public.image_sessions, public.image_assets, public.generation_jobs
from anon, authenticated, service_role;
grant select, delete, update (title) on table public.image_sessions to authenticated;
grant select, delete, update (title) on table public.image_sessions to service_role;
grant select on table public.image_assets, public.generation_jobs to authenticated, service_role;

drop policy if exists select_owner on public.image_sessions;
create policy select_owner on public.image_sessions for select to authenticated using (owner_id = (select auth.uid()));

drop policy if exists update_owner on public.image_sessions;
create policy update_owner on public.image_sessions for update to authenticated
using (owner_id = (select auth.uid())) with check (owner_id = (select auth.uid()));

drop policy if exists delete_owner on public.image_sessions;
create policy delete_owner on public.image_sessions for delete to authenticated using (owner_id = (select auth.uid()));

drop policy if exists select_owner on public.image_assets;
create policy select_owner on public.image_assets for select to authenticated using (owner_id = (select auth.uid()));

drop policy if exists select_owner on public.generation_jobs;
create policy select_owner on public.generation_jobs for select to authenticated using (owner_id = (select auth.uid()));
