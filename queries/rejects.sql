-- name: RejectsKnown :many
-- Which of the rows were rejected before, and why.
select interaction_id, reason, detail, attempts from loader_rejects where interaction_id = any (@interaction_ids::text[]);

-- name: RejectsPut :exec
-- A row that is rejected again keeps its first_seen_at. attempts is counted by
-- the caller, so that a commit whose answer got lost can be repeated.
insert into loader_rejects as r (interaction_id, reason, detail, interaction, run_id, attempts)
select unnest(@interaction_ids::text[]), unnest(@reasons::text[]), unnest(@details::text[]),
    unnest(@interactions::jsonb[]), @run_id::bigint, unnest(@attempts::integer[])
on conflict (interaction_id) do update
set reason = excluded.reason, detail = excluded.detail, interaction = excluded.interaction,
    run_id = excluded.run_id, last_seen_at = clock_timestamp(), attempts = excluded.attempts;

-- name: RejectsDelete :execrows
-- Rows that went through after all.
delete from loader_rejects where interaction_id = any (@interaction_ids::text[]);

-- name: RejectsList :many
-- A page of rejects in the order of their id, after the one given.
select * from loader_rejects
where interaction_id > @after::text and (sqlc.narg(reason)::text is null or reason = sqlc.narg(reason))
order by interaction_id
limit @count;

-- name: RejectsByReason :many
select reason, count(*) as rejects, max(last_seen_at)::timestamptz as last_seen_at
from loader_rejects group by reason order by rejects desc, reason;
