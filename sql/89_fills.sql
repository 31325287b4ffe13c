-- Texts of listings written by a machine. request_fill notes what the fields hold and orders the work; the worker's answer
-- is written only where they still hold that, all of it or nothing, under the limits that hold for a person. Rows keep
-- what was there and what was written, so that undo_fill can take it back.

do $$
begin
  if not exists (
    select from pg_catalog.pg_attribute
    where attrelid = 'public.plans'::regclass and attname = 'monthly_fills' and not attisdropped
  ) then
    alter table public.plans add column monthly_fills int not null default 50;
    -- Only once: an operator's own figures stay as they are.
    update public.plans as p set monthly_fills = p.monthly_generations * 2 where p.price_id in ('pro', 'business');
  end if;
end
$$;

alter table public.plans
drop constraint if exists monthly_fills_is_not_negative,
add constraint monthly_fills_is_not_negative check (monthly_fills >= 0);

comment on column public.plans.monthly_fills is 'Fills of listings a calendar month (UTC).';

alter table public.site_policies
add column if not exists fill_providers text[] not null default array['local'],
add column if not exists fill_photos_max int not null default 6,
add column if not exists fill_seconds_max int not null default 300,
drop constraint if exists fill_providers_are_named,
add constraint fill_providers_are_named check (
  cardinality(fill_providers) > 0 and array_position(fill_providers, null) is null
),
drop constraint if exists fill_photos_max_is_sensible,
add constraint fill_photos_max_is_sensible check (fill_photos_max between 0 and 20),
drop constraint if exists fill_seconds_max_is_sensible,
add constraint fill_seconds_max_is_sensible check (fill_seconds_max between 10 and 86400);

comment on column public.site_policies.fill_providers is 'Who may fill in texts; the first one is the default.';
comment on column public.site_policies.fill_photos_max is 'Photos of a listing that the provider is shown, the first ones in order.';
comment on column public.site_policies.fill_seconds_max is 'When a fill without an end counts as failed.';

create table if not exists public.fill_fields (
  field text not null,
  target text not null default 'listing',
  length_max int not null,
  instruction text not null,
  is_enabled boolean not null default true,
  constraint fill_fields_pkey primary key (field),
  constraint field_is_a_column_name check (field ~ '^[a-z][a-z_]{0,62}$'),
  constraint field_is_text_for_buyers check (
    field not in ('id', 'owner_id', 'status', 'sku', 'price', 'currency', 'attributes', 'created_at', 'updated_at')
  ),
  constraint target_is_known check (target in ('listing', 'image')),
  constraint image_fields_are_known check (target <> 'image' or field in ('alt_text', 'tags')),
  constraint length_max_is_positive check (length_max > 0),
  constraint instruction_is_short check (char_length(instruction) between 1 and 500)
);

-- A text column more is a line more.
insert into public.fill_fields (field, target, length_max, instruction)
values
  ('title', 'listing', 500, 'A headline of at most 80 characters: what it is, brand, colour, size.'),
  ('description', 'listing', 20000, 'Two to six plain sentences: what it is, material, state, flaws that can be seen.'),
  ('brand', 'listing', 200, 'The brand, only if it can be read in a photo or is named in the texts.'),
  ('category', 'listing', 200, 'The kind of article in one to three words.'),
  ('condition', 'listing', 200, 'New, like new, good, fair or poor, by what can be seen.'),
  ('size', 'listing', 200, 'The size, only if it can be read in a photo or is named in the texts.'),
  ('color', 'listing', 200, 'The main colour in one or two words.'),
  ('alt_text', 'image', 1000, 'One sentence that tells somebody who cannot see the photo what it shows.'),
  ('tags', 'image', 50, 'One to eight short lower-case words for what the photo shows.')
on conflict (field) do nothing;

comment on table public.fill_fields is
'The fields that request_fill knows: text columns of listings, and alt_text and tags of photos. Public read; written by operators only.';
comment on column public.fill_fields.field is 'The column.';
comment on column public.fill_fields.target is 'listing, or image: then for each photo.';
comment on column public.fill_fields.length_max is 'Characters, as told to the provider; a tag''s for tags. The table''s own limits decide.';
comment on column public.fill_fields.instruction is 'What the provider is asked for.';
comment on column public.fill_fields.is_enabled is 'Whether it may be asked for.';

create table if not exists public.listing_fills (
  id uuid not null default gen_random_uuid(),
  owner_id uuid not null,
  listing_id uuid,
  fields text[] not null,
  overwrite boolean not null,
  provider text not null,
  model text,
  status text not null default 'queued',
  old_values jsonb not null,
  result jsonb,
  applied jsonb not null default '{}',
  skipped jsonb not null default '{}',
  kept text[] not null default '{}',
  usage jsonb,
  error text,
  error_code text,
  is_retryable boolean not null default false,
  idempotency_key text,
  request_digest text,
  submitted_at timestamptz,
  created_at timestamptz not null default clock_timestamp(),
  started_at timestamptz,
  completed_at timestamptz,
  undone_at timestamptz,
  updated_at timestamptz not null default now(),
  constraint listing_fills_pkey primary key (id),
  constraint fill_belongs_to_a_profile foreign key (owner_id) references public.profiles (id) on delete cascade,
  -- The row stays when the listing goes, without its texts: it counts in its month.
  constraint fill_is_of_a_listing_of_its_owner foreign key (owner_id, listing_id)
  references public.listings (owner_id, id) on delete set null (listing_id),
  constraint fill_key_is_unique_per_owner unique (owner_id, idempotency_key),
  constraint fill_status_is_known check (status in ('queued', 'processing', 'succeeded', 'failed', 'canceled')),
  constraint ended_fill_has_a_time check (
    (status in ('succeeded', 'failed', 'canceled')) = (completed_at is not null)
  ),
  constraint failed_fill_has_a_reason check ((status = 'failed') = (error is not null and error_code is not null)),
  constraint only_success_is_applied check (status = 'succeeded' or applied = '{}'),
  constraint only_success_is_undone check (undone_at is null or status = 'succeeded'),
  constraint fill_fields_are_named check (
    cardinality(fields) > 0 and array_position(fields, null) is null
  ),
  constraint fill_values_are_named check (
    jsonb_typeof(old_values) = 'object' and jsonb_typeof(applied) = 'object' and jsonb_typeof(skipped) = 'object'
    and jsonb_typeof(result) = 'object'
  ),
  constraint fill_key_is_short check (char_length(idempotency_key) between 1 and 200)
);

-- One at a time, also under races.
create unique index if not exists listing_fills_owner_id_in_flight_idx
on public.listing_fills (owner_id) where status in ('queued', 'processing');
create index if not exists listing_fills_owner_id_created_at_idx
on public.listing_fills (owner_id, created_at desc, id desc);
create index if not exists listing_fills_owner_id_listing_id_created_at_idx
on public.listing_fills (owner_id, listing_id, created_at desc);
-- What maintenance looks for.
create index if not exists listing_fills_created_at_idx
on public.listing_fills (created_at) where status in ('queued', 'processing');

comment on table public.listing_fills is
'Fills of listings: what was asked, what was there, what was written and what was not, and why. Made by request_fill, filled in by the worker; rows end with their owner.';
comment on column public.listing_fills.id is 'Given by the database.';
comment on column public.listing_fills.owner_id is 'Who asked.';
comment on column public.listing_fills.listing_id is 'The listing; null once it was deleted, and the row''s texts with it.';
comment on column public.listing_fills.fields is 'Which fields to write.';
comment on column public.listing_fills.overwrite is 'Whether fields that held something were to be written too.';
comment on column public.listing_fills.provider is 'Who fills: one of site_policies.fill_providers.';
comment on column public.listing_fills.model is 'The model that answered.';
comment on column public.listing_fills.status is 'queued, processing, then succeeded, failed or canceled.';
comment on column public.listing_fills.old_values is
'What the fields held at the request, by key: a field''s name, or images/<id>/<field>. What was written is undone to this.';
comment on column public.listing_fills.result is 'What the provider proposed, by the same keys; null until it has.';
comment on column public.listing_fills.applied is 'What was written, by the same keys.';
comment on column public.listing_fills.skipped is
'What was not written, by the same keys: not_empty, edited (its owner was faster), no_value, same, photo_gone.';
comment on column public.listing_fills.kept is 'Keys that undo_fill left alone, because they had been edited since.';
comment on column public.listing_fills.usage is 'What the provider says it used, such as tokens.';
comment on column public.listing_fills.error is 'Why it failed, for people.';
comment on column public.listing_fills.error_code is 'Why it failed, a stable word.';
comment on column public.listing_fills.is_retryable is 'Whether asking again may help.';
comment on column public.listing_fills.idempotency_key is 'The client''s own word: the same key answers the same fill.';
comment on column public.listing_fills.request_digest is 'Of what was asked with that key.';
comment on column public.listing_fills.submitted_at is
'Right before the provider was asked: from then on its answer may be lost, and a paid call is not repeated blindly.';
comment on column public.listing_fills.created_at is 'When it was asked for.';
comment on column public.listing_fills.started_at is 'When a worker first took it.';
comment on column public.listing_fills.completed_at is 'When it ended.';
comment on column public.listing_fills.undone_at is 'When undo_fill took it back.';
comment on column public.listing_fills.updated_at is 'When the row was last changed.';

create or replace function private.fill_photos(owner_id uuid, listing_id uuid) returns table (n int, image_id uuid)
language sql stable
set search_path = '', pg_temp
as $$
  select row_number() over (order by i.position)::int, i.id
  from public.listing_images as i
  where i.owner_id = fill_photos.owner_id and i.listing_id = fill_photos.listing_id
    and private.passes_gate(i, (select private.review_required()))
  order by i.position
  limit (select p.fill_photos_max from public.site_policies as p)
$$;

comment on function private.fill_photos is 'The photos that a provider may be shown: through the gate, never labels, the first ones in order.';

create or replace function private.fill_values(listing public.listings) returns jsonb
language sql stable
set search_path = '', pg_temp
as $$
  select coalesce(jsonb_object_agg(v.key, v.value), '{}')
  from (
    select f.field as key, to_jsonb(listing) -> f.field as value
    from public.fill_fields as f
    where f.target = 'listing' and to_jsonb(listing) ? f.field
    union all
    select 'images/' || i.id::text || '/' || f.field,
      case f.field when 'alt_text' then to_jsonb(i.alt_text) else to_jsonb(i.tags) end
    from public.fill_fields as f
    cross join public.listing_images as i
    where f.target = 'image' and i.owner_id = (listing).owner_id and i.listing_id = (listing).id
      and private.passes_gate(i, (select private.review_required()))
  ) as v
$$;

comment on function private.fill_values is
'What every field of a listing holds now, and of its photos that pass the gate, by key: a field''s name, or images/<id>/<field>.';

create or replace function private.is_blank(value jsonb) returns boolean
language sql immutable
set search_path = '', pg_temp
as $$
  select value is null or case jsonb_typeof(value)
    when 'string' then btrim(value #>> '{}', e' \t\r\n') = ''
    when 'array' then jsonb_array_length(value) = 0
    else jsonb_typeof(value) = 'null'
  end
$$;

comment on function private.is_blank is 'Whether a field holds nothing: null, white space, no tags.';

create or replace function private.is_same_value(one jsonb, other jsonb) returns boolean
language sql immutable
set search_path = '', pg_temp
as $$
  select one is not distinct from other or (private.is_blank(one) and private.is_blank(other))
$$;

comment on function private.is_same_value is 'Whether two values of a field mean the same: one nothing is like another.';

create or replace function private.write_values(listing public.listings, changes jsonb) returns void
language plpgsql volatile
set search_path = '', pg_temp
as $$
declare
  v_change record;
  v_columns text;
begin
  select string_agg(format('%I = $1 ->> %L', c.key, c.key), ', ') into v_columns
  from jsonb_each(changes) as c
  -- Never a column that is not a field, whatever the keys say.
  inner join public.fill_fields as f on c.key = f.field and f.target = 'listing';
  if v_columns is not null then
    execute format('update public.listings set %s where id = $2 and owner_id = $3', v_columns)
    using changes, (listing).id, (listing).owner_id;
  end if;

  for v_change in
    select split_part(c.key, '/', 2)::uuid as image_id, jsonb_object_agg(split_part(c.key, '/', 3), c.value) as words
    from jsonb_each(changes) as c
    where c.key ~ '^images/[0-9a-f-]{36}/(alt_text|tags)$'
    group by 1
    order by 1
  loop
    update public.listing_images as i set
      alt_text = case when v_change.words ? 'alt_text' then v_change.words ->> 'alt_text' else i.alt_text end,
      tags = case
        when v_change.words ? 'tags' then array(select jsonb_array_elements_text(v_change.words -> 'tags'))
        else i.tags
      end
    where i.id = v_change.image_id and i.owner_id = (listing).owner_id and i.listing_id = (listing).id;
  end loop;
end
$$;

comment on function private.write_values is
'Writes values into a listing and its photos, by key. Checks and triggers of the tables are the limits, as for a person.';

create or replace function private.lock_filled(owner_id uuid, listing_id uuid) returns public.listings
language plpgsql volatile
set search_path = '', pg_temp
as $$
declare
  v_listing public.listings;
begin
  perform private.lock_owner(owner_id);
  select * into v_listing from public.listings as l
  where l.id = lock_filled.listing_id and l.owner_id = lock_filled.owner_id
  for no key update;
  perform 1 from public.listing_images as i
  where i.listing_id = lock_filled.listing_id and i.owner_id = lock_filled.owner_id
  order by i.id for no key update;
  return v_listing;
end
$$;

comment on function private.lock_filled is 'Locks owner, listing and its images, in this order; null when the listing is gone.';

create or replace function private.fills_used(owner_id uuid) returns int
language sql stable
set search_path = '', pg_temp
as $$
  select count(*)::int from public.listing_fills as f
  where f.owner_id = fills_used.owner_id and f.created_at >= date_trunc('month', now(), 'UTC')
    -- One that its owner dropped after the provider was asked was paid all the same.
    and (f.status = 'succeeded' or (f.status = 'canceled' and f.submitted_at is not null))
$$;

comment on function private.fills_used is 'Fills that a user has consumed in this month (UTC).';

create or replace function private.end_fill(fill_id uuid, code text, message text, is_retryable boolean) returns text
language plpgsql volatile
set search_path = '', pg_temp
as $$
declare
  v_status text;
begin
  update public.listing_fills as f set
    status = 'failed', completed_at = clock_timestamp(), error = left(message, 1000), error_code = left(code, 100),
    is_retryable = end_fill.is_retryable
  where f.id = end_fill.fill_id and f.status in ('queued', 'processing')
  returning f.status into v_status;
  return coalesce(v_status, 'gone');
end
$$;

comment on function private.end_fill is 'Failed with a reason, every field as it was; gone when it has ended already.';

create or replace function private.tg_listing_fills__cut_loose() returns trigger
language plpgsql
set search_path = '', pg_temp
as $$
begin
  new.old_values := '{}';
  new.result := null;
  new.applied := '{}';
  new.skipped := '{}';
  new.kept := '{}';
  if new.status in ('queued', 'processing') then
    new.status := 'canceled';
    new.completed_at := clock_timestamp();
  end if;
  return new;
end
$$;

comment on function private.tg_listing_fills__cut_loose is
'With a listing go the texts that its fills kept; one that is under way ends.';

revoke all on function private.fill_photos(uuid, uuid) from public, anon, authenticated, service_role;
revoke all on function private.fill_values(public.listings) from public, anon, authenticated, service_role;
revoke all on function private.is_blank(jsonb) from public, anon, authenticated, service_role;
revoke all on function private.is_same_value(jsonb, jsonb) from public, anon, authenticated, service_role;
revoke all on function private.write_values(public.listings, jsonb) from public, anon, authenticated, service_role;
revoke all on function private.lock_filled(uuid, uuid) from public, anon, authenticated, service_role;
revoke all on function private.fills_used(uuid) from public, anon, authenticated, service_role;
revoke all on function private.end_fill(uuid, text, text, boolean) from public, anon, authenticated, service_role;
revoke all on function private.tg_listing_fills__cut_loose() from public, anon, authenticated, service_role;

create or replace trigger tg_listing_fills__cut_loose before update of listing_id on public.listing_fills
for each row when (old.listing_id is not null and new.listing_id is null)
execute function private.tg_listing_fills__cut_loose();

create or replace trigger tg_listing_fills__stamp before update on public.listing_fills
for each row when (old.* is distinct from new.*) execute function private.tg__stamp_updated_at();

alter table public.fill_fields enable row level security;
alter table public.listing_fills enable row level security;

revoke all on table public.fill_fields, public.listing_fills from anon, authenticated, service_role;
grant select on table public.fill_fields to anon, authenticated;
grant select, insert, update, delete on table public.fill_fields to service_role;
grant select on table public.listing_fills to authenticated, service_role;

drop policy if exists select_public on public.fill_fields;
create policy select_public on public.fill_fields for select to anon, authenticated using (true);

drop policy if exists select_owner on public.listing_fills;
create policy select_owner on public.listing_fills for select to authenticated using (owner_id = (select auth.uid()));

-- Progress streams under row security; rows end with their owner only, so that a DELETE tells nobody anything.
do $$
begin
  if exists (select from pg_catalog.pg_publication where pubname = 'supabase_realtime' and not puballtables)
    and not exists (
      select from pg_catalog.pg_publication_tables
      where pubname = 'supabase_realtime' and schemaname = 'public' and tablename = 'listing_fills'
    )
  then
    alter publication supabase_realtime add table public.listing_fills;
  end if;
end
$$;
