-- What a run compares before it records, and what tells one export, one place and one write key
-- from another.

alter table loader_runs
    add column holder text not null default '',
    add column page bigint not null default 0,
    add column asked bigint not null default 0,
    add column reads_from timestamptz,
    add column sends_before timestamptz,
    add column export_clock_behind interval,
    add column rejected_before bigint not null default 0;

alter table loader_leases
    add column wanted_by text,
    add column wanted_at timestamptz;

alter table loader_state
    add column export_system text,
    add column export_database text,
    add column export_relation text,
    add column export_zone text,
    add column place_system text,
    add column place_database text,
    add column namespace_since timestamptz,
    add column namespace_since_id text,
    add column original_namespaces uuid[] not null default '{}',
    add column write_key_hash text,
    add column write_key_asked_at timestamptz,
    add column write_key_known boolean,
    add column unrecorded_at timestamptz,
    add column unrecorded_id text,
    add column config_hash text,
    add column config_hash_before text,
    add column config_host text,
    add column config_host_before text,
    add column config_changed_at timestamptz,
    add column config_alternated_at timestamptz,
    add column config_mapping jsonb,
    add column proof jsonb,
    add column proof_epoch bigint not null default 0,
    add column verify_slot timestamptz,
    add column verify_holder text,
    add column verify_held_until timestamptz,
    add column forgotten_salt bytea;

alter table loader_slots add column schedule text;

alter table loader_rejects drop constraint loader_rejects_reason_check;
alter table loader_rejects add constraint loader_rejects_reason_check check (reason in (
    'missing_identity', 'unknown_kind', 'missing_tutorial_id', 'invalid_tutorial_id', 'invalid_portal_id',
    'missing_event_name', 'invalid_timestamp', 'event_too_large', 'missing_id', 'invalid_text',
    'can_not_be_recorded', 'refused_by_segment', 'forgotten'));

create table loader_forgotten (
    hash                 bytea       primary key,
    identity             text        not null check (identity in ('user_id', 'anonymous_id')),
    forgotten_at         timestamptz not null default clock_timestamp(),
    forgotten_by         text        not null default '',
    finished_at          timestamptz,
    screens              bigint      not null default 0,
    tracks               bigint      not null default 0,
    tutorial_interaction bigint      not null default 0,
    rejects              bigint      not null default 0
);

comment on table loader_forgotten is 'candu-loader: whom `candu-loader forget` has erased, so that no row that names them is sent or kept again. Nothing here says who they were.';
comment on column loader_forgotten.hash is 'HMAC-SHA-256, by loader_state.forgotten_salt, of the identity''s column, a zero byte and the identity.';
comment on column loader_forgotten.identity is 'Which column named them: user_id or anonymous_id.';
comment on column loader_forgotten.forgotten_at is 'When they were first to be forgotten. No row of theirs is sent since.';
comment on column loader_forgotten.forgotten_by is 'Who asked for it: the user of the machine, and the machine.';
comment on column loader_forgotten.finished_at is 'When all that was kept of them had been erased. NULL = that was interrupted: run the command again.';
comment on column loader_forgotten.screens is 'Rows of screens that lost their identity, or were deleted, over all times that the command ran.';
comment on column loader_forgotten.tracks is 'Rows of tracks.';
comment on column loader_forgotten.tutorial_interaction is 'Rows of tutorial_interaction.';
comment on column loader_forgotten.rejects is 'Rows of loader_rejects.';

comment on column loader_runs.holder is 'Who runs: host, process and a part of its own. Unlike a number it does not repeat after a restore.';
comment on column loader_runs.page is 'How many groups of pages this run has recorded. The next one goes through only if this stands where the run left it.';
comment on column loader_runs.asked is 'The group for which the mirror''s answers (delivered, rejected before) kept rows from being sent. Recording that group demands it.';
comment on column loader_runs.reads_from is 'exported_at from which the run reads. NULL = from the beginning, or not decided yet.';
comment on column loader_runs.sends_before is 'exported_at before which a backfill sends beside runs. NULL = it does not, or has not decided yet.';
comment on column loader_runs.export_clock_behind is 'This database''s clock less the export''s, as the run began. If it grows, the export''s clock was put back.';
comment on column loader_runs.rejected_before is 'Rows read that were rejected by an earlier run and are as they were.';
comment on column loader_leases.wanted_by is 'Who waits for the lease, NULL if nobody does. A backfill lets it go first.';
comment on column loader_leases.wanted_at is 'When it last said so.';
comment on column loader_state.export_system is 'System identifier of the server that holds the export. NULL = not known yet.';
comment on column loader_state.export_database is 'The export''s database.';
comment on column loader_state.export_relation is 'The export''s table or view, with its schema.';
comment on column loader_state.export_zone is 'The zone by which its times without a zone are read, of which messageIds are made. NULL = it has none.';
comment on column loader_state.place_system is 'System identifier of the server that this schema is on. A copy elsewhere would send under the same ids.';
comment on column loader_state.place_database is 'The database that this schema is in.';
comment on column loader_state.namespace_since is 'The watermark as this schema, a copy of another one, got a namespace of its own, or less if the export''s clock was put back since. What the export has up to there is the other one''s to send. NULL = there is no such place.';
comment on column loader_state.namespace_since_id is 'The id of that watermark.';
comment on column loader_state.original_namespaces is 'The namespaces that a copy had before its own. What the mirror has under ids of theirs was sent by the schemas that it is a copy of.';
comment on column loader_state.write_key_hash is 'A hash of the Segment write key that the events were sent with, salted with the namespace. NULL = not known yet.';
comment on column loader_state.write_key_asked_at is 'When Segment was last asked whether it knows the write key.';
comment on column loader_state.write_key_known is 'Whether it does. NULL = it could not say.';
comment on column loader_state.unrecorded_at is 'exported_at of the last row of the first page that a run could not record. NULL = there is none.';
comment on column loader_state.unrecorded_id is 'Its id.';
comment on column loader_state.config_hash is 'A hash of the source''s configuration that the last run had, secrets left out.';
comment on column loader_state.config_hash_before is 'The one before. Where the two alternate, machines have different configurations of this source.';
comment on column loader_state.config_host is 'The host of the run that brought config_hash.';
comment on column loader_state.config_host_before is 'The host of the run that brought the one before.';
comment on column loader_state.config_changed_at is 'When config_hash changed.';
comment on column loader_state.config_alternated_at is 'When it last changed back to the one before. NULL = it never did.';
comment on column loader_state.config_mapping is 'How the last run read rows: columns and kinds of its configuration.';
comment on column loader_state.proof is 'What verifications found: the last verdict, and when it was last proved. NULL = nothing was verified.';
comment on column loader_state.proof_epoch is 'How often that was forgotten because it is about something else now. A verification that began before is not recorded.';
comment on column loader_state.verify_slot is 'Up to when slots of verify.schedule count as done. NULL = serve never looked.';
comment on column loader_state.verify_holder is 'Which serve verifies now, NULL = none.';
comment on column loader_state.verify_held_until is 'Until when it does, if it does not say so again.';
comment on column loader_state.forgotten_salt is 'By what the identities in loader_forgotten are hashed, random. NULL = nobody was forgotten yet.';
comment on column loader_slots.schedule is 'The schedule whose slot it is, and its time zone. NULL = an older version took it, by the one of loader_state.';
