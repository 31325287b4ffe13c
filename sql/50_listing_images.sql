-- The ledger of photos: which listing they belong to, in which order, what the worker made of them.
-- Rows are made by reserve_uploads only. An image cannot be paired with somebody else's listing: the foreign key
-- carries the owner.

create table if not exists public.listing_images (
  id uuid not null default gen_random_uuid(),
  listing_id uuid not null,
  owner_id uuid not null,
  position int,
  removed_position int,
  is_label boolean not null default false,
  alt_text text,
  tags text[] not null default '{}',
  original_path text not null,
  file_name text not null,
  mime_type text not null,
  byte_size bigint not null,
  etag text,
  width int,
  height int,
  sha256 text,
  thumbhash text,
  state text not null default 'awaiting_upload',
  error text,
  error_code text,
  is_retryable boolean not null default false,
  review_state text not null default 'not_required',
  review_reason text,
  review_provider text,
  reviewed_at timestamptz,
  replaces_id uuid,
  upload_expires_at timestamptz not null,
  uploaded_at timestamptz,
  ready_at timestamptz,
  deleted_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint listing_images_pkey primary key (id),
  -- The target of the foreign keys below and of image_variants.
  constraint image_is_known_by_its_listing_and_owner unique (id, listing_id, owner_id),
  constraint image_belongs_to_a_listing_of_its_owner foreign key (owner_id, listing_id)
  references public.listings (owner_id, id) on delete cascade,
  constraint replaced_image_is_of_the_same_listing foreign key (replaces_id, listing_id, owner_id)
  references public.listing_images (id, listing_id, owner_id) on delete set null (replaces_id),
  -- Checked at the end of each statement, so that one update may move many.
  constraint position_is_unique_per_listing exclude using btree (listing_id with =, position with =)
  where (position is not null) deferrable initially immediate,
  constraint label_is_unique_per_listing exclude using btree (listing_id with =)
  where (is_label and position is not null) deferrable initially immediate,
  constraint original_path_is_unique unique (original_path),
  constraint original_path_follows_from_the_keys check (
    starts_with(original_path, owner_id::text || '/listings/' || listing_id::text || '/' || id::text || '.')
    and original_path ~ '\.(jpg|png|webp|heic|heif)$'
  ),
  constraint position_is_not_negative check (position >= 0),
  constraint removed_image_has_no_position check (deleted_at is null or position is null),
  constraint state_is_known check (state in ('awaiting_upload', 'uploaded', 'processing', 'ready', 'failed')),
  constraint ready_image_was_measured check (
    state <> 'ready' or (width is not null and height is not null and sha256 is not null and thumbhash is not null)
  ),
  constraint failed_image_has_a_reason check ((state = 'failed') = (error is not null and error_code is not null)),
  constraint review_state_is_known check (
    review_state in ('not_required', 'pending', 'allowed', 'rejected', 'error')
  ),
  constraint size_is_positive check (width > 0 and height > 0),
  constraint byte_size_is_not_negative check (byte_size >= 0),
  constraint sha256_is_hex check (sha256 ~ '^[0-9a-f]{64}$'),
  constraint file_name_is_short check (char_length(file_name) between 1 and 255),
  constraint alt_text_is_bounded check (char_length(alt_text) <= 2000),
  constraint tags_are_bounded check (cardinality(tags) <= 100 and array_position(tags, null) is null),
  constraint image_does_not_replace_itself check (replaces_id <> id)
);

-- No rendering of it lies in bucket media since then: a label, or a photo that the review rejected.
alter table public.listing_images add column if not exists withdrawn_at timestamptz;

-- The request that reserved it (14_correlation.sql): the upload is another request, of Storage's, whose job carries
-- this on. The default is set apart, so that the column costs a full table nothing.
alter table public.listing_images add column if not exists correlation_id text;
alter table public.listing_images add column if not exists trace_parent text;
alter table public.listing_images alter column correlation_id set default queue.correlation_id();
alter table public.listing_images alter column trace_parent set default queue.trace_parent();

-- What owners read, in the order they read it; also the index of the owner policy and of the cascade from listings.
create index if not exists listing_images_owner_id_listing_id_position_idx
on public.listing_images (owner_id, listing_id, position);
create index if not exists listing_images_replaces_id_idx
on public.listing_images (replaces_id, listing_id, owner_id) where replaces_id is not null;
create index if not exists listing_images_upload_expires_at_idx
on public.listing_images (upload_expires_at) where state = 'awaiting_upload';
create index if not exists listing_images_deleted_at_idx
on public.listing_images (deleted_at) where deleted_at is not null;

-- Of another image with the same bytes. Purging that one ends the remark, not the image.
alter table public.listing_images add column if not exists duplicate_of uuid;

do $$
begin
  if not exists (select from pg_catalog.pg_constraint where conname = 'duplicate_is_of_the_same_listing') then
    alter table public.listing_images add constraint duplicate_is_of_the_same_listing
    foreign key (duplicate_of, listing_id, owner_id)
    references public.listing_images (id, listing_id, owner_id) on delete set null (duplicate_of);
  end if;
end
$$;

create index if not exists listing_images_duplicate_of_idx
on public.listing_images (duplicate_of, listing_id, owner_id) where duplicate_of is not null;

comment on table public.listing_images is
'The ledger of photos. Made by reserve_uploads; owners may edit alt_text and tags and delete; all else is the ledger''s.';
comment on column public.listing_images.id is 'Given by the database; part of every object''s name, so that a new version is a new name.';
comment on column public.listing_images.listing_id is 'Its listing.';
comment on column public.listing_images.owner_id is 'The listing''s owner.';
comment on column public.listing_images.position is
'Place in the listing: 0 to n - 1 without gaps. Null when removed, and for a replacement that waits for its turn.';
comment on column public.listing_images.removed_position is 'The place it had when it was removed.';
comment on column public.listing_images.is_label is 'A photo of the price tag or label; never shown to buyers. One a listing.';
comment on column public.listing_images.alt_text is 'Description for those who cannot see it. Editable.';
comment on column public.listing_images.tags is 'The owner''s words. Editable.';
comment on column public.listing_images.original_path is 'Object in bucket private: {owner}/listings/{listing}/{image}.{ext}.';
comment on column public.listing_images.file_name is 'What the file was called at home. Never part of a path.';
comment on column public.listing_images.mime_type is 'As declared; once processed, what the content really is.';
comment on column public.listing_images.byte_size is 'Bytes as reserved; once uploaded, as stored.';
comment on column public.listing_images.etag is 'Storage''s tag of the uploaded bytes.';
comment on column public.listing_images.width is 'Pixels, upright.';
comment on column public.listing_images.height is 'Pixels, upright.';
comment on column public.listing_images.sha256 is 'Of the original''s bytes, hex.';
comment on column public.listing_images.thumbhash is 'Placeholder of some 25 bytes, base64.';
comment on column public.listing_images.state is 'awaiting_upload, uploaded, processing, then ready or failed.';
comment on column public.listing_images.error is 'Why it failed, for people.';
comment on column public.listing_images.error_code is 'Why it failed, a stable word.';
comment on column public.listing_images.is_retryable is 'Whether retry_image can help: the failure was not the file''s.';
comment on column public.listing_images.review_state is 'not_required, pending, allowed, rejected or error.';
comment on column public.listing_images.review_reason is 'Why it was rejected, or why the review failed.';
comment on column public.listing_images.review_provider is 'Who reviewed.';
comment on column public.listing_images.reviewed_at is 'When it was reviewed.';
comment on column public.listing_images.replaces_id is 'The image whose place it takes, or took.';
comment on column public.listing_images.duplicate_of is
'The live image of the listing that had the same bytes when this one was processed or restored.';
comment on column public.listing_images.correlation_id is
'The request that reserved it, as the client named it (X-Correlation-Id) or as it was numbered; in the logs of its processing.';
comment on column public.listing_images.trace_parent is 'The span that reserved it, as a W3C traceparent; null when the client did not trace.';
comment on column public.listing_images.upload_expires_at is 'Until when the bytes may come.';
comment on column public.listing_images.uploaded_at is 'When the bytes came.';
comment on column public.listing_images.ready_at is 'When it was first processed.';
comment on column public.listing_images.deleted_at is 'When it was removed; restorable for undo_seconds from then.';
comment on column public.listing_images.withdrawn_at is
'Since when it has no renderings, though it is ready: a label''s or a rejected photo''s are taken out of bucket media.';
comment on column public.listing_images.created_at is 'When it was reserved.';
comment on column public.listing_images.updated_at is 'When the row was last changed.';

create table if not exists public.image_variants (
  image_id uuid not null,
  role text not null,
  owner_id uuid not null,
  listing_id uuid not null,
  path text not null,
  width int not null,
  height int not null,
  byte_size bigint not null,
  created_at timestamptz not null default now(),
  constraint image_variants_pkey primary key (image_id, role),
  constraint variant_belongs_to_an_image_of_its_owner foreign key (image_id, listing_id, owner_id)
  references public.listing_images (id, listing_id, owner_id) on delete cascade,
  constraint variant_path_is_unique unique (path),
  constraint role_is_known check (role in ('thumb', 'card', 'preview', 'detail', 'detail_max')),
  constraint path_follows_from_the_keys check (
    path = owner_id::text || '/' || listing_id::text || '/' || image_id::text || '/' || role || '.webp'
  ),
  constraint size_fits_webp check (width between 1 and 16383 and height between 1 and 16383),
  constraint byte_size_is_positive check (byte_size > 0)
);

create index if not exists image_variants_owner_id_listing_id_idx on public.image_variants (owner_id, listing_id);

comment on table public.image_variants is 'The renderings of each photo, in bucket media. Written by the worker only.';
comment on column public.image_variants.image_id is 'The photo.';
comment on column public.image_variants.role is 'thumb, card, preview, detail or detail_max.';
comment on column public.image_variants.owner_id is 'The photo''s owner.';
comment on column public.image_variants.listing_id is 'The photo''s listing.';
comment on column public.image_variants.path is 'Object in bucket media: {owner}/{listing}/{image}/{role}.webp.';
comment on column public.image_variants.width is 'Pixels.';
comment on column public.image_variants.height is 'Pixels.';
comment on column public.image_variants.byte_size is 'Bytes.';
comment on column public.image_variants.created_at is 'When it was rendered.';

create or replace function private.no_expiry() returns timestamptz
language sql immutable parallel safe
return timestamptz '9999-12-31 00:00:00+00';

comment on function private.no_expiry is
'upload_expires_at of an image that was imported without its bytes: it waits as long as it takes. A date, since many clients cannot read infinity.';

create or replace function private.variant_roles() returns text[]
language sql immutable parallel safe
return array['thumb', 'card', 'preview', 'detail', 'detail_max'];

comment on function private.variant_roles is 'Every role a variant may have: what there is to remove when an image goes.';

create or replace function private.variant_path(owner_id uuid, listing_id uuid, image_id uuid, role text) returns text
language sql immutable parallel safe
return owner_id::text || '/' || listing_id::text || '/' || image_id::text || '/' || role || '.webp';

comment on function private.variant_path is 'The one name that a variant can have in bucket media.';

create or replace function private.check_tags(tags text[]) returns void
language plpgsql stable
set search_path = '', pg_temp
as $$
declare
  v_policy public.site_policies;
  v_longest int := (select max(char_length(coalesce(t, ''))) from unnest(tags) as t);
begin
  select * into v_policy from public.site_policies;
  if cardinality(tags) > v_policy.tags_max then
    perform private.refuse(422, 'too_many_tags', format(
      'There are %s tags, more than the limit of %s.', cardinality(tags), v_policy.tags_max
    ), 'Leave some out.');
  elsif v_longest > v_policy.tag_length_max then
    perform private.refuse(422, 'tag_too_long', format(
      'A tag has %s characters, more than the limit of %s.', v_longest, v_policy.tag_length_max
    ), 'Shorten it.');
  elsif v_longest is not null and exists (select from unnest(tags) as t where coalesce(btrim(t), '') = '') then
    perform private.refuse(422, 'empty_tag', 'A tag is empty.', 'Leave it out.');
  end if;
end
$$;

comment on function private.check_tags is 'Refuses more tags, longer ones or empty ones than the site takes.';

create or replace function private.tg_listing_images__check_words() returns trigger
language plpgsql security definer
set search_path = '', pg_temp
as $$
declare
  v_policy public.site_policies;
begin
  select * into v_policy from public.site_policies;
  if char_length(new.alt_text) > v_policy.alt_text_length_max then
    perform private.refuse(422, 'alt_text_too_long', format(
      'The alternative text has %s characters, more than the limit of %s.',
      char_length(new.alt_text), v_policy.alt_text_length_max
    ), 'Shorten it.');
  end if;
  perform private.check_tags(new.tags);
  return new;
end
$$;

comment on function private.tg_listing_images__check_words is 'Holds alt_text and tags to the site''s limits.';

create or replace function private.close_gaps(listing_ids uuid[]) returns void
language plpgsql volatile
set search_path = '', pg_temp
as $$
begin
  -- By id, so that two statements that touch several listings wait for each other and do not deadlock.
  perform 1 from public.listings as l where l.id = any(listing_ids) order by l.id for no key update;
  -- A statement of its own: it must see what others committed while this one waited for the lock.
  update public.listing_images as i set position = place.position
  from (
    select o.id, row_number() over (partition by o.listing_id order by o.position) - 1 as position
    from public.listing_images as o
    where o.listing_id = any(close_gaps.listing_ids) and o.position is not null
  ) as place
  where i.id = place.id and i.position <> place.position;
end
$$;

comment on function private.close_gaps is 'Locks the listings and makes the positions of their live images dense again.';

create or replace function private.tg_listing_images__close_gaps() returns trigger
language plpgsql security definer
set search_path = '', pg_temp
as $$
declare
  v_listing_ids uuid[] := (select array_agg(distinct g.listing_id) from gone as g where g.position is not null);
begin
  if v_listing_ids is not null then
    perform private.close_gaps(v_listing_ids);
    -- A replacement whose turn can no longer come: the foreign key has just cut it loose.
    delete from public.listing_images as i
    where (i.owner_id, i.listing_id) in (select g.owner_id, g.listing_id from gone as g)
      and i.position is null and i.deleted_at is null and i.replaces_id is null;
  end if;
  return null;
end
$$;

comment on function private.tg_listing_images__close_gaps is
'Keeps the order dense after a delete, once a statement, and drops replacements that waited for what was deleted.';

create or replace function private.tg_listing_images__enqueue_removal() returns trigger
language plpgsql security definer
set search_path = '', pg_temp
as $$
begin
  perform private.enqueue_removal(o.owner_id, o.bucket, array_agg(o.path))
  from (
    select g.owner_id, 'private' as bucket, g.original_path as path from gone as g where g.state <> 'awaiting_upload'
    union all
    select g.owner_id, 'media', private.variant_path(g.owner_id, g.listing_id, g.id, r.role)
    from gone as g cross join unnest(private.variant_roles()) as r (role)
    where g.state <> 'awaiting_upload'
  ) as o
  group by o.owner_id, o.bucket;
  return null;
end
$$;

comment on function private.tg_listing_images__enqueue_removal is
'Orders the removal of exactly the objects of deleted images, in the deleting transaction. A reservation never had any: its object and its state come in one transaction.';

create or replace function private.enqueue_removal(owner_id uuid, bucket text, paths text[]) returns void
language sql volatile
set search_path = '', pg_temp
as $$
  select queue.enqueue(
    actor => 'remove_objects',
    args => jsonb_build_object('bucket', enqueue_removal.bucket, 'paths', jsonb_agg(chunks.path order by chunks.n)),
    owner_id => enqueue_removal.owner_id
  )
  from unnest(enqueue_removal.paths) with ordinality as chunks (path, n)
  group by (chunks.n - 1) / 100
$$;

comment on function private.enqueue_removal is 'Orders the removal of objects, at most 100 a job.';

revoke all on function private.no_expiry() from public, anon, authenticated;
-- media_tray asks it as its reader.
grant execute on function private.no_expiry() to authenticated, service_role;
revoke all on function private.variant_roles() from public, anon, authenticated;
revoke all on function private.variant_path(uuid, uuid, uuid, text) from public, anon, authenticated;
revoke all on function private.check_tags(text[]) from public, anon, authenticated;
revoke all on function private.tg_listing_images__check_words() from public, anon, authenticated;
revoke all on function private.close_gaps(uuid[]) from public, anon, authenticated;
revoke all on function private.tg_listing_images__close_gaps() from public, anon, authenticated;
revoke all on function private.tg_listing_images__enqueue_removal() from public, anon, authenticated;
revoke all on function private.enqueue_removal(uuid, text, text[]) from public, anon, authenticated;

create or replace trigger tg_listing_images__lock_owner before update or delete on public.listing_images
for each statement execute function private.tg_listings__lock_owner();

create or replace trigger tg_listing_images__stamp before update on public.listing_images
for each row when (old.* is distinct from new.*) execute function private.tg__stamp_updated_at();

create or replace trigger tg_listing_images__check_words_insert before insert on public.listing_images
for each row when (new.alt_text is not null or new.tags <> '{}')
execute function private.tg_listing_images__check_words();

create or replace trigger tg_listing_images__check_words before update of alt_text, tags on public.listing_images
for each row when (new.alt_text is distinct from old.alt_text or new.tags is distinct from old.tags)
execute function private.tg_listing_images__check_words();

create or replace trigger tg_listing_images__close_gaps after delete on public.listing_images
referencing old table as gone
for each statement execute function private.tg_listing_images__close_gaps();

create or replace trigger tg_listing_images__enqueue_removal after delete on public.listing_images
referencing old table as gone
for each statement execute function private.tg_listing_images__enqueue_removal();

alter table public.listing_images enable row level security;
alter table public.image_variants enable row level security;

revoke all on table public.listing_images, public.image_variants from anon, authenticated, service_role;
grant select, delete, update (alt_text, tags) on table public.listing_images to authenticated;
grant select on table public.image_variants to authenticated;
grant select, update, delete on table public.listing_images to service_role;
grant select on table public.image_variants to service_role;

drop policy if exists select_owner on public.listing_images;
create policy select_owner on public.listing_images for select to authenticated using (owner_id = (select auth.uid()));

drop policy if exists update_owner on public.listing_images;
create policy update_owner on public.listing_images for update to authenticated
using (owner_id = (select auth.uid())) with check (owner_id = (select auth.uid()));

drop policy if exists delete_owner on public.listing_images;
create policy delete_owner on public.listing_images for delete to authenticated using (owner_id = (select auth.uid()));

drop policy if exists select_owner on public.image_variants;
create policy select_owner on public.image_variants for select to authenticated using (owner_id = (select auth.uid()));
