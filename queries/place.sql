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
