-- Choose the schema first: set search_path to candu_prod;
--
-- What people click most: event_name is the text that the content's editors gave an
-- element ("Upgrade plan Link Clicked"). share_percent is the element's part of
-- all clicks in its tutorial; an element that was renamed stands there twice.
select
    tutorial_id,
    event_name,
    count(*) as clicks,
    count(distinct coalesce(user_id, anonymous_id)) as people,
    round(100.0 * count(*) / sum(count(*)) over (partition by tutorial_id), 1) as share_percent,
    min("timestamp")::date as first_day,
    max("timestamp")::date as last_day
from tutorial_interaction
group by tutorial_id, event_name
order by clicks desc, tutorial_id, event_name
limit 50;
