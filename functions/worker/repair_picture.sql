create or replace function private.repair_picture(path text, kind text) returns text
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_variant public.render_variants;
begin
  select * into v_variant from public.render_variants as v
  where v.render_id = private.uuid_or_null(split_part(repair_picture.path, '/', 2))
    and repair_picture.path in (v.image_path, v.thumb_path);
  perform private.share_owner(v_variant.owner_id);
  select * into v_variant from public.render_variants as v where v.id = v_variant.id for update;

  if v_variant.id is null then
    return 'nothing';
  elsif kind in ('picture_missing', 'picture_differs') and v_variant.lost_code is null then
    -- Nobody can make it again: another call would cost another time and give another picture. It was made, and paid
    -- for, so render and debit stay; the row says that it is lost, and an operator may credit it.
    update public.render_variants as v set lost_at = clock_timestamp(), lost_code = repair_picture.kind
    where v.id = v_variant.id;
    return 'marked';
  elsif kind = 'picture_back' and v_variant.lost_code = 'picture_missing' then
    update public.render_variants as v set lost_at = null, lost_code = null where v.id = v_variant.id;
    return 'cleared';
  elsif kind in ('thumb_missing', 'thumb_differs') and v_variant.lost_code is null then
    perform queue.enqueue(
      actor => 'remake_thumb', args => jsonb_build_object('variant_id', v_variant.id), owner_id => v_variant.owner_id,
      dedupe_key => 'remake_thumb:' || v_variant.id
    );
    return 'processing';
  end if;
  return 'nothing';
end
$$;

comment on function private.repair_picture is
'Mends what sweep found about a picture of a render, if that is still so: marked (lost for good, with an event), cleared (it is there again), processing (its thumbnail is made again), or nothing.';

revoke all on function private.repair_picture(text, text) from public, anon, authenticated, service_role;
