-- name: SchemaLook :one
-- Whose schema is it? ours: our version table is in it. strangers: some relations
-- of a schema that has no such table.
select
    (to_regnamespace(@schema::text) is not null)::boolean as present,
    has_database_privilege(current_database(), 'CREATE') as may_create,
    current_user::text as role,
    current_database()::text as database,
    exists (
        select from pg_class c
        where c.relnamespace = to_regnamespace(@schema::text)::oid and c.relname = 'loader_schema_migrations'
    ) as ours,
    coalesce((
        select string_agg(s.relname::text, ', ')
        from (
            select c.relname from pg_class c
            where c.relnamespace = to_regnamespace(@schema::text)::oid and c.relkind in ('r', 'v', 'm', 'p', 'f')
            order by c.relname limit 5
        ) s
    ), '')::text as strangers;

-- name: MigrateTryLock :one
-- A lock of the transaction: behind a pooler one of the session would stay with the server's connection.
-- Older versions took it for the session; it is the same. Tried, not waited for: a lock that is waited
-- for in the server can't be given up by a deadline of ours.
select pg_try_advisory_xact_lock(hashtextextended('candu-loader:' || @schema::text, 0)) as locked;

-- name: RolesMissing :many
select r.name::text as name from unnest(@roles::text[]) as r (name)
where not exists (select from pg_roles p where p.rolname = r.name);

-- name: VersionClear :exec
delete from loader_schema_migrations;

-- name: VersionPut :exec
insert into loader_schema_migrations (version, dirty) values (@version, false);

-- name: LockHolders :many
-- Who holds locks on what is in a schema, the longest first; one row a session. What a session does is hidden
-- from roles without pg_read_all_stats.
select a.pid::integer as pid, coalesce(a.usename::text, '')::text as role, coalesce(a.application_name, '')::text as application,
    a.xact_start as since, coalesce(a.state, '')::text as state, min(c.relname::text)::text as relation
from pg_lock_status() l
join pg_class c on c.oid = l.relation and c.relnamespace = to_regnamespace(@schema::text)::oid
join pg_stat_activity a on a.pid = l.pid
where l.granted and l.pid <> pg_backend_pid() and l.database = (select d.oid from pg_database d where d.datname = current_database())
group by a.pid, a.usename, a.application_name, a.xact_start, a.state
order by a.xact_start nulls last, a.pid
limit 3;

-- name: SessionWait :many
-- What a session of this role waits for: that of the process, or those of the name, which a pooler keeps. Who holds the
-- locks that it waits for is told exactly, one of another role without what it is called, if that is hidden.
select coalesce(a.wait_event_type, '')::text as wait_type, coalesce(a.wait_event, '')::text as wait_event,
    current_setting('synchronous_standby_names')::text as standbys,
    (select count(*) from pg_stat_replication)::bigint as connected,
    coalesce(b.pid, 0)::integer as pid, coalesce(b.usename::text, '')::text as role, coalesce(b.application_name, '')::text as application,
    b.xact_start as since, coalesce(b.state, '')::text as state
from pg_stat_activity a
left join pg_stat_activity b on b.pid = any (pg_blocking_pids(a.pid))
where a.usename = current_user and a.datname = current_database() and a.state = 'active' and a.pid <> pg_backend_pid()
  and (a.pid = @pid::integer or a.application_name = @application::text)
order by a.wait_event_type nulls last, b.xact_start
limit 1;
