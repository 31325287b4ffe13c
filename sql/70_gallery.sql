-- The gate and what is seen through it. Nothing decides on its own what buyers may see: the media bucket's policy,
-- the gallery, covers and exports all ask private.passes_gate.

create or replace function private.passes_gate(image public.listing_images, review_required boolean) returns boolean
language sql immutable parallel safe
return
(image).state = 'ready'
and not (image).is_label
-- Null for what was removed and for a replacement that waits for its turn.
and (image).position is not null
-- There is nothing to show before it is rendered again.
and (image).withdrawn_at is null
and (not review_required or (image).review_state = 'allowed');

comment on function private.passes_gate is
'The gate: ready and rendered, not a label, not removed, not waiting to replace another, and reviewed where the site asks for it. Call it with (select private.review_required()). A bound SQL body, so that it is inlined into queries.';

revoke all on function private.passes_gate(public.listing_images, boolean) from public, anon, authenticated;
grant execute on function private.passes_gate(public.listing_images, boolean) to anon, authenticated, service_role;

-- The three views of private are not security_invoker, on purpose and not exposed: they show chosen columns of rows whose
-- other columns are private, which row security cannot. security_barrier keeps a caller's functions behind the gate.
create or replace view private.passing_images with (security_barrier = true) as
select
  i.id,
  i.listing_id,
  i.owner_id,
  i.position,
  i.alt_text,
  i.width,
  i.height,
  i.thumbhash,
  i.ready_at,
  l.status as listing_status
from public.listing_images as i
-- By owner too, which says nothing new and lets a page of an owner's photos find that owner's listings alone.
inner join public.listings as l on i.owner_id = l.owner_id and i.listing_id = l.id
-- The row itself, not private.review_required(): calling it takes longer than reading a photo.
where private.passes_gate(i, (select p.photo_review_enabled from public.site_policies as p))
  and (l.status = 'published' or l.owner_id = (select auth.uid()));

comment on view private.passing_images is 'What passes the gate, of published listings and of one''s own.';

-- A layer without a barrier of its own, so that variants are gathered for the rows of a page, after its order and limit,
-- and not for everything that passes the gate. What a caller filters by stays outside the barrier below all the same.
create or replace view private.visible_images as
select
  i.id,
  i.listing_id,
  i.owner_id,
  i.position,
  i.alt_text,
  i.width,
  i.height,
  i.thumbhash,
  i.ready_at,
  i.listing_status,
  (
    select
      jsonb_object_agg(
        v.role,
        jsonb_build_object('path', v.path, 'width', v.width, 'height', v.height, 'byte_size', v.byte_size)
      )
    from public.image_variants as v
    where v.image_id = i.id
  ) as variants
from private.passing_images as i;

comment on view private.visible_images is 'private.passing_images with the variants of each photo.';

create or replace view private.visible_covers as
select
  i.listing_id,
  i.owner_id,
  i.id as image_id,
  i.alt_text,
  i.width,
  i.height,
  i.thumbhash,
  (
    select
      jsonb_object_agg(
        v.role,
        jsonb_build_object('path', v.path, 'width', v.width, 'height', v.height, 'byte_size', v.byte_size)
      )
    from public.image_variants as v
    where v.image_id = i.id
  ) as variants
from (
  -- By owner too: filters reach the tables only by the columns named here.
  select distinct on (g.owner_id, g.listing_id) g.*
  from private.passing_images as g
  order by g.owner_id, g.listing_id, g.position
) as i;

comment on view private.visible_covers is 'The first of private.passing_images of each listing, with its variants.';

-- Nobody needs the barrier view itself: the views above it read it as their owner.
revoke all on table private.passing_images, private.visible_images, private.visible_covers
from anon, authenticated, service_role;
grant select on table private.visible_images, private.visible_covers to anon, authenticated, service_role;

create or replace view public.gallery with (security_invoker = true) as
select
  id,
  listing_id,
  owner_id,
  position,
  alt_text,
  width,
  height,
  thumbhash,
  ready_at,
  listing_status,
  variants
from private.visible_images;

comment on view public.gallery is
'What buyers and sellers may see: photos of published listings and of one''s own, through the gate. Order by position.';
comment on column public.gallery.id is 'The image.';
comment on column public.gallery.listing_id is 'Its listing.';
comment on column public.gallery.owner_id is 'The seller.';
comment on column public.gallery.position is 'Order within the listing; what is not shown leaves gaps.';
comment on column public.gallery.alt_text is 'Description for those who cannot see it.';
comment on column public.gallery.width is 'Pixels of the original, upright.';
comment on column public.gallery.height is 'Pixels of the original, upright.';
comment on column public.gallery.thumbhash is 'Placeholder, base64.';
comment on column public.gallery.ready_at is 'When it was first processed.';
comment on column public.gallery.listing_status is 'draft, published or archived; others see published only.';
comment on column public.gallery.variants is '{role: {path, width, height, byte_size}}, objects in bucket media.';

create or replace view public.listing_covers with (security_invoker = true) as
select
  listing_id,
  owner_id,
  image_id,
  alt_text,
  width,
  height,
  thumbhash,
  variants
from private.visible_covers;

comment on view public.listing_covers is 'The first photo of each listing that passes the gate.';
comment on column public.listing_covers.listing_id is 'The listing.';
comment on column public.listing_covers.owner_id is 'The seller.';
comment on column public.listing_covers.image_id is 'The cover.';
comment on column public.listing_covers.alt_text is 'Description for those who cannot see it.';
comment on column public.listing_covers.width is 'Pixels of the original, upright.';
comment on column public.listing_covers.height is 'Pixels of the original, upright.';
comment on column public.listing_covers.thumbhash is 'Placeholder, base64.';
comment on column public.listing_covers.variants is '{role: {path, width, height, byte_size}}, objects in bucket media.';

create or replace view public.label_images with (security_invoker = true) as
select
  i.id,
  i.listing_id,
  i.owner_id,
  i.position,
  i.alt_text,
  i.original_path,
  i.width,
  i.height,
  i.thumbhash,
  i.state
from public.listing_images as i
where i.is_label and i.position is not null;

comment on view public.label_images is 'The label photo of each of one''s own listings. Its original can be read by its owner only.';
comment on column public.label_images.id is 'The image.';
comment on column public.label_images.listing_id is 'Its listing.';
comment on column public.label_images.owner_id is 'Its owner.';
comment on column public.label_images.position is 'Place in the listing.';
comment on column public.label_images.alt_text is 'Description.';
comment on column public.label_images.original_path is 'Object in bucket private.';
comment on column public.label_images.width is 'Pixels, upright.';
comment on column public.label_images.height is 'Pixels, upright.';
comment on column public.label_images.thumbhash is 'Placeholder, base64.';
comment on column public.label_images.state is 'awaiting_upload, uploaded, processing, ready or failed.';

create or replace view public.media_tray with (security_invoker = true) as
select
  i.id,
  i.listing_id,
  i.owner_id,
  i.position,
  i.file_name,
  i.is_label,
  case
    when i.deleted_at is not null then 'removed'
    when i.state <> 'ready' then i.state
    when i.review_state = 'rejected' then 'rejected'
    when i.review_state = 'error' then 'review_failed'
    when i.position is null then 'awaiting_turn'
    else 'awaiting_review'
  end as status,
  case
    when i.deleted_at is not null then 'Removed.'
    when i.state = 'awaiting_upload' and i.upload_expires_at <= now() then 'The upload never came.'
    when i.state = 'awaiting_upload' and i.upload_expires_at = private.no_expiry()
      then coalesce(i.error, 'Not copied from its old address yet.')
    when i.state = 'awaiting_upload' then 'Waiting for the upload.'
    when i.state in ('uploaded', 'processing') and i.withdrawn_at is not null then 'Being prepared for buyers again.'
    when i.state = 'uploaded' then 'Uploaded, waiting to be processed.'
    when i.state = 'processing' then 'Being processed.'
    when i.state = 'failed' then i.error
    when i.review_state in ('rejected', 'error') then coalesce(i.review_reason, 'The review did not allow it.')
    when i.position is null then 'Waiting to replace another photo.'
    else 'Waiting for its review.'
  end as reason,
  case
    when i.state = 'failed' then i.error_code
    when i.review_state in ('rejected', 'error') then 'review_' || i.review_state
  end as reason_code,
  i.deleted_at is null and (
    (i.state = 'failed' and i.is_retryable) or (i.state = 'ready' and i.review_state = 'error')
  ) as can_retry,
  i.replaces_id,
  case when i.deleted_at is not null then i.deleted_at + p.undo_seconds * interval '1 second' end as restorable_until,
  i.created_at,
  i.updated_at,
  i.duplicate_of
from public.listing_images as i
cross join public.site_policies as p
where i.deleted_at is not null
  or i.state <> 'ready'
  or i.position is null
  or (not i.is_label and not private.passes_gate(i, p.photo_review_enabled));

comment on view public.media_tray is
'What of one''s own is not in the gallery, why, in words for sellers, and whether retry_image can help.';
comment on column public.media_tray.id is 'The image.';
comment on column public.media_tray.listing_id is 'Its listing.';
comment on column public.media_tray.owner_id is 'Its owner.';
comment on column public.media_tray.position is 'Place in the listing; null when removed or waiting to replace another.';
comment on column public.media_tray.file_name is 'What the file was called at home.';
comment on column public.media_tray.is_label is 'Whether it is the listing''s label.';
comment on column public.media_tray.status is
'awaiting_upload, uploaded, processing, failed, awaiting_review, rejected, review_failed, awaiting_turn or removed.';
comment on column public.media_tray.reason is 'Why it is not shown.';
comment on column public.media_tray.reason_code is 'The failure, a stable word.';
comment on column public.media_tray.can_retry is 'Whether retry_image can help.';
comment on column public.media_tray.replaces_id is 'The image whose place it will take.';
comment on column public.media_tray.restorable_until is 'Until when restore_image brings it back.';
comment on column public.media_tray.created_at is 'When it was reserved.';
comment on column public.media_tray.updated_at is 'When it last changed.';
comment on column public.media_tray.duplicate_of is 'The image of the listing that had the same bytes.';

revoke all on table public.gallery, public.listing_covers, public.label_images, public.media_tray
from anon, authenticated, service_role;
grant select on table public.gallery, public.listing_covers to anon, authenticated, service_role;
grant select on table public.label_images, public.media_tray to authenticated, service_role;
