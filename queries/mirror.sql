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

-- name: MirrorClock :one
-- The transaction's time, for the rows that COPY brings.
select now()::timestamptz as now;

-- name: MirrorScreens :execrows
-- A page's views, where COPY would stumble: a page that is recorded again must
-- find its rows there and go on, as Segment's own loader discards rows that exist.
insert into screens (
    id, received_at, uuid_ts, anonymous_id, context_integration_name, context_integration_version,
    context_library_name, context_library_version, name, original_timestamp, sent_at, "timestamp", user_id,
    tutorial_id, segment_id, portal_id, version_id, loader_interaction_id
)
select
    p.id, p.received_at, now(), nullif(p.anonymous_id, ''), 'candu', @integration_version::text,
    @library_name::text, @library_version::text, 'tutorial.view', p.occurred_at, p.sent_at, p.occurred_at, nullif(p.user_id, ''),
    p.tutorial_id, nullif(p.segment_id, ''), nullif(p.portal_id, '')::bigint, nullif(p.version_id, ''), p.interaction_id
from (
    select
        unnest(@ids::text[]) as id,
        unnest(@received_ats::timestamptz[]) as received_at,
        unnest(@sent_ats::timestamptz[]) as sent_at,
        unnest(@anonymous_ids::text[]) as anonymous_id,
        unnest(@user_ids::text[]) as user_id,
        unnest(@occurred_ats::timestamptz[]) as occurred_at,
        unnest(@tutorial_ids::bigint[]) as tutorial_id,
        unnest(@segment_ids::text[]) as segment_id,
        unnest(@portal_ids::text[]) as portal_id,
        unnest(@version_ids::text[]) as version_id,
        unnest(@interaction_ids::text[]) as interaction_id
) as p
on conflict (id) do nothing;

-- name: MirrorInteractions :execrows
-- A page's interactions: a row in tracks and one in the event's own table, as
-- Segment does. The arrays travel once.
with p as materialized (
    select
        unnest(@ids::text[]) as id,
        unnest(@received_ats::timestamptz[]) as received_at,
        unnest(@sent_ats::timestamptz[]) as sent_at,
        unnest(@anonymous_ids::text[]) as anonymous_id,
        unnest(@user_ids::text[]) as user_id,
        unnest(@occurred_ats::timestamptz[]) as occurred_at,
        unnest(@tutorial_ids::bigint[]) as tutorial_id,
        unnest(@segment_ids::text[]) as segment_id,
        unnest(@portal_ids::text[]) as portal_id,
        unnest(@version_ids::text[]) as version_id,
        unnest(@event_names::text[]) as event_name,
        unnest(@interaction_ids::text[]) as interaction_id
), t as (
    insert into tracks (
        id, received_at, uuid_ts, anonymous_id, context_integration_name, context_integration_version,
        context_library_name, context_library_version, event, event_text, original_timestamp, sent_at, "timestamp",
        user_id, loader_interaction_id
    )
    select
        p.id, p.received_at, now(), nullif(p.anonymous_id, ''), 'candu', @integration_version::text,
        @library_name::text, @library_version::text, 'tutorial_interaction', 'tutorial.interaction', p.occurred_at, p.sent_at, p.occurred_at,
        nullif(p.user_id, ''), p.interaction_id
    from p
    on conflict (id) do nothing
)
insert into tutorial_interaction (
    id, received_at, uuid_ts, anonymous_id, context_integration_name, context_integration_version,
    context_library_name, context_library_version, event, event_text, original_timestamp, sent_at, "timestamp",
    user_id, tutorial_id, segment_id, portal_id, version_id, event_name, loader_interaction_id
)
select
    p.id, p.received_at, now(), nullif(p.anonymous_id, ''), 'candu', @integration_version::text,
    @library_name::text, @library_version::text, 'tutorial_interaction', 'tutorial.interaction', p.occurred_at, p.sent_at, p.occurred_at,
    nullif(p.user_id, ''), p.tutorial_id, nullif(p.segment_id, ''), nullif(p.portal_id, '')::bigint, nullif(p.version_id, ''), p.event_name, p.interaction_id
from p
on conflict (id) do nothing;
