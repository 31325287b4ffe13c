create or replace function private.adjust_credits(owner_id uuid, amount int, reason text, idempotency_key text)
returns public.usage_ledger
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
#variable_conflict use_variable
declare
  v_price_id constant text := private.lock_owner(owner_id);
  v_entry public.usage_ledger;
  v_left int;
begin
  if v_price_id is null then
    perform private.refuse(404, 'user_not_found', 'There is no such user.', 'Check the id.');
  elsif amount is null or amount = 0 or abs(amount) > 1000000 then
    perform private.refuse(422, 'amount_invalid', 'The amount is not a number from 1 to 1000000, or the same below 0.',
      'Send how many generations to add, or below 0 to take.');
  elsif coalesce(char_length(btrim(reason)), 0) not between 1 and 500 then
    perform private.refuse(422, 'reason_missing', 'The reason is missing or longer than 500 characters.',
      'Say why, for the user and for whoever audits.');
  elsif char_length(idempotency_key) not between 1 and 200 then
    perform private.refuse(422, 'idempotency_key_length', 'The idempotency key does not have 1 to 200 characters.',
      'Shorten it, or leave it out.');
  end if;

  select u.* into v_entry from public.usage_ledger as u
  where u.owner_id = adjust_credits.owner_id and u.idempotency_key = adjust_credits.idempotency_key;
  if v_entry.id is not null then
    if (v_entry.units, v_entry.reason) is distinct from (-amount, btrim(reason)) then
      perform private.refuse(422, 'idempotency_key_reused', 'This idempotency key was used for another request.',
        'Use a new key for a new request.');
    end if;
    return v_entry;
  end if;

  -- What is under way may still be debited.
  v_left := (private.usage_of(owner_id) ->> 'remaining')::int - (
    select count(*) from public.generation_jobs as j
    where j.owner_id = adjust_credits.owner_id and j.status in ('queued', 'starting', 'processing')
  );
  if amount < 0 and v_left + amount < 0 then
    perform private.refuse(409, 'not_enough_credits', format(
      'The user has %s generations left in this month.', greatest(0, v_left)
    ), 'Take at most that many.');
  end if;
  insert into public.usage_ledger (owner_id, kind, units, reason, adjusted_by, idempotency_key)
  values (owner_id, 'adjustment', -amount, btrim(reason), private.actor(), idempotency_key)
  returning * into v_entry;
  return v_entry;
end
$$;

comment on function private.adjust_credits is 'The body of public.adjust_credits.';

create or replace function public.adjust_credits(
  owner_id uuid, amount int, reason text, idempotency_key text default null
) returns public.usage_ledger
language sql volatile
set search_path = '', pg_temp
as $$
  select * from private.adjust_credits(
    adjust_credits.owner_id, adjust_credits.amount, adjust_credits.reason, adjust_credits.idempotency_key
  )
$$;

comment on function public.adjust_credits is
'For servers with the service key: gives a user generations in this month (UTC) beyond the plan, or takes some, with a reason. Answers the ledger''s entry, whose units are -amount; the same idempotency_key: the same entry.';

revoke all on function private.adjust_credits(uuid, int, text, text) from public, anon, authenticated, service_role;
revoke all on function public.adjust_credits(uuid, int, text, text) from public, anon, authenticated, service_role;
grant execute on function private.adjust_credits(uuid, int, text, text) to service_role;
grant execute on function public.adjust_credits(uuid, int, text, text) to service_role;
