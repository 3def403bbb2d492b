-- name: RunOpen :one
-- Takes the lease, if it is free, and begins a run, in one statement, so that
-- an hourly run that finds nothing costs little. Without the lease nothing is
-- written and token and run_id are NULL; the row then says who holds it.
-- A stale watermark may come back when the holder released the lease while we
-- waited for its row: that only costs reading again.
with lease as (
    insert into loader_leases as l (name, holder, token, acquired_at, expires_at)
    values (@lease, @holder, 1, clock_timestamp(), clock_timestamp() + @ttl::interval)
    on conflict (name) do update
    -- The token only grows: whoever had the lease before can record nothing more.
    set holder = excluded.holder, token = l.token + 1,
        acquired_at = excluded.acquired_at, expires_at = excluded.expires_at
    -- Our own name: the answer to an earlier try got lost.
    where l.expires_at <= clock_timestamp() or l.holder = excluded.holder
    returning token
), dead as (
    -- We have the lease, so whatever still says running under it is dead.
    update loader_runs
    set status = 'interrupted', finished_at = clock_timestamp(), error = 'the run died without finishing'
    where status = 'running' and (kind = 'backfill') = (@lease = 'backfill') and exists (select from lease)
    returning id
), run as (
    insert into loader_runs (kind, status, slot_at, range_from, range_to, watermark_before, host, version)
    select @kind, 'running', sqlc.narg(slot_at), sqlc.narg(range_from), sqlc.narg(range_to),
        (select watermark_at from loader_state), @host, @version
    from lease
    returning id
)
select
    sqlc.embed(s),
    m.version as schema_version,
    m.dirty as schema_dirty,
    lease.token as token,
    run.id as run_id,
    h.holder as held_by,
    h.acquired_at as held_since,
    h.expires_at as held_until,
    (select count(*) from dead) as dead_runs,
    exists (select from loader_rejects) as has_rejects,
    -- A loader that is stopped before its commit must not hold the row for ever.
    set_config('idle_in_transaction_session_timeout', @idle::text, true)::text as idle
from loader_state s
cross join loader_schema_migrations m
left join lease on true
left join run on true
-- This reads the lease as it was before the statement: the holder before us.
left join loader_leases h on h.name = @lease;

-- name: LeaseRenew :execrows
-- 0 rows: the lease is lost.
update loader_leases
set expires_at = clock_timestamp() + @ttl::interval
where name = @lease and token = @token;

-- name: RunAdvance :one
-- What is recorded with each group of pages: the proof that the lease is ours (its row
-- stays locked against a takeover until the commit), the counters, the
-- watermark. held = false: the lease is lost, the transaction must be rolled back.
-- Counters are absolute, so that a commit whose answer got lost can be repeated.
-- The watermark never goes back; at the same moment NULL stands before every id.
with held as (
    update loader_leases set expires_at = clock_timestamp() + @ttl::interval
    where name = @lease and token = @token
    returning name
), progress as (
    update loader_runs
    set rows_read = @rows_read, sent = @sent, already_delivered = @already_delivered, rejected = @rejected,
        rejected_before = @rejected_before, batches = @batches, retries = @retries
    where id = @id
), mark as (
    update loader_state as s
    set watermark_at = sqlc.narg(watermark_at)::timestamptz, watermark_id = sqlc.narg(watermark_id)::text,
        updated_at = clock_timestamp()
    where sqlc.narg(watermark_at)::timestamptz is not null
      and (
        s.watermark_at is null
        or s.watermark_at < sqlc.narg(watermark_at)::timestamptz
        or (
            s.watermark_at = sqlc.narg(watermark_at)::timestamptz
            and (s.watermark_id is null or sqlc.narg(watermark_id)::text is not null)
        )
      )
)
select exists (select from held) as held;

-- name: RunFinish :execrows
-- Ends a run and frees its lease in one statement. The lease is freed only by
-- its holder; 0 rows: the run was declared dead by the one who took over.
with freed as (
    update loader_leases set expires_at = clock_timestamp()
    where name = @lease and token = @token
    returning name
), reached as (
    update loader_state as s
    -- The loader says how long ago it asked for the last page; the clock is ours alone.
    set caught_up_at = statement_timestamp() - sqlc.narg(reached_ago)::interval,
        complete_until = greatest(s.complete_until, sqlc.narg(complete_until)::timestamptz),
        held_back_by = sqlc.narg(held_back_by)::text, updated_at = clock_timestamp()
    where sqlc.narg(reached_ago)::interval is not null and exists (select from freed)
)
update loader_runs
set status = @status, finished_at = clock_timestamp(), rows_read = @rows_read, sent = @sent,
    already_delivered = @already_delivered, rejected = @rejected, rejected_before = @rejected_before,
    batches = @batches, retries = @retries, watermark_after = sqlc.narg(watermark_after), error = sqlc.narg(error)
where id = @id and status = 'running' and exists (select from freed)
  -- As in RunOpen; here, because it saves a statement.
  and set_config('idle_in_transaction_session_timeout', @idle::text, true) is not null;

-- name: StateGet :one
select sqlc.embed(s), m.version as schema_version, m.dirty as schema_dirty
from loader_state s cross join loader_schema_migrations m;

-- name: StateCreate :exec
-- Once per schema; whoever comes second keeps what is there.
insert into loader_state (nickname, message_namespace) values (@nickname, @message_namespace)
on conflict (singleton) do nothing;

-- name: ReadersSet :exec
update loader_state set readers = @readers, updated_at = clock_timestamp() where readers <> @readers;

-- name: StartSet :exec
-- Where the first run begins; a later change of the config moves nothing.
update loader_state
set start_at = @start_at::timestamptz, watermark_at = @start_at::timestamptz, updated_at = clock_timestamp()
where start_at is null and watermark_at is null;

-- name: RunsRecent :many
select * from loader_runs order by started_at desc, id desc limit @count;

-- name: LeaseGet :one
select l.*, l.expires_at > clock_timestamp() as held from loader_leases l where l.name = @lease;

-- name: RunLastSuccess :many
-- One row, or none.
select * from loader_runs
where status = 'succeeded' and kind in ('scheduled', 'manual')
order by started_at desc limit 1;

-- name: RunsFailing :many
-- Since when runs fail: the end of the first that did after the last that succeeded, and why the
-- last of them did. No row: none did.
select min(r.finished_at)::timestamptz as since, coalesce((array_agg(r.error order by r.started_at desc))[1], '')::text as error
from loader_runs r
where r.status = 'failed' and r.kind in ('scheduled', 'manual')
  and r.started_at > coalesce(
    (select max(s.started_at) from loader_runs s where s.status = 'succeeded' and s.kind in ('scheduled', 'manual')),
    '-infinity'
  )
having count(*) > 0;

-- name: RunStatus :one
select status from loader_runs where id = @id;

-- name: RunsRunning :many
select * from loader_runs where status = 'running' order by id;

-- name: ConstraintsCheck :exec
-- Looks at once at what would be looked at by the commit.
set constraints all immediate;

-- name: UnrecordedSet :exec
-- Where pages were sent and not recorded, NULL = they are by now. The lease's row is locked, so
-- that nobody takes over meanwhile: only its holder knows.
with held as (
    select from loader_leases where name = @lease and holder = @holder and token = @token for update
)
update loader_state
set unrecorded_at = sqlc.narg(unrecorded_at)::timestamptz, unrecorded_id = sqlc.narg(unrecorded_id)::text,
    updated_at = clock_timestamp()
where exists (select from held);
