create or replace function private.import_listings(rows jsonb, dry_run boolean) returns jsonb
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_owner_id constant uuid := private.signed_in();
  v_unknown text;
  v_report jsonb;
begin
  -- Lax paths unwrap: [[{}]] would pass.
  if jsonb_typeof(rows) is distinct from 'array' or jsonb_path_exists(rows, 'strict $[*] ? (@.type() != "object")') then
    perform private.refuse(422, 'rows_malformed', 'rows is not an array of objects.', 'Send [{"sku": "…", "title": "…"}].');
  elsif jsonb_array_length(rows) > 100000 then
    perform private.refuse(413, 'too_many_rows', format('These are %s rows, more than the limit of 100000.', jsonb_array_length(rows)),
      'Send them in parts.');
  end if;
  select string_agg(distinct k, ', ') into v_unknown
  from jsonb_array_elements(rows) as r, jsonb_object_keys(r) as k
  where k not in (
    'sku', 'status', 'title', 'description', 'price', 'currency', 'quantity', 'brand', 'category', 'condition', 'size',
    'color', 'attributes', 'images'
  );
  if v_unknown is not null then
    perform private.refuse(422, 'columns_unknown', 'There is no column ' || left(v_unknown, 500) || '.',
      'The columns are those of listing_csv.');
  end if;

  insert into private.listing_csv_rows (
    sku, status, title, description, price, currency, quantity, brand, category, condition, size, color, attributes, images
  )
  select
    e.r ->> 'sku', e.r ->> 'status', e.r ->> 'title', e.r ->> 'description', e.r ->> 'price', e.r ->> 'currency',
    e.r ->> 'quantity', e.r ->> 'brand', e.r ->> 'category', e.r ->> 'condition', e.r ->> 'size', e.r ->> 'color',
    e.r ->> 'attributes', e.r ->> 'images'
  from jsonb_array_elements(rows) with ordinality as e (r, n)
  order by e.n;
  v_report := private.import_listing_csv(v_owner_id, import_listings.dry_run);
  if v_report -> 'problems' <> '[]' and not import_listings.dry_run then
    perform private.refuse_csv(v_report);
  end if;
  return v_report;
end
$$;

comment on function private.import_listings is 'The body of public.import_listings.';

create or replace function public.import_listings(rows jsonb, dry_run boolean default false) returns jsonb
language sql volatile
set search_path = '', pg_temp
as $$
  select private.import_listings(import_listings.rows, import_listings.dry_run)
$$;

comment on function public.import_listings is
'What a POST of text/csv to listing_csv does, for rows of JSON: cells as texts by the columns of listing_csv, absent or null to leave a column alone. Answers {"rows", "created", "updated", "unchanged", "problems", "has_more_problems"}; with dry_run nothing is written and problems are answered instead of raised.';

revoke all on function public.import_listings(jsonb, boolean) from public, anon, authenticated, service_role;
revoke all on function private.import_listings(jsonb, boolean) from public, anon, authenticated, service_role;
grant execute on function public.import_listings(jsonb, boolean) to authenticated;
grant execute on function private.import_listings(jsonb, boolean) to authenticated;
