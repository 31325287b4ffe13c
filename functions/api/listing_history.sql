create or replace function private.tell_event(event text, data jsonb) returns text
language sql immutable
set search_path = '', pg_temp
as $$
  select case tell_event.event
    when 'reserved' then format('Place %s was reserved for %s.', (data ->> 'position')::int + 1, data ->> 'file_name')
    when 'imported' then format('Imported as photo %s.', (data ->> 'position')::int + 1)
    when 'uploaded' then format('Uploaded, %s bytes.', data ->> 'byte_size')
    when 'processed' then format('Ready, %s × %s pixels.', data ->> 'width', data ->> 'height')
    when 'failed' then format('Could not be processed: %s', data ->> 'reason')
    when 'retried' then 'Tried again.'
    when 'review_requested' then 'Waits for its review.'
    when 'reviewed' then format('Review: %s.', rtrim(concat_ws(', ', case data ->> 'review_state'
      when 'not_required' then 'no longer asked for' when 'error' then 'failed' else data ->> 'review_state' end,
      data ->> 'reason'), '.'))
    when 'reordered' then 'The photos were put into another order.'
    when 'labelled' then 'Marked as the label: hidden from buyers.'
    when 'unlabelled' then 'No longer the label.'
    when 'withdrawn' then 'Its renderings were removed from storage: links made before no longer work.'
    when 'edited' then 'Alternative text or tags were changed.'
    when 'replacement_reserved' then format('A replacement was reserved: %s.', data ->> 'file_name')
    when 'replaced' then format('Took the place of another photo, number %s.', (data ->> 'position')::int + 1)
    when 'removed' then case
      when data ? 'replaced_by' then 'Another photo took its place; it could be restored for a time.'
      when data ? 'position' then 'Removed; it could be restored for a time.'
      else 'Removed before it took the place of another photo.' end
    when 'duplicate_found' then 'The listing had a photo with the same bytes.'
    when 'restored' then format('Restored as photo %s.', (data ->> 'position')::int + 1)
    when 'expired' then 'The upload never came; the place was given up.'
    when 'purged' then 'Deleted for good after its time to be restored was over.'
    when 'deleted' then 'Deleted for good.'
    when 'listing_published' then 'The listing was published: its photos can be seen by everybody.'
    when 'listing_unpublished' then 'The listing was taken back: its photos are hidden from everybody else.'
    when 'listing_deleted' then 'The listing was deleted with its photos.'
    else tell_event.event
  end
$$;

comment on function private.tell_event is 'An event in words for sellers.';

create or replace function public.listing_history(listing_id uuid)
returns table (
  id bigint, created_at timestamptz, image_id uuid, event text, actor text, summary text, data jsonb
)
language sql stable
set search_path = '', pg_temp
as $$
  select e.id, e.created_at, e.image_id, e.event, e.actor, private.tell_event(e.event, e.data), e.data
  from public.image_events as e
  where e.owner_id = (select auth.uid()) and e.listing_id = listing_history.listing_id
  order by e.id
$$;

comment on function public.listing_history is
'What happened to the images of one''s own listing, oldest first, in plain words; also after the listing is gone. Empty for anybody else''s.';

revoke all on function private.tell_event(text, jsonb) from public, anon, authenticated, service_role;
revoke all on function public.listing_history(uuid) from public, anon, authenticated, service_role;
grant execute on function private.tell_event(text, jsonb) to authenticated;
grant execute on function public.listing_history(uuid) to authenticated;
