-- name: SchemaFind :one
-- What there is of a source's schema. The catalog is asked, because names don't resolve in a
-- schema that the role may not use: it would look as if it were not there.
with ours as (
    select n.nspname, n.oid
    from pg_catalog.pg_namespace n
    where (
        select count(*) from pg_class c
        where c.relnamespace = n.oid and c.relkind = 'r' and c.relname in ('loader_state', 'loader_schema_migrations')
    ) = 2
)
select
    current_database()::text as database,
    current_user::text as role,
    exists (select from pg_catalog.pg_namespace n where n.nspname = @schema::text) as present,
    exists (select from ours o where o.nspname = @schema::text) as ours,
    coalesce((
        select has_schema_privilege(n.oid, 'USAGE') from pg_catalog.pg_namespace n where n.nspname = @schema::text
    ), false)::boolean as usable,
    -- Where a schema was renamed, or the configuration's name is misspelled.
    coalesce((
        select string_agg(quote_ident(e.nspname), ', ' order by e.nspname)
        from (select o.nspname from ours o where o.nspname <> @schema::text order by o.nspname limit 5) e
    ), '')::text as elsewhere;

-- name: StatePresent :one
select exists (select from loader_state) as present;

-- name: SchemaUsed :one
-- Whether a schema remembers that something was sent.
select (
    exists (select from screens) or exists (select from tracks) or exists (select from loader_runs where sent > 0)
)::boolean as used;

-- name: CommitDurably :exec
-- What the commit says is done survives a crash of the server, and with it all that was committed
-- before, where the server or the role has synchronous_commit = off.
select set_config('synchronous_commit', 'local', true) where current_setting('synchronous_commit') = 'off';

-- name: PlaceLook :one
-- Where this is. Whoever may not ask for the system identifier gets an error.
select current_database()::text as database, (select c.system_identifier from pg_catalog.pg_control_system() c)::text as system;

-- name: PlaceDatabase :one
select current_database()::text as database;

-- name: PlaceFill :exec
-- What older versions did not store.
update loader_state
set place_system = coalesce(place_system, sqlc.narg(system)::text), place_database = coalesce(place_database, @database::text),
    write_key_hash = coalesce(write_key_hash, sqlc.narg(write_key_hash)::text), updated_at = clock_timestamp()
where place_system is null and sqlc.narg(system)::text is not null or place_database is null
   or write_key_hash is null and sqlc.narg(write_key_hash)::text is not null;

-- name: PlaceSet :exec
-- It moved. A system identifier that can't be asked for is not known any more.
update loader_state
set place_system = sqlc.narg(system)::text, place_database = @database::text, updated_at = clock_timestamp();

-- name: WriteKeySet :exec
-- The key was rotated. Nobody has asked Segment about the new one.
update loader_state
set write_key_hash = @write_key_hash::text, write_key_asked_at = null, write_key_known = null, updated_at = clock_timestamp();

-- name: NamespaceSet :exec
-- A copy becomes a schema of its own: what comes after its watermark gets other ids. What stands
-- before it was sent by the original, and is not this one's business; nor is what lies beyond and stands
-- in the mirror under the original's ids.
update loader_state
set original_namespaces = original_namespaces || message_namespace, message_namespace = @message_namespace,
    namespace_since = watermark_at, namespace_since_id = watermark_id,
    proof = null, proof_epoch = proof_epoch + 1, updated_at = clock_timestamp();

-- name: LeasesLock :exec
-- No run begins until the commit: it would go on under the namespace that it read.
lock table loader_leases in share mode;

-- name: LeaseHolder :many
-- Who works on the source now. No row: nobody.
select holder from loader_leases where expires_at > clock_timestamp() order by name limit 1;

-- name: ExportSet :execrows
-- Which export the watermark is about. 0 rows: somebody else has taken over.
update loader_state
set export_system = coalesce(sqlc.narg(system)::text, case when export_database = @database::text then export_system end),
    export_database = @database::text, export_relation = @relation::text,
    export_zone = coalesce(sqlc.narg(zone)::text, export_zone), updated_at = clock_timestamp()
where exists (select from loader_leases l where l.holder = @holder::text and l.expires_at > clock_timestamp());

-- name: ExportReset :exec
-- Another export: reading begins where the first run began, for its rows may lie anywhere. What the
-- mirror has is found delivered. Of a copy, what the original has sent of this export is in the mirror.
update loader_state
set watermark_at = start_at, watermark_id = null, complete_until = null, held_back_by = null,
    namespace_since = null, namespace_since_id = null, unrecorded_at = null, unrecorded_id = null,
    export_system = sqlc.narg(system)::text, export_database = @database::text, export_relation = @relation::text,
    export_zone = sqlc.narg(zone)::text,
    proof = null, proof_epoch = proof_epoch + 1, updated_at = clock_timestamp();

-- name: StartSet :exec
-- The first run began elsewhere, as far as anybody is concerned: NULL = the beginning. Where that lies
-- earlier, reading begins there once more, and finds what the mirror has; where it lies later, the
-- rows before it are left out from now on. A source that has not begun is left to its first run.
update loader_state s
set start_at = sqlc.narg(start_at)::timestamptz,
    watermark_at = case when n.back then sqlc.narg(start_at) else greatest(s.watermark_at, sqlc.narg(start_at)) end,
    watermark_id = case when not n.back and s.watermark_at >= coalesce(sqlc.narg(start_at), '-infinity') then s.watermark_id end,
    complete_until = case when not n.back then s.complete_until end,
    held_back_by = case when not n.back then s.held_back_by end,
    proof = null, proof_epoch = s.proof_epoch + 1,
    updated_at = clock_timestamp()
from (
    select coalesce(sqlc.narg(start_at)::timestamptz, '-infinity') < coalesce(b.start_at, '-infinity') as back from loader_state b
) n
where s.start_at is not null or s.watermark_at is not null;

-- name: MirrorNewest :many
-- The newest events, by the times that their ids begin with.
select m.loader_interaction_id::text as interaction_id, m.at::timestamptz as at
from (
    (select s.id, s.loader_interaction_id, s."timestamp" as at from screens s order by s.id desc limit @count)
    union all
    (select t.id, t.loader_interaction_id, t."timestamp" from tracks t order by t.id desc limit @count)
) m
where m.loader_interaction_id is not null and m.at is not null
order by m.id desc limit @count;

-- name: ConfigSet :many
-- With which configuration a run begins. No row: it is the one of the run before, or the lease is lost.
-- alternated: it is the one before that, so that two machines may have different ones.
update loader_state s
set config_hash = @hash::text, config_hash_before = s.config_hash, config_host = @host::text, config_host_before = s.config_host,
    config_changed_at = statement_timestamp(), config_mapping = @mapping::jsonb,
    config_alternated_at = case when s.config_hash_before = @hash then statement_timestamp() else s.config_alternated_at end
where s.config_hash is distinct from @hash
  and exists (select from loader_leases l where l.holder = @holder::text and l.expires_at > clock_timestamp())
returning coalesce(s.config_alternated_at = s.config_changed_at, false)::boolean as alternated, coalesce(s.config_host_before, '')::text as host_before;
