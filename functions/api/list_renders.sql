create or replace function public.list_renders(
  page_size int default 24,
  after text default null,
  mode text default null,
  style text default null,
  room_type text default null,
  provider text default null,
  model text default null,
  session_id uuid default null,
  collection_id uuid default null,
  made_from timestamptz default null,
  made_before timestamptz default null
) returns jsonb
language plpgsql stable
set search_path = '', pg_temp
as $$
declare
  -- Where the page before ended: microseconds since 1970, and the render's id.
  v_after constant text[] := regexp_match(after, '^(\d{1,17})_([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$');
  -- Variables, not expressions: row security lets the planner look up by what cannot leak, and a coalesce might.
  v_at constant timestamptz := coalesce(timestamptz 'epoch' + v_after[1]::bigint * interval '1 microsecond', 'infinity');
  v_id constant uuid := coalesce(v_after[2], 'ffffffff-ffff-ffff-ffff-ffffffffffff')::uuid;
  v_from constant timestamptz := coalesce(made_from, '-infinity');
  v_before constant timestamptz := coalesce(made_before, 'infinity');
  v_renders jsonb;
  v_next text;
begin
  if page_size is null or page_size not between 1 and 100 then
    perform private.refuse(422, 'page_size_out_of_range', 'A page has 1 to 100 renders.', 'Send page_size from 1 to 100.');
  elsif after is not null and v_after is null then
    perform private.refuse(422, 'cursor_not_known', 'after is not what an earlier page answered.',
      'Send next_cursor of the page before, or nothing for the first page.');
  end if;

  -- As the caller, under row security. One row more than the page tells whether there is a next one.
  with page as (
    select
      r.id, r.owner_id, r.created_at, to_jsonb(j) as job,
      row_number() over (order by r.created_at desc, r.id desc) as n
    from public.renders as r
    inner join public.generation_jobs as j on r.owner_id = j.owner_id and r.job_id = j.id
    where r.owner_id = (select auth.uid())
      and (r.created_at, r.id) < (v_at, v_id) and r.created_at >= v_from and r.created_at < v_before
      and (list_renders.mode is null or j.mode = list_renders.mode)
      and (list_renders.style is null or j.style = list_renders.style)
      and (list_renders.room_type is null or j.room_type = list_renders.room_type)
      and (list_renders.provider is null or j.provider = list_renders.provider)
      and (list_renders.model is null or j.model = list_renders.model)
      and (list_renders.session_id is null or j.session_id = list_renders.session_id)
      and (list_renders.collection_id is null or exists (
        select from public.collection_items as i
        where i.owner_id = r.owner_id and i.collection_id = list_renders.collection_id and i.render_id = r.id
      ))
    order by r.created_at desc, r.id desc
    limit page_size + 1
  )
  select
    coalesce(jsonb_agg(
      jsonb_build_object(
        'id', p.id, 'created_at', p.created_at, 'job_id', p.job -> 'id', 'session_id', p.job -> 'session_id',
        'mode', p.job -> 'mode', 'style', p.job -> 'style', 'room_type', p.job -> 'room_type',
        'provider', p.job -> 'provider', 'model', p.job -> 'model', 'prompt', p.job -> 'prompt',
        'params', p.job -> 'params', 'cost', p.job -> 'cost', 'duration_ms', p.job -> 'duration_ms',
        'variants', (
          select coalesce(jsonb_agg(
            to_jsonb(v) - '{id,owner_id,render_id,created_at}'::text[] order by v.idx
          ), '[]')
          from public.render_variants as v where v.owner_id = p.owner_id and v.render_id = p.id
        ),
        'collection_ids', (
          select coalesce(jsonb_agg(i.collection_id order by i.created_at), '[]')
          from public.collection_items as i where i.owner_id = p.owner_id and i.render_id = p.id
        )
      ) order by p.n
    ) filter (where p.n <= page_size), '[]'),
    max((extract(epoch from p.created_at) * 1000000)::bigint || '_' || p.id)
    filter (where p.n = page_size and (select max(m.n) from page as m) > page_size)
  into v_renders, v_next
  from page as p;
  return jsonb_build_object('renders', v_renders, 'next_cursor', v_next);
end
$$;

comment on function public.list_renders is
'The signed-in user''s renders, newest first, in pages: {"renders": [each with its recipe, variants and collection_ids], "next_cursor"}. All arguments are optional filters; after is the next_cursor of the page before, and null at the end. A render that comes or goes meanwhile shifts no page.';

revoke all on function public.list_renders(
  int, text, text, text, text, text, text, uuid, uuid, timestamptz, timestamptz
) from public, anon, authenticated, service_role;
grant execute on function public.list_renders(
  int, text, text, text, text, text, text, uuid, uuid, timestamptz, timestamptz
) to authenticated;
