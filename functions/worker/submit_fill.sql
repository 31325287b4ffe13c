create or replace function private.submit_fill(
  fill_id uuid, job_id bigint, lease_token uuid, image_ids uuid[], is_submitting boolean default true
) returns text
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_fill public.listing_fills;
begin
  perform private.check_lease(job_id, lease_token);
  select * into v_fill from public.listing_fills as f where f.id = submit_fill.fill_id for update;
  if v_fill.id is null or v_fill.status <> 'processing' then
    return 'gone';
  elsif not is_submitting then
    -- The provider has said that it did nothing.
    update public.listing_fills as f set submitted_at = null where f.id = v_fill.id;
    return 'go';
  elsif exists (
    -- A photo became a label, was removed or rejected since its bytes were read: nobody is shown it.
    select from unnest(image_ids) as w (id)
    where not exists (
      select from public.listing_images as i
      where i.id = w.id and i.owner_id = v_fill.owner_id and i.listing_id = v_fill.listing_id
        and private.passes_gate(i, (select private.review_required()))
    )
  ) then
    return 'changed';
  end if;
  update public.listing_fills as f set submitted_at = coalesce(f.submitted_at, clock_timestamp()) where f.id = v_fill.id;
  return 'go';
end
$$;

comment on function private.submit_fill is
'Right before the provider is asked, with these photos: go; changed when one does not pass the gate any more; gone when nobody wants it. With is_submitting false: the provider has refused to begin.';

revoke all on function private.submit_fill(uuid, bigint, uuid, uuid[], boolean)
from public, anon, authenticated, service_role;
grant execute on function private.submit_fill(uuid, bigint, uuid, uuid[], boolean) to media_worker, service_role;
