create or replace function private.abandon_review(image_id uuid) returns void
language sql volatile security definer
set search_path = '', pg_temp
as $$
  select private.share_owner((select i.owner_id from public.listing_images as i where i.id = abandon_review.image_id));
  update public.listing_images as i set
    review_state = 'error', reviewed_at = clock_timestamp(),
    review_provider = (select p.photo_review_provider from public.site_policies as p),
    review_reason = 'This photo could not be reviewed after several attempts. Try again later.'
  where i.id = abandon_review.image_id and i.review_state = 'pending'
$$;

comment on function private.abandon_review is
'Called when the review job of an image is dead: the photo can be reviewed again by retry_image. The job''s own error is for operators and stays on the job.';

revoke all on function private.abandon_review(uuid) from public, anon, authenticated;
grant execute on function private.abandon_review(uuid) to media_worker, service_role;
