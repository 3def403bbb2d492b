-- What older versions don't know.
delete from loader_rejects where reason in ('missing_id', 'invalid_text', 'can_not_be_recorded', 'forgotten');
-- An older version sends the rows of those who were forgotten.
drop table loader_forgotten;
alter table loader_rejects drop constraint loader_rejects_reason_check;
alter table loader_rejects add constraint loader_rejects_reason_check check (reason in (
    'missing_identity', 'unknown_kind', 'missing_tutorial_id', 'invalid_tutorial_id', 'invalid_portal_id',
    'missing_event_name', 'invalid_timestamp', 'event_too_large', 'refused_by_segment'));
alter table loader_state
    drop column export_system, drop column export_database, drop column export_relation, drop column export_zone,
    drop column place_system, drop column place_database, drop column namespace_since, drop column namespace_since_id, drop column original_namespaces,
    drop column write_key_hash, drop column write_key_asked_at, drop column write_key_known,
    drop column unrecorded_at, drop column unrecorded_id,
    drop column config_hash, drop column config_hash_before, drop column config_host, drop column config_host_before, drop column config_changed_at,
    drop column config_alternated_at, drop column config_mapping,
    drop column proof, drop column proof_epoch, drop column verify_slot, drop column verify_holder, drop column verify_held_until, drop column forgotten_salt;
alter table loader_slots drop column schedule;
alter table loader_leases drop column wanted_by, drop column wanted_at;
alter table loader_runs
    drop column holder, drop column page, drop column asked, drop column reads_from, drop column sends_before,
    drop column export_clock_behind, drop column rejected_before;
