-- Choose the schema first: set search_path to candu_prod;
--
-- The funnel of each tutorial in the last 30 days: how many people saw it, how
-- many of them clicked in it within a day, and after what time (median).
-- A person is a user_id, or an anonymous_id where nobody was logged in.
with seen as (
    select tutorial_id, coalesce(user_id, anonymous_id) as person, min("timestamp") as seen_at
    from tutorial_view
    where "timestamp" >= now() - interval '30 days'
    group by 1, 2
), clicked as (
    select s.tutorial_id, s.person, min(i."timestamp") - s.seen_at as after
    from seen as s
    join tutorial_interaction as i
        on i.tutorial_id = s.tutorial_id
        and coalesce(i.user_id, i.anonymous_id) = s.person
        and i."timestamp" between s.seen_at and s.seen_at + interval '1 day'
    group by s.tutorial_id, s.person, s.seen_at
)
select
    s.tutorial_id,
    count(*) as viewers,
    count(c.person) as clicking_viewers,
    round(100.0 * count(c.person) / count(*), 1) as percent,
    percentile_cont(0.5) within group (order by c.after) as median_time_to_click
from seen as s
left join clicked as c using (tutorial_id, person)
group by s.tutorial_id
order by viewers desc, s.tutorial_id;
