-- Choose the schema first: set search_path to candu_prod;
--
-- Do viewers come back? People by the week (UTC, from Monday) in which they saw
-- their first tutorial, and how many of them saw one again in each week after it.
-- Week 0 is 100 percent. The current week is not over yet.
with weeks as (
    select distinct
        coalesce(user_id, anonymous_id) as person,
        date_trunc('week', "timestamp" at time zone 'UTC')::date as week
    from tutorial_view
), numbered as (
    select person, week, min(week) over (partition by person) as cohort
    from weeks
), counted as (
    select cohort, (week - cohort) / 7 as week_number, count(*) as people
    from numbered
    group by 1, 2
)
select
    cohort, week_number, people,
    round(100.0 * people / first_value(people) over (partition by cohort order by week_number), 1) as percent
from counted
order by cohort, week_number;
