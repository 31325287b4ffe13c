create or replace function private.finish_image(image_id uuid, job_id bigint, lease_token uuid, result jsonb)
returns text
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_image public.listing_images;
  v_duplicates constant text := (select p.duplicate_images from public.site_policies as p);
  v_twin public.listing_images;
  v_is_label boolean;
begin
  -- First: it locks the job, and refuses an attempt that was given up.
  perform queue.complete(job_id, lease_token);
  select * into v_image from public.listing_images as i where i.id = finish_image.image_id;
  if v_image.replaces_id is null then
    perform private.share_owner(v_image.owner_id);
  else
    perform private.lock_owner(v_image.owner_id);
  end if;
  if v_duplicates <> 'allow' then
    -- Two copies that finish at once: the second sees the first.
    perform 1 from public.listings as l where l.id = v_image.listing_id for no key update;
  end if;
  select * into v_image from public.listing_images as i where i.id = finish_image.image_id for update;

  if v_image.id is null then
    -- Deleted meanwhile. Its own removal job may have run before the last upload: order another.
    perform private.enqueue_removal(null, 'media', array_agg(v.path))
    from jsonb_to_recordset(result -> 'variants') as v (path text)
    where split_part(v.path, '/', 3) = finish_image.image_id::text;
    return 'gone';
  elsif v_image.state = 'ready' then
    return 'ready';
  end if;

  -- Bytes do not change: what was processed before, as a label perhaps, was looked at then.
  if v_duplicates <> 'allow' and v_image.deleted_at is null and v_image.ready_at is null then
    v_twin := private.find_twin(v_image, result ->> 'sha256');
    if v_duplicates = 'refuse' and v_twin.id is not null then
      perform private.refuse_duplicate(v_image, v_twin, result -> 'variants');
      return 'failed';
    end if;
  end if;

  v_is_label := private.becomes_label(v_image);
  if v_is_label then
    -- Perhaps only since the worker began: what it has rendered goes again.
    perform private.enqueue_withdrawal(v_image);
    delete from public.image_variants as v where v.image_id = v_image.id;
  elsif coalesce((result ->> 'as_label')::boolean, false) or v_image.state = 'uploaded' then
    -- It was a label when the worker began, or meanwhile, and a removal took what was stored by then.
    update public.listing_images as i set state = 'uploaded' where i.id = v_image.id;
    perform private.enqueue_processing(v_image);
    return 'again';
  else
    perform private.store_variants(v_image, result -> 'variants');
  end if;
  update public.listing_images as i set
    state = 'ready', error = null, error_code = null, is_retryable = false,
    ready_at = coalesce(i.ready_at, clock_timestamp()), withdrawn_at = case when v_is_label then clock_timestamp() end,
    mime_type = result ->> 'mime_type', byte_size = (result ->> 'byte_size')::bigint,
    width = (result ->> 'width')::int, height = (result ->> 'height')::int,
    sha256 = result ->> 'sha256', thumbhash = result ->> 'thumbhash',
    duplicate_of = coalesce(v_twin.id, i.duplicate_of),
    -- A verdict is about the bytes, which do not change. Nobody has to see a label.
    review_state = case
      when v_is_label or i.review_state in ('allowed', 'rejected') then i.review_state
      when private.review_required() then 'pending'
      else 'not_required'
    end
  where i.id = v_image.id;
  perform private.cut_over(v_image.id);
  return 'ready';
end
$$;

comment on function private.finish_image is
'Makes an image ready with its variants and completes the job, in one transaction. Answers ready, gone when the image was deleted meanwhile, failed when it is a duplicate and the site refuses those, or again when it was a label meanwhile and is to be rendered after all.';

create or replace function private.refuse_duplicate(
  image public.listing_images, twin public.listing_images, variants jsonb
) returns void
language plpgsql volatile
set search_path = '', pg_temp
as $$
begin
  update public.listing_images as i set
    state = 'failed', error_code = 'duplicate_image', is_retryable = false, duplicate_of = twin.id,
    error = 'The listing has this photo already: ' || private.name_twin(twin) || '.'
  where i.id = image.id;
  perform private.enqueue_removal(image.owner_id, 'media', array_agg(v.path))
  from jsonb_to_recordset(variants) as v (path text);
end
$$;

comment on function private.refuse_duplicate is
'Fails an image whose bytes the listing has, and orders the removal of the variants that were made of it.';

create or replace function private.store_variants(image public.listing_images, variants jsonb) returns void
language plpgsql volatile
set search_path = '', pg_temp
as $$
declare
  v_missing text[];
begin
  select array_agg(s.role order by s.max_side) into v_missing
  from public.variant_specs as s
  where not exists (select from jsonb_array_elements(variants) as v where v ->> 'role' = s.role);
  if v_missing is not null then
    raise exception using errcode = 'IL002', detail = 'variants_missing',
      message = format('image %s: no %s among the variants', image.id, array_to_string(v_missing, ', '));
  end if;

  insert into public.image_variants as o (image_id, role, owner_id, listing_id, path, width, height, byte_size)
  select image.id, v.role, image.owner_id, image.listing_id, v.path, v.width, v.height, v.byte_size
  from jsonb_to_recordset(variants) as v (role text, path text, width int, height int, byte_size bigint)
  on conflict on constraint image_variants_pkey do update set
  width = excluded.width, height = excluded.height, byte_size = excluded.byte_size, created_at = now();
end
$$;

comment on function private.store_variants is 'Writes the rows of all variants of an image; IL002 when one of variant_specs is missing.';

revoke all on function private.finish_image(uuid, bigint, uuid, jsonb) from public, anon, authenticated;
revoke all on function private.refuse_duplicate(public.listing_images, public.listing_images, jsonb)
from public, anon, authenticated;
revoke all on function private.store_variants(public.listing_images, jsonb) from public, anon, authenticated;
grant execute on function private.finish_image(uuid, bigint, uuid, jsonb) to media_worker, service_role;
