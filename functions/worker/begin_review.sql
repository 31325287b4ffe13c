create or replace function private.begin_review(image_id uuid, job_id bigint, lease_token uuid) returns jsonb
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_image public.listing_images;
  v_policy public.site_policies;
  v_answer jsonb;
begin
  select * into v_policy from public.site_policies;
  perform private.share_owner((select i.owner_id from public.listing_images as i where i.id = begin_review.image_id));
  select * into v_image from public.listing_images as i
  where i.id = begin_review.image_id and i.state = 'ready' and i.deleted_at is null and i.review_state = 'pending'
  for no key update;
  if v_image.id is null then
    return null;
  elsif not v_policy.photo_review_enabled or private.becomes_label(v_image) then
    update public.listing_images as i set review_state = 'not_required' where i.id = v_image.id;
    return null;
  end if;
  select
    jsonb_build_object(
      'image_id', v_image.id, 'owner_id', v_image.owner_id, 'listing_id', v_image.listing_id,
      'bucket', 'media', 'path', v.path, 'byte_size', v.byte_size, 'provider', v_policy.photo_review_provider
    ) into v_answer
  from public.image_variants as v
  where v.image_id = v_image.id
  order by v.role <> 'preview', v.width
  limit 1;
  return v_answer;
end
$$;

comment on function private.begin_review is
'What the worker needs to have a photo reviewed, its variant preview; null when there is nothing to do: gone, removed, judged already, a label, or reviews are switched off.';

revoke all on function private.begin_review(uuid, bigint, uuid) from public, anon, authenticated;
grant execute on function private.begin_review(uuid, bigint, uuid) to media_worker, service_role;
