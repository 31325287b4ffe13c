create or replace function public.session_timeline(session_id uuid) returns jsonb
language plpgsql stable
set search_path = '', pg_temp
as $$
declare
  v_timeline jsonb;
begin
  -- As the caller, under row security.
  select
    jsonb_build_object(
      'session', to_jsonb(s) - 'owner_id',
      'jobs', coalesce((
        select
          jsonb_agg(
            to_jsonb(j) - '{owner_id,session_id,idempotency_key,request_digest,deleted_at}'::text[]
            || jsonb_build_object(
              'assets', (
                select coalesce(jsonb_agg(to_jsonb(a) - '{owner_id}'::text[] order by a.role, a.path), '[]')
                from public.image_assets as a
                where a.owner_id = j.owner_id and (
                  a.job_id = j.id or a.id in (j.source_asset_id, j.mask_asset_id)
                  or (a.bucket = 'private' and a.path in (j.input1_path, j.input2_path))
                )
              ),
              'render', (
                select
                  jsonb_build_object('id', r.id, 'created_at', r.created_at, 'variants', (
                    select jsonb_agg(
                      jsonb_build_object(
                        'idx', v.idx, 'image_path', v.image_path, 'thumb_path', v.thumb_path,
                        'width', v.width, 'height', v.height, 'asset_id', v.asset_id, 'lost_at', v.lost_at
                      ) order by v.idx
                    )
                    from public.render_variants as v where v.owner_id = r.owner_id and v.render_id = r.id
                  ))
                from public.renders as r where r.owner_id = j.owner_id and r.job_id = j.id
              )
            )
            order by j.created_at, j.id
          )
        from public.generation_jobs as j
        where j.session_id = s.id and j.owner_id = s.owner_id and j.deleted_at is null
      ), '[]')
    )
  into v_timeline
  from public.image_sessions as s
  where s.id = session_timeline.session_id and s.owner_id = (select auth.uid());
  if v_timeline is null then
    perform private.refuse(404, 'session_not_found', 'You have no such session.', 'Check the id.');
  end if;
  return v_timeline;
end
$$;

comment on function public.session_timeline is
'The whole tree of a session in one call: {"session", "jobs": [each with its recipe, parent_job_id, status, timings, cost, assets, and render with its variants or null]}, oldest first.';

revoke all on function public.session_timeline(uuid) from public, anon, authenticated, service_role;
grant execute on function public.session_timeline(uuid) to authenticated;
