-- What was imported from an earlier data model: JSONB arrays of addresses in a table of each tenant's schema. Which
-- schema is whose, every product and every entry of every array with what became of it, and what people said about labels.
-- For operators alone (the role postgres): nobody of the API and no worker has a privilege here.

create table if not exists legacy.sources (
  schema_name text not null,
  owner_id uuid not null,
  table_name text not null default 'products',
  key_column text not null default 'id',
  images_column text not null default 'images',
  columns jsonb not null default '{}',
  url_key text not null default 'url',
  order_key text not null default 'order',
  base_url text,
  imported_at timestamptz,
  column_definition jsonb,
  column_dropped_at timestamptz,
  created_at timestamptz not null default now(),
  constraint sources_pkey primary key (schema_name),
  constraint source_belongs_to_a_user foreign key (owner_id) references public.profiles (id) on delete cascade,
  constraint source_is_known_by_its_owner unique (schema_name, owner_id),
  constraint columns_are_named check (jsonb_typeof(columns) = 'object'),
  constraint base_url_is_an_address check (base_url ~ '^https?://'),
  constraint dropped_column_is_described check (column_dropped_at is null or column_definition is not null)
);

create index if not exists sources_owner_id_idx on legacy.sources (owner_id);

comment on table legacy.sources is 'Which tenant''s schema belongs to which user, and where in it the products are. See legacy.map_schema.';
comment on column legacy.sources.columns is '{column of public.listings: column of the source}.';
comment on column legacy.sources.url_key is 'The member of an object that holds the address.';
comment on column legacy.sources.order_key is 'The member of an object that holds its place.';
comment on column legacy.sources.base_url is 'What relative addresses are below; without it they are oddities.';
comment on column legacy.sources.imported_at is 'When products were last imported.';
comment on column legacy.sources.column_definition is 'What legacy.restore_images needs to make the column again.';
comment on column legacy.sources.column_dropped_at is 'Since when the column is gone from the source.';

create table if not exists legacy.products (
  -- Also the id of the listing that it became.
  id uuid not null,
  schema_name text not null,
  product_key text not null,
  owner_id uuid not null,
  listing_id uuid,
  source jsonb,
  notes text[] not null default '{}',
  imported_at timestamptz not null default now(),
  constraint products_pkey primary key (id),
  constraint product_is_known_by_its_owner unique (id, owner_id),
  constraint product_is_imported_once unique (schema_name, product_key),
  constraint product_belongs_to_a_source_of_its_owner foreign key (schema_name, owner_id)
  references legacy.sources (schema_name, owner_id) on delete cascade,
  constraint product_became_a_listing_of_its_owner foreign key (owner_id, listing_id)
  references public.listings (owner_id, id) on delete set null (listing_id),
  constraint product_and_listing_have_one_id check (listing_id = id)
);

create index if not exists products_owner_id_listing_id_idx on legacy.products (owner_id, listing_id);
create index if not exists products_schema_name_owner_id_idx on legacy.products (schema_name, owner_id);

comment on table legacy.products is
'Every imported product. source is the column''s value as it was: rows can be edited and cannot tell junk, key order or extra members, so exactly what was imported can only be given back from here.';
comment on column legacy.products.product_key is 'The source''s key, as text.';
comment on column legacy.products.listing_id is 'Its listing; null once that was deleted.';
comment on column legacy.products.source is 'The column''s value; SQL null stays null.';
comment on column legacy.products.notes is 'What did not fit into the listing: title_cut, sku_taken, price_unreadable ….';

create table if not exists legacy.images (
  product_id uuid not null,
  ordinal int not null,
  owner_id uuid not null,
  outcome text not null,
  url text,
  position int,
  is_label boolean not null default false,
  image_id uuid,
  fetched_at timestamptz,
  fetch_error_code text,
  fetch_error text,
  label_score real,
  label_signs jsonb,
  constraint images_pkey primary key (product_id, ordinal),
  constraint image_belongs_to_a_product_of_its_owner foreign key (product_id, owner_id)
  references legacy.products (id, owner_id) on delete cascade,
  constraint image_became_one_of_the_same_listing foreign key (image_id, product_id, owner_id)
  references public.listing_images (id, listing_id, owner_id) on delete set null (image_id),
  constraint outcome_is_known check (outcome in (
    'image', 'duplicate', 'over_limit', 'null_entry', 'empty', 'no_url', 'nested', 'not_text', 'not_a_url',
    'scheme_refused', 'too_long'
  )),
  constraint image_has_an_address_and_a_place check (outcome <> 'image' or (url is not null and position is not null)),
  constraint label_score_is_a_share check (label_score between 0 and 1)
);

create index if not exists images_image_id_idx on legacy.images (image_id) where image_id is not null;

comment on table legacy.images is 'Every entry of every imported array, by product and index, and what became of it.';
comment on column legacy.images.ordinal is 'Index in the array, from 0.';
comment on column legacy.images.outcome is 'image, or why it is none.';
comment on column legacy.images.url is 'The address, of what has a usable one.';
comment on column legacy.images.position is 'The place that it was imported to.';
comment on column legacy.images.is_label is 'Whether it was imported as the label.';
comment on column legacy.images.image_id is 'Its row in public.listing_images; null once that was deleted.';
comment on column legacy.images.fetched_at is 'When its bytes were copied into Storage.';
comment on column legacy.images.fetch_error is 'Why the last copy failed.';
comment on column legacy.images.label_score is 'How much the pixels look like a label: 0 not at all, 1 very much.';
comment on column legacy.images.label_signs is 'What the score is made of.';

create table if not exists legacy.label_decisions (
  product_id uuid not null,
  owner_id uuid not null,
  verdict text not null,
  ordinal int,
  decided_by text not null default session_user,
  decided_at timestamptz not null default now(),
  constraint label_decisions_pkey primary key (product_id),
  constraint decision_is_about_a_product_of_its_owner foreign key (product_id, owner_id)
  references legacy.products (id, owner_id) on delete cascade,
  constraint verdict_is_known check (verdict in ('confirmed', 'corrected'))
);

comment on table legacy.label_decisions is 'What operators decided about labels. ordinal null: the product has no label.';

create table if not exists legacy.import_runs (
  id bigint generated always as identity,
  schema_name text not null,
  owner_id uuid not null,
  report jsonb not null,
  started_at timestamptz not null,
  finished_at timestamptz not null default clock_timestamp(),
  constraint import_runs_pkey primary key (id),
  constraint run_is_of_a_source foreign key (schema_name, owner_id)
  references legacy.sources (schema_name, owner_id) on delete cascade
);

create index if not exists import_runs_schema_name_owner_id_idx on legacy.import_runs (schema_name, owner_id);

comment on table legacy.import_runs is 'One row an import that imported something, with its validated counts.';

create table if not exists legacy.fetch_hosts (
  host text not null,
  created_at timestamptz not null default now(),
  constraint fetch_hosts_pkey primary key (host),
  constraint host_is_a_name check (host ~ '^(\*\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?$')
);

comment on table legacy.fetch_hosts is
'Hosts that pictures may be copied from: cdn.example.com, *.example.com (below it), with :port if not 80 or 443. Empty: none.';

alter table legacy.sources enable row level security;
alter table legacy.products enable row level security;
alter table legacy.images enable row level security;
alter table legacy.label_decisions enable row level security;
alter table legacy.import_runs enable row level security;
alter table legacy.fetch_hosts enable row level security;

revoke all on table legacy.sources, legacy.products, legacy.images, legacy.label_decisions, legacy.import_runs,
legacy.fetch_hosts from public, anon, authenticated, service_role, media_worker, analyst;
revoke all on sequence legacy.import_runs_id_seq from public, anon, authenticated, service_role, media_worker, analyst;

create or replace view legacy.report with (security_invoker = true) as
with odd as (
  select
    r.schema_name,
    i.outcome,
    count(*) as entries
  from legacy.products as r
  inner join legacy.images as i on r.id = i.product_id
  where i.outcome <> 'image'
  group by r.schema_name, i.outcome
),

failed as (
  select
    r.schema_name,
    i.fetch_error_code as code,
    count(*) as images
  from legacy.products as r
  inner join legacy.images as i on r.id = i.product_id
  inner join public.listing_images as l on i.image_id = l.id
  where i.fetch_error_code is not null and l.state = 'awaiting_upload'
  group by r.schema_name, i.fetch_error_code
)

select
  s.schema_name,
  s.owner_id,
  s.imported_at,
  s.column_dropped_at,
  coalesce(p.products, 0) as products,
  coalesce(p.listings, 0) as listings,
  coalesce(e.entries, 0) as entries,
  coalesce(e.images, 0) as images,
  coalesce(e.labels, 0) as labels,
  coalesce(e.images, 0) - coalesce(e.waiting, 0) - coalesce(e.gone, 0) as fetched,
  coalesce(e.waiting, 0) as waiting,
  coalesce(e.failed, 0) as fetch_failed,
  coalesce(e.gone, 0) as deleted_since,
  coalesce(o.oddities, '{}') as oddities,
  coalesce(p.notes, 0) as products_with_notes,
  coalesce(f.failures, '{}') as fetch_failures
from legacy.sources as s
left join lateral (
  select
    count(*) as products,
    count(r.listing_id) as listings,
    count(*) filter (where r.notes <> '{}') as notes
  from legacy.products as r
  where r.schema_name = s.schema_name
) as p on true
left join lateral (
  select
    count(*) as entries,
    count(*) filter (where i.outcome = 'image') as images,
    count(*) filter (where i.is_label) as labels,
    count(*) filter (where l.state = 'awaiting_upload') as waiting,
    count(*) filter (where l.state = 'awaiting_upload' and i.fetch_error_code is not null) as failed,
    count(*) filter (where i.outcome = 'image' and i.image_id is null) as gone
  from legacy.products as r
  inner join legacy.images as i on r.id = i.product_id
  left join public.listing_images as l on i.image_id = l.id
  where r.schema_name = s.schema_name
) as e on true
left join lateral (
  select jsonb_object_agg(c.outcome, c.entries) as oddities
  from odd as c
  where c.schema_name = s.schema_name
) as o on true
left join lateral (
  select jsonb_object_agg(c.code, c.images) as failures
  from failed as c
  where c.schema_name = s.schema_name
) as f on true;

comment on view legacy.report is
'Each mapped schema, counted now: products, listings that are still there, entries, images by where their bytes are, labels as imported, what was no image, and why copies failed, by code.';

revoke all on table legacy.report from public, anon, authenticated, service_role, media_worker, analyst;
