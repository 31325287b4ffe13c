create or replace function private.finish_review(
  image_id uuid, job_id bigint, lease_token uuid, review_state text, reason text, provider text
) returns text
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_image public.listing_images;
begin
  -- First: it locks the job, and refuses an attempt that was given up.
  perform queue.complete(job_id, lease_token);
  select * into v_image from public.listing_images as i where i.id = finish_review.image_id;
  if v_image.replaces_id is null then
    perform private.share_owner(v_image.owner_id);
  else
    perform private.lock_owner(v_image.owner_id);
  end if;
  -- A verdict is about the bytes: it counts for a photo that was removed meanwhile, and not after another verdict.
  update public.listing_images as i set
    review_state = finish_review.review_state, review_reason = left(nullif(btrim(finish_review.reason), ''), 1000),
    review_provider = finish_review.provider, reviewed_at = clock_timestamp()
  where i.id = finish_review.image_id
    and (i.review_state = 'pending' or (i.review_state = 'not_required' and finish_review.review_state <> 'error'))
  returning * into v_image;
  if not found then
    return 'gone';
  end if;
  perform private.cut_over(v_image.id);
  return v_image.review_state;
end
$$;

comment on function private.finish_review is
'Writes a verdict (allowed, rejected) or why there is none (error), with the reason for the photo''s owner, and completes the job, in one transaction. Answers the state, or gone.';

revoke all on function private.finish_review(uuid, bigint, uuid, text, text, text) from public, anon, authenticated;
grant execute on function private.finish_review(uuid, bigint, uuid, text, text, text) to media_worker, service_role;
