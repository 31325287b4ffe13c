create or replace function private.retry_image(image_id uuid) returns public.listing_images
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_image public.listing_images := private.lock_image(image_id);
begin
  if v_image.state = 'ready' and v_image.review_state = 'error' and v_image.deleted_at is null then
    update public.listing_images as i set review_state = 'pending', review_reason = null
    where i.id = v_image.id
    returning * into v_image;
    return v_image;
  elsif v_image.state <> 'failed' or v_image.deleted_at is not null then
    perform private.refuse(409, 'image_not_failed', 'Only a failed image can be retried.',
      'See media_tray for what can be retried.');
  end if;
  update public.listing_images as i set
    state = 'uploaded', error = null, error_code = null, is_retryable = false, duplicate_of = null
  where i.id = v_image.id
  returning * into v_image;
  perform private.enqueue_processing(v_image);
  return v_image;
end
$$;

comment on function private.retry_image is 'The body of public.retry_image.';

create or replace function public.retry_image(image_id uuid) returns public.listing_images
language sql volatile
set search_path = '', pg_temp
as $$
  select * from private.retry_image(retry_image.image_id)
$$;

comment on function public.retry_image is
'Processes a failed image again, or asks again for a review that failed. Helps where media_tray says can_retry, or after a limit was raised. Answers the image.';

revoke all on function private.retry_image(uuid) from public, anon, authenticated, service_role;
revoke all on function public.retry_image(uuid) from public, anon, authenticated, service_role;
grant execute on function private.retry_image(uuid) to authenticated;
grant execute on function public.retry_image(uuid) to authenticated;
