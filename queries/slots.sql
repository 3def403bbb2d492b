-- name: SlotsLook :one
-- What the next slot of a schedule is computed from. The clock is the database's, the one that
-- all replicas share. Slots in the future (the clock was wrong) don't count, and those of another
-- schedule neither: a machine may have another one, and this one's slots fell through where that one's
-- came later. passed is the last slot that the asker knows to be recorded, by whomever; if it is
-- not there, the warehouse went back.
select
    s.slots_schedule, s.slots_since,
    coalesce(greatest(
        (
            select l.slot_at from loader_slots l
            where l.slot_at <= clock_timestamp() and coalesce(l.schedule, s.slots_schedule) = @schedule::text
            order by l.slot_at desc limit 1
        ),
        (select l.slot_at from loader_slots l where l.slot_at = sqlc.narg(passed)::timestamptz)
    ), to_timestamp(0))::timestamptz as last,
    exists (
        select from loader_slots l
        where l.status = 'running' and l.held_until < clock_timestamp()
    ) as abandoned,
    clock_timestamp()::timestamptz as now
from loader_state s;

-- name: SlotsBegin :execrows
-- 0 rows: another replica was faster; nothing is to be done.
update loader_state
set slots_since = @since::timestamptz, slots_schedule = @schedule::text, updated_at = clock_timestamp()
where slots_schedule is not distinct from sqlc.narg(before)::text;

-- name: SlotsTake :many
-- Who inserts a slot has it: exactly one replica, whatever their clocks say.
insert into loader_slots (slot_at, schedule, status, note, holder, held_until)
select unnest(@slots::timestamptz[]), @schedule::text, @status::text, sqlc.narg(note)::text, @holder::text,
    case when @status = 'running' then clock_timestamp() + @ttl::interval end
on conflict (slot_at) do nothing
returning slot_at;

-- name: SlotsAdopt :many
-- Takes over the slots whose holder died.
update loader_slots
set holder = @holder::text, held_until = clock_timestamp() + @ttl::interval
where status = 'running' and held_until < clock_timestamp()
returning slot_at;

-- name: SlotsRenew :execrows
update loader_slots
set held_until = clock_timestamp() + @ttl::interval
where slot_at = any (@slots::timestamptz[]) and status = 'running' and holder = @holder::text;

-- name: SlotsEnd :execrows
-- Only the holder ends a slot, and only once. The run may be one that another
-- loader's takeover declared dead; the slot says which it was. A run that is there and has not ended
-- means that the warehouse went back since: then the slot is open, too.
update loader_slots
set status = @status::text, run_id = coalesce(sqlc.narg(run_id)::bigint, run_id), note = sqlc.narg(note)::text,
    held_until = null, recorded_at = clock_timestamp()
where slot_at = any (@slots::timestamptz[]) and status = 'running' and holder = @holder::text
  and not exists (select from loader_runs r where r.id = sqlc.narg(run_id)::bigint and r.status = 'running');

-- name: SlotsRelease :execrows
-- Whoever looks next takes them over at once.
update loader_slots
set held_until = clock_timestamp() - interval '1 second', run_id = coalesce(sqlc.narg(run_id)::bigint, run_id), note = sqlc.narg(note)::text
where slot_at = any (@slots::timestamptz[]) and status = 'running' and holder = @holder::text;

-- name: SlotsRecent :many
select sqlc.embed(l), r.status as run_status
from loader_slots l left join loader_runs r on r.id = l.run_id
order by l.slot_at desc limit @count;

-- name: AlertsSwap :execrows
-- 0 rows: another replica has announced it.
update loader_state set alerts = @after::jsonb where alerts = @before::jsonb;

-- name: DaysCount :many
-- Events by day since a messageId: ids begin with the time, so this is a range of
-- the primary keys. The upper bound keeps a far future out.
select (e.at at time zone 'UTC')::date::text as day, count(*) filter (where e.viewed) as views,
    count(*) filter (where not e.viewed) as interactions
from (
    select v."timestamp" as at, true as viewed from screens v where v.id >= @since::text and v.id < @until::text
    union all
    select i."timestamp", false from tutorial_interaction i where i.id >= @since::text and i.id < @until::text
) e
group by 1 order by 1;

-- name: RejectsExamples :many
-- A few of each reason, those seen last first.
select e.interaction_id, e.reason, e.detail, e.last_seen_at
from (select distinct reason from loader_rejects) r
cross join lateral (
    select x.interaction_id, x.reason, x.detail, x.last_seen_at
    from loader_rejects x where x.reason = r.reason
    order by x.last_seen_at desc limit @count
) e;
