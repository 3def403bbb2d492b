-- name: MirrorLast :one
-- The greatest messageId of the mirror. Ids begin with the time of the event,
-- so a new row's id is mostly greater, and need not be asked for.
select coalesce(greatest((select max(id) from screens), (select max(id) from tracks)), '')::text as last_id;

-- name: MirrorDelivered :many
-- Which of the ids were delivered, as whatever kind.
select id::text from screens where id = any (@ids::text[])
union all
select id::text from tracks where id = any (@ids::text[]);

-- name: MirrorBetween :one
-- What was delivered with ids in a range, as whatever kind; of each kind at most count.
-- The order makes it a scan of the index alone, whatever the planner believes of the
-- range. One text, for thousands of rows of one id each cost more than the scan.
select count(*) as rows, coalesce(string_agg(m.id, ','), '')::text as ids
from (
    (select s.id::text as id from screens s where s.id >= @first::text and s.id <= @last::text order by s.id limit @count)
    union all
    (select t.id::text from tracks t where t.id >= @first::text and t.id <= @last::text order by t.id limit @count)
) m;

-- name: MirrorPresent :many
-- Which of the ids stand in which table of the mirror.
select 'screens'::text as relation, id::text from screens where id = any (@ids::text[])
union all
select 'tracks', id::text from tracks where id = any (@ids::text[])
union all
select 'tutorial_interaction', id::text from tutorial_interaction where id = any (@ids::text[]);
