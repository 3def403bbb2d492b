-- Choose the schema first: set search_path to candu_prod;
--
-- Did the last change of a tutorial help? Its newest version beside the one
-- before it. A version begins when somebody first sees it; numbers of a version that
-- few people have seen say little, so look at views too.
with versions as (
    select
        tutorial_id, version_id, min("timestamp") as first_seen_at, count(*) as views,
        count(distinct coalesce(user_id, anonymous_id)) as viewers,
        row_number() over (partition by tutorial_id order by min("timestamp") desc, version_id) as age
    from tutorial_view
    where version_id is not null
    group by tutorial_id, version_id
), clicks as (
    select tutorial_id, version_id, count(*) as interactions
    from tutorial_interaction
    where version_id is not null
    group by tutorial_id, version_id
), rated as (
    select v.*, coalesce(c.interactions, 0)::numeric / v.views as rate
    from versions as v
    left join clicks as c using (tutorial_id, version_id)
)
select
    after.tutorial_id,
    before.version_id as version_before,
    after.version_id as version_after,
    after.first_seen_at as changed_at,
    before.views as views_before,
    after.views as views_after,
    round(before.rate, 3) as rate_before,
    round(after.rate, 3) as rate_after,
    round(100 * (after.rate / nullif(before.rate, 0) - 1), 1) as change_percent
from rated as after
join rated as before on before.tutorial_id = after.tutorial_id and before.age = 2
where after.age = 1
order by after.views desc, after.tutorial_id;
