create or replace function private.restore_session(session_id uuid) returns public.image_sessions
language plpgsql volatile security definer
set search_path = '', pg_temp
as $$
declare
  v_owner_id constant uuid := private.signed_in();
  v_session public.image_sessions;
begin
  perform private.lock_owner(v_owner_id);
  select * into v_session from public.image_sessions as s
  where s.id = restore_session.session_id and s.owner_id = v_owner_id
  for update;
  if v_session.id is null then
    perform private.refuse(404, 'session_not_found', 'You have no such session.', 'Check the id.');
  elsif v_session.archived_at is not null then
    -- Its time begins anew, by the stamp.
    update public.image_sessions as s set archived_at = null where s.id = v_session.id returning * into v_session;
    perform private.record_generation_event(v_owner_id, v_session.id, null, 'session_restored', '{}');
  end if;
  return v_session;
end
$$;

comment on function private.restore_session is 'The body of public.restore_session.';

create or replace function public.restore_session(session_id uuid) returns public.image_sessions
language sql volatile
set search_path = '', pg_temp
as $$
  select * from private.restore_session(restore_session.session_id)
$$;

comment on function public.restore_session is
'Brings an archived session back into active_sessions, and its time begins anew. Answers the session; one that is not archived: unchanged.';

revoke all on function private.restore_session(uuid) from public, anon, authenticated, service_role;
revoke all on function public.restore_session(uuid) from public, anon, authenticated, service_role;
grant execute on function private.restore_session(uuid) to authenticated;
grant execute on function public.restore_session(uuid) to authenticated;
