-- Choose the schema first: set search_path to candu_prod;
--
-- How Candu's audiences (segment_id; Everyone is one of them) take to each
-- tutorial, side by side with all audiences of the same tutorial.
-- versus_all over 1: this audience clicks more often than the others.
with by_audience as (
    select
        tutorial_id, segment_id,
        count(*) filter (where viewed) as views,
        count(*) filter (where not viewed) as interactions
    from (
        select tutorial_id, coalesce(segment_id, '(none)') as segment_id, true as viewed from tutorial_view
        union all
        select tutorial_id, coalesce(segment_id, '(none)'), false from tutorial_interaction
    ) as e
    group by 1, 2
), rates as (
    select
        *,
        interactions::numeric / nullif(views, 0) as rate,
        sum(interactions) over tutorial / nullif(sum(views) over tutorial, 0) as rate_of_all
    from by_audience
    window tutorial as (partition by tutorial_id)
)
select
    tutorial_id, segment_id, views, interactions,
    round(rate, 3) as interaction_rate,
    round(rate / nullif(rate_of_all, 0), 2) as versus_all
from rates
order by tutorial_id, views desc, segment_id;
