create or replace function private.queue_reviews(
  after_id uuid, job_id bigint, lease_token uuid, batch int default 200
) returns int
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_page uuid[];
begin
  -- First: it locks the job, and refuses an attempt that was given up.
  perform queue.complete(job_id, lease_token);
  select array_agg(i.id order by i.id) into v_page
  from (
    select o.id from public.listing_images as o
    where queue_reviews.after_id is null or o.id > queue_reviews.after_id
    order by o.id
    limit queue_reviews.batch
  ) as i;
  if v_page is null then
    return 0;
  end if;

  if private.review_required() then
    perform private.queue_page(v_page);
  else
    perform private.unqueue_page(v_page);
  end if;

  -- A policy that was changed again has begun another round, from the start.
  if cardinality(v_page) = batch and not exists (
    select from queue.jobs as j
    where j.dedupe_key is not null and j.dedupe_key = 'queue_reviews' and j.state in ('scheduled', 'ready')
  ) then
    perform queue.enqueue(
      actor => 'queue_reviews', args => jsonb_build_object('after_id', v_page[batch]), priority => 10::smallint
    );
  end if;
  return cardinality(v_page);
end
$$;

comment on function private.queue_reviews is
'One page of the round after the review policy was changed, and an order for the next page, in the transaction that completes the job. Answers how many images it looked at.';

create or replace function private.queue_page(image_ids uuid[]) returns void
language plpgsql volatile
set search_path = '', pg_temp
as $$
declare
  v_image public.listing_images;
begin
  -- Owners before images, in one order: the one order of locks.
  perform private.share_owner(o.owner_id)
  from (
    select distinct i.owner_id from public.listing_images as i where i.id = any(image_ids) order by i.owner_id
  ) as o;
  for v_image in
    select * from public.listing_images as i
    where i.id = any(image_ids) and i.state = 'ready' and not i.is_label
      and i.review_state <> 'allowed' and (i.deleted_at is null or i.review_state = 'rejected')
    order by i.id
    for no key update
  loop
    if v_image.review_state = 'rejected' then
      -- Rejected while reviews did not count.
      if v_image.withdrawn_at is null then
        perform private.enqueue_withdrawal(v_image);
      end if;
    else
      -- Behind the reviews of new photos: the trigger finds that this order waits.
      perform private.enqueue_review(v_image, 10::smallint);
    end if;
  end loop;
  update public.listing_images as i set review_state = 'pending', review_reason = null
  where i.id = any(image_ids) and i.state = 'ready' and not i.is_label and i.deleted_at is null
    and i.review_state in ('not_required', 'error');
end
$$;

comment on function private.queue_page is 'Reviews were switched on: orders the review of those that were never judged.';

create or replace function private.unqueue_page(image_ids uuid[]) returns void
language plpgsql volatile
set search_path = '', pg_temp
as $$
declare
  v_image record;
begin
  for v_image in
    select i.id, i.owner_id, i.withdrawn_at from public.listing_images as i
    where i.id = any(image_ids) and i.state = 'ready' and i.deleted_at is null and not i.is_label
      and (i.withdrawn_at is not null or (i.position is null and i.replaces_id is not null))
    order by i.owner_id, i.id
  loop
    perform private.lock_owner(v_image.owner_id);
    if v_image.withdrawn_at is not null then
      update public.listing_images as i set state = 'uploaded'
      where i.id = v_image.id and i.state = 'ready' and i.withdrawn_at is not null and not i.is_label
        and i.deleted_at is null;
    end if;
    perform private.cut_over(v_image.id);
  end loop;
end
$$;

comment on function private.unqueue_page is
'Reviews were switched off: replacements that waited for theirs take their place, and rejected photos are rendered again.';

revoke all on function private.queue_reviews(uuid, bigint, uuid, int) from public, anon, authenticated;
revoke all on function private.queue_page(uuid[]) from public, anon, authenticated;
revoke all on function private.unqueue_page(uuid[]) from public, anon, authenticated;
grant execute on function private.queue_reviews(uuid, bigint, uuid, int) to media_worker, service_role;
