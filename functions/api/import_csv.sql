create or replace function private.csv_records(file text) returns table (line int, cells text[])
language sql immutable
set search_path = '', pg_temp
as $$
  with tokens as (
    select
      t.n, t.m[1] as cell, t.m[2] as ending,
      lag(t.m[2], 1, '') over (order by t.n) as before
    from regexp_matches(csv_records.file, '("(?:[^"]|"")*"|[^",\r\n]*)(,|\r?\n|$)', 'g') with ordinality as t (m, n)
  ), numbered as (
    select k.*, count(*) filter (where k.before <> ',') over (order by k.n)::int as line
    from tokens as k
    -- Behind the last line end there is no row, but behind the last comma there is a cell.
    where not (k.cell = '' and k.ending = '' and k.before <> ',')
  )
  select
    u.line,
    coalesce(array_agg(
      case when starts_with(u.cell, '"') then replace(substr(u.cell, 2, length(u.cell) - 2), '""', '"') else u.cell end
      order by u.n
    ) filter (where u.cell <> '' or ',' in (u.before, u.ending)), '{}')
  from numbered as u
  group by u.line
$$;

comment on function private.csv_records is
'The rows of a well-formed CSV file, each with its cells, none for an empty line; line counts as a spreadsheet does, the header being 1.';

create or replace function private.csv_header(file text) returns text[]
language sql immutable
set search_path = '', pg_temp
as $$
  select array_agg(btrim(h.name) order by h.n)
  from private.csv_records(substring(csv_header.file from '^(?:"(?:[^"]|"")*"|[^"\r\n])*')) as r,
    unnest(r.cells) with ordinality as h (name, n)
$$;

comment on function private.csv_header is 'The names in a file''s first row; null when the file is empty.';

create or replace function private.csv_problem(
  line int, "column" text, value text, rule text, message text
) returns jsonb
language sql immutable
set search_path = '', pg_temp
as $$
  select jsonb_build_object(
    'line', csv_problem.line, 'column', left(csv_problem."column", 100), 'value', left(csv_problem.value, 100),
    'rule', csv_problem.rule, 'message', csv_problem.message
  )
$$;

comment on function private.csv_problem is 'A problem of a file as import_listing_csv answers those of its cells.';

create or replace function private.csv_fault(file text) returns jsonb
language sql immutable
set search_path = '', pg_temp
as $$
  -- Whole cells up to the first that is none. No pattern looks back, so that no file takes long.
  with good as (
    select substring(csv_fault.file from '^(?:(?:"(?:[^"]|"")*"|[^",\r\n]*)(?:,|\r?\n))*') as part
    where csv_fault.file !~ '^(?:(?:"(?:[^"]|"")*"|[^",\r\n]*)(?:,|\r?\n))*(?:"(?:[^"]|"")*"|[^",\r\n]*)$'
  )
  select private.csv_problem(
    r.line, coalesce(
      case when r.line > 1 then (private.csv_header(csv_fault.file))[cardinality(r.cells)] end,
      'number ' || cardinality(r.cells)
    ), substr(csv_fault.file, length(g.part) + 1, 100), 'cell_is_quoted_whole',
    case
      when substr(csv_fault.file, length(g.part) + 1, 1) = '"'
        then 'has text behind its closing quote, or the quote is never closed'
      else 'holds a " or a bare CR: quote the whole cell and double the quotes in it'
    end
  )
  from good as g
  -- As if the bad cell were a good one: its place is that of the last cell.
  cross join private.csv_records(g.part || 'x') as r
  order by r.line desc
  limit 1
$$;

comment on function private.csv_fault is 'The first cell of a file that RFC 4180 does not know, as a problem; null when there is none.';

create or replace function private.csv_header_problems(header text[]) returns jsonb
language sql stable
set search_path = '', pg_temp
as $$
  with names as (
    select h.name, h.n, min(h.n) over (partition by h.name) as first, a.attname is not null as is_known
    from unnest(header) with ordinality as h (name, n)
    left join pg_catalog.pg_attribute as a
      on a.attrelid = 'public.listing_csv'::regclass and a.attnum > 0 and a.attname = h.name
  ), problems as (
    select h.n, h.name, case
      when h.is_known and h.n > h.first then 'column_is_named_once'
      when h.is_known then null
      when cardinality(header) > 1 then 'column_is_known'
      when h.name = '' then 'file_has_a_header'
      when h.name ~ '[;\t|]' then 'cells_end_with_a_comma'
      else 'column_is_known'
    end as rule, format('is column %s and column %s', h.first, h.n) as twice
    from names as h
    union all
    select 0, '', 'file_has_a_header', null where header is null
    union all
    select 0, 'sku', 'sku_is_given', null where not 'sku' = any(header)
  )
  select coalesce(jsonb_agg(private.csv_problem(1, f.name, f.name, f.rule, case f.rule
    when 'column_is_named_once' then f.twice
    when 'column_is_known' then 'is no column of listing_csv'
    when 'file_has_a_header' then 'the file is empty: its first row names the columns'
    when 'cells_end_with_a_comma' then 'the file is separated by something else than commas'
    when 'sku_is_given' then 'is needed: it says which listing a row is about'
  end) order by f.n), '[]')
  from (select p.* from problems as p where p.rule is not null order by p.n limit 51) as f
$$;

comment on function private.csv_header_problems is 'What is wrong with a file''s first row.';

create or replace function private.import_csv(file text, dry_run boolean) returns jsonb
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_owner_id constant uuid := private.signed_in();
  -- Spreadsheets put a byte order mark in front.
  v_file constant text := regexp_replace(coalesce(file, ''), U&'^\FEFF', '');
  v_fault jsonb;
  v_header text[];
  v_problems jsonb;
  v_lines int[];
  v_report jsonb := '{"rows": 0, "created": 0, "updated": 0, "unchanged": 0, "problems": [], "has_more_problems": false}';
begin
  -- Patterns take some twenty times the file's memory.
  if octet_length(v_file) > 8388608 then
    perform private.refuse(413, 'csv_too_large', format('The file has %s bytes, more than the limit of 8388608.', octet_length(v_file)),
      'Send it in parts, each with the header.');
  end if;
  v_fault := private.csv_fault(v_file);
  if v_fault is null then
    v_header := private.csv_header(v_file);
    v_problems := private.csv_header_problems(v_header);
  else
    v_problems := jsonb_build_array(v_fault);
  end if;
  if v_problems = '[]' then
    with records as materialized (
      select r.line, r.cells, cardinality(r.cells) = cardinality(v_header) as is_whole
      from private.csv_records(v_file) as r
      -- Empty lines, as spreadsheets leave them at the end.
      where r.line > 1 and r.cells <> '{}'
    ), staged as (
      insert into private.listing_csv_rows (
        sku, status, title, description, price, currency, quantity, brand, category, condition, size, color, attributes, images
      )
      select
        nullif(r.cells[array_position(v_header, 'sku')], 'NULL'), nullif(r.cells[array_position(v_header, 'status')], 'NULL'),
        nullif(r.cells[array_position(v_header, 'title')], 'NULL'),
        nullif(r.cells[array_position(v_header, 'description')], 'NULL'),
        nullif(r.cells[array_position(v_header, 'price')], 'NULL'),
        nullif(r.cells[array_position(v_header, 'currency')], 'NULL'),
        nullif(r.cells[array_position(v_header, 'quantity')], 'NULL'),
        nullif(r.cells[array_position(v_header, 'brand')], 'NULL'),
        nullif(r.cells[array_position(v_header, 'category')], 'NULL'),
        nullif(r.cells[array_position(v_header, 'condition')], 'NULL'),
        nullif(r.cells[array_position(v_header, 'size')], 'NULL'), nullif(r.cells[array_position(v_header, 'color')], 'NULL'),
        nullif(r.cells[array_position(v_header, 'attributes')], 'NULL'),
        nullif(r.cells[array_position(v_header, 'images')], 'NULL')
      from records as r
      where r.is_whole
      order by r.line
    )
    select
      coalesce(array_agg(r.line order by r.line) filter (where r.is_whole), '{}'),
      coalesce(jsonb_agg(private.csv_problem(
        r.line, '', array_to_string(r.cells, ','), 'row_has_all_cells',
        format('has %s cells, the header %s', cardinality(r.cells), cardinality(v_header))
      ) order by r.line) filter (where not r.is_whole), '[]')
    into v_lines, v_problems
    from records as r;
    -- A file that cannot be read whole is checked all the same: everything that is wrong is told at once.
    v_report := private.import_listing_csv(v_owner_id, import_csv.dry_run or v_problems <> '[]');
    select v_problems || coalesce(jsonb_agg(p || jsonb_build_object('line', v_lines[(p ->> 'line')::int - 1]) order by n), '[]')
    into v_problems
    from jsonb_array_elements(v_report -> 'problems') with ordinality as e (p, n);
  end if;

  v_report := v_report || jsonb_build_object(
    'problems', (
      select coalesce(jsonb_agg(f.p order by f.line, f.n), '[]')
      from (
        select e.p, e.n, (e.p ->> 'line')::int as line from jsonb_array_elements(v_problems) with ordinality as e (p, n)
        order by 3, 2 limit 50
      ) as f
    ),
    'has_more_problems', jsonb_array_length(v_problems) > 50 or (v_report ->> 'has_more_problems')::boolean
  );
  if v_problems <> '[]' and not import_csv.dry_run then
    perform private.refuse_csv(v_report);
  end if;
  return v_report;
end
$$;

comment on function private.import_csv is 'The body of public.import_csv.';

create or replace function public.import_csv(file text, dry_run boolean default false) returns jsonb
language sql volatile
set search_path = '', pg_temp
as $$
  select private.import_csv(import_csv.file, coalesce(import_csv.dry_run, false))
$$;

comment on function public.import_csv is
'The text of a CSV file, read as `imageledger csv import` reads it: a byte order mark is taken, and a column that is named twice, a row with too few or too many cells or a stray quote is told by row and column. Else, and in its answer, like import_listings.';

revoke all on function private.csv_records(text) from public, anon, authenticated, service_role;
revoke all on function private.csv_fault(text) from public, anon, authenticated, service_role;
revoke all on function private.csv_problem(int, text, text, text, text) from public, anon, authenticated, service_role;
revoke all on function private.csv_header_problems(text[]) from public, anon, authenticated, service_role;
revoke all on function private.import_csv(text, boolean) from public, anon, authenticated, service_role;
revoke all on function public.import_csv(text, boolean) from public, anon, authenticated, service_role;
grant execute on function private.import_csv(text, boolean) to authenticated;
grant execute on function public.import_csv(text, boolean) to authenticated;
