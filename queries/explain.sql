-- name: ExplainByMessage :many
-- What the mirror holds under a messageId. Interactions stand in tracks too; the
-- event's own table says more.
select 'screens'::text as relation, s.id::text as id, s.loader_interaction_id, s."timestamp", s.sent_at, s.received_at, s.uuid_ts,
    to_jsonb(s.*)::jsonb as mirrored
from screens as s where s.id = @message_id::text
union all
select 'tutorial_interaction'::text, i.id::text, i.loader_interaction_id, i."timestamp", i.sent_at, i.received_at, i.uuid_ts,
    to_jsonb(i.*)::jsonb
from tutorial_interaction as i where i.id = @message_id::text;

-- name: ExplainByInteraction :many
-- What the mirror holds of a row of the export, the newest first; more than one if
-- the row's time was changed after it was sent. No index serves it: one would cost
-- every run more than the seconds that it saves here.
select 'screens'::text as relation, s.id::text as id, s.loader_interaction_id, s."timestamp", s.sent_at, s.received_at, s.uuid_ts,
    to_jsonb(s.*)::jsonb as mirrored
from screens as s where s.loader_interaction_id = @interaction_id::text
union all
select 'tutorial_interaction'::text, i.id::text, i.loader_interaction_id, i."timestamp", i.sent_at, i.received_at, i.uuid_ts,
    to_jsonb(i.*)::jsonb
from tutorial_interaction as i where i.loader_interaction_id = @interaction_id::text
order by uuid_ts desc;

-- name: ExplainReject :many
select * from loader_rejects where interaction_id = @interaction_id;

-- name: ExplainRunsAt :many
-- The runs that were under way when a row was mirrored: one, or a run and a
-- backfill beside it.
select * from loader_runs
where started_at <= @at::timestamptz and (finished_at is null or finished_at >= @at::timestamptz)
order by id;

-- name: ExplainRun :many
select * from loader_runs where id = @id;
