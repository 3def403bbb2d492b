-- name: RunOpen :one
-- Takes the leases, if all of them are free, and begins a run, in one statement, so that
-- an hourly run that finds nothing costs little. Where one is not, tokens and run_id are NULL, the
-- row says who holds it, and the transaction must be rolled back.
-- A stale state may come back when the holder released the lease while we
-- waited for its row: RunBegin reads it again.
with taken as (
    insert into loader_leases as l (name, holder, token, acquired_at, expires_at)
    -- In one order, so that two who want both can't wait for each other.
    select o.name, @holder, 1, clock_timestamp(), clock_timestamp() + @ttl::interval
    from (select unnest(@leases::text[]) as name) o order by o.name
    on conflict (name) do update
    -- The token only grows: whoever had the lease before can record nothing more.
    set holder = excluded.holder, token = l.token + 1,
        acquired_at = excluded.acquired_at, expires_at = excluded.expires_at,
        wanted_by = nullif(l.wanted_by, excluded.holder)
    -- Further away than twice the time to live: the clock was put back since.
    -- Our own name: the answer to an earlier try got lost.
    where l.expires_at <= clock_timestamp() or l.expires_at > clock_timestamp() + @far::interval
        or l.holder = excluded.holder
    returning name, token
), lease as (
    select array_agg(t.token order by t.name) as tokens from taken t
    having count(*) = cardinality(@leases::text[])
), dead as (
    -- A run lives as long as its holder has a lease. We have those that we took, so whoever had them
    -- and has no other is dead.
    update loader_runs r
    set status = 'interrupted', finished_at = clock_timestamp(), error = 'the run died without finishing'
    where r.status = 'running' and r.holder <> @holder and exists (select from lease)
      and not exists (
        select from loader_leases h
        where h.holder = r.holder and h.name <> all (@leases::text[]) and h.expires_at > clock_timestamp()
      )
      -- Older versions noted no holder.
      and (r.holder <> '' or (r.kind = 'backfill') = ('backfill' = any (@leases::text[])))
    returning r.id
), run as (
    insert into loader_runs (kind, status, slot_at, range_from, range_to, watermark_before, host, version, holder)
    select @kind, 'running', sqlc.narg(slot_at), sqlc.narg(range_from), sqlc.narg(range_to),
        (select watermark_at from loader_state), @host, @version, @holder::text
    from lease
    returning id
)
select
    sqlc.embed(s),
    m.version as schema_version,
    m.dirty as schema_dirty,
    lease.tokens::bigint[] as tokens,
    run.id as run_id,
    coalesce(h.holder, '')::text as held_by,
    coalesce(h.name, '')::text as held_name,
    coalesce(h.acquired_at, to_timestamp(0))::timestamptz as held_since,
    coalesce(h.expires_at, to_timestamp(0))::timestamptz as held_until,
    (select count(*) from dead) as dead_runs,
    exists (select from loader_rejects) as has_rejects,
    clock_timestamp()::timestamptz as clock,
    -- A loader that is stopped before its commit must not hold the row for ever.
    set_config('idle_in_transaction_session_timeout', @idle::text, true)::text as idle
from loader_state s
cross join loader_schema_migrations m
left join lease on true
left join run on true
-- This reads the leases as they were before the statement: the holder before us.
left join lateral (
    select l.* from loader_leases l where l.name = any (@leases::text[]) order by l.expires_at desc limit 1
) h on true;

-- name: RunBegin :one
-- What a run of new rows begins from, read and written under its lease: a start that is stored for
-- the first time, where the run reads from, and how far the export's clock is behind this one's.
-- If that has grown since the run before, the export's clock was put back: rows that
-- come now are stamped with a time that the watermark has passed, so it goes back too, which it does
-- nowhere else. No row: the lease is lost.
with held as (
    update loader_leases l set expires_at = clock_timestamp() + @ttl::interval
    where l.name = any (@leases::text[]) and l.holder = @holder
    returning l.name
), clocks as (
    select @behind::interval as behind
), grown as (
    select c.behind - r.export_clock_behind as gap
    from clocks c, loader_runs r
    where r.export_clock_behind is not null order by r.id desc limit 1
), lost as (
    select coalesce(max(g.gap) filter (where g.gap > '1 second'), '0') as clock from grown g
), mark as (
    update loader_state s
    set start_at = case
            when s.start_at is null and s.watermark_at is null then sqlc.narg(start_at)::timestamptz
            -- A start of now was taken from that clock.
            when s.start_at is not null and @start_now::boolean then least(s.start_at, s.watermark_at - lost.clock)
            else s.start_at
        end,
        watermark_at = case
            when s.start_at is null and s.watermark_at is null then sqlc.narg(start_at)::timestamptz
            else s.watermark_at - lost.clock
        end,
        watermark_id = case when lost.clock = '0' then s.watermark_id end,
        complete_until = s.complete_until - lost.clock,
        -- A copy leaves nothing beyond the watermark to the original, but what the mirror has of it.
        namespace_since = case
            when lost.clock <> '0' and s.namespace_since > s.watermark_at - lost.clock then s.watermark_at - lost.clock
            else s.namespace_since
        end,
        namespace_since_id = case
            when lost.clock <> '0' and s.namespace_since > s.watermark_at - lost.clock then null
            else s.namespace_since_id
        end,
        -- What was proved up to the watermark says nothing of rows that come below it now.
        proof = case when lost.clock = '0' or s.proof ->> 'verdict' = 'not proved' then s.proof end,
        proof_epoch = s.proof_epoch + (lost.clock <> '0')::int,
        updated_at = clock_timestamp()
    from lost
    where (select count(*) from held) = cardinality(@leases::text[])
    returning s.start_at, s.watermark_at, s.watermark_id, s.namespace_since, s.namespace_since_id, lost.clock as clock_lost
), run as (
    update loader_runs r
    set export_clock_behind = c.behind,
        reads_from = greatest(m.start_at, m.watermark_at - @lookback::interval)
    from mark m, clocks c
    where r.id = @id and r.holder = @holder and r.status = 'running'
    returning r.id
)
select m.start_at, m.watermark_at, m.watermark_id, m.namespace_since, m.namespace_since_id, m.clock_lost::interval as clock_lost,
    exists (
        select from loader_leases b where b.name = 'backfill' and b.holder <> @holder and b.expires_at > clock_timestamp()
    ) as beside,
    -- As RunWaitsFor says it later.
    coalesce((
        select b.holder from loader_runs b join loader_leases l on l.name = 'backfill' and l.holder = b.holder
        where b.status = 'running' and l.expires_at > clock_timestamp() and b.holder <> @holder
          and b.sends_before > coalesce(greatest(m.start_at, m.watermark_at - @lookback::interval), '-infinity')
        limit 1
    ), '')::text as waits_for,
    -- A start that is stored survives a crash of the server, as the end does.
    set_config(
        'synchronous_commit',
        case when current_setting('synchronous_commit') = 'off' then 'local' else current_setting('synchronous_commit') end,
        true)::text as synchronous
from mark m join run on true;

-- name: StateLock :exec
-- All who decide what is theirs to send lock this row first: what they read then stays true until
-- they have written what they decided.
select from loader_state for update;

-- name: RunWaitsFor :one
-- Whose backfill is sending rows beyond the place where the run begins to read: both would send
-- them. '' = nobody's.
select coalesce((
    select b.holder from loader_runs b join loader_leases l on l.name = 'backfill' and l.holder = b.holder
    where b.status = 'running' and l.expires_at > clock_timestamp() and b.holder <> @holder
      and b.sends_before > coalesce((select r.reads_from from loader_runs r where r.id = @id), '-infinity')
    limit 1
), '')::text as holder;

-- name: BackfillBorder :many
-- Up to where a backfill sends beside a run: what lies before that no run reads again. A run that
-- is under way tells where it began; one that reads from the beginning leaves nothing, and
-- neither does one that has not told yet. No row: the lease is lost.
with running as (
    select r.reads_from from loader_runs r join loader_leases l on l.name = 'run' and l.holder = r.holder
    where r.status = 'running' and l.expires_at > clock_timestamp()
), border as (
    select (case
        when exists (select from running where reads_from is null) then null
        else least(s.watermark_at - @lookback::interval, (select min(reads_from) from running))
    end)::timestamptz as at
    from loader_state s
)
update loader_runs b set sends_before = border.at from border
where b.id = @id and b.holder = @holder and b.status = 'running'
  and exists (select from loader_leases l where l.name = any (@leases::text[]) and l.holder = @holder)
returning b.sends_before;

-- name: LeaseWant :exec
-- Says to the holder that somebody waits, for some seconds. Whoever said so first, and goes on, comes
-- first.
update loader_leases set wanted_by = @holder::text, wanted_at = clock_timestamp()
where name = @lease
  and (wanted_by is null or wanted_by = @holder::text or wanted_at < clock_timestamp() - interval '10 seconds');

-- name: LeaseWanted :one
-- Who waits for a lease, '' if nobody does.
select coalesce((
    select wanted_by from loader_leases where name = @lease and wanted_at > clock_timestamp() - interval '10 seconds'
), '')::text as holder;

-- name: LeaseRenew :execrows
-- Fewer rows than leases: one is lost.
update loader_leases l
set expires_at = clock_timestamp() + @ttl::interval
from (select unnest(@leases::text[]) as name, unnest(@tokens::bigint[]) as token) o
where l.name = o.name and l.token = o.token and l.holder = @holder;

-- name: RunAsked :execrows
-- An answer that keeps a row from being sent is a commit: whoever has this one has all that the
-- answer has seen, and recording that page demands it. 0 rows: this is not the server, or no more the
-- state, in which the run began, or somebody has taken over.
update loader_runs set asked = greatest(asked, @page::bigint)
where id = @id and holder = @holder and status = 'running';

-- name: RunAdvance :one
-- What is recorded with each group of pages: the proof that the leases are ours (their rows
-- stay locked against a takeover until the commit) and that the run stands where its group before
-- left it, or at this very group, for the answer may have got lost; the counters, the
-- watermark. kept = false: something is not so, the transaction must be rolled back.
-- Holder beside token, for after a restore numbers repeat.
-- Counters are absolute, so that a commit whose answer got lost can be repeated.
-- The watermark never goes back; at the same moment NULL stands before every id.
with held as (
    update loader_leases l set expires_at = clock_timestamp() + @ttl::interval
    from (select unnest(@leases::text[]) as name, unnest(@tokens::bigint[]) as token) o
    where l.name = o.name and l.token = o.token and l.holder = @holder
    returning l.name
), progress as (
    update loader_runs
    set rows_read = @rows_read, sent = @sent, already_delivered = @already_delivered, rejected = @rejected,
        rejected_before = @rejected_before, batches = @batches, retries = @retries, page = @page,
        -- The furthest ahead that the export's clock was.
        export_clock_behind = least(export_clock_behind, sqlc.narg(behind)::interval)
    where id = @id and holder = @holder and status = 'running'
      and page in (@page_before::bigint, @page::bigint) and asked >= @asked::bigint
    returning id
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
select
    ((select count(*) from held) = cardinality(@leases::text[]) and exists (select from progress))::boolean as kept,
    exists (select from loader_rejects) as has_rejects,
    exists (
        select from loader_leases b where b.name = 'backfill' and b.holder <> @holder and b.expires_at > clock_timestamp()
    ) as beside;

-- name: RunFinish :many
-- Ends a run and frees its leases in one statement, if all is as it left it. No row: it is not, and
-- the transaction must be rolled back. What a run calls succeeded survives a crash of its server.
with freed as (
    -- Long ago, so that no clock that is put back brings it to life.
    update loader_leases l set expires_at = to_timestamp(0)
    from (select unnest(@leases::text[]) as name, unnest(@tokens::bigint[]) as token) o
    where l.name = o.name and l.token = o.token and l.holder = @holder
    returning l.name
), ended as (
    update loader_runs
    set status = @status, finished_at = clock_timestamp(), rows_read = @rows_read, sent = @sent,
        already_delivered = @already_delivered, rejected = @rejected, rejected_before = @rejected_before,
        batches = @batches, retries = @retries,
        watermark_after = (select s.watermark_at from loader_state s), error = sqlc.narg(error)
    where id = @id and holder = @holder and status = 'running' and page in (@page_before::bigint, @page::bigint)
      -- Answers for pages of which there was nothing to record.
      and asked >= @asked::bigint
      and (select count(*) from freed) = cardinality(@leases::text[])
      -- As in RunOpen; here, because it saves a statement.
      and set_config('idle_in_transaction_session_timeout', @idle::text, true) is not null
      and set_config(
          'synchronous_commit',
          case when current_setting('synchronous_commit') = 'off' then 'local' else current_setting('synchronous_commit') end,
          true) is not null
    returning watermark_after
), reached as (
    update loader_state as s
    -- The loader says how long ago it asked for the last page; the clock is ours alone.
    set caught_up_at = statement_timestamp() - sqlc.narg(reached_ago)::interval,
        complete_until = greatest(s.complete_until, sqlc.narg(complete_until)::timestamptz),
        held_back_by = sqlc.narg(held_back_by)::text, updated_at = clock_timestamp()
    where sqlc.narg(reached_ago)::interval is not null and exists (select from ended)
)
select watermark_after from ended;

-- name: RunWhere :many
-- How a run stands that was not where its loader left it, and who has taken over its leases: a
-- token only grows, unless the warehouse went back. One row, or none.
select r.status, r.page, r.watermark_after,
    coalesce((
        select string_agg(l.holder, ', ')
        from loader_leases l join (select unnest(@leases::text[]) as name, unnest(@tokens::bigint[]) as token) o on o.name = l.name
        where (l.holder <> @holder or l.token <> o.token) and (l.token > o.token or l.expires_at > clock_timestamp())
    ), '')::text as held_by
from loader_state s left join loader_runs r on r.id = @id and r.holder = @holder;

-- name: StateGet :one
select sqlc.embed(s), m.version as schema_version, m.dirty as schema_dirty, clock_timestamp()::timestamptz as clock
from loader_state s cross join loader_schema_migrations m;

-- name: StateCreate :exec
-- Once per schema; whoever comes second keeps what is there.
insert into loader_state (nickname, message_namespace) values (@nickname, @message_namespace)
on conflict (singleton) do nothing;

-- name: ReadersSet :exec
update loader_state set readers = @readers, updated_at = clock_timestamp() where readers <> @readers;

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

-- name: RunsRunning :many
select * from loader_runs where status = 'running' order by id;

-- name: ConstraintsCheck :exec
-- Looks at once at what would be looked at by the commit.
set constraints all immediate;

-- name: UnrecordedSet :exec
-- Where pages were sent and not recorded, NULL = they are by now. The lease's row is locked, so
-- that nobody takes over meanwhile: only its holder knows.
with held as (
    select from loader_leases l where l.name = any (@leases::text[]) and l.holder = @holder for update
)
update loader_state
set unrecorded_at = sqlc.narg(unrecorded_at)::timestamptz, unrecorded_id = sqlc.narg(unrecorded_id)::text,
    updated_at = clock_timestamp()
where exists (select from held);

-- name: SessionsEnd :exec
-- Ends what is left of the sessions of those whose lease ran out: a loader that vanished inside a
-- statement holds locks for which its successor would wait. Sessions of another role we may not
-- end, and don't touch.
select pg_terminate_backend(a.pid)
from loader_leases l
join pg_stat_activity a on a.application_name = 'candu-loader ' || l.holder
where l.name = any (@leases::text[]) and l.expires_at not between clock_timestamp() and clock_timestamp() + @far::interval
  and a.usename = current_user and a.datname = current_database() and a.pid <> pg_backend_pid();
