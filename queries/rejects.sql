-- name: RejectsKnown :many
-- Which of the rows were rejected before, and why.
select interaction_id, reason, detail, attempts from loader_rejects where interaction_id = any (@interaction_ids::text[]);

-- name: RejectsPut :exec
-- A row that is rejected again keeps its first_seen_at. attempts is counted by
-- the caller, so that a commit whose answer got lost can be repeated. What was delivered is never a
-- reject, whoever delivered it meanwhile: the transaction holds the row that all who record lock first.
insert into loader_rejects as r (interaction_id, reason, detail, interaction, run_id, attempts)
select n.interaction_id, n.reason, n.detail, n.interaction, @run_id::bigint, n.attempts
from (
    select unnest(@interaction_ids::text[]) as interaction_id, unnest(@message_ids::text[]) as message_id,
        unnest(@reasons::text[]) as reason, unnest(@details::text[]) as detail,
        unnest(@interactions::jsonb[]) as interaction, unnest(@attempts::integer[]) as attempts
) n
where not exists (select from screens s where s.id = n.message_id)
  and not exists (select from tracks t where t.id = n.message_id)
on conflict (interaction_id) do update
set reason = excluded.reason, detail = excluded.detail, interaction = excluded.interaction,
    run_id = excluded.run_id, last_seen_at = clock_timestamp(), attempts = excluded.attempts;

-- name: RejectsDelete :execrows
-- Rows that went through after all.
delete from loader_rejects where interaction_id = any (@interaction_ids::text[]);

-- name: RejectsList :many
-- A page of rejects in the order of their id, after the one given; NULL stands before every id, an empty text does not.
select * from loader_rejects
where (sqlc.narg(after)::text is null or interaction_id > sqlc.narg(after)) and (sqlc.narg(reason)::text is null or reason = sqlc.narg(reason))
order by interaction_id
limit @count;

-- name: RejectsOrder :many
-- The ids of all rejects as people count: numbers by their value, other ids after them.
select interaction_id from loader_rejects
where sqlc.narg(reason)::text is null or reason = sqlc.narg(reason)
order by case when interaction_id ~ '^-?[0-9]{1,30}$' then interaction_id::numeric end nulls last, interaction_id;

-- name: RejectsOf :many
-- The rejects of those rows, in their order.
select r.* from unnest(@interaction_ids::text[]) with ordinality as w (id, place)
join loader_rejects r on r.interaction_id = w.id
order by w.place;

-- name: RejectsByReason :many
select reason, count(*) as rejects, max(last_seen_at)::timestamptz as last_seen_at
from loader_rejects group by reason order by rejects desc, reason;
