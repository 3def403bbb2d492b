-- The schema of one Segment source. Every name is unqualified: the migration's
-- connection has a search_path of exactly one schema.

-- The mirror ----------------------------------------------------------------
-- Names, types and nullability are those of Segment's own connector for
-- Postgres, so that an analyst's query runs on both.
-- Ids compare as bytes (collate "C"): a messageId begins with the time, so new
-- rows land at the right edge of the index, whatever the database's locale.

create table tracks (
    id                          varchar(1024) collate "C" primary key,
    received_at                 timestamptz,
    uuid_ts                     timestamptz,
    anonymous_id                text,
    context_integration_name    text,
    context_integration_version text,
    context_library_name        text,
    context_library_version     text,
    event                       text,
    event_text                  text,
    original_timestamp          timestamptz,
    sent_at                     timestamptz,
    "timestamp"                 timestamptz,
    user_id                     text,
    loader_interaction_id       text
);

create table tutorial_interaction (
    id                          varchar(1024) collate "C" primary key,
    received_at                 timestamptz,
    uuid_ts                     timestamptz,
    anonymous_id                text,
    context_integration_name    text,
    context_integration_version text,
    context_library_name        text,
    context_library_version     text,
    event                       text,
    event_text                  text,
    original_timestamp          timestamptz,
    sent_at                     timestamptz,
    "timestamp"                 timestamptz,
    user_id                     text,
    tutorial_id                 bigint,
    segment_id                  text,
    portal_id                   bigint,
    version_id                  text,
    event_name                  text,
    loader_interaction_id       text
);

create table screens (
    id                          varchar(1024) collate "C" primary key,
    received_at                 timestamptz,
    uuid_ts                     timestamptz,
    anonymous_id                text,
    context_integration_name    text,
    context_integration_version text,
    context_library_name        text,
    context_library_version     text,
    name                        text,
    original_timestamp          timestamptz,
    sent_at                     timestamptz,
    "timestamp"                 timestamptz,
    user_id                     text,
    tutorial_id                 bigint,
    segment_id                  text,
    portal_id                   bigint,
    version_id                  text,
    loader_interaction_id       text
);

-- Segment keeps all screens of a source in one table and makes no view by name;
-- this one spares analysts the filter.
create view tutorial_view as
select
    id, received_at, uuid_ts, anonymous_id, context_integration_name, context_integration_version,
    context_library_name, context_library_version, name, original_timestamp, sent_at, "timestamp", user_id,
    tutorial_id, segment_id, portal_id, version_id, loader_interaction_id
from screens
where name = 'tutorial.view';

-- The ledger ----------------------------------------------------------------

create table loader_state (
    -- One row: the primary key can only be true.
    singleton         boolean     primary key default true check (singleton),
    nickname          text        not null,
    message_namespace uuid        not null,
    start_at          timestamptz,
    watermark_at      timestamptz,
    watermark_id      text,
    complete_until    timestamptz,
    readers           text[]      not null default '{}',
    created_at        timestamptz not null default clock_timestamp(),
    updated_at        timestamptz not null default clock_timestamp(),
    check (watermark_at is not null or watermark_id is null)
);

create table loader_leases (
    name        text        primary key check (name in ('run', 'backfill')),
    holder      text        not null,
    token       bigint      not null,
    acquired_at timestamptz not null,
    expires_at  timestamptz not null
);

create table loader_runs (
    id                bigint      generated always as identity primary key,
    kind              text        not null check (kind in ('scheduled', 'manual', 'backfill', 'repair', 'retry')),
    slot_at           timestamptz,
    status            text        not null check (status in ('running', 'succeeded', 'failed', 'interrupted')),
    started_at        timestamptz not null default clock_timestamp(),
    finished_at       timestamptz,
    range_from        timestamptz,
    range_to          timestamptz,
    rows_read         bigint      not null default 0,
    sent              bigint      not null default 0,
    already_delivered bigint      not null default 0,
    rejected          bigint      not null default 0,
    batches           bigint      not null default 0,
    retries           bigint      not null default 0,
    watermark_before  timestamptz,
    watermark_after   timestamptz,
    error             text,
    host              text        not null default '',
    version           text        not null default ''
);
create index loader_runs_started_at on loader_runs (started_at);
-- Finding dead runs must not cost more with a long history.
create index loader_runs_running on loader_runs (id) where status = 'running';

create table loader_slots (
    slot_at     timestamptz primary key,
    status      text        not null check (status in ('running', 'ran', 'caught_up', 'skipped_overlap', 'missed')),
    run_id      bigint      references loader_runs (id),
    note        text,
    holder      text,
    recorded_at timestamptz not null default clock_timestamp()
);

create table loader_rejects (
    interaction_id text        collate "C" primary key,
    reason         text        not null check (reason in (
        'missing_identity', 'unknown_kind', 'missing_tutorial_id', 'invalid_tutorial_id', 'invalid_portal_id',
        'missing_event_name', 'invalid_timestamp', 'event_too_large', 'refused_by_segment')),
    detail         text        not null default '',
    interaction    jsonb       not null,
    run_id         bigint      not null references loader_runs (id),
    first_seen_at  timestamptz not null default clock_timestamp(),
    last_seen_at   timestamptz not null default clock_timestamp(),
    attempts       integer     not null default 1
);
create index loader_rejects_reason on loader_rejects (reason);

-- What everything means, for whoever opens the schema with \d+ ---------------

comment on table tracks is 'Segment''s track calls of this source, one row an event, the columns that all events share.';
comment on column tracks.id is 'The event''s messageId: a UUID version 8 made from the interaction''s time and id.';
comment on column tracks.received_at is 'When Segment''s 200 for the batch came back (Segment never tells its own time of receipt).';
comment on column tracks.uuid_ts is 'When this row was mirrored.';
comment on column tracks.anonymous_id is 'Segment''s anonymousId.';
comment on column tracks.context_integration_name is 'context.integration.name: candu.';
comment on column tracks.context_integration_version is 'context.integration.version: the version of candu-loader that sent the event.';
comment on column tracks.context_library_name is 'context.library.name: analytics-go.';
comment on column tracks.context_library_version is 'context.library.version: what analytics-go says of itself.';
comment on column tracks.original_timestamp is 'When the user did it, as sent.';
comment on column tracks.sent_at is 'When the batch that was accepted left.';
comment on column tracks."timestamp" is 'When the user did it. Segment corrects its own column for clock skew; here it equals original_timestamp.';
comment on column tracks.user_id is 'Segment''s userId.';
comment on column tracks.loader_interaction_id is 'candu-loader: the id of the row in the export. Segment''s own tables don''t have this column.';
comment on column tracks.event is 'The table''s name of the event: tutorial_interaction.';
comment on column tracks.event_text is 'The event''s name: tutorial.interaction.';

comment on table tutorial_interaction is 'tutorial.interaction: what users clicked in tutorials, one row an event.';
comment on column tutorial_interaction.id is 'The event''s messageId: a UUID version 8 made from the interaction''s time and id.';
comment on column tutorial_interaction.received_at is 'When Segment''s 200 for the batch came back (Segment never tells its own time of receipt).';
comment on column tutorial_interaction.uuid_ts is 'When this row was mirrored.';
comment on column tutorial_interaction.anonymous_id is 'Segment''s anonymousId.';
comment on column tutorial_interaction.context_integration_name is 'context.integration.name: candu.';
comment on column tutorial_interaction.context_integration_version is 'context.integration.version: the version of candu-loader that sent the event.';
comment on column tutorial_interaction.context_library_name is 'context.library.name: analytics-go.';
comment on column tutorial_interaction.context_library_version is 'context.library.version: what analytics-go says of itself.';
comment on column tutorial_interaction.original_timestamp is 'When the user did it, as sent.';
comment on column tutorial_interaction.sent_at is 'When the batch that was accepted left.';
comment on column tutorial_interaction."timestamp" is 'When the user did it. Segment corrects its own column for clock skew; here it equals original_timestamp.';
comment on column tutorial_interaction.user_id is 'Segment''s userId.';
comment on column tutorial_interaction.loader_interaction_id is 'candu-loader: the id of the row in the export. Segment''s own tables don''t have this column.';
comment on column tutorial_interaction.event is 'The table''s name of the event: tutorial_interaction.';
comment on column tutorial_interaction.event_text is 'The event''s name: tutorial.interaction.';
comment on column tutorial_interaction.tutorial_id is 'tutorialId: the tutorial.';
comment on column tutorial_interaction.segment_id is 'segmentId: Candu''s audience, for example Everyone; nothing to do with Segment.';
comment on column tutorial_interaction.portal_id is 'portalId: the place in the product where the tutorial showed.';
comment on column tutorial_interaction.version_id is 'versionId: digest of the tutorial''s version.';
comment on column tutorial_interaction.event_name is 'eventName: free text by the content''s editors, for example Upgrade plan Link Clicked.';

comment on table screens is 'Segment''s screen calls of this source, one row a call; tutorial.view is the only name.';
comment on column screens.id is 'The event''s messageId: a UUID version 8 made from the interaction''s time and id.';
comment on column screens.received_at is 'When Segment''s 200 for the batch came back (Segment never tells its own time of receipt).';
comment on column screens.uuid_ts is 'When this row was mirrored.';
comment on column screens.anonymous_id is 'Segment''s anonymousId.';
comment on column screens.context_integration_name is 'context.integration.name: candu.';
comment on column screens.context_integration_version is 'context.integration.version: the version of candu-loader that sent the event.';
comment on column screens.context_library_name is 'context.library.name: analytics-go.';
comment on column screens.context_library_version is 'context.library.version: what analytics-go says of itself.';
comment on column screens.original_timestamp is 'When the user did it, as sent.';
comment on column screens.sent_at is 'When the batch that was accepted left.';
comment on column screens."timestamp" is 'When the user did it. Segment corrects its own column for clock skew; here it equals original_timestamp.';
comment on column screens.user_id is 'Segment''s userId.';
comment on column screens.loader_interaction_id is 'candu-loader: the id of the row in the export. Segment''s own tables don''t have this column.';
comment on column screens.name is 'The screen''s name: tutorial.view.';
comment on column screens.tutorial_id is 'tutorialId: the tutorial.';
comment on column screens.segment_id is 'segmentId: Candu''s audience, for example Everyone; nothing to do with Segment.';
comment on column screens.portal_id is 'portalId: the place in the product where the tutorial showed.';
comment on column screens.version_id is 'versionId: digest of the tutorial''s version.';

comment on view tutorial_view is 'tutorial.view: tutorials that were shown to users; the screens of that name.';
comment on column tutorial_view.id is 'The event''s messageId: a UUID version 8 made from the interaction''s time and id.';
comment on column tutorial_view.received_at is 'When Segment''s 200 for the batch came back (Segment never tells its own time of receipt).';
comment on column tutorial_view.uuid_ts is 'When this row was mirrored.';
comment on column tutorial_view.anonymous_id is 'Segment''s anonymousId.';
comment on column tutorial_view.context_integration_name is 'context.integration.name: candu.';
comment on column tutorial_view.context_integration_version is 'context.integration.version: the version of candu-loader that sent the event.';
comment on column tutorial_view.context_library_name is 'context.library.name: analytics-go.';
comment on column tutorial_view.context_library_version is 'context.library.version: what analytics-go says of itself.';
comment on column tutorial_view.original_timestamp is 'When the user did it, as sent.';
comment on column tutorial_view.sent_at is 'When the batch that was accepted left.';
comment on column tutorial_view."timestamp" is 'When the user did it. Segment corrects its own column for clock skew; here it equals original_timestamp.';
comment on column tutorial_view.user_id is 'Segment''s userId.';
comment on column tutorial_view.loader_interaction_id is 'candu-loader: the id of the row in the export. Segment''s own tables don''t have this column.';
comment on column tutorial_view.name is 'The screen''s name: tutorial.view.';
comment on column tutorial_view.tutorial_id is 'tutorialId: the tutorial.';
comment on column tutorial_view.segment_id is 'segmentId: Candu''s audience, for example Everyone; nothing to do with Segment.';
comment on column tutorial_view.portal_id is 'portalId: the place in the product where the tutorial showed.';
comment on column tutorial_view.version_id is 'versionId: digest of the tutorial''s version.';

comment on table loader_state is 'candu-loader: where the source stands; one row.';
comment on column loader_state.singleton is 'Always true: there is one row.';
comment on column loader_state.nickname is 'The source''s nickname in Segment.';
comment on column loader_state.message_namespace is 'Namespace of the messageIds. Never change it: every event would be sent again under a new id.';
comment on column loader_state.start_at is 'Where the first run began (config: start_at); NULL = the beginning. Rows exported before it are not loaded.';
comment on column loader_state.watermark_at is 'exported_at of the watermark: every row at or below it is in the mirror or in loader_rejects. NULL = nothing yet.';
comment on column loader_state.watermark_id is 'id of the watermark; NULL stands before every id of that moment.';
comment on column loader_state.complete_until is 'The last run that reached the end of the export found everything exported before this moment.';
comment on column loader_state.readers is 'Roles that were granted the right to read the mirror.';
comment on column loader_state.created_at is 'When the schema was made.';
comment on column loader_state.updated_at is 'When this row last changed.';

comment on table loader_leases is 'candu-loader: who works on this source; a lease that is not renewed runs out after 30 s.';
comment on column loader_leases.name is 'run or backfill.';
comment on column loader_leases.holder is 'Host and process that has, or last had, the lease.';
comment on column loader_leases.token is 'Fencing token: grows with each holder and is checked in every transaction that records.';
comment on column loader_leases.acquired_at is 'Since when.';
comment on column loader_leases.expires_at is 'Until when, by this database''s clock; past = free.';

comment on table loader_runs is 'candu-loader: one row for each run.';
comment on column loader_runs.id is 'Number of the run.';
comment on column loader_runs.kind is 'scheduled, manual, backfill, repair or retry.';
comment on column loader_runs.slot_at is 'The slot of the schedule that the run is for.';
comment on column loader_runs.status is 'running, succeeded, failed or interrupted.';
comment on column loader_runs.started_at is 'Start.';
comment on column loader_runs.finished_at is 'End; NULL while it runs.';
comment on column loader_runs.range_from is 'Start of the range, inclusive (backfill, repair).';
comment on column loader_runs.range_to is 'End of the range, exclusive (backfill, repair).';
comment on column loader_runs.rows_read is 'Rows read from the export.';
comment on column loader_runs.sent is 'Events that Segment accepted.';
comment on column loader_runs.already_delivered is 'Rows that were in the mirror already.';
comment on column loader_runs.rejected is 'Rows that went to loader_rejects.';
comment on column loader_runs.batches is 'Batches that Segment accepted.';
comment on column loader_runs.retries is 'Requests that were tried again.';
comment on column loader_runs.watermark_before is 'Watermark at the start.';
comment on column loader_runs.watermark_after is 'Watermark at the end.';
comment on column loader_runs.error is 'What went wrong; NULL if nothing did.';
comment on column loader_runs.host is 'Machine that ran it.';
comment on column loader_runs.version is 'Version of candu-loader.';

comment on table loader_slots is 'candu-loader: every occurrence of the schedule and how it ended.';
comment on column loader_slots.slot_at is 'The occurrence.';
comment on column loader_slots.status is 'running, ran, caught_up, skipped_overlap or missed.';
comment on column loader_slots.run_id is 'The run that it became.';
comment on column loader_slots.note is 'Why, where there is something to say.';
comment on column loader_slots.holder is 'Process that took it.';
comment on column loader_slots.recorded_at is 'When the slot was taken.';

comment on table loader_rejects is 'candu-loader: rows that can''t be sent as they are, with the reason.';
comment on column loader_rejects.interaction_id is 'id of the row in the export.';
comment on column loader_rejects.reason is 'A stable code; the documentation lists them.';
comment on column loader_rejects.detail is 'The value or the answer that led to it.';
comment on column loader_rejects.interaction is 'The row as it was read, by canonical column name.';
comment on column loader_rejects.run_id is 'The run that saw it last.';
comment on column loader_rejects.first_seen_at is 'When it was rejected first.';
comment on column loader_rejects.last_seen_at is 'When it was tried last.';
comment on column loader_rejects.attempts is 'How often it was tried.';

-- Made by golang-migrate before it runs the first file.
comment on table loader_schema_migrations is 'candu-loader: the version of this schema.';
comment on column loader_schema_migrations.version is 'Number of the last migration.';
comment on column loader_schema_migrations.dirty is 'True only while a migration runs; candu-loader mends it by itself.';
