-- What analysts read. No e-mail, prompt, path, file name or other free text; an owner is an id and nothing else.
-- What would hurt to count at a million rows is counted in advance (materialised) and refreshed by the worker's
-- maintenance: analytics.freshness says when. Hours and days are UTC. Rows of deleted users are gone from everything.

do $$
begin
  perform private.define_snapshot('image_activity_hourly', 1, '15 minutes', 'hour, event, outcome, provider', $sql$
    select
      date_trunc('hour', e.created_at, 'UTC') as hour,
      e.event,
      case e.event
        when 'failed' then private.as_word(e.data ->> 'code')
        when 'reviewed' then private.as_word(e.data ->> 'review_state')
        else ''
      end as outcome,
      case when e.event = 'reviewed' then private.as_word(e.data ->> 'provider') else '' end as provider,
      count(*) as event_count
    from public.image_events as e
    group by 1, 2, 3, 4
  $sql$);

  perform private.define_snapshot('image_latency_hourly', 2, '15 minutes', 'hour, stage', $sql$
    select
      s.hour, s.stage, s.image_count,
      round(s.p[1]::numeric, 3) as p50_seconds, round(s.p[2]::numeric, 3) as p95_seconds,
      round(s.p[3]::numeric, 3) as p99_seconds, round(s.longest, 3) as max_seconds
    from (
      select
        date_trunc('hour', t.ended_at, 'UTC') as hour, t.stage, count(*) as image_count,
        percentile_cont(array[0.5, 0.95, 0.99]) within group (
          order by extract(epoch from t.ended_at - t.began_at)::double precision
        ) as p,
        max(extract(epoch from t.ended_at - t.began_at)) as longest
      from public.listing_images as i
      cross join lateral (values
        ('upload', i.created_at, i.uploaded_at),
        ('processing', i.uploaded_at, i.ready_at),
        ('review', i.ready_at, i.reviewed_at)
      ) as t (stage, began_at, ended_at)
      where t.ended_at >= t.began_at
      group by 1, 2
    ) as s
  $sql$);

  perform private.define_snapshot('job_latency_hourly', 3, '5 minutes', 'hour, queue, actor', $sql$
    select
      s.hour, s.queue, s.actor, s.succeeded_count, s.dead_count, s.canceled_count, s.repeated_count,
      round(s.wait[1]::numeric, 3) as wait_p50_seconds, round(s.wait[2]::numeric, 3) as wait_p95_seconds,
      round(s.run[1]::numeric, 3) as run_p50_seconds, round(s.run[2]::numeric, 3) as run_p95_seconds
    from (
      select
        date_trunc('hour', j.finished_at, 'UTC') as hour, j.queue, j.actor,
        count(*) filter (where j.state = 'succeeded') as succeeded_count,
        count(*) filter (where j.state = 'dead') as dead_count,
        count(*) filter (where j.state = 'canceled') as canceled_count,
        count(*) filter (where j.attempts > 1) as repeated_count,
        percentile_cont(array[0.5, 0.95]) within group (
          order by extract(epoch from j.started_at - j.run_at)::double precision
        ) as wait,
        percentile_cont(array[0.5, 0.95]) within group (
          order by extract(epoch from j.finished_at - j.started_at)::double precision
        ) as run
      from queue.jobs as j
      where j.finished_at is not null
      group by 1, 2, 3
    ) as s
  $sql$);

  perform private.define_snapshot('duplicates', 4, '6 hours', 'scope', $sql$
    with files as materialized (
      -- Numbers instead of hexadecimal digits: a third of the memory, and the same counts.
      select
        hashtextextended(i.sha256, 0) as file, i.listing_id, i.owner_id, i.byte_size,
        (i.duplicate_of is not null)::int as flagged
      from public.listing_images as i
      where i.sha256 is not null and i.state = 'ready' and i.deleted_at is null
    ),
    repeated as materialized (
      select f.*
      from files as f
      where f.file in (select o.file from files as o group by o.file having count(*) > 1)
    ),
    groups as (
      select 'listing' as scope, count(*) as image_count, max(r.byte_size) as byte_size
      from repeated as r group by r.listing_id, r.file
      union all
      select 'owner', count(*), max(r.byte_size) from repeated as r group by r.owner_id, r.file
      union all
      select 'site', count(*), max(r.byte_size) from repeated as r group by r.file
    )
    select
      n.scope,
      (select count(*) from files) as image_count,
      count(g.scope) as repeated_file_count,
      coalesce(sum(g.image_count - 1), 0)::bigint as surplus_image_count,
      coalesce(sum((g.image_count - 1) * g.byte_size), 0)::bigint as surplus_byte_count,
      case n.scope when 'listing' then (select coalesce(sum(f.flagged), 0) from files as f) end as flagged_image_count
    from (values ('listing'), ('owner'), ('site')) as n (scope)
    left join groups as g on n.scope = g.scope and g.image_count > 1
    group by n.scope
  $sql$);

  perform private.define_snapshot('label_coverage', 5, '15 minutes', 'listing_status', $sql$
    select
      l.status as listing_status,
      count(*) as listing_count,
      count(*) filter (where i.photo_count > 0) as with_photos_count,
      count(*) filter (where i.label_count > 0) as with_label_count,
      round(
        100.0 * count(*) filter (where i.photo_count > 0 and i.label_count > 0)
        / nullif(count(*) filter (where i.photo_count > 0), 0), 1
      ) as label_percent,
      coalesce(sum(i.photo_count), 0)::bigint as photo_count
    from public.listings as l
    left join (
      select
        p.listing_id, count(*) filter (where not p.is_label) as photo_count,
        count(*) filter (where p.is_label) as label_count
      from public.listing_images as p
      where p.state = 'ready' and p.position is not null
      group by p.listing_id
    ) as i on l.id = i.listing_id
    group by l.status
  $sql$);

  perform private.define_snapshot('listing_cohorts', 6, '1 hour', 'week', $sql$
    with published as (
      select e.listing_id, min(e.created_at) as first_at
      from public.image_events as e
      where e.event = 'listing_published'
      group by e.listing_id
    )
    select
      date_trunc('week', l.created_at, 'UTC') as week,
      count(*) as listing_count,
      count(*) filter (
        where exists (select from public.listing_images as i where (i.owner_id, i.listing_id) = (l.owner_id, l.id))
      ) as with_images_count,
      count(*) filter (where l.status = 'draft') as draft_count,
      count(*) filter (where l.status = 'published') as published_count,
      count(*) filter (where l.status = 'archived') as archived_count,
      count(*) filter (where l.status = 'published' or p.listing_id is not null) as ever_published_count,
      count(*) filter (where p.first_at <= l.created_at + interval '1 day') as published_in_1_day_count,
      count(*) filter (where p.first_at <= l.created_at + interval '7 days') as published_in_7_days_count,
      round((percentile_cont(0.5) within group (
        order by extract(epoch from p.first_at - l.created_at)::double precision
      ) / 3600)::numeric, 2) as median_hours_to_publish
    from public.listings as l
    left join published as p on l.id = p.listing_id
    group by 1
  $sql$);

  perform private.define_snapshot('generations_daily', 7, '15 minutes', 'day, provider, model, mode', $sql$
    with done as (
      -- As asked for, a model is a user's words; once it succeeded it is what the provider calls it.
      select distinct j.provider, j.model from public.generation_jobs as j where j.status = 'succeeded'
    )
    select
      s.day, s.provider, s.model, s.mode, s.submitted_count, s.succeeded_count, s.failed_count, s.canceled_count,
      s.in_flight_count,
      round(100.0 * s.succeeded_count / nullif(s.succeeded_count + s.failed_count, 0), 1) as success_percent,
      s.cost_usd,
      round(s.cost_usd / nullif(s.succeeded_count, 0), 6) as cost_usd_per_success,
      round(s.run[1]::numeric, 3) as p50_seconds,
      round(s.run[2]::numeric, 3) as p95_seconds,
      round(s.wait::numeric, 3) as wait_p50_seconds
    from (
      select
        date_trunc('day', j.created_at, 'UTC') as day,
        private.as_word(j.provider) as provider,
        case when d.provider is not null then d.model when j.model is null then 'default' else 'other' end as model,
        j.mode,
        count(*) as submitted_count,
        count(*) filter (where j.status = 'succeeded') as succeeded_count,
        count(*) filter (where j.status = 'failed') as failed_count,
        count(*) filter (where j.status = 'canceled') as canceled_count,
        count(*) filter (where j.status in ('queued', 'starting', 'processing')) as in_flight_count,
        coalesce(sum(j.cost), 0) as cost_usd,
        percentile_cont(array[0.5, 0.95]) within group (order by j.duration_ms / 1000.0::double precision)
          filter (where j.status = 'succeeded') as run,
        percentile_cont(0.5) within group (order by extract(epoch from j.started_at - j.created_at)::double precision)
          as wait
      from public.generation_jobs as j
      left join done as d on j.provider = d.provider and j.model = d.model
      group by 1, 2, 3, 4
    ) as s
  $sql$);

  perform private.define_snapshot('generation_failures_daily', 8, '15 minutes', 'day, reason', $sql$
    select
      date_trunc('day', j.completed_at, 'UTC') as day, private.as_word(j.error_code) as reason, count(*) as failure_count
    from public.generation_jobs as j
    where j.status = 'failed'
    group by 1, 2
  $sql$);

  perform private.define_snapshot('usage_by_plan', 9, '15 minutes', 'month, price_id', $sql$
    select
      u.month, p.price_id,
      count(*) as owner_count,
      sum(u.debits)::bigint as generation_count,
      sum(u.adjustments)::bigint as adjustment_units,
      count(*) filter (where u.debits + u.adjustments >= l.monthly_generations) as spent_owner_count,
      round(percentile_cont(0.5) within group (order by u.debits)::numeric, 1) as median_generations,
      max(u.debits)::bigint as max_generations
    from (
      select
        g.owner_id, date_trunc('month', g.created_at, 'UTC') as month,
        coalesce(sum(g.units) filter (where g.kind = 'debit'), 0) as debits,
        coalesce(sum(g.units) filter (where g.kind = 'adjustment'), 0) as adjustments
      from public.usage_ledger as g
      group by 1, 2
    ) as u
    inner join public.profiles as p on u.owner_id = p.id
    inner join public.plans as l on p.price_id = l.price_id
    group by 1, 2
  $sql$);
end
$$;

comment on materialized view analytics.image_activity_hourly is
'Every kind of event of photos by hour, from the append-only history: also of photos that are gone since.';
comment on column analytics.image_activity_hourly.hour is 'Beginning of the hour, UTC.';
comment on column analytics.image_activity_hourly.event is 'What happened: reserved, uploaded, processed, failed, reviewed, removed and so on.';
comment on column analytics.image_activity_hourly.outcome is 'The reason''s code of failed, the verdict of reviewed; else empty.';
comment on column analytics.image_activity_hourly.provider is 'Who reviewed; else empty.';
comment on column analytics.image_activity_hourly.event_count is 'How often.';

comment on materialized view analytics.image_latency_hourly is
'How long photos took, by the hour in which the stage ended. Of photos that still exist.';
comment on column analytics.image_latency_hourly.hour is 'Beginning of the hour, UTC.';
comment on column analytics.image_latency_hourly.stage is
'upload: reserved to uploaded, the user''s line. processing: uploaded to first ready, ours. review: first ready to the last verdict.';
comment on column analytics.image_latency_hourly.image_count is 'Photos that ended the stage in this hour.';
comment on column analytics.image_latency_hourly.p50_seconds is 'Half of them took at most this.';
comment on column analytics.image_latency_hourly.p95_seconds is 'Ninety-five of a hundred took at most this.';
comment on column analytics.image_latency_hourly.p99_seconds is 'Ninety-nine of a hundred took at most this.';
comment on column analytics.image_latency_hourly.max_seconds is 'The slowest.';

comment on materialized view analytics.job_latency_hourly is
'Finished jobs of the queue by the hour of their end, while the queue keeps them: a day if they succeeded, a month if not.';
comment on column analytics.job_latency_hourly.hour is 'Beginning of the hour, UTC.';
comment on column analytics.job_latency_hourly.queue is 'Name of the queue.';
comment on column analytics.job_latency_hourly.actor is 'What kind of work.';
comment on column analytics.job_latency_hourly.succeeded_count is 'Jobs that succeeded.';
comment on column analytics.job_latency_hourly.dead_count is 'Jobs that failed for good.';
comment on column analytics.job_latency_hourly.canceled_count is 'Jobs that were canceled.';
comment on column analytics.job_latency_hourly.repeated_count is 'Jobs that took more than one attempt.';
comment on column analytics.job_latency_hourly.wait_p50_seconds is 'Median wait of the last attempt, from when it was due to its start.';
comment on column analytics.job_latency_hourly.wait_p95_seconds is 'The same, of ninety-five of a hundred.';
comment on column analytics.job_latency_hourly.run_p50_seconds is 'Median run of the last attempt.';
comment on column analytics.job_latency_hourly.run_p95_seconds is 'The same, of ninety-five of a hundred.';

comment on materialized view analytics.duplicates is 'The same bytes more than once among ready photos that are not removed.';
comment on column analytics.duplicates.scope is 'Where they are compared: within a listing, within an owner''s photos, or all over the site.';
comment on column analytics.duplicates.image_count is 'Photos that were compared.';
comment on column analytics.duplicates.repeated_file_count is 'Different files that are there more than once.';
comment on column analytics.duplicates.surplus_image_count is 'Photos that would go if each file were kept once.';
comment on column analytics.duplicates.surplus_byte_count is 'Bytes of their originals.';
comment on column analytics.duplicates.flagged_image_count is 'Of listing: photos that the site''s policy has flagged.';

comment on materialized view analytics.label_coverage is 'How many listings have a photo of their label, by status.';
comment on column analytics.label_coverage.listing_status is 'draft, published or archived.';
comment on column analytics.label_coverage.listing_count is 'Listings.';
comment on column analytics.label_coverage.with_photos_count is 'Those with a ready photo, labels not counted.';
comment on column analytics.label_coverage.with_label_count is 'Those with a ready label.';
comment on column analytics.label_coverage.label_percent is 'Of those with photos, how many of a hundred have a label too.';
comment on column analytics.label_coverage.photo_count is 'Ready photos, labels not counted.';

comment on materialized view analytics.listing_cohorts is
'Listings by the week they were begun, and how far they came. Deleted listings are in no cohort.';
comment on column analytics.listing_cohorts.week is 'Monday, UTC.';
comment on column analytics.listing_cohorts.listing_count is 'Listings begun in the week that still exist.';
comment on column analytics.listing_cohorts.with_images_count is 'Those that have an image, in whatever state.';
comment on column analytics.listing_cohorts.draft_count is 'Drafts now.';
comment on column analytics.listing_cohorts.published_count is 'Published now.';
comment on column analytics.listing_cohorts.archived_count is 'Archived now.';
comment on column analytics.listing_cohorts.ever_published_count is 'Published at any time.';
comment on column analytics.listing_cohorts.published_in_1_day_count is 'Published within a day of their beginning.';
comment on column analytics.listing_cohorts.published_in_7_days_count is 'Published within seven days of their beginning.';
comment on column analytics.listing_cohorts.median_hours_to_publish is 'From beginning to first publishing, of those that were.';

comment on materialized view analytics.generations_daily is
'Generations by the day they were submitted: success, cost and time by provider, model and mode.';
comment on column analytics.generations_daily.day is 'Beginning of the day, UTC.';
comment on column analytics.generations_daily.provider is 'Who generates.';
comment on column analytics.generations_daily.model is
'A model that has succeeded at that provider; default: none was asked for, and none succeeded; other: one that never succeeded.';
comment on column analytics.generations_daily.mode is 'redesign, staging, compose, imagine or edit.';
comment on column analytics.generations_daily.submitted_count is 'Generations.';
comment on column analytics.generations_daily.succeeded_count is 'Those that succeeded.';
comment on column analytics.generations_daily.failed_count is 'Those that failed.';
comment on column analytics.generations_daily.canceled_count is 'Those that their owners canceled.';
comment on column analytics.generations_daily.in_flight_count is 'Those without an end yet.';
comment on column analytics.generations_daily.success_percent is 'Of those that succeeded or failed, how many of a hundred succeeded.';
comment on column analytics.generations_daily.cost_usd is 'What the provider took, US dollars.';
comment on column analytics.generations_daily.cost_usd_per_success is 'The same, for each that succeeded.';
comment on column analytics.generations_daily.p50_seconds is 'Median from start to result, of those that succeeded.';
comment on column analytics.generations_daily.p95_seconds is 'The same, of ninety-five of a hundred.';
comment on column analytics.generations_daily.wait_p50_seconds is 'Median from submission to start.';

comment on materialized view analytics.generation_failures_daily is 'Generations that failed, by the day of their end and the reason.';
comment on column analytics.generation_failures_daily.day is 'Beginning of the day, UTC.';
comment on column analytics.generation_failures_daily.reason is 'The code of the reason.';
comment on column analytics.generation_failures_daily.failure_count is 'Generations.';

comment on materialized view analytics.usage_by_plan is
'Generations that counted, by month and the plan that their owner has today. Owners who used nothing are not in it.';
comment on column analytics.usage_by_plan.month is 'Beginning of the month, UTC.';
comment on column analytics.usage_by_plan.price_id is 'The plan.';
comment on column analytics.usage_by_plan.owner_count is 'Owners with an entry in the month.';
comment on column analytics.usage_by_plan.generation_count is 'Generations that were debited.';
comment on column analytics.usage_by_plan.adjustment_units is 'What operators added (positive) or credited (negative).';
comment on column analytics.usage_by_plan.spent_owner_count is 'Owners who used up the plan''s allowance.';
comment on column analytics.usage_by_plan.median_generations is 'Generations of the median owner.';
comment on column analytics.usage_by_plan.max_generations is 'Generations of the owner who made most.';

create or replace view analytics.throughput_hourly with (security_barrier) as
select
  a.hour,
  coalesce(sum(a.event_count) filter (where a.event in ('reserved', 'replacement_reserved')), 0)::bigint
    as reserved_count,
  coalesce(sum(a.event_count) filter (where a.event = 'uploaded'), 0)::bigint as uploaded_count,
  coalesce(sum(a.event_count) filter (where a.event = 'processed'), 0)::bigint as ready_count,
  coalesce(sum(a.event_count) filter (where a.event = 'failed'), 0)::bigint as failed_count,
  coalesce(sum(a.event_count) filter (where a.event = 'expired'), 0)::bigint as expired_count,
  coalesce(sum(a.event_count) filter (where a.event in ('removed', 'deleted')), 0)::bigint as removed_count
from analytics.image_activity_hourly as a
group by a.hour;

comment on view analytics.throughput_hourly is 'Photos by hour: reserved, uploaded, ready, failed, gone.';
comment on column analytics.throughput_hourly.hour is 'Beginning of the hour, UTC.';
comment on column analytics.throughput_hourly.reserved_count is 'Uploads and replacements that were announced.';
comment on column analytics.throughput_hourly.uploaded_count is 'Originals that came.';
comment on column analytics.throughput_hourly.ready_count is 'Photos that were processed; one that is rendered again counts again.';
comment on column analytics.throughput_hourly.failed_count is 'Photos that could not be processed.';
comment on column analytics.throughput_hourly.expired_count is 'Reservations whose bytes never came.';
comment on column analytics.throughput_hourly.removed_count is 'Photos that were removed or deleted.';

create or replace view analytics.throughput_daily with (security_barrier) as
select
  date_trunc('day', h.hour, 'UTC') as day,
  sum(h.reserved_count)::bigint as reserved_count,
  sum(h.uploaded_count)::bigint as uploaded_count,
  sum(h.ready_count)::bigint as ready_count,
  sum(h.failed_count)::bigint as failed_count,
  sum(h.expired_count)::bigint as expired_count,
  sum(h.removed_count)::bigint as removed_count
from analytics.throughput_hourly as h
group by date_trunc('day', h.hour, 'UTC');

comment on view analytics.throughput_daily is 'Photos by day: reserved, uploaded, ready, failed, gone.';
comment on column analytics.throughput_daily.day is 'Beginning of the day, UTC.';
comment on column analytics.throughput_daily.reserved_count is 'Uploads and replacements that were announced.';
comment on column analytics.throughput_daily.uploaded_count is 'Originals that came.';
comment on column analytics.throughput_daily.ready_count is 'Photos that were processed; one that is rendered again counts again.';
comment on column analytics.throughput_daily.failed_count is 'Photos that could not be processed.';
comment on column analytics.throughput_daily.expired_count is 'Reservations whose bytes never came.';
comment on column analytics.throughput_daily.removed_count is 'Photos that were removed or deleted.';

create or replace view analytics.failures_daily with (security_barrier) as
select
  date_trunc('day', a.hour, 'UTC') as day,
  'photo' as subject,
  a.outcome as reason,
  sum(a.event_count)::bigint as failure_count
from analytics.image_activity_hourly as a
where a.event = 'failed'
group by date_trunc('day', a.hour, 'UTC'), a.outcome
union all
select
  date_trunc('day', a.hour, 'UTC') as day,
  'review' as subject,
  'no_verdict' as reason,
  sum(a.event_count)::bigint as failure_count
from analytics.image_activity_hourly as a
where a.event = 'reviewed' and a.outcome = 'error'
group by date_trunc('day', a.hour, 'UTC')
union all
select
  g.day,
  'generation' as subject,
  g.reason,
  g.failure_count
from analytics.generation_failures_daily as g
union all
select
  date_trunc('day', j.hour, 'UTC') as day,
  'job' as subject,
  j.actor as reason,
  sum(j.dead_count)::bigint as failure_count
from analytics.job_latency_hourly as j
where j.dead_count > 0
group by date_trunc('day', j.hour, 'UTC'), j.actor;

comment on view analytics.failures_daily is 'What failed, by day and reason.';
comment on column analytics.failures_daily.day is 'Beginning of the day, UTC.';
comment on column analytics.failures_daily.subject is 'photo, review, generation, or job: one that failed for good.';
comment on column analytics.failures_daily.reason is 'The stable code of the reason; of a job its actor.';
comment on column analytics.failures_daily.failure_count is 'How often.';

create or replace view analytics.reviews_daily with (security_barrier) as
select
  date_trunc('day', a.hour, 'UTC') as day,
  a.provider,
  coalesce(sum(a.event_count) filter (where a.outcome = 'allowed'), 0)::bigint as allowed_count,
  coalesce(sum(a.event_count) filter (where a.outcome = 'rejected'), 0)::bigint as rejected_count,
  coalesce(sum(a.event_count) filter (where a.outcome = 'error'), 0)::bigint as error_count,
  round(
    100.0 * sum(a.event_count) filter (where a.outcome = 'rejected')
    / nullif(sum(a.event_count) filter (where a.outcome in ('allowed', 'rejected')), 0), 1
  ) as rejected_percent
from analytics.image_activity_hourly as a
where a.event = 'reviewed' and a.outcome <> 'not_required'
group by date_trunc('day', a.hour, 'UTC'), a.provider;

comment on view analytics.reviews_daily is 'Verdicts of the photo review, by day and provider.';
comment on column analytics.reviews_daily.day is 'Beginning of the day, UTC.';
comment on column analytics.reviews_daily.provider is 'Who reviewed; empty when nobody could.';
comment on column analytics.reviews_daily.allowed_count is 'Photos that pass.';
comment on column analytics.reviews_daily.rejected_count is 'Photos that do not.';
comment on column analytics.reviews_daily.error_count is 'Reviews without a verdict.';
comment on column analytics.reviews_daily.rejected_percent is 'Of all verdicts, how many of a hundred are rejections.';

create or replace view analytics.storage_by_owner with (security_barrier) as
select
f.owner_id,
f.kind,
f.format,
f.object_count,
f.byte_count
from private.storage_facts as f;

comment on view analytics.storage_by_owner is
'Objects and bytes by owner, kind and format, as the ledger knows them; removed photos count until they are purged.';
comment on column analytics.storage_by_owner.owner_id is 'An id, and all that analysts know of an owner.';
comment on column analytics.storage_by_owner.kind is 'original, variant, generation_input or generation_output.';
comment on column analytics.storage_by_owner.format is 'Media type: as declared until the worker has read the file, then as it is.';
comment on column analytics.storage_by_owner.object_count is 'Objects.';
comment on column analytics.storage_by_owner.byte_count is 'Bytes; an input that no generation has read yet counts none.';

create or replace view analytics.storage_by_format with (security_barrier) as
select
  f.kind,
f.format,
count(*) as owner_count,
sum(f.object_count)::bigint as object_count,
  sum(f.byte_count)::bigint as byte_count
from private.storage_facts as f
group by f.kind, f.format;

comment on view analytics.storage_by_format is 'Objects and bytes by kind and format.';
comment on column analytics.storage_by_format.kind is 'original, variant, generation_input or generation_output.';
comment on column analytics.storage_by_format.format is 'Media type.';
comment on column analytics.storage_by_format.owner_count is 'Owners who have any.';
comment on column analytics.storage_by_format.object_count is 'Objects.';
comment on column analytics.storage_by_format.byte_count is 'Bytes.';

create or replace view analytics.storage_by_plan with (security_barrier) as
with stored as (
  select
    s.owner_id,
    sum(s.byte_count) as byte_count
  from private.storage_facts as s
  where s.kind in ('original', 'generation_input')
  group by s.owner_id
)

select
  l.price_id,
  count(p.id) as owner_count,
  coalesce(sum(f.byte_count), 0)::bigint as byte_count,
  l.storage_bytes_max,
  count(*) filter (where f.byte_count > 0.8 * l.storage_bytes_max) as nearly_full_owner_count
from public.plans as l
left join public.profiles as p on l.price_id = p.price_id
left join stored as f on p.id = f.owner_id
group by l.price_id, l.storage_bytes_max;

comment on view analytics.storage_by_plan is 'What owners of each plan store, of what counts for the plan''s limit.';
comment on column analytics.storage_by_plan.price_id is 'The plan.';
comment on column analytics.storage_by_plan.owner_count is 'Users with the plan today.';
comment on column analytics.storage_by_plan.byte_count is 'Bytes of originals and generation inputs.';
comment on column analytics.storage_by_plan.storage_bytes_max is 'What one of them may store.';
comment on column analytics.storage_by_plan.nearly_full_owner_count is 'Users above eighty of a hundred of that.';

-- Read live: each live state of the queue has its own index, and few rows.
create or replace view analytics.backlog with (security_barrier) as
select
  j.queue,
  j.actor,
  j.state,
  count(*) as job_count,
  min(j.run_at) as oldest_due_at
from queue.jobs as j
where j.state = 'ready'
group by j.queue, j.actor, j.state
union all
select
  j.queue,
  j.actor,
  j.state,
  count(*) as job_count,
  min(j.run_at) as oldest_due_at
from queue.jobs as j
where j.state = 'running'
group by j.queue, j.actor, j.state
union all
select
  j.queue,
  j.actor,
  j.state,
  count(*) as job_count,
  min(j.run_at) as oldest_due_at
from queue.jobs as j
where j.state = 'scheduled'
group by j.queue, j.actor, j.state;

comment on view analytics.backlog is 'Work that waits or runs, now.';
comment on column analytics.backlog.queue is 'Name of the queue.';
comment on column analytics.backlog.actor is 'What kind of work.';
comment on column analytics.backlog.state is 'scheduled: for later, or after a failure; ready: waits for a worker; running.';
comment on column analytics.backlog.job_count is 'Jobs.';
comment on column analytics.backlog.oldest_due_at is 'Since when the oldest is due; of scheduled ones, when the first will be.';

create or replace view analytics.freshness with (security_barrier) as
select
  s.name,
s.refresh_every,
s.refreshed_at,
  coalesce(s.refreshed_at < now() - 2 * s.refresh_every, true) as is_late,
  s.took_ms
from private.analytics_snapshots as s;

comment on view analytics.freshness is
'As of when what is counted in advance is true. Views that are not named here are read live, or stand on one that is.';
comment on column analytics.freshness.name is 'The view.';
comment on column analytics.freshness.refresh_every is 'How often a worker counts it anew, at least.';
comment on column analytics.freshness.refreshed_at is 'What happened before this moment is in it.';
comment on column analytics.freshness.is_late is 'Whether two rounds were missed: no worker runs, or counting fails.';
comment on column analytics.freshness.took_ms is 'How long the last count took, in milliseconds.';

-- By name: a project may have a schema analytics with tables of its own.
revoke all on table
  analytics.backlog, analytics.duplicates, analytics.failures_daily, analytics.freshness,
  analytics.generation_failures_daily, analytics.generations_daily, analytics.image_activity_hourly,
  analytics.image_latency_hourly, analytics.job_latency_hourly, analytics.label_coverage,
  analytics.listing_cohorts, analytics.reviews_daily, analytics.storage_by_format, analytics.storage_by_owner,
  analytics.storage_by_plan, analytics.throughput_daily, analytics.throughput_hourly, analytics.usage_by_plan
from public, anon, authenticated, service_role, analyst;
grant select on table
  analytics.backlog, analytics.duplicates, analytics.failures_daily, analytics.freshness,
  analytics.generation_failures_daily, analytics.generations_daily, analytics.image_activity_hourly,
  analytics.image_latency_hourly, analytics.job_latency_hourly, analytics.label_coverage,
  analytics.listing_cohorts, analytics.reviews_daily, analytics.storage_by_format, analytics.storage_by_owner,
  analytics.storage_by_plan, analytics.throughput_daily, analytics.throughput_hourly, analytics.usage_by_plan
to analyst, service_role;
