-- Where listings are offered elsewhere, and what each of those sites asks of photos and words: one row a rule, with
-- where it was read and when. Operators change the rows; what is seeded here is left alone once it is there.

create table if not exists public.sites (
  id text not null,
  name text not null,
  is_enabled boolean not null default true,
  position int not null default 0,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint sites_pkey primary key (id),
  constraint site_id_is_a_word check (id ~ '^[a-z][a-z0-9_]{0,39}$'),
  constraint site_name_is_short check (char_length(btrim(name)) between 1 and 100)
);

comment on table public.sites is 'Sites that listings can be exported to. Public read; written by operators.';
comment on column public.sites.id is 'A word: ebay, vinted, etsy, shopify, generic.';
comment on column public.sites.name is 'What it is called.';
comment on column public.sites.is_enabled is 'Whether listings can be exported to it.';
comment on column public.sites.position is 'Place in lists.';
comment on column public.sites.created_at is 'When it was added.';
comment on column public.sites.updated_at is 'When it was last changed.';

create table if not exists public.site_rules (
  site_id text not null,
  rule text not null,
  value jsonb not null,
  source text not null,
  source_url text,
  read_on date not null,
  is_confirmed boolean not null default false,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint site_rules_pkey primary key (site_id, rule),
  constraint site_rule_belongs_to_a_site foreign key (site_id) references public.sites (id) on delete cascade,
  constraint required_are_columns check (rule <> 'required' or value <@ '[
    "sku", "title", "description", "price", "currency", "quantity", "brand", "category", "condition", "size", "color"
  ]'),
  constraint source_is_told check (char_length(btrim(source)) between 1 and 500),
  constraint source_url_is_https check (source_url ~ '^https://[^\s<>"]+$' and char_length(source_url) <= 2000)
);

-- Here, so that a rule more reaches databases that have the table.
alter table public.site_rules
drop constraint if exists rule_is_known,
add constraint rule_is_known check (rule in (
  'photos_min', 'photos_max', 'photos_order', 'photo_longest_side_min', 'photo_shortest_side_min',
  'photo_megapixels_max', 'photo_bytes_max', 'photo_formats', 'url_https', 'url_length_max', 'title_length_max',
  'description_length_max', 'sku_length_max', 'alt_text_length_max', 'quantity_min', 'required'
)),
drop constraint if exists rule_has_its_kind_of_value,
add constraint rule_has_its_kind_of_value check (case
  when rule in ('photo_formats', 'required')
    then jsonb_typeof(value) = 'array' and not jsonb_path_exists(value, '$[*] ? (@.type() != "string")')
  when rule = 'photos_order' then value in ('"first_is_main"', '"kept"')
  when rule = 'url_https' then jsonb_typeof(value) = 'boolean'
  else jsonb_typeof(value) = 'number' and (value #>> '{}')::numeric >= 0
end);

comment on table public.site_rules is
'What a site asks of a listing, one rule a row, each with its source. Public read; written by operators.';
comment on column public.site_rules.site_id is 'The site.';
comment on column public.site_rules.rule is
'photos_min, photos_max; photos_order (first_is_main: the first photo is the one in lists; kept: all are equal); photo_longest_side_min, photo_shortest_side_min (pixels), photo_megapixels_max, photo_bytes_max, photo_formats (types); url_https, url_length_max; title_length_max, description_length_max, sku_length_max, alt_text_length_max (characters); quantity_min; required (columns of listings).';
comment on column public.site_rules.value is 'A number, a word, true or false, or an array of words, as the rule asks for.';
comment on column public.site_rules.source is 'The page it was read on, and what is doubtful about it.';
comment on column public.site_rules.source_url is 'Its address.';
comment on column public.site_rules.read_on is 'The day it was read.';
comment on column public.site_rules.is_confirmed is 'Whether the site''s own documentation says so. Others are from third parties or our own choice.';
comment on column public.site_rules.created_at is 'When the rule was added.';
comment on column public.site_rules.updated_at is 'When it was last changed.';

insert into public.sites (id, name, position) values
('ebay', 'eBay', 1),
('vinted', 'Vinted', 2),
('etsy', 'Etsy', 3),
('shopify', 'Shopify', 4),
('generic', 'Any other site', 5)
on conflict (id) do nothing;

insert into public.site_rules (site_id, rule, value, source, source_url, read_on, is_confirmed)
select
s.site_id,
s.rule,
s.value::jsonb,
s.source,
s.source_url,
'2026-11-21'::date,
s.is_confirmed
from (values
  (
    'ebay', 'photos_min', '1', 'Introduction to Pictures in Listings: at least one picture is required',
    'https://developer.ebay.com/devzone/guides/features-guide/content/Development/pictures-intro.html', true
  ),
  (
    'ebay', 'photos_max', '24', 'Introduction to Pictures in Listings: up to 24 pictures in almost any category',
    'https://developer.ebay.com/devzone/guides/features-guide/content/Development/pictures-intro.html', true
  ),
  (
    'ebay', 'photos_order', '"first_is_main"',
    'PictureDetailsType, PictureURL: the first URL becomes the gallery picture',
    'https://developer.ebay.com/Devzone/XML/docs/Reference/eBay/types/PictureDetailsType.html', true
  ),
  (
    'ebay', 'photo_longest_side_min', '500', 'PictureDetailsType, PictureURL: at least 500 pixels on the longest side',
    'https://developer.ebay.com/Devzone/XML/docs/Reference/eBay/types/PictureDetailsType.html', true
  ),
  (
    'ebay', 'photo_bytes_max', '12000000',
    'Third parties name 12 MB; eBay''s own page on picture requirements was not at hand: unconfirmed', null, false
  ),
  (
    'ebay', 'photo_formats', '["image/jpeg", "image/png", "image/webp"]',
    'Trading API, picture hosting: AVIF, BMP, GIF, HEIC, JPG, PNG, TIF, WEBP; here only what we write',
    'https://entwickler.ebay.de/api-docs/user-guides/static/trading-user-guide/picture-hosting.html', true
  ),
  (
    'ebay', 'url_https', 'true', 'Knowledge base 1240: pictures elsewhere must be on a site that uses https',
    'https://entwickler.ebay.de/support/kb-article?KBid=1240', true
  ),
  (
    'ebay', 'title_length_max', '80', 'Feed API, title: at most 80 characters',
    'https://developer.ebay.com/api-docs/buy/feed/v1/schema/product_feed', true
  ),
  (
    'ebay', 'description_length_max', '500000',
    'The Listing API''s description, as third parties'' clients repeat it: unconfirmed', null, false
  ),
  (
    'ebay', 'sku_length_max', '50', 'CustomLabel: 50 characters, from memory: unconfirmed', null, false
  ),
  (
    'ebay', 'quantity_min', '1', 'File Exchange template: *Quantity is required',
    'https://developer.ebay.com/api-docs/sell/inventory/resources/inventory_item/methods/bulkCreateOrReplaceInventoryItem', -- noqa: LT05
    false
  ),
  (
    'ebay', 'required', '["sku", "title", "description", "price", "currency", "quantity", "category", "condition"]',
    'File Exchange Basic Template Instructions 3.5.2, required template fields; sku so that rows can be told apart',
    null,
    false
  ),
  (
    'vinted',
    'photos_min',
    '1',
    'From use of the site; its documentation for sellers'' tools is not public: unconfirmed',
    null,
    false
  ),
  (
    'vinted',
    'photos_max',
    '20',
    'Third parties name 20 photos; Vinted''s help pages were not at hand: unconfirmed',
    null,
    false
  ),
  (
    'vinted', 'photos_order', '"first_is_main"',
    'From use of the site: the first photo is the cover: unconfirmed', null, false
  ),
  (
    'vinted', 'photo_formats', '["image/jpeg", "image/png"]', 'Cautious choice of our own: unconfirmed', null, false
  ),
  ('vinted', 'url_https', 'true', 'Choice of our own: unconfirmed', null, false),
  (
    'vinted', 'title_length_max', '100', 'Third parties name 100 characters: unconfirmed', null, false
  ),
  (
    'vinted', 'description_length_max', '2000', 'Third parties name 2000 characters: unconfirmed', null, false
  ),
  (
    'vinted', 'required', '["title", "description", "price", "currency", "category", "condition"]',
    'What the upload form asks for; brand and size depend on the category: unconfirmed',
    'https://www.vinted.co.uk/catalog-rules', false
  ),
  (
    'etsy', 'photos_min', '1', 'Listings Tutorial: a listing is published with an image',
    'https://developers.etsy.com/documentation/tutorials/listings', false
  ),
  (
    'etsy', 'photos_max', '10',
    'Open API v3, image_ids: up to 10 images of a listing, as clients generated from it repeat; the site itself takes more', -- noqa: LT05
    null,
    false
  ),
  (
    'etsy', 'photos_order', '"first_is_main"',
    'Open API v3, rank of uploadListingImage: 1 is the primary one, as clients generated from it repeat', null, false
  ),
  (
    'etsy',
    'photo_formats',
    '["image/jpeg", "image/png"]',
    'Third parties name JPEG, PNG and GIF, no WebP: unconfirmed',
    null,
    false
  ),
  (
    'etsy', 'photo_bytes_max', '10000000', 'Third parties name 10 MB: unconfirmed', null, false
  ),
  ('etsy', 'url_https', 'true', 'Choice of our own: unconfirmed', null, false),
  (
    'etsy',
    'title_length_max',
    '140',
    'Open API v3, title: at most 140 characters, as clients generated from it repeat',
    null,
    false
  ),
  (
    'etsy', 'quantity_min', '1', 'Listings Tutorial: quantity is needed and more than nothing',
    'https://developers.etsy.com/documentation/tutorials/listings', false
  ),
  (
    'etsy', 'required', '["title", "description", "price", "currency", "quantity"]',
    'Open API v3, createDraftListing; it asks also for who_made, when_made and taxonomy_id: state them in attributes.etsy', -- noqa: LT05
    'https://developers.etsy.com/documentation/tutorials/listings', false
  ),
  (
    'shopify', 'photos_max', '250', 'Third parties name 250 media of a product: unconfirmed', null, false
  ),
  (
    'shopify', 'photos_order', '"first_is_main"',
    'Third parties that cite Shopify''s CSV page: Image Position counts from 1, which is shown first', null, false
  ),
  (
    'shopify', 'photo_bytes_max', '20000000', 'Third parties that cite Shopify''s media page: 20 MB', null, false
  ),
  (
    'shopify',
    'photo_megapixels_max',
    '20',
    'Third parties that cite Shopify''s media page: 4472 x 4472 pixels',
    null,
    false
  ),
  (
    'shopify', 'photo_formats', '["image/jpeg", "image/png", "image/webp"]',
    'Third parties that cite Shopify''s media page: JPEG, PNG, GIF, WebP, HEIC', null, false
  ),
  ('shopify', 'url_https', 'true', 'Third parties: publicly reachable https addresses', null, false),
  (
    'shopify',
    'alt_text_length_max',
    '512',
    'Third parties that cite Shopify''s CSV page: at most 512 characters',
    null,
    false
  ),
  (
    'shopify', 'title_length_max', '255', 'From memory: unconfirmed', null, false
  ),
  (
    'shopify', 'required', '["sku", "title"]',
    'Using CSV files: Title is the only required column for new products; the handle is made from the sku',
    'https://help.shopify.com/en/manual/products/import-export/using-csv', true
  ),
  ('generic', 'required', '["title"]', 'Choice of our own', null, true),
  (
    'generic',
    'photo_formats',
    '["image/jpeg", "image/png", "image/webp"]',
    'Choice of our own: what we write',
    null,
    true
  ),
  ('generic', 'photos_min', '1', 'Choice of our own', null, true),
  ('generic', 'photos_order', '"first_is_main"', 'Choice of our own', null, true)
) as s (site_id, rule, value, source, source_url, is_confirmed)
on conflict (site_id, rule) do nothing;

create or replace trigger tg_sites__stamp before update on public.sites
for each row when (old.* is distinct from new.*) execute function private.tg__stamp_updated_at();

create or replace trigger tg_site_rules__stamp before update on public.site_rules
for each row when (old.* is distinct from new.*) execute function private.tg__stamp_updated_at();

alter table public.sites enable row level security;
alter table public.site_rules enable row level security;

revoke all on table public.sites, public.site_rules from anon, authenticated, service_role;
grant select on table public.sites, public.site_rules to anon, authenticated;
grant select, insert, update, delete on table public.sites, public.site_rules to service_role;

drop policy if exists select_public on public.sites;
create policy select_public on public.sites for select to anon, authenticated using (true);

drop policy if exists select_public on public.site_rules;
create policy select_public on public.site_rules for select to anon, authenticated using (true);

create or replace function private.site_word_problems(listing public.listings, rules jsonb)
returns table (code text, field text, message text, remedy text)
language sql stable
set search_path = '', pg_temp
as $$
  with words as (
    select to_jsonb(site_word_problems.listing) as columns
  )
  select 'field_missing', r.name, r.name || ' is empty, and the site asks for it.', 'Fill in ' || r.name || '.'
  from words as w, jsonb_array_elements_text(coalesce(rules -> 'required', '[]')) as r (name)
  where btrim(coalesce(w.columns ->> r.name, '')) = ''
  union all
  select
    'field_too_long', r.name,
    format('%s has %s characters, more than the %s of the site.', r.name, char_length(w.columns ->> r.name), r.length_max), -- noqa: LT05
    'Shorten ' || r.name || '.'
  from words as w, (values
    ('title', (rules ->> 'title_length_max')::int), ('description', (rules ->> 'description_length_max')::int),
    ('sku', (rules ->> 'sku_length_max')::int)
  ) as r (name, length_max)
  where char_length(w.columns ->> r.name) > r.length_max
  union all
  select
    'quantity_too_small', 'quantity',
    format('quantity is %s; the site asks for %s at least.', (listing).quantity, rules ->> 'quantity_min'),
    'Change the quantity.'
  where (listing).quantity < (rules ->> 'quantity_min')::numeric
$$;

comment on function private.site_word_problems is 'What a site''s rules find in a listing''s columns.';

create or replace function private.site_photos(listing_id uuid, rules jsonb)
returns table (n bigint, photo jsonb, code text, message text, remedy text)
language sql stable
set search_path = '', pg_temp
as $$
  with photos as (
    select
      row_number() over (order by g.position) as n, g.id, g.position, g.alt_text, b.role, b.variant,
      greatest((b.variant ->> 'width')::int, (b.variant ->> 'height')::int) as longest,
      least((b.variant ->> 'width')::int, (b.variant ->> 'height')::int) as shortest
    from public.gallery as g
    -- The largest rendering that the site takes; the largest of all, to be complained of, where it takes none.
    cross join lateral (
      select v.key as role, v.value as variant
      from jsonb_each(g.variants) as v
      order by
        (v.value ->> 'byte_size')::numeric > coalesce((rules ->> 'photo_bytes_max')::numeric, 'infinity')
        or (v.value ->> 'width')::numeric * (v.value ->> 'height')::numeric
          > coalesce((rules ->> 'photo_megapixels_max')::numeric * 1000000, 'infinity'),
        (v.value ->> 'width')::int * (v.value ->> 'height')::int desc, v.key
      limit 1
    ) as b
    where g.listing_id = site_photos.listing_id
  )
  select
    p.n,
    p.variant || jsonb_build_object(
      'image_id', p.id, 'position', p.position, 'role', p.role, 'bucket', 'media', 'mime_type', 'image/webp',
      'alt_text', left(p.alt_text, (rules ->> 'alt_text_length_max')::int)
    ),
    c.code, c.message, c.remedy
  from photos as p
  left join lateral (values
    (
      'photo_too_small',
      p.longest < (rules ->> 'photo_longest_side_min')::numeric or p.shortest < (rules ->> 'photo_shortest_side_min')::numeric, -- noqa: LT05
      format('Photo %s has %s x %s pixels; the site asks for %s at least.', p.n, p.variant ->> 'width', p.variant ->> 'height', -- noqa: LT05
        concat_ws(' and ', (rules ->> 'photo_longest_side_min') || ' on the longer side',
          (rules ->> 'photo_shortest_side_min') || ' on the shorter side')),
      'Replace it by a larger one: reserve_replacement.'
    ),
    (
      'photo_too_large', (p.variant ->> 'byte_size')::numeric > (rules ->> 'photo_bytes_max')::numeric,
      format('Photo %s has %s bytes, more than the %s of the site.', p.n, p.variant ->> 'byte_size', rules ->> 'photo_bytes_max'), -- noqa: LT05
      'Replace it by a smaller one: reserve_replacement.'
    ),
    (
      'photo_format', not coalesce(rules -> 'photo_formats', '["image/webp"]') ? 'image/webp',
      format('Photo %s is WebP, which the site does not take.', p.n),
      'Export with copied files (imageledger export --copy-files), which are written as JPEG.'
    )
  ) as c (code, is_broken, message, remedy) on c.is_broken
$$;

comment on function private.site_photos is
'A listing''s photos through the gate, in order, the best rendering of each; a row more for each of a site''s rules that one breaks.';

revoke all on function private.site_word_problems(public.listings, jsonb) from public, anon, authenticated;
revoke all on function private.site_photos(uuid, jsonb) from public, anon, authenticated;
grant execute on function private.site_word_problems(public.listings, jsonb) to authenticated;
grant execute on function private.site_photos(uuid, jsonb) to authenticated;
