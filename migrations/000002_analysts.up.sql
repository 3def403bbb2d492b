-- Views for analysts and their dashboards. Like every view here they run with
-- their owner's rights, so that readers need no right on the loader's own tables.

-- Two kinds of rows under each other rather than a full join, so that a filter
-- on the day or the tutorial reaches the tables.
create view tutorial_daily as
select
    e.day,
    e.tutorial_id,
    count(*) filter (where e.viewed) as views,
    count(distinct e.person) filter (where e.viewed) as viewers,
    count(*) filter (where not e.viewed) as interactions,
    count(distinct e.person) filter (where not e.viewed) as interacting_users,
    (count(*) filter (where not e.viewed))::numeric / nullif(count(*) filter (where e.viewed), 0) as interaction_rate
from (
    select (v."timestamp" at time zone 'UTC')::date as day, v.tutorial_id, true as viewed, coalesce(v.user_id, v.anonymous_id) as person
    from screens as v
    where v.name = 'tutorial.view'
    union all
    select (i."timestamp" at time zone 'UTC')::date, i.tutorial_id, false, coalesce(i.user_id, i.anonymous_id)
    from tutorial_interaction as i
) as e
group by e.day, e.tutorial_id;

create view loader_freshness as
select
    s.complete_until,
    s.watermark_at,
    (
        select max(r.finished_at) from loader_runs as r
        where r.status = 'succeeded' and r.kind in ('scheduled', 'manual')
    ) as last_success_at,
    now() - s.complete_until as lag
from loader_state as s;

comment on view tutorial_daily is 'What happened with each tutorial on each day (UTC); a day without an event has no row.';
comment on column tutorial_daily.day is 'The day in UTC on which users did it.';
comment on column tutorial_daily.tutorial_id is 'tutorialId: the tutorial.';
comment on column tutorial_daily.views is 'How often the tutorial was shown.';
comment on column tutorial_daily.viewers is 'To how many people: by user_id, without one by anonymous_id.';
comment on column tutorial_daily.interactions is 'How often somebody clicked in it.';
comment on column tutorial_daily.interacting_users is 'How many people did: by user_id, without one by anonymous_id.';
comment on column tutorial_daily.interaction_rate is 'interactions / views; NULL on a day without views. One view may lead to several interactions, so it may be over 1.';

comment on view loader_freshness is 'How far the mirror is complete; one row, for the line "complete until" of a dashboard.';
comment on column loader_freshness.complete_until is 'The last run that reached the end of the export found everything exported before this moment. NULL = no run did yet.';
comment on column loader_freshness.watermark_at is 'exported_at of the watermark: every row below it is in the mirror or was rejected. NULL = nothing yet.';
comment on column loader_freshness.last_success_at is 'When a run that loads what came since the watermark last succeeded. NULL = none did yet.';
comment on column loader_freshness.lag is 'Time since complete_until.';
