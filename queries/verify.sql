-- name: VerifyScreens :many
-- Counts and fingerprints of the screens per day, for a piece of the ids; with by_row of each row of the export by
-- itself, in the order of the bytes of their ids. A fingerprint is a sum, so the order does not matter, and a
-- row that stands twice does not cancel itself, of the first 64 bits of the SHA-256 of the values that came from
-- the row. record_send and convert_to make them the same whatever the settings are; loader/source/sum.go makes the
-- same of the export's rows. wrong counts rows of which what all rows have in common, or the messageId, is
-- not as it should be: of a messageId the first 74 bits of a hash, with the two bits of the variant after the first
-- 12, are the last 19 digits. A timestamp that no row may have is of no day.
select coalesce(m.day::text, '')::text as day, m.interaction_id::text as interaction_id, count(*) as rows, coalesce(sum(m.part), 0)::text as sum,
    count(*) filter (where m.wrong) as wrong
from (
    select case when s."timestamp" >= '1970-01-01 00:00:00+00' and s."timestamp" < '10000-01-01 00:00:00+00' then (s."timestamp" at time zone 'UTC')::date end as day,
        case when @by_row::boolean then coalesce(s.loader_interaction_id, '') else '' end collate "C" as interaction_id,
        ('x' || left(encode(sha256(case when @quick::boolean
            then record_send(row(convert_to(s.loader_interaction_id, 'UTF8'), s."timestamp"))
            else record_send(row(convert_to(s.loader_interaction_id, 'UTF8'), s."timestamp", convert_to(s.user_id, 'UTF8'), convert_to(s.anonymous_id, 'UTF8'),
                convert_to(s.segment_id, 'UTF8'), convert_to(s.version_id, 'UTF8'), null::bytea, s.tutorial_id, s.portal_id)) end), 'hex'), 16))::bit(64)::bigint as part,
        not @quick::boolean and (s.name is distinct from 'tutorial.view' or s.context_integration_name is distinct from 'candu'
            or s.original_timestamp is distinct from s."timestamp"
            or s.id is distinct from case when s."timestamp" >= '1970-01-01 00:00:00+00' and s."timestamp" < '10000-01-01 00:00:00+00' then (
                lpad(to_hex((date_part('epoch', s."timestamp") * 1000000)::bigint / 1000), 12, '0') || '8' ||
                substr(encode(bit_send(overlay(('x' || left(encode(sha256(uuid_send(@namespace::uuid) || convert_to(s.loader_interaction_id, 'UTF8')), 'hex'), 19))::bit(74)
                    placing b'10' from 13 for 0)), 'hex'), 9, 19))::uuid::text end) as wrong
    from screens s
    where (sqlc.narg(first_id)::text is null or s.id >= sqlc.narg(first_id)::text) and (sqlc.narg(end_id)::text is null or s.id < sqlc.narg(end_id)::text)
      and (sqlc.narg(range_from)::timestamptz is null or s."timestamp" >= sqlc.narg(range_from)::timestamptz)
      and (sqlc.narg(range_to)::timestamptz is null or s."timestamp" < sqlc.narg(range_to)::timestamptz)
      and (not @no_day::boolean or not coalesce(s."timestamp" >= '1970-01-01 00:00:00+00' and s."timestamp" < '10000-01-01 00:00:00+00', false))
      and (sqlc.narg(after)::text is null or coalesce(s.loader_interaction_id, '') collate "C" > sqlc.narg(after)::text)
) m
group by m.day, m.interaction_id
order by m.interaction_id
limit @count;

-- name: VerifyInteractions :many
-- VerifyScreens for tutorial_interaction. common is another fingerprint, of the columns that tracks has too.
select coalesce(m.day::text, '')::text as day, m.interaction_id::text as interaction_id, count(*) as rows, coalesce(sum(m.part), 0)::text as sum,
    coalesce(sum(m.common), 0)::text as common, count(*) filter (where m.wrong) as wrong
from (
    select case when i."timestamp" >= '1970-01-01 00:00:00+00' and i."timestamp" < '10000-01-01 00:00:00+00' then (i."timestamp" at time zone 'UTC')::date end as day,
        case when @by_row::boolean then coalesce(i.loader_interaction_id, '') else '' end collate "C" as interaction_id,
        ('x' || left(encode(sha256(case when @quick::boolean
            then record_send(row(convert_to(i.loader_interaction_id, 'UTF8'), i."timestamp"))
            else record_send(row(convert_to(i.loader_interaction_id, 'UTF8'), i."timestamp", convert_to(i.user_id, 'UTF8'), convert_to(i.anonymous_id, 'UTF8'),
                convert_to(i.segment_id, 'UTF8'), convert_to(i.version_id, 'UTF8'), convert_to(i.event_name, 'UTF8'), i.tutorial_id, i.portal_id)) end), 'hex'), 16))::bit(64)::bigint as part,
        ('x' || left(encode(sha256(case when @quick::boolean
            then record_send(row(convert_to(i.loader_interaction_id, 'UTF8'), i."timestamp"))
            else record_send(row(convert_to(i.id, 'UTF8'), i.received_at, i.uuid_ts, convert_to(i.anonymous_id, 'UTF8'), convert_to(i.context_integration_name, 'UTF8'),
                convert_to(i.context_integration_version, 'UTF8'), convert_to(i.context_library_name, 'UTF8'), convert_to(i.context_library_version, 'UTF8'),
                convert_to(i.event, 'UTF8'), convert_to(i.event_text, 'UTF8'), i.original_timestamp, i.sent_at, i."timestamp", convert_to(i.user_id, 'UTF8'),
                convert_to(i.loader_interaction_id, 'UTF8'))) end), 'hex'), 16))::bit(64)::bigint as common,
        not @quick::boolean and (i.event is distinct from 'tutorial_interaction' or i.event_text is distinct from 'tutorial.interaction'
            or i.context_integration_name is distinct from 'candu' or i.original_timestamp is distinct from i."timestamp"
            or i.id is distinct from case when i."timestamp" >= '1970-01-01 00:00:00+00' and i."timestamp" < '10000-01-01 00:00:00+00' then (
                lpad(to_hex((date_part('epoch', i."timestamp") * 1000000)::bigint / 1000), 12, '0') || '8' ||
                substr(encode(bit_send(overlay(('x' || left(encode(sha256(uuid_send(@namespace::uuid) || convert_to(i.loader_interaction_id, 'UTF8')), 'hex'), 19))::bit(74)
                    placing b'10' from 13 for 0)), 'hex'), 9, 19))::uuid::text end) as wrong
    from tutorial_interaction i
    where (sqlc.narg(first_id)::text is null or i.id >= sqlc.narg(first_id)::text) and (sqlc.narg(end_id)::text is null or i.id < sqlc.narg(end_id)::text)
      and (sqlc.narg(range_from)::timestamptz is null or i."timestamp" >= sqlc.narg(range_from)::timestamptz)
      and (sqlc.narg(range_to)::timestamptz is null or i."timestamp" < sqlc.narg(range_to)::timestamptz)
      and (not @no_day::boolean or not coalesce(i."timestamp" >= '1970-01-01 00:00:00+00' and i."timestamp" < '10000-01-01 00:00:00+00', false))
      and (sqlc.narg(after)::text is null or coalesce(i.loader_interaction_id, '') collate "C" > sqlc.narg(after)::text)
) m
group by m.day, m.interaction_id
order by m.interaction_id
limit @count;

-- name: VerifyTracks :many
-- VerifyInteractions for tracks, which must hold in each column what tutorial_interaction holds.
select coalesce(m.day::text, '')::text as day, m.interaction_id::text as interaction_id, count(*) as rows, coalesce(sum(m.common), 0)::text as common
from (
    select case when t."timestamp" >= '1970-01-01 00:00:00+00' and t."timestamp" < '10000-01-01 00:00:00+00' then (t."timestamp" at time zone 'UTC')::date end as day,
        case when @by_row::boolean then coalesce(t.loader_interaction_id, '') else '' end collate "C" as interaction_id,
        ('x' || left(encode(sha256(case when @quick::boolean
            then record_send(row(convert_to(t.loader_interaction_id, 'UTF8'), t."timestamp"))
            else record_send(row(convert_to(t.id, 'UTF8'), t.received_at, t.uuid_ts, convert_to(t.anonymous_id, 'UTF8'), convert_to(t.context_integration_name, 'UTF8'),
                convert_to(t.context_integration_version, 'UTF8'), convert_to(t.context_library_name, 'UTF8'), convert_to(t.context_library_version, 'UTF8'),
                convert_to(t.event, 'UTF8'), convert_to(t.event_text, 'UTF8'), t.original_timestamp, t.sent_at, t."timestamp", convert_to(t.user_id, 'UTF8'),
                convert_to(t.loader_interaction_id, 'UTF8'))) end), 'hex'), 16))::bit(64)::bigint as common
    from tracks t
    where (sqlc.narg(first_id)::text is null or t.id >= sqlc.narg(first_id)::text) and (sqlc.narg(end_id)::text is null or t.id < sqlc.narg(end_id)::text)
      and (sqlc.narg(range_from)::timestamptz is null or t."timestamp" >= sqlc.narg(range_from)::timestamptz)
      and (sqlc.narg(range_to)::timestamptz is null or t."timestamp" < sqlc.narg(range_to)::timestamptz)
      and (not @no_day::boolean or not coalesce(t."timestamp" >= '1970-01-01 00:00:00+00' and t."timestamp" < '10000-01-01 00:00:00+00', false))
      and (sqlc.narg(after)::text is null or coalesce(t.loader_interaction_id, '') collate "C" > sqlc.narg(after)::text)
) m
group by m.day, m.interaction_id
order by m.interaction_id
limit @count;

-- name: VerifyBounds :one
-- The least and the greatest id of the mirror, none if it is empty.
select coalesce(least((select min(id) from screens), (select min(id) from tracks), (select min(id) from tutorial_interaction)), '')::text as first,
    coalesce(greatest((select max(id) from screens), (select max(id) from tracks), (select max(id) from tutorial_interaction)), '')::text as last;

-- name: VerifyElsewhere :many
-- Under which messageIds rows of the export stand in the mirror, by their own ids. There is no index for
-- that: it is asked only of what was not found as it should be.
select s.loader_interaction_id::text as interaction_id, s.id::text as id
from screens s where s.loader_interaction_id in (select unnest(@interaction_ids::text[]))
union
select t.loader_interaction_id::text, t.id::text
from tracks t where t.loader_interaction_id in (select unnest(@interaction_ids::text[]))
union
select i.loader_interaction_id::text, i.id::text
from tutorial_interaction i where i.loader_interaction_id in (select unnest(@interaction_ids::text[]));

-- name: VerifyMirrored :many
-- What the mirror holds under messageIds.
select 'screens'::text as relation, s.id::text as id, to_jsonb(s.*)::jsonb as mirrored from screens as s where s.id = any (@ids::text[])
union all
select 'tracks'::text, t.id::text, to_jsonb(t.*)::jsonb from tracks as t where t.id = any (@ids::text[])
union all
select 'tutorial_interaction'::text, i.id::text, to_jsonb(i.*)::jsonb from tutorial_interaction as i where i.id = any (@ids::text[]);
