-- Listings as a CSV file, out and in through one view. The view shows cells as a file has them: text, a null is an empty
-- cell, and what a spreadsheet would run is neutralised. Rows that come in wait in a table until the statement ends,
-- are checked all together, and are written by two statements or not at all.

create or replace function private.csv_cell(value text) returns text
language sql immutable parallel safe
return case when value ~ E'^''*(?:[-=+@\t\r\n＝＋－＠]|NULL$)' then '''' || value else value end;

comment on function private.csv_cell is
'A text as a cell: what a spreadsheet would run, and the word NULL that PostgREST reads as null, gets an apostrophe in front.';

create or replace function private.csv_value(cell text) returns text
language sql immutable parallel safe
return case when cell ~ E'^''+(?:[-=+@\t\r\n＝＋－＠]|NULL$)' then substr(cell, 2) else cell end;

comment on function private.csv_value is 'The text of a cell: takes back the apostrophe of private.csv_cell, and no other.';

create or replace function private.json_object_or_null(value text) returns jsonb
language plpgsql immutable
set search_path = '', pg_temp
as $$
declare
  v_json jsonb;
begin
  v_json := value::jsonb;
  return case when jsonb_typeof(v_json) = 'object' then v_json end;
exception when data_exception or program_limit_exceeded or untranslatable_character then
  return null;
end
$$;

comment on function private.json_object_or_null is 'The text as a JSON object; null for anything else.';

-- Scalar subqueries, so that photos are looked up only where the column is asked for.
create or replace view public.listing_csv with (security_invoker = true) as
select
  private.csv_cell(l.sku) as sku,
  l.status,
  private.csv_cell(l.title) as title,
  private.csv_cell(l.description) as description,
  l.price::text as price,
  l.currency,
  l.quantity::text as quantity,
  private.csv_cell(l.brand) as brand,
  private.csv_cell(l.category) as category,
  private.csv_cell(l.condition) as condition,
  private.csv_cell(l.size) as size,
  private.csv_cell(l.color) as color,
  nullif(l.attributes::text, '{}') as attributes,
  (
    select string_agg(g.variants -> 'detail' ->> 'path', '|' order by g.position)
    from public.gallery as g
    where g.owner_id = l.owner_id and g.listing_id = l.id
  ) as images
from public.listings as l
where l.owner_id = (select auth.uid());

comment on view public.listing_csv is
'One''s own listings as the rows of a CSV file, all columns text. GET with Accept: text/csv is the export; POST with Content-Type: text/csv creates and updates by sku, all rows or none. A column that the header lacks is left alone; an empty cell empties it.';
comment on column public.listing_csv.sku is 'The seller''s own number: which listing the row is about. Needed on import.';
comment on column public.listing_csv.status is 'draft, published or archived. Empty on import: draft for a new listing, else as it was.';
comment on column public.listing_csv.title is 'Headline.';
comment on column public.listing_csv.description is 'Text.';
comment on column public.listing_csv.price is 'Digits, with a point and up to two more digits.';
comment on column public.listing_csv.currency is 'ISO 4217 code.';
comment on column public.listing_csv.quantity is 'Whole number.';
comment on column public.listing_csv.brand is 'Brand.';
comment on column public.listing_csv.category is 'Category.';
comment on column public.listing_csv.condition is 'Condition.';
comment on column public.listing_csv.size is 'Size.';
comment on column public.listing_csv.color is 'Colour.';
comment on column public.listing_csv.attributes is 'A JSON object; empty when there is none.';
comment on column public.listing_csv.images is
'Objects in bucket media: the photos that pass the gate, in order, separated by |. Read-only: an import whose cell differs is refused.';

revoke all on table public.listing_csv from anon, authenticated, service_role;
grant select, insert on table public.listing_csv to authenticated;

-- PostgREST's own CSV doubles backslashes and has no header where there is no row; an aggregate that answers this
-- domain takes its place for the whole view.
do $$
begin
  if to_regtype('public."text/csv"') is null then
    create domain public."text/csv" as text; -- noqa: RF05
  end if;
end
$$;

comment on domain public."text/csv" -- noqa: RF05
is 'The media type: PostgREST answers Accept: text/csv with what returns it.';

create or replace function private.csv_line(cells text[]) returns text
language sql immutable parallel safe
set search_path = '', pg_temp
as $$
  select string_agg(
    case when c.cell ~ E'[",\r\n]' then '"' || replace(c.cell, '"', '""') || '"' else coalesce(c.cell, '') end,
    ',' order by c.n
  ) || E'\r\n'
  from unnest(csv_line.cells) with ordinality as c (cell, n)
$$;

comment on function private.csv_line is 'A line of RFC 4180: quoted only where it must be, ended by CR LF.';

create or replace function private.add_csv_line(file public."text/csv", listing public.listing_csv) -- noqa: RF05
returns public."text/csv" -- noqa: RF05
language sql immutable
set search_path = '', pg_temp
as $$
  select add_csv_line.file || private.csv_line(array[
    (listing).sku, (listing).status, (listing).title, (listing).description, (listing).price, (listing).currency,
    (listing).quantity, (listing).brand, (listing).category, (listing).condition, (listing).size, (listing).color,
    (listing).attributes, (listing).images
  ])
$$;

comment on function private.add_csv_line is 'One more line of the export.';

create or replace aggregate public.listing_csv_file (public.listing_csv)(
  sfunc = private.add_csv_line,
  stype = public."text/csv", -- noqa: RF05
  initcond
  = E'sku,status,title,description,price,currency,quantity,brand,category,condition,size,color,attributes,images\r\n'
);

comment on aggregate public.listing_csv_file (public.listing_csv) is
'The export: what PostgREST answers for listing_csv with Accept: text/csv, unless select names columns.';

-- Rows of imports that are under way, each transaction's own; gone when it ends. Not logged: nothing here outlives a crash.
create unlogged table if not exists private.listing_csv_rows (
  xact xid8 not null default pg_current_xact_id(),
  n bigint not null generated always as identity,
  sku text,
  status text,
  title text,
  description text,
  price text,
  currency text,
  quantity text,
  brand text,
  category text,
  condition text,
  size text,
  color text,
  attributes text,
  images text,
  constraint listing_csv_rows_pkey primary key (xact, n)
);

comment on table private.listing_csv_rows is
'The cells of an import in the order of its file, until the import has checked and taken them. Null: the file has no such column.';

alter table private.listing_csv_rows enable row level security;
revoke all on table private.listing_csv_rows from anon, authenticated, service_role;

-- Not inlined, and with a number of rows, so that the planner expects a large file: a plan for a few rows takes hours on
-- many, while one for many costs a small file milliseconds.
create or replace function private.listing_csv_cells()
returns table (
  line bigint,
  sku text,
  status text,
  title text,
  description text,
  price text,
  currency text,
  quantity text,
  brand text,
  category text,
  condition text,
  size text,
  color text,
  attributes text,
  images text
)
language sql stable rows 100000
set search_path = '', pg_temp
as $$
  select
    row_number() over (order by c.n) + 1 as line,
    private.csv_value(c.sku) as sku,
    c.status,
    private.csv_value(c.title) as title,
    private.csv_value(c.description) as description,
    c.price,
    c.currency,
    c.quantity,
    private.csv_value(c.brand) as brand,
    private.csv_value(c.category) as category,
    private.csv_value(c.condition) as condition,
    private.csv_value(c.size) as size,
    private.csv_value(c.color) as color,
    c.attributes,
    c.images
  from private.listing_csv_rows as c
  where c.xact = pg_current_xact_id()
$$;

comment on function private.listing_csv_cells is
'This transaction''s rows as texts; line counts as a spreadsheet does, the header being 1.';

-- Bound bodies without settings, so that they are inlined and the planner sees through them.
create or replace function private.listing_csv_input(owner_id uuid)
returns table (
  line bigint,
  sku text,
  status text,
  title text,
  description text,
  price text,
  currency text,
  quantity text,
  brand text,
  category text,
  condition text,
  size text,
  color text,
  attributes text,
  images text,
  listing public.listings
)
language sql stable
begin atomic
select
  r.line,
  r.sku,
  r.status,
  r.title,
  r.description,
  r.price,
  r.currency,
  r.quantity,
  r.brand,
  r.category,
  r.condition,
  r.size,
  r.color,
  r.attributes,
  r.images,
  l as listing
from private.listing_csv_cells() as r
left join public.listings as l on $1 = l.owner_id and r.sku = l.sku;
end;

comment on function private.listing_csv_input is
'This transaction''s rows, each with the listing that it is about.';

create or replace function private.listing_csv_changes(owner_id uuid)
returns table (line bigint, is_new boolean, old public.listings, new public.listings)
language sql stable
begin atomic
select
  i.line,
  (i.listing).id is null as is_new,
  i.listing as old,
  row(
    (i.listing).id,
    $1,
    coalesce(nullif(i.status, ''), (i.listing).status, 'draft'),
    i.sku,
    case
      when i.title is null or i.title = coalesce((i.listing).title, '') then (i.listing).title else nullif(i.title, '')
    end,
    case
      when
        i.description is null or i.description = coalesce((i.listing).description, '')
        then (i.listing).description else nullif(i.description, '')
    end,
    case when i.price is null then (i.listing).price else nullif(i.price, '')::numeric(12, 2) end,
    case when i.currency is null then (i.listing).currency else nullif(i.currency, '') end,
    case
      when i.brand is null or i.brand = coalesce((i.listing).brand, '') then (i.listing).brand else nullif(i.brand, '')
    end,
    case
      when i.category is null or i.category = coalesce((i.listing).category, '') then (i.listing).category else
        nullif(i.category, '')
    end,
    case
      when i.condition is null or i.condition = coalesce((i.listing).condition, '') then (i.listing).condition else
        nullif(i.condition, '')
    end,
    case
      when i.size is null or i.size = coalesce((i.listing).size, '') then (i.listing).size else nullif(i.size, '')
    end,
    case
      when i.color is null or i.color = coalesce((i.listing).color, '') then (i.listing).color else nullif(i.color, '')
    end,
    case
      when i.attributes is null then coalesce((i.listing).attributes, '{}')
      when i.attributes = '' then '{}'
      else private.json_object_or_null(i.attributes)
    end,
    (i.listing).created_at,
    (i.listing).updated_at,
    case
      when i.quantity is not null then nullif(i.quantity, '')::int
      when (i.listing).id is null then 1
      else (i.listing).quantity
    end
  )::public.listings as new
from private.listing_csv_input($1) as i;
end;

comment on function private.listing_csv_changes is
'What this transaction''s rows, once they are found right, make of the listings.';

create or replace function private.listing_csv_problems(owner_id uuid, problems_max int)
returns table (line bigint, "column" text, value text, rule text, message text)
language sql stable
set search_path = '', pg_temp
begin atomic
with input as materialized (
  select i.* from private.listing_csv_input($1) as i
),

doubles as materialized (
  select
    d.sku,
    min(d.line) as line
  from input as d
  where d.sku <> ''
  group by d.sku
  having count(*) > 1
)

select
  p.line,
  p."column",
  left(p.value, 100) as value,
  p.rule,
  p.message
from (
  select
    i.line,
    c.*
  from input as i
  left join doubles as d on i.sku = d.sku
  cross join lateral (
    values
    (1, 'sku', i.sku, 'sku_is_given', 'is needed: it says which listing the row is about', coalesce(i.sku, '') = ''),
    (1, 'sku', i.sku, 'sku_is_short', 'has more than 100 characters', char_length(i.sku) > 100),
    -- No number: files have rows, such as empty ones, that are not counted here.
    (1, 'sku', i.sku, 'sku_is_unique_per_owner', 'is in a row above already', d.line < i.line),
    (
      2, 'status', i.status, 'status_is_known', 'is neither draft nor published nor archived',
      i.status not in ('', 'draft', 'published', 'archived')
    ),
    (
      2, 'status', i.status, 'listing_is_complete',
      'cannot be published: it needs title, price, currency and a photo that is ready',
      -- No null here: it would have every row's photos looked for.
      i.status is not distinct from 'published' and (i.listing).status is distinct from 'published' and (
        btrim(coalesce(i.title, (i.listing).title, '')) = ''
        or coalesce(i.price, (i.listing).price::text, '') = ''
        or coalesce(i.currency, (i.listing).currency, '') = ''
        or (i.listing).id is null
        or 'photo' = any(private.missing_to_publish(i.listing))
      )
    ),
    (3, 'title', i.title, 'title_is_short', 'has more than 500 characters', char_length(i.title) > 500),
    (
      4, 'description', i.description, 'description_is_bounded', 'has more than 20000 characters',
      char_length(i.description) > 20000
    ),
    (
      5,
      'price',
      i.price,
      'price_is_not_negative',
      'is no price: digits, with a point and up to two more, below 10000000000',
      i.price !~ '^(\d{1,10}(\.\d{1,2})?)?$'
    ),
    (
      6,
      'currency',
      i.currency,
      'currency_is_a_code',
      'is no code of three capital letters',
      i.currency !~ '^([A-Z]{3})?$'
    ),
    (
      7, 'quantity', i.quantity, 'quantity_is_sensible', 'is no whole number up to 1000000',
      case when i.quantity ~ '^\d{1,7}$' then i.quantity::int > 1000000 else i.quantity <> '' end
    ),
    (8, 'brand', i.brand, 'brand_is_short', 'has more than 200 characters', char_length(i.brand) > 200),
    (9, 'category', i.category, 'category_is_short', 'has more than 200 characters', char_length(i.category) > 200),
    (
      10, 'condition', i.condition, 'condition_is_short', 'has more than 200 characters', char_length(i.condition) > 200
    ),
    (11, 'size', i.size, 'size_is_short', 'has more than 200 characters', char_length(i.size) > 200),
    (12, 'color', i.color, 'color_is_short', 'has more than 200 characters', char_length(i.color) > 200),
    (
      13, 'attributes', i.attributes, 'attributes_are_named', 'is no JSON object',
      i.attributes <> '' and private.json_object_or_null(i.attributes) is null
    ),
    (
      13, 'attributes', i.attributes, 'attributes_are_bounded', 'is larger than 65536 bytes',
      octet_length(i.attributes) > 1000 and octet_length(private.json_object_or_null(i.attributes)::text) > 65536
    ),
    (
      14, 'images', i.images, 'images_are_read_only',
      'differs from the listing''s photos, which a file does not change: leave the column out',
      i.images is not null and i.images <> coalesce(case when (i.listing).id is not null then (
        select string_agg(g.variants -> 'detail' ->> 'path', '|' order by g.position)
        from private.visible_images as g
        where g.owner_id = (i.listing).owner_id and g.listing_id = (i.listing).id
      ) end, '')
    )
  ) as c (n, "column", value, rule, message, is_broken)
  where c.is_broken
) as p
order by p.line, p.n
limit $2;
end;

comment on function private.listing_csv_problems is
'What is wrong with this transaction''s rows: line, column, value (its first 100 characters) and rule, named as the constraint of listings where there is one. Every way in asks here.';

create or replace function private.import_listing_csv(owner_id uuid, dry_run boolean, problems_max int default 50)
returns jsonb
language plpgsql volatile
set search_path = '', pg_temp
-- A plan that was kept from a small import would never end on a large one.
set plan_cache_mode = force_custom_plan
as $$
declare
  v_problems jsonb;
  v_report jsonb;
begin
  -- First of all locks: what is found here stays so until it is written.
  perform private.lock_owner(import_listing_csv.owner_id);
  select coalesce(jsonb_agg(to_jsonb(p) order by p.line), '[]') into v_problems
  from private.listing_csv_problems(import_listing_csv.owner_id, problems_max + 1) as p;
  select jsonb_build_object('rows', count(*)) into v_report
  from private.listing_csv_rows as r where r.xact = pg_current_xact_id();

  if v_problems = '[]' then
    v_report := v_report || private.write_listing_csv(import_listing_csv.owner_id, dry_run);
  else
    v_report := v_report || '{"created": 0, "updated": 0, "unchanged": 0}';
  end if;
  delete from private.listing_csv_rows as r where r.xact = pg_current_xact_id();
  return v_report || jsonb_build_object(
    'problems', v_problems - problems_max, 'has_more_problems', jsonb_array_length(v_problems) > problems_max
  );
end
$$;

comment on function private.import_listing_csv is
'Checks this transaction''s rows and writes them for this owner, or nothing when there is a problem or dry_run. Answers {"rows", "created", "updated", "unchanged", "problems", "has_more_problems"}.';

create or replace function private.write_listing_csv(owner_id uuid, dry_run boolean) returns jsonb
language plpgsql volatile
set search_path = '', pg_temp
-- A plan that was kept from a small import would never end on a large one.
set plan_cache_mode = force_custom_plan
as $$
declare
  v_rows bigint;
  v_created bigint;
  v_updated bigint;
begin
  select count(*), count(*) filter (where c.is_new), count(*) filter (where not c.is_new and c.new is distinct from c.old)
  into v_rows, v_created, v_updated
  from private.listing_csv_changes(write_listing_csv.owner_id) as c;

  if v_updated > 0 and not dry_run then
    update public.listings as l
    set
      status = (c.new).status, title = (c.new).title, description = (c.new).description, price = (c.new).price,
      currency = (c.new).currency, quantity = (c.new).quantity, brand = (c.new).brand, category = (c.new).category,
      condition = (c.new).condition, size = (c.new).size, color = (c.new).color, attributes = (c.new).attributes
    from private.listing_csv_changes(write_listing_csv.owner_id) as c
    where not c.is_new and c.new is distinct from c.old
      and l.owner_id = write_listing_csv.owner_id and l.id = (c.old).id;
  end if;
  if v_created > 0 and not dry_run then
    insert into public.listings (
      owner_id, status, sku, title, description, price, currency, quantity, brand, category, condition, size, color, attributes
    )
    select
      write_listing_csv.owner_id, (c.new).status, (c.new).sku, (c.new).title, (c.new).description, (c.new).price,
      (c.new).currency, (c.new).quantity, (c.new).brand, (c.new).category, (c.new).condition, (c.new).size,
      (c.new).color, (c.new).attributes
    from private.listing_csv_changes(write_listing_csv.owner_id) as c
    where c.is_new
    order by c.line;
  end if;
  return jsonb_build_object(
    'created', v_created, 'updated', v_updated, 'unchanged', v_rows - v_created - v_updated
  );
end
$$;

comment on function private.write_listing_csv is 'Writes this transaction''s checked rows; with dry_run only counts them.';

create or replace function private.refuse_csv(report jsonb) returns void
language plpgsql immutable
set search_path = '', pg_temp
as $$
declare
  v_lines text;
begin
  -- In the hint: PostgREST 12 sends the message in a header too, which must be one short line.
  select string_agg(format(
    'Row %s, column %s, value "%s": %s (%s).',
    p ->> 'line', p ->> 'column', regexp_replace(p ->> 'value', '[[:cntrl:]]', ' ', 'g'), p ->> 'message', p ->> 'rule'
  ), E'\n' order by n)
  into v_lines
  from jsonb_array_elements(report -> 'problems') with ordinality as e (p, n);
  perform private.refuse(422, 'csv_invalid', format(
    'Nothing was imported: %s problems%s in %s rows, the first of them in row %s, column %s.',
    jsonb_array_length(report -> 'problems'), case when (report ->> 'has_more_problems')::boolean then ' and more' else '' end,
    report ->> 'rows', report #>> '{problems,0,line}', report #>> '{problems,0,column}'
  ), E'Correct these cells and import the whole file again; the header is row 1.\n' || v_lines);
end
$$;

comment on function private.refuse_csv is 'Raises what an import has found, all of it in one error.';

create or replace function private.tg_listing_csv__stage() returns trigger
language plpgsql security definer
set search_path = '', pg_temp
as $$
begin
  insert into private.listing_csv_rows (
    sku, status, title, description, price, currency, quantity, brand, category, condition, size, color, attributes, images
  ) values (
    new.sku, new.status, new.title, new.description, new.price, new.currency, new.quantity, new.brand, new.category,
    new.condition, new.size, new.color, new.attributes, new.images
  );
  return new;
end
$$;

comment on function private.tg_listing_csv__stage is 'Puts a row where the end of the statement finds it.';

create or replace function private.tg_listing_csv__import() returns trigger
language plpgsql security definer
set search_path = '', pg_temp
as $$
declare
  v_report constant jsonb := private.import_listing_csv(private.signed_in(), false);
begin
  if v_report -> 'problems' <> '[]' then
    perform private.refuse_csv(v_report);
  end if;
  return null;
end
$$;

comment on function private.tg_listing_csv__import is 'Once all rows of the statement are there: imports them, or raises all that is wrong.';

revoke all on function private.csv_cell(text) from public, anon, authenticated;
revoke all on function private.csv_value(text) from public, anon, authenticated;
revoke all on function private.json_object_or_null(text) from public, anon, authenticated;
revoke all on function private.csv_line(text[]) from public, anon, authenticated;
revoke all on function private.add_csv_line(public."text/csv", public.listing_csv) from public, anon, authenticated; -- noqa: RF05
revoke all on function public.listing_csv_file(public.listing_csv) from public, anon, authenticated, service_role;
revoke all on function private.listing_csv_cells() from public, anon, authenticated;
revoke all on function private.listing_csv_input(uuid) from public, anon, authenticated;
revoke all on function private.listing_csv_changes(uuid) from public, anon, authenticated;
revoke all on function private.listing_csv_problems(uuid, int) from public, anon, authenticated;
revoke all on function private.import_listing_csv(uuid, boolean, int) from public, anon, authenticated;
revoke all on function private.write_listing_csv(uuid, boolean) from public, anon, authenticated;
revoke all on function private.refuse_csv(jsonb) from public, anon, authenticated;
revoke all on function private.tg_listing_csv__stage() from public, anon, authenticated;
revoke all on function private.tg_listing_csv__import() from public, anon, authenticated;
grant execute on function private.csv_cell(text) to authenticated;
grant execute on function public.listing_csv_file(public.listing_csv) to authenticated;
grant execute on function private.csv_line(text[]) to authenticated;
grant execute on function private.add_csv_line(public."text/csv", public.listing_csv) to authenticated; -- noqa: RF05

create or replace trigger tg_listing_csv__stage instead of insert on public.listing_csv
for each row execute function private.tg_listing_csv__stage();

create or replace trigger tg_listing_csv__import after insert on public.listing_csv
for each statement execute function private.tg_listing_csv__import();
