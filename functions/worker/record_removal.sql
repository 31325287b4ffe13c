create or replace function private.record_removal(paths text[]) returns void
language sql volatile security definer
set search_path = '', pg_temp
as $$
  update private.erasures as e set
    last_removal_at = statement_timestamp(),
    -- Whoever removed last sees that nothing is left; several at once may all see it.
    completed_at = coalesce(
      e.completed_at,
      case when not exists (select from private.owned_objects(e.user_id)) then statement_timestamp() end
    )
  where e.user_id in (
    select private.uuid_or_null(split_part(p.path, '/', 1)) from unnest(record_removal.paths) as p (path)
  )
$$;

comment on function private.record_removal is
'Called when Storage has confirmed that these objects are gone: notes the time for deleted users.';

revoke all on function private.record_removal(text[]) from public, anon, authenticated;
grant execute on function private.record_removal(text[]) to media_worker, service_role;
