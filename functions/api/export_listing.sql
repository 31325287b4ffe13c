create or replace function public.export_listing(listing_id uuid, site text) returns jsonb
language plpgsql stable
set search_path = '', pg_temp
as $$
declare
  v_owner_id constant uuid := auth.uid();
  v_listing public.listings;
  v_rules jsonb;
  v_photos jsonb;
  v_problems jsonb;
begin
  select l.* into v_listing from public.listings as l
  where l.id = export_listing.listing_id and l.owner_id = v_owner_id;
  if v_listing.id is null then
    perform private.refuse(404, 'listing_not_found', 'You have no such listing.', 'Check the id.');
  end if;
  select coalesce(jsonb_object_agg(r.rule, r.value) filter (where r.rule is not null), '{}') into v_rules
  from public.sites as s left join public.site_rules as r on r.site_id = s.id
  where s.id = export_listing.site and s.is_enabled having count(s.id) > 0;
  if v_rules is null then
    perform private.refuse(404, 'site_not_found', 'There is no such site, or it is switched off.', 'Read the table sites.');
  end if;

  with photos as materialized (
    select p.* from private.site_photos(v_listing.id, v_rules) as p
  ), kept as (
    select distinct p.n, p.photo from photos as p
    where p.n <= coalesce((v_rules ->> 'photos_max')::int, 1000)
  ), problems as (
    select 1 as part, null::bigint as n, w.code, w.field, null::jsonb as image_id, w.message, w.remedy
    from private.site_word_problems(v_listing, v_rules) as w
    union all
    select 2, null, 'photos_missing', null, null,
      format('There are %s photos for buyers; the site asks for %s at least.', count(distinct p.n), v_rules ->> 'photos_min'),
      'Upload photos, and see media_tray for what is not ready.'
    from photos as p having count(distinct p.n) < (v_rules ->> 'photos_min')::int
    union all
    select 2, null, 'photos_too_many', null, null,
      format('There are %s photos; the site takes %s, and the rest is left out.', count(distinct p.n), v_rules ->> 'photos_max'),
      'Remove photos, or order those first that matter and export with --partial.'
    from photos as p having count(distinct p.n) > (v_rules ->> 'photos_max')::int
    union all
    select 3, p.n, p.code, null, p.photo -> 'image_id', p.message, p.remedy from photos as p where p.code is not null
    union all
    select 4, t.position, 'photo_not_ready', null, to_jsonb(t.id),
      format('Photo "%s" is not shown to buyers (%s): %s', t.file_name, t.status, t.reason),
      case
        when t.can_retry then 'Try again: retry_image.'
        when t.status in ('failed', 'rejected') then 'Replace it (reserve_replacement) or remove it (remove_image).'
        else 'Wait until it is ready, or remove it (remove_image).'
      end
    from public.media_tray as t
    where t.owner_id = v_owner_id and t.listing_id = v_listing.id and not t.is_label and t.status <> 'removed'
  )
  select
    (select coalesce(jsonb_agg(k.photo order by k.n), '[]') from kept as k),
    (select coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
      'code', b.code, 'field', b.field, 'image_id', b.image_id, 'message', b.message, 'remedy', b.remedy
    )) order by b.part, b.n, b.code), '[]') from problems as b)
  into v_photos, v_problems;

  return jsonb_build_object(
    'payload', jsonb_build_object(
      'site', export_listing.site,
      'rules', v_rules,
      'listing', to_jsonb(v_listing) - 'owner_id',
      'photos', v_photos
    ),
    'problems', v_problems
  );
end
$$;

comment on function public.export_listing is
'One of one''s own listings for a site: {"payload": {"site", "rules", "listing", "photos"}, "problems": [{"code", "field"?, "image_id"?, "message", "remedy"}]}. Photos are those that pass the gate, in order, the best rendering of each: sign their paths in bucket media. With problems the site is likely to refuse it.';

revoke all on function public.export_listing(uuid, text) from public, anon, authenticated, service_role;
grant execute on function public.export_listing(uuid, text) to authenticated;
