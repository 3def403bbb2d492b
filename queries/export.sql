-- name: ExportColumns :many
-- The export's columns, and what the role may do. No row: there is no such
-- relation. to_regclass does not raise an error for a missing table.
-- A domain is read as what it is made of, and so is a domain over one.
with recursive types (of, oid, typtype, typbasetype) as (
    select t.oid, t.oid, t.typtype, t.typbasetype from pg_type t
    where t.oid in (select a.atttypid from pg_attribute a where a.attrelid = to_regclass(@relation::text) and not a.attisdropped)
    union
    select d.of, u.oid, u.typtype, u.typbasetype from types d join pg_type u on u.oid = d.typbasetype where d.typtype = 'd'
)
select
    c.relkind::text as relkind,
    has_table_privilege(c.oid, 'SELECT') or has_any_column_privilege(c.oid, 'SELECT') as readable,
    a.attname::text as name,
    b.oid::bigint as type_oid,
    b.typtype::text as type_kind,
    format_type(a.atttypid, a.atttypmod)::text as type_name,
    a.attnotnull as not_null,
    -- Computed at each look, from Postgres 18 on: no index can be made of it.
    a.attgenerated = 'v' as is_virtual,
    has_column_privilege(c.oid, a.attnum, 'SELECT') as column_readable,
    exists (
        select from pg_index i
        where i.indrelid = c.oid and i.indisunique and i.indisvalid and i.indpred is null
          and i.indnkeyatts = 1 and i.indkey[0] = a.attnum
          -- An index of a plain table says nothing of the tables that inherit from it.
          and not (c.relkind = 'r' and c.relhassubclass)
    ) as is_unique,
    -- Whether ALTER TABLE ... ADD UNIQUE keeps the column unique in all that is read: it reaches no table that
    -- inherits, no foreign one, and must contain what a table is partitioned by.
    coalesce(c.relkind in ('r', 'p') and not exists (
        select from pg_inherits h where c.relkind = 'r' and h.inhparent = c.oid
    ) and not exists (
        select from pg_partition_tree(c.oid) as p (relid)
        join pg_class l on l.oid = p.relid
        left join pg_partitioned_table k on k.partrelid = p.relid
        where l.relkind = 'f' or exists (
            select from unnest(k.partattrs) as n (attnum)
            left join pg_attribute y on y.attrelid = p.relid and y.attnum = n.attnum and y.attnum > 0
            where y.attname is distinct from a.attname
        )
    ), false)::boolean as can_be_unique,
    clock_timestamp()::timestamptz as clock
from pg_class c
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
join types b on b.of = a.atttypid and b.typtype <> 'd'
where c.oid = to_regclass(@relation::text)
order by a.attnum;

-- name: ExportSafePoint :one
-- How far the export is settled. Every transaction that is open at the time of
-- this statement began at or after the safe point; rows that it will commit
-- carry its now(), which is that beginning. So everything exported before the safe point is
-- committed and visible to the next statement.
with sessions as materialized (
    select
        a.pid, a.usename, a.application_name, a.backend_type, a.state,
        -- The transactions of one protocol message all carry its arrival, and between two of them there is
        -- no xact_start. Those of a procedure get a time of their own, and some procedures never end.
        least(a.xact_start, case
            when a.state = 'active' and a.backend_type = 'client backend' and a.query !~* '^\s*call\s[^;]*;?\s*$' then a.query_start
        end) as since
    from pg_stat_activity a
    where a.datname = current_database() and a.pid <> pg_backend_pid()
      -- Vacuum writes no rows, and may take hours.
      and a.backend_type is distinct from 'autovacuum worker'
),
-- A parallel worker began when its leader did, and it is the leader that can be ended.
oldest as materialized (
    select s.pid, s.usename, s.application_name, s.since from sessions s
    where s.since is not null order by s.since, s.backend_type is distinct from 'client backend' limit 1
),
-- Without track_activities a session hides that it has a transaction.
untracked as materialized (select s.pid, s.usename from sessions s where s.state = 'disabled' limit 1)
select
    clock_timestamp()::timestamptz as server_clock,
    -- Where nothing is open, or nothing can be seen, there is no oldest one, and least() ignores
    -- the NULL. A transaction that is being born is in no view yet, hence the 10 seconds.
    least(clock_timestamp() - interval '10 seconds', o.since)::timestamptz as safe_point,
    -- A prepared transaction hides when it began. It is looked for after the sessions: the other way round,
    -- one that is prepared between the two looks is in neither.
    (select count(*) from pg_prepared_xacts p where p.database = current_database()) as prepared,
    coalesce((select p.gid from pg_prepared_xacts p where p.database = current_database() order by p.prepared limit 1), '')::text as prepared_gid,
    coalesce(o.pid, 0)::integer as oldest_pid,
    coalesce(o.usename::text, '')::text as oldest_role,
    coalesce(o.application_name, '')::text as oldest_application,
    coalesce(o.since, clock_timestamp())::timestamptz as oldest_since,
    coalesce(u.pid, 0)::integer as untracked_pid,
    coalesce(u.usename::text, '')::text as untracked_role,
    -- Without it the beginning of other roles' transactions reads as NULL.
    pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') as sees_all,
    pg_is_in_recovery() as is_replica,
    current_user::text as role
from (select) as one
left join oldest o on true
left join untracked u on true;

-- name: ExportOrigins :many
-- What is behind the export, down to its tables, as far as it keeps the safe point from saying something
-- about rows that come late; the most telling first. The last ones are the tables themselves: no other row
-- means that all rows come from them, written by sessions of this database.
with recursive behind (oid) as (
    select to_regclass(@relation::text)::oid
    union
    select n.oid
    from behind b
    cross join lateral (
        select i.inhrelid as oid from pg_inherits i where i.inhparent = b.oid
        union all
        select d.refobjid from pg_rewrite r
        join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid and d.refclassid = 'pg_class'::regclass
        where r.ev_class = b.oid and r.ev_type = '1'
    ) as n
),
relations as materialized (
    select c.oid, c.relkind, format('%I.%I', n.nspname, c.relname) as name
    from behind b join pg_class c on c.oid = b.oid join pg_namespace n on n.oid = c.relnamespace
),
-- Columns that may be exported_at: behind a view it may have any name.
stamps as materialized (
    select r.oid, r.name, a.attnum, a.atttypmod
    from relations r
    join pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
    join pg_type t on t.oid = a.atttypid
    where case
        when exists (select from relations v where v.relkind = 'v') then coalesce(nullif(t.typbasetype, 0), t.oid) = 'timestamptz'::regtype
        else a.attname = @exported_at::text
    end
),
-- What the values of views and of such columns are made of, be it as they are written or as they are read.
trees as materialized (
    select r.oid, r.name, w.ev_action::text as tree from relations r join pg_rewrite w on w.ev_class = r.oid and w.ev_type = '1'
    union all
    select s.oid, s.name, d.adbin::text from stamps s join pg_attrdef d on d.adrelid = s.oid and d.adnum = s.attnum
),
called as materialized (
    select t.oid, t.name, m[1]::oid as function
    from trees t cross join lateral regexp_matches(t.tree, ':(?:funcid|opfuncid|aggfnoid|winfnoid) (\d+)', 'g') as m
),
-- Functions, and those that they call as far as the catalog knows.
reached (function) as (
    select c.function from called c
    union
    select d.refobjid from reached f
    join pg_depend d on d.classid = 'pg_proc'::regclass and d.objid = f.function and d.refclassid = 'pg_proc'::regclass
)
select f.what::text as what, f.name::text as name
from (
    -- What is refused.
    select 0 as place, 'row security' as what, f.function::regprocedure::text as name
    from reached f join pg_proc p on p.oid = f.function cross join unnest(p.proconfig) as c
    where c like 'row_security=%' and split_part(c, '=', 2)::boolean
    union all
    select 0, 'sample', t.name from trees t where t.tree ~ '\{TABLESAMPLECLAUSE '
    union all
    select 1, 'foreign', r.name from relations r where r.relkind = 'f'
    union all
    select 2, 'materialized', r.name from relations r where r.relkind = 'm'
    union all
    -- The rows are stamped on the other server. A partition gets what its parent is subscribed to.
    select 3, 'subscription', r.name from relations r
    where exists (
        select from pg_subscription_rel s
        where s.srrelid = r.oid or s.srrelid in (select a.relid from pg_partition_ancestors(r.oid) as a (relid))
    )
    union all
    -- A function may read anything, and when it likes. The catalog knows of no dependency on those that came
    -- with Postgres, so they are read off the view's tree.
    select 4, 'function', format('%I.%I', n.nspname, p.proname)
    from called c
    join relations r on r.oid = c.oid and r.relkind in ('v', 'm')
    join pg_proc p on p.oid = c.function
    join pg_namespace n on n.oid = p.pronamespace
    -- Beyond 16384 begins what users made.
    where case when p.oid < 16384 then p.provolatile = 'v' else p.provolatile <> 'i' or p.proretset end
    union all
    select 5, 'rule', r.name from relations r
    where exists (select from pg_rewrite w where w.ev_class = r.oid and w.ev_type <> '1')
    union all
    -- A time that is made of one without a zone, or of a text: in a zone that nobody sees here, and an hour comes
    -- twice. Whether it becomes exported_at can't be told.
    select 6, 'zoneless', c.name || ' (by ' || p.proname || ')'
    from called c
    join pg_proc p on p.oid = c.function
    join pg_type t on t.oid = p.prorettype
    where (
        coalesce(nullif(t.typbasetype, 0), t.oid) = 'timestamptz'::regtype and p.pronargs > 0
        and not 'timestamptz'::regtype = any (p.proargtypes::oid[]) and p.oid <> 'to_timestamp(float8)'::regprocedure
    ) or p.oid < 16384 and p.proname ~ '^jsonb?_(populate|to)_record'
    union all
    select 6, 'zoneless', t.name || ' (by a cast)' from trees t where t.tree ~ '(:resulttype 118[45] :resultcollid|:typid 118[45]|\{TABLEFUNC) '
    union all
    -- A time that is cut lies before the beginning of the transaction that it is of.
    select 6, 'rounded', c.name || ' (by ' || p.proname || ')'
    from called c join relations r on r.oid = c.oid join pg_proc p on p.oid = c.function
    where p.prorettype = 'timestamptz'::regtype and (p.proname in ('date_trunc', 'date_bin')
        -- A column's default is cast to its precision, which is looked at below.
        or r.relkind in ('v', 'm') and p.oid = 'timestamptz(timestamptz, int4)'::regprocedure)
    union all
    select 6, 'rounded', s.name from stamps s where s.atttypmod between 0 and 5
    union all
    select 6, 'nothing', '' where not exists (select from relations r where r.relkind in ('r', 'p', 'f', 'm'))
    union all
    select 8, 'table', r.name from relations r where r.relkind = 'r' and not exists (select from pg_inherits i join relations q on q.oid = i.inhparent where i.inhrelid = r.oid)
    union all
    select 9, 'partitioned', r.name from relations r where r.relkind = 'p' and not exists (select from pg_inherits i join relations q on q.oid = i.inhparent where i.inhrelid = r.oid)
    union all
    -- Sessions that hide their transactions may come at any time.
    -- Where it is on for us alone, it may be off for all others, and only a superuser could see that.
    select 7, 'tracked', '' from pg_show_all_settings() as s
    where s.name = 'track_activities' and s.setting = 'on' and s.source in ('user', 'database user', 'client', 'session')
    union all
    select 7, 'untracked', coalesce(s.role, '')
    from (
        select null::text as role where not current_setting('track_activities')::boolean
        union all
        select case when d.setrole <> 0 then d.setrole::regrole::text end
        from pg_db_role_setting d
        cross join unnest(d.setconfig) as c
        where d.setdatabase in (0, (select b.oid from pg_database b where b.datname = current_database()))
          and c like 'track_activities=%' and not split_part(c, '=', 2)::boolean
    ) as s
) as f
order by f.place, f.name;

-- name: ExportUnindexed :many
-- The relations that hold the export's rows and have no index which gives them in the order of a time column
-- and id: the table, its partitions, its children. No row: each has one.
with recursive tree (oid) as (
    select to_regclass(@relation::text)::oid
    union
    select i.inhrelid from tree t join pg_inherits i on i.inhparent = t.oid
)
select format('%I.%I', n.nspname, c.relname)::text as name, c.relkind::text as relkind, t.oid = to_regclass(@relation::text) as itself
from tree t
join pg_class c on c.oid = t.oid and c.relkind <> 'p'
join pg_namespace n on n.oid = c.relnamespace
where not exists (
    select from pg_index i
    join pg_class ic on ic.oid = i.indexrelid
    join pg_am m on m.oid = ic.relam and m.amname = 'btree'
    -- An expression has the number 0, and what is merely included stands behind the keys.
    join pg_attribute a on a.attrelid = t.oid and a.attnum = i.indkey[0] and a.attname = @ordered::text
    join pg_attribute b on b.attrelid = t.oid and b.attnum = i.indkey[1] and b.attname = @id::text and b.attcollation = i.indcollation[1]
    join pg_opclass ao on ao.oid = i.indclass[0]
    join pg_opfamily af on af.oid = ao.opcfamily and af.opfname = 'datetime_ops'
    join pg_opclass bo on bo.oid = i.indclass[1]
    join pg_opfamily bf on bf.oid = bo.opcfamily and bf.opfname in ('integer_ops', 'uuid_ops', 'text_ops')
    where i.indrelid = t.oid and i.indisvalid and i.indisready and i.indislive and i.indpred is null and i.indnkeyatts >= 2
      -- Both ascending with NULLs last, or both the other way round, for it can be read backwards.
      and i.indoption[0] = i.indoption[1] and i.indoption[0] in (0, 3)
)
order by 1;

-- name: ExportBehind :many
-- Where the id and a time column of a view are columns of another relation, and so on down, the export first. A column
-- of which the view's text does not tell is the last of its row.
with recursive chain (canonical, depth, oid, attnum) as (
    select case when a.attname = @id::text then 'id' else 'ordered' end, 0, a.attrelid, a.attnum
    from pg_attribute a where a.attrelid = to_regclass(@relation::text) and a.attname in (@id::text, @ordered::text)
    union all
    select c.canonical, c.depth + 1, o.relation, o.attnum
    from chain c
    join pg_attribute a on a.attrelid = c.oid and a.attnum = c.attnum
    join pg_rewrite w on w.ev_class = c.oid and w.ev_type = '1'
    cross join lateral (
        select min(m[2])::oid as relation, min(m[3])::smallint as attnum
        from regexp_matches(w.ev_action::text, ':resname (\S+) :ressortgroupref \d+ :resorigtbl (\d+) :resorigcol (\d+)', 'g') as m
        where m[1] = a.attname
        having count(distinct m[2] || ' ' || m[3]) = 1 and min(m[2]) <> '0'
    ) as o
    where c.depth < 100
)
select
    c.canonical::text as canonical,
    format('%I.%I', n.nspname, r.relname)::text as name,
    r.relkind::text as relkind,
    a.attname::text as column_name,
    a.attgenerated::text as generated,
    exists (select from pg_partition_tree(r.oid) as p (relid) join pg_class l on l.oid = p.relid where l.relkind = 'f') as is_far
from chain c
join pg_class r on r.oid = c.oid
join pg_namespace n on n.oid = r.relnamespace
join pg_attribute a on a.attrelid = c.oid and a.attnum = c.attnum
order by c.canonical, c.depth;

-- name: ExportInherits :one
-- What decides about how the role gets what another one may.
select current_setting('server_version_num')::integer as version, r.rolinherit as inherits from pg_roles r where r.rolname = current_user;

-- name: ExportServer :one
-- What check reports of the server.
select
    clock_timestamp()::timestamptz as clock,
    current_setting('server_version')::text as version,
    current_user::text as role,
    current_database()::text as database,
    pg_is_in_recovery() as is_replica,
    coalesce((select ssl from pg_stat_ssl where pid = pg_backend_pid()), false)::boolean as encrypted;

-- name: ExportZones :one
-- The zone that the server was set up with, as far as it tells (a session's own, ours too, hides it), that of
-- sessions of this database and its roles where it is another one, and ours.
select
    current_setting('log_timezone')::text as server,
    coalesce((
        select string_agg(distinct split_part(c, '=', 2), ', ')
        from pg_db_role_setting d cross join unnest(d.setconfig) as c
        where d.setdatabase in (0, (select b.oid from pg_database b where b.datname = current_database())) and c ilike 'timezone=%'
    ), '')::text as others,
    current_setting('TimeZone')::text as session;

-- name: ExportLabels :many
-- The labels of an enum in their order; none if the type is no enum.
select enumlabel::text as label from pg_enum where enumtypid = (@type_oid::bigint)::oid order by enumsortorder;

-- name: ExportText :one
-- A text of the database, of which the bytes are known, converted as all that is read is. An error
-- says that it can't be.
select convert_from(@bytes::bytea, 'SQL_ASCII')::text as text;

-- name: ExportView :one
-- The text of a view.
select coalesce(pg_get_viewdef(to_regclass(@relation::text)), '')::text as text;
