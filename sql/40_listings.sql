-- What is for sale. A bare insert is a real, saved draft; a published listing is public, all its columns.

create table if not exists public.listings (
  id uuid not null default gen_random_uuid(),
  owner_id uuid not null default auth.uid(),
  status text not null default 'draft',
  sku text,
  title text,
  description text,
  price numeric(12, 2),
  currency text,
  brand text,
  category text,
  condition text,
  size text,
  color text,
  attributes jsonb not null default '{}',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint listings_pkey primary key (id),
  constraint listing_has_an_owner foreign key (owner_id) references public.profiles (id) on delete cascade,
  -- The target of listing_images' foreign key, and the index that policies and owners' queries use.
  constraint listing_is_known_by_its_owner unique (owner_id, id),
  constraint sku_is_unique_per_owner unique (owner_id, sku),
  constraint status_is_known check (status in ('draft', 'published', 'archived')),
  constraint sku_is_short check (char_length(sku) between 1 and 100),
  constraint title_is_short check (char_length(title) <= 500),
  constraint description_is_bounded check (char_length(description) <= 20000),
  constraint price_is_not_negative check (price >= 0 and price <> 'NaN'),
  constraint currency_is_a_code check (currency ~ '^[A-Z]{3}$'),
  constraint brand_is_short check (char_length(brand) <= 200),
  constraint category_is_short check (char_length(category) <= 200),
  constraint condition_is_short check (char_length(condition) <= 200),
  constraint size_is_short check (char_length(size) <= 200),
  constraint color_is_short check (char_length(color) <= 200),
  constraint attributes_are_named check (jsonb_typeof(attributes) = 'object'),
  constraint attributes_are_bounded check (octet_length(attributes::text) <= 65536)
);

-- A column that came later: databases that have the table get it here.
alter table public.listings add column if not exists quantity int default 1
constraint quantity_is_sensible check (quantity between 0 and 1000000);

create index if not exists listings_published_idx on public.listings (created_at desc) where status = 'published';

comment on table public.listings is 'What is for sale: one row an article, own rows and everybody''s published ones are readable.';
comment on column public.listings.id is 'Given by the database; clients cannot choose it.';
comment on column public.listings.owner_id is 'Who sells: the signed-in user, not to be chosen or changed.';
comment on column public.listings.status is 'draft, published or archived. Publishing needs what publish_listing asks for.';
comment on column public.listings.sku is 'The seller''s own number, unique per seller. Public once published.';
comment on column public.listings.title is 'Headline.';
comment on column public.listings.description is 'Text.';
comment on column public.listings.price is 'Price in currency.';
comment on column public.listings.currency is 'ISO 4217 code.';
comment on column public.listings.brand is 'Brand.';
comment on column public.listings.category is 'Category.';
comment on column public.listings.condition is 'Condition.';
comment on column public.listings.size is 'Size.';
comment on column public.listings.color is 'Colour.';
comment on column public.listings.attributes is 'Everything else that has a name. Public once published.';
comment on column public.listings.quantity is 'How many there are to sell.';
comment on column public.listings.created_at is 'When the draft was made.';
comment on column public.listings.updated_at is 'When the listing was last changed.';

create or replace function private.tg_listings__lock_owner() returns trigger
language plpgsql security definer
set search_path = ''
as $$
begin
  if auth.uid() is not null then
    perform private.lock_owner(auth.uid());
  end if;
  return null;
end
$$;

comment on function private.tg_listings__lock_owner is
'Before a statement of a signed-in user locks rows, it takes its turn on the profile: the rows it will touch are all the user''s own.';

revoke all on function private.tg_listings__lock_owner() from public, anon, authenticated;

create or replace trigger tg_listings__check_user before insert on public.listings
for each statement execute function private.tg__check_user();

create or replace trigger tg_listings__lock_owner before delete on public.listings
for each statement execute function private.tg_listings__lock_owner();

create or replace trigger tg_listings__stamp before update on public.listings
for each row when (old.* is distinct from new.*) execute function private.tg__stamp_updated_at();

alter table public.listings enable row level security;

revoke all on table public.listings from anon, authenticated, service_role;
grant select on table public.listings to anon;
grant select, delete,
insert (sku, title, description, price, currency, quantity, brand, category, condition, size, color, attributes),
update (status, sku, title, description, price, currency, quantity, brand, category, condition, size, color, attributes)
on table public.listings to authenticated;
grant select, insert, update, delete on table public.listings to service_role;

drop policy if exists select_public on public.listings;
create policy select_public on public.listings for select to anon using (status = 'published');

drop policy if exists select_owner on public.listings;
drop policy if exists select_owner_or_published on public.listings;
create policy select_owner_or_published on public.listings for select to authenticated
using (owner_id = (select auth.uid()) or status = 'published');

drop policy if exists insert_owner on public.listings;
create policy insert_owner on public.listings for insert to authenticated with check (owner_id = (select auth.uid()));

drop policy if exists update_owner on public.listings;
create policy update_owner on public.listings for update to authenticated
using (owner_id = (select auth.uid())) with check (owner_id = (select auth.uid()));

drop policy if exists delete_owner on public.listings;
create policy delete_owner on public.listings for delete to authenticated using (owner_id = (select auth.uid()));
