-- Every limit and switch of the site in one row, and the sizes that each photo is rendered in.
-- Clients read media_rules(); nobody writes a number into code.

create table if not exists public.site_policies (
  id boolean not null default true,
  upload_batch_max int not null default 50,
  images_per_listing_max int not null default 50,
  image_bytes_max bigint not null default 52428800,
  image_side_min int not null default 32,
  image_aspect_max numeric(6, 2) not null default 10,
  image_megapixels_max numeric(6, 2) not null default 50,
  image_mime_types text[] not null default array['image/jpeg', 'image/png', 'image/webp', 'image/heic', 'image/heif'],
  alt_text_length_max int not null default 1000,
  tags_max int not null default 20,
  tag_length_max int not null default 50,
  reservation_seconds int not null default 7200,
  undo_seconds int not null default 604800,
  signed_url_seconds_max int not null default 3600,
  duplicate_images text not null default 'flag',
  photo_review_enabled boolean not null default false,
  photo_review_provider text not null default 'disabled',
  generation_prompt_length_max int not null default 4000,
  generation_seconds_max int not null default 600,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint site_policies_pkey primary key (id),
  constraint site_policies_is_one_row check (id),
  constraint upload_batch_max_is_sensible check (upload_batch_max between 1 and 500),
  constraint images_per_listing_max_is_sensible check (images_per_listing_max between 1 and 1000),
  constraint image_bytes_max_is_sensible check (image_bytes_max between 1024 and 5368709120),
  constraint image_side_min_is_sensible check (image_side_min between 1 and 10000),
  constraint image_aspect_max_is_sensible check (image_aspect_max between 1 and 1000),
  constraint image_megapixels_max_is_sensible check (image_megapixels_max between 0.01 and 1000),
  constraint image_mime_types_can_be_read check (
    cardinality(image_mime_types) > 0
    and image_mime_types <@ array['image/jpeg', 'image/png', 'image/webp', 'image/heic', 'image/heif']
  ),
  constraint alt_text_length_max_is_sensible check (alt_text_length_max between 1 and 2000),
  constraint tags_max_is_sensible check (tags_max between 0 and 100),
  constraint tag_length_max_is_sensible check (tag_length_max between 1 and 100),
  constraint reservation_seconds_is_sensible check (reservation_seconds between 1 and 604800),
  constraint undo_seconds_is_sensible check (undo_seconds between 0 and 31536000),
  constraint signed_url_seconds_max_is_sensible check (signed_url_seconds_max between 1 and 604800),
  constraint duplicate_images_is_known check (duplicate_images in ('allow', 'flag', 'refuse')),
  constraint photo_review_provider_is_known check (photo_review_provider in ('disabled', 'gemini')),
  constraint generation_prompt_length_max_is_sensible check (generation_prompt_length_max between 1 and 100000),
  constraint generation_seconds_max_is_sensible check (generation_seconds_max between 10 and 86400)
);

insert into public.site_policies default values on conflict (id) do nothing;

comment on table public.site_policies is 'The site''s limits and switches: one row, public read, written by operators only.';
comment on column public.site_policies.id is 'Always true: there is one row.';
comment on column public.site_policies.upload_batch_max is 'Files in one reserve_uploads.';
comment on column public.site_policies.images_per_listing_max is 'Live images in one listing, its label included.';
comment on column public.site_policies.image_bytes_max is 'Bytes of one original; also the limit of the private bucket.';
comment on column public.site_policies.image_side_min is 'Pixels of the shorter side, at least.';
comment on column public.site_policies.image_aspect_max is 'Longer side divided by shorter side, at most.';
comment on column public.site_policies.image_megapixels_max is 'Millions of pixels of one original.';
comment on column public.site_policies.image_mime_types is 'Types that may be declared; the worker decides what a file really is.';
comment on column public.site_policies.alt_text_length_max is 'Characters of an alternative text.';
comment on column public.site_policies.tags_max is 'Tags of one image.';
comment on column public.site_policies.tag_length_max is 'Characters of one tag.';
comment on column public.site_policies.reservation_seconds is 'How long a reserved path waits for its bytes.';
comment on column public.site_policies.undo_seconds is 'How long a removed image can be restored.';
comment on column public.site_policies.signed_url_seconds_max is 'How long our own signed URLs live at most.';
comment on column public.site_policies.duplicate_images is 'The same bytes again in one listing: allow, flag or refuse.';
comment on column public.site_policies.photo_review_enabled is 'Whether only reviewed and allowed photos pass the gate.';
comment on column public.site_policies.photo_review_provider is 'Who reviews.';
comment on column public.site_policies.generation_prompt_length_max is 'Characters of a prompt.';
comment on column public.site_policies.generation_seconds_max is 'When a generation without an end counts as failed.';
comment on column public.site_policies.created_at is 'When the row was made.';
comment on column public.site_policies.updated_at is 'When a limit was last changed.';

create table if not exists public.variant_specs (
  role text not null,
  max_side int not null,
  quality int not null,
  constraint variant_specs_pkey primary key (role),
  constraint role_is_known check (role in ('thumb', 'card', 'preview', 'detail', 'detail_max')),
  constraint max_side_fits_webp check (max_side between 16 and 16383),
  constraint quality_is_a_percentage check (quality between 1 and 100)
);

insert into public.variant_specs (role, max_side, quality)
values ('thumb', 160, 76), ('card', 480, 77), ('preview', 960, 78), ('detail', 1600, 78), ('detail_max', 2560, 78)
on conflict (role) do nothing;

comment on table public.variant_specs is
'The sizes that each photo is rendered in, WebP all of them. A change counts for photos processed after it.';
comment on column public.variant_specs.role is 'thumb, card, preview, detail or detail_max; also the object''s name.';
comment on column public.variant_specs.max_side is 'Pixels of the longer side, at most: photos are never enlarged.';
comment on column public.variant_specs.quality is 'WebP quality.';

create or replace function private.review_required() returns boolean
language sql stable
set search_path = '', pg_temp
as $$
  select p.photo_review_enabled from public.site_policies as p
$$;

comment on function private.review_required is
'Whether photos need an allowing review. Queries call it as (select private.review_required()): once, not once a row.';

revoke all on function private.review_required() from public, anon, authenticated;
grant execute on function private.review_required() to anon, authenticated, service_role;

create or replace trigger tg_site_policies__stamp before update on public.site_policies
for each row when (old.* is distinct from new.*) execute function private.tg__stamp_updated_at();

alter table public.site_policies enable row level security;
alter table public.variant_specs enable row level security;

revoke all on table public.site_policies, public.variant_specs from anon, authenticated, service_role;
grant select on table public.site_policies, public.variant_specs to anon, authenticated;
grant select, update on table public.site_policies, public.variant_specs to service_role;

drop policy if exists select_public on public.site_policies;
create policy select_public on public.site_policies for select to anon, authenticated using (true);

drop policy if exists select_public on public.variant_specs;
create policy select_public on public.variant_specs for select to anon, authenticated using (true);
