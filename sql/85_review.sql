-- The review of photos, and what must not stay in storage. Work is ordered by triggers on the rows, so that whatever
-- makes a row wait for its review, a label, or a rejected photo, orders what follows in the same transaction.

create or replace function private.is_withheld(image public.listing_images, review_required boolean) returns boolean
language sql immutable parallel safe
set search_path = '', pg_temp
as $$
  select (image).is_label or (review_required and (image).review_state = 'rejected')
$$;

comment on function private.is_withheld is
'Whether renderings of the image must not lie in bucket media: of a label, or of a photo that was rejected while reviews count. A signed URL that was made before dies with its object.';

create or replace function private.becomes_label(image public.listing_images) returns boolean
language sql stable
set search_path = '', pg_temp
as $$
  select (image).is_label or exists (
    select from public.listing_images as o
    where (image).position is null and o.id = (image).replaces_id and o.is_label and o.position is not null
  )
$$;

comment on function private.becomes_label is 'Whether the image is a label, or waits to replace one.';

create or replace function private.is_rendered(image_id uuid) returns boolean
language sql stable
set search_path = '', pg_temp
as $$
  select count(*) > 0 and bool_and(
    exists (select from storage.objects as o where o.bucket_id = 'media' and o.name = v.path)
  )
  from public.image_variants as v
  where v.image_id = is_rendered.image_id
$$;

comment on function private.is_rendered is 'Whether the image has variants, and Storage has the objects of all of them.';

create or replace function private.enqueue_review(image public.listing_images, priority smallint default 0) returns void
language sql volatile
set search_path = '', pg_temp
as $$
  select queue.enqueue(
    actor => 'review_image',
    args => jsonb_build_object(
      'image_id', (enqueue_review.image).id,
      'owner_id', (enqueue_review.image).owner_id,
      'listing_id', (enqueue_review.image).listing_id
    ),
    owner_id => (enqueue_review.image).owner_id,
    priority => enqueue_review.priority,
    dedupe_key => 'review_image:' || (enqueue_review.image).id
  )
$$;

comment on function private.enqueue_review is 'Orders the review of an image, in the caller''s transaction; once while it waits.';

create or replace function private.enqueue_withdrawal(image public.listing_images) returns void
language sql volatile
set search_path = '', pg_temp
as $$
  select private.enqueue_removal((image).owner_id, 'media', array_agg(
    private.variant_path((image).owner_id, (image).listing_id, (image).id, r.role)
  ))
  from unnest(private.variant_roles()) as r (role)
$$;

comment on function private.enqueue_withdrawal is
'Orders the removal of every rendering of an image, which keeps those that may be shown again by then.';

create or replace function private.tg_listing_images__come_back() returns trigger
language plpgsql security definer
set search_path = '', pg_temp
as $$
declare
  v_required constant boolean := private.review_required();
begin
  if private.is_withheld(new, v_required) then
    return new;
  elsif new.withdrawn_at is not null or (old.is_label and not private.is_rendered(new.id)) then
    new.state := 'uploaded';
    new.withdrawn_at := coalesce(new.withdrawn_at, clock_timestamp());
  elsif v_required and new.review_state in ('not_required', 'error') then
    new.review_state := 'pending';
  end if;
  return new;
end
$$;

comment on function private.tg_listing_images__come_back is
'A photo that is no label any more, or is restored, is rendered again where its renderings are gone, and reviewed where it was not.';

create or replace function private.tg_listing_images__order_work() returns trigger
language plpgsql security definer
set search_path = '', pg_temp
as $$
begin
  if old.state = 'ready' and new.state = 'uploaded' then
    perform private.enqueue_processing(new);
  elsif private.is_withheld(new, true) then
    perform private.enqueue_withdrawal(new);
  else
    perform private.enqueue_review(new);
  end if;
  return null;
end
$$;

comment on function private.tg_listing_images__order_work is
'Orders what a change of a row asks for, in its transaction: its review, its renderings, or their removal.';

create or replace function private.tg_site_policies__queue_reviews() returns trigger
language plpgsql security definer
set search_path = '', pg_temp
as $$
begin
  perform queue.enqueue(
    actor => 'queue_reviews', args => '{"after_id": null}', priority => 10::smallint, dedupe_key => 'queue_reviews'
  );
  return null;
end
$$;

comment on function private.tg_site_policies__queue_reviews is
'When reviews are switched on or off, or to another provider: one job that goes through the images page by page. The gate itself needs nothing: it asks the policy.';

revoke all on function private.is_withheld(public.listing_images, boolean) from public, anon, authenticated;
revoke all on function private.becomes_label(public.listing_images) from public, anon, authenticated;
revoke all on function private.is_rendered(uuid) from public, anon, authenticated;
revoke all on function private.enqueue_review(public.listing_images, smallint) from public, anon, authenticated;
revoke all on function private.enqueue_withdrawal(public.listing_images) from public, anon, authenticated;
revoke all on function private.tg_listing_images__come_back() from public, anon, authenticated;
revoke all on function private.tg_listing_images__order_work() from public, anon, authenticated;
revoke all on function private.tg_site_policies__queue_reviews() from public, anon, authenticated;

create or replace trigger tg_listing_images__come_back before update on public.listing_images
for each row when (
  new.state = 'ready' and old.state = 'ready' and new.deleted_at is null and not new.is_label
  and (old.is_label or old.deleted_at is not null)
)
execute function private.tg_listing_images__come_back();

-- A row that becomes ready with a verdict or a wish of before is looked at anew.
create or replace trigger tg_listing_images__order_work after update on public.listing_images
for each row when (
  (old.state = 'ready' and new.state = 'uploaded' and new.deleted_at is null)
  or (new.is_label and not old.is_label and new.state <> 'awaiting_upload')
  or (
    new.state = 'ready' and not new.is_label
    -- A verdict counts for a removed photo too: its links end.
    and (new.review_state = 'rejected' or (new.review_state = 'pending' and new.deleted_at is null))
    and (
      old.review_state <> new.review_state or old.state <> 'ready'
      or (old.deleted_at is not null and new.deleted_at is null)
    )
  )
)
execute function private.tg_listing_images__order_work();

create or replace trigger tg_site_policies__queue_reviews after update on public.site_policies
for each row when (
  old.photo_review_enabled <> new.photo_review_enabled
  or (new.photo_review_enabled and old.photo_review_provider <> new.photo_review_provider)
)
execute function private.tg_site_policies__queue_reviews();
