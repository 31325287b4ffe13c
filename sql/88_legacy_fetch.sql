-- Which imported images are copied into Storage, and what the pixels said about labels. The copying is the worker's.

create or replace function legacy.is_allowed_host(url text) returns boolean
language sql stable
set search_path = '', pg_temp
as $$
  select exists (
    select from legacy.fetch_hosts as h
    cross join lateral (
      -- What the worker will find too, and it decides; this only keeps hopeless jobs from being ordered.
      select regexp_replace(lower(substring(url from '^https?://([^/?#]+)')), ':(80|443)$', '') as host
    ) as u
    where u.host = h.host
      or (starts_with(h.host, '*.') and right(u.host, char_length(h.host) - 1) = substr(h.host, 2))
  )
$$;

comment on function legacy.is_allowed_host is 'Whether an address is on a host of legacy.fetch_hosts.';

create or replace function legacy.queue_fetches(
  schema_name text default null, after_id uuid default null, batch int default 1000, retry boolean default false
) returns jsonb
language sql volatile
set search_path = '', pg_temp
as $$
  with page as materialized (
    select e.image_id, e.product_id, e.owner_id, e.url, e.fetch_error_code
    from legacy.images as e
    inner join legacy.products as p on e.product_id = p.id
    inner join public.listing_images as i on e.image_id = i.id
    where (queue_fetches.schema_name is null or p.schema_name = queue_fetches.schema_name)
      and e.image_id > coalesce(queue_fetches.after_id, '00000000-0000-0000-0000-000000000000'::uuid)
      and i.state = 'awaiting_upload' and i.deleted_at is null
    order by e.image_id
    limit batch
  ), queued as (
    select queue.enqueue(
      actor => 'fetch_image',
      args => jsonb_build_object('image_id', g.image_id, 'owner_id', g.owner_id, 'listing_id', g.product_id),
      owner_id => g.owner_id,
      -- Behind what people wait for.
      priority => 20::smallint,
      dedupe_key => 'fetch_image:' || g.image_id,
      max_attempts => 6
    )
    from page as g
    where legacy.is_allowed_host(g.url) and (queue_fetches.retry or g.fetch_error_code is null)
  )
  select jsonb_build_object(
    'seen', (select count(*) from page),
    'queued', (select count(*) from queued),
    'host_not_allowed', (select count(*) from page as g where not legacy.is_allowed_host(g.url)),
    'last_id', (select g.image_id from page as g order by g.image_id desc limit 1)
  )
$$;

comment on function legacy.queue_fetches is
'Orders the copy of one page of imported images that have no bytes yet, by image id; a waiting job is not doubled. What failed before only with retry. Answers counts and where the next page begins (last_id null: the end).';

create or replace function legacy.unscored_images(
  schema_name text default null, after_id uuid default null, batch int default 100
)
returns table (image_id uuid, path text, byte_size bigint)
language sql stable
set search_path = '', pg_temp
as $$
  select i.id, i.original_path, i.byte_size
  from legacy.images as e
  inner join legacy.products as p on e.product_id = p.id
  inner join public.listing_images as i on e.image_id = i.id
  where (unscored_images.schema_name is null or p.schema_name = unscored_images.schema_name)
    and i.id > coalesce(unscored_images.after_id, '00000000-0000-0000-0000-000000000000'::uuid)
    and e.label_score is null and i.state = 'ready'
  order by i.id
  limit batch
$$;

comment on function legacy.unscored_images is 'A page of imported images whose bytes are here and were not looked at for signs of a label.';

create or replace function legacy.score_image(image_id uuid, score double precision, signs jsonb) returns void
language sql volatile
set search_path = '', pg_temp
as $$
  update legacy.images as e set label_score = score_image.score, label_signs = score_image.signs
  where e.image_id = score_image.image_id
$$;

comment on function legacy.score_image is 'Notes how much an image looks like a label.';

revoke all on function legacy.is_allowed_host(text) from public, anon, authenticated, service_role;
revoke all on function legacy.queue_fetches(text, uuid, int, boolean) from public, anon, authenticated, service_role;
revoke all on function legacy.unscored_images(text, uuid, int) from public, anon, authenticated, service_role;
revoke all on function legacy.score_image(uuid, double precision, jsonb) from public, anon, authenticated, service_role;
