-- name: ExportColumns :many
-- The export's columns, and what the role may do. No row: there is no such
-- relation. to_regclass does not raise an error for a missing table.
select
    c.relkind::text as relkind,
    has_table_privilege(c.oid, 'SELECT') or has_any_column_privilege(c.oid, 'SELECT') as readable,
    a.attname::text as name,
    -- A domain is read as what it is made of.
    (case when t.typtype = 'd' then t.typbasetype else t.oid end)::bigint as type_oid,
    t.typtype::text as type_kind,
    format_type(a.atttypid, a.atttypmod)::text as type_name,
    a.attnotnull as not_null,
    has_column_privilege(c.oid, a.attnum, 'SELECT') as column_readable,
    exists (
        select from pg_index i
        where i.indrelid = c.oid and i.indisunique and i.indisvalid and i.indpred is null
          and i.indnkeyatts = 1 and i.indkey[0] = a.attnum
          -- An index of a plain table says nothing of the tables that inherit from it.
          and not (c.relkind = 'r' and c.relhassubclass)
    ) as is_unique,
    clock_timestamp()::timestamptz as clock
from pg_class c
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
join pg_type t on t.oid = a.atttypid
where c.oid = to_regclass(@relation::text)
order by a.attnum;

-- name: ExportSafePoint :one
-- How far the export is settled. Every transaction that is open at the time of
-- this statement began at or after the safe point; rows that it will commit
-- carry its now(), which is that beginning. So everything exported before the safe point is
-- committed and visible to the next statement.
select
    clock_timestamp()::timestamptz as server_clock,
    -- Where nothing is open, or nothing can be seen, min() is NULL, which
    -- least() ignores. A transaction that is being born is in no view yet, hence
    -- the 10 seconds.
    least(
        clock_timestamp() - interval '10 seconds',
        (
            select min(a.xact_start) from pg_stat_activity a
            where a.datname = current_database() and a.pid <> pg_backend_pid()
              -- Vacuum writes no rows, and may take hours.
              and a.backend_type is distinct from 'autovacuum worker'
        )
    )::timestamptz as safe_point,
    -- A prepared transaction hides when it began.
    (select count(*) from pg_prepared_xacts p where p.database = current_database()) as prepared,
    -- Without it the beginning of other roles' transactions reads as NULL.
    pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') as sees_all,
    pg_is_in_recovery() as is_replica,
    current_user::text as role;

-- name: ExportIndexes :many
-- The key columns of the export's plain indexes, in their order.
select (
    select string_agg(a.attname::text, ',' order by k.n)
    from unnest(i.indkey) with ordinality as k (attnum, n)
    join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
)::text as columns
from pg_index i
where i.indrelid = to_regclass(@relation::text) and i.indisvalid and i.indpred is null;

-- name: ExportServer :one
-- What check reports of the server.
select
    clock_timestamp()::timestamptz as clock,
    current_setting('server_version')::text as version,
    current_user::text as role,
    current_database()::text as database,
    pg_is_in_recovery() as is_replica,
    coalesce((select ssl from pg_stat_ssl where pid = pg_backend_pid()), false)::boolean as encrypted;

-- name: ExportLabels :many
-- The labels of an enum in their order; none if the type is no enum.
select enumlabel::text as label from pg_enum where enumtypid = (@type_oid::bigint)::oid order by enumsortorder;
