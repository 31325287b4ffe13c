create or replace function private.settle_replacements(batch int default 1000) returns int
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_waiting record;
  v_total int := 0;
begin
  for v_waiting in
    select i.id, i.owner_id from public.listing_images as i
    where i.replaces_id is not null and i.position is null and i.deleted_at is null and i.state = 'ready'
      and (
        private.becomes_label(i)
        or (i.withdrawn_at is null and (i.review_state = 'allowed' or not private.review_required()))
      )
    order by i.owner_id, i.id limit batch
  loop
    perform private.lock_owner(v_waiting.owner_id);
    if private.cut_over(v_waiting.id) then
      v_total := v_total + 1;
    end if;
  end loop;
  return v_total;
end
$$;

comment on function private.settle_replacements is
'Lets replacements take their places that pass the gate now: after review was switched off, and one that a switch came between. Answers how many.';

revoke all on function private.settle_replacements(int) from public, anon, authenticated;
grant execute on function private.settle_replacements(int) to media_worker, service_role;
