-- name: DriftFacts :many
-- What the schema's tables are like, as far as recording depends on it, one fact a row: relations,
-- columns, what keeps rows unique, constraints, triggers, rules, and the rights that are missing.
-- Catalogs alone, and in one statement, for each run begins with it. Names are compared exactly;
-- to_regclass would follow the path.
with relation as (
    select c.oid, c.relname, c.relkind, c.relowner, pg_get_userbyid(c.relowner) as owner
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = @schema::text and c.relname = any (@relations::text[]) and c.relkind in ('r', 'p', 'v', 'm', 'f')
), our_table as (
    select r.oid, r.relname, r.owner from relation r where r.relkind in ('r', 'p')
)
select 'relation'::text as fact, r.relname::text as relation, r.relkind::text as name, r.owner::text as detail,
    -- Policies that hold for us, as we are: an owner may be exempt.
    (r.relkind in ('r', 'p') and row_security_active(r.oid))::boolean as strict,
    pg_has_role(r.relowner, 'USAGE')::boolean as ours
from relation r
union all
-- strict: it takes no NULL; ours: where nothing is given it fills itself, by an identity if detail
-- names no default.
select 'column', t.relname::text, a.attname::text,
    format_type(a.atttypid, a.atttypmod) || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), ''),
    a.attnotnull, a.atthasdef or a.attidentity <> ''
from our_table t
join pg_attribute a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped
left join pg_attrdef d on d.adrelid = t.oid and d.adnum = a.attnum
union all
-- One that is not valid yet refuses rows as well. strict: a part of the rows or an expression.
select 'unique', t.relname::text, coalesce(k.conname, x.relname)::text,
    coalesce((
        select string_agg(a.attname::text, ',' order by p.n)
        from unnest(i.indkey) with ordinality as p (attnum, n)
        join pg_attribute a on a.attrelid = i.indrelid and a.attnum = p.attnum
        where p.n <= i.indnkeyatts
    ), '')::text,
    i.indpred is not null or i.indexprs is not null or i.indisexclusion or not i.indisvalid, k.conname is not null
from our_table t
join pg_index i on i.indrelid = t.oid and (i.indisunique or i.indisexclusion)
join pg_class x on x.oid = i.indexrelid
left join pg_constraint k on k.conindid = i.indexrelid and k.conrelid = t.oid and k.contype in ('p', 'u', 'x')
union all
select 'constraint', t.relname::text, k.conname::text, k.contype::text, true, true
from our_table t join pg_constraint k on k.conrelid = t.oid and k.contype in ('c', 'f')
union all
-- Of tables that refer to ours: they keep us from deleting.
select 'referred', t.relname::text, k.conname::text, k.conrelid::regclass::text, true, true
from our_table t join pg_constraint k on k.confrelid = t.oid and k.contype = 'f' and k.conparentid = 0
union all
select 'trigger', t.relname::text, g.tgname::text, '', true, true
from our_table t join pg_trigger g on g.tgrelid = t.oid and not g.tgisinternal and g.tgenabled in ('O', 'A')
union all
select 'rule', t.relname::text, w.rulename::text, '', true, true
from our_table t join pg_rewrite w on w.ev_class = t.oid and w.ev_enabled in ('O', 'A')
union all
select 'denied', t.relname::text, p.name, t.owner::text, true, true
from our_table t
cross join (values ('SELECT'), ('INSERT'), ('UPDATE'), ('DELETE')) as p (name)
where not has_table_privilege(t.oid, p.name)
union all
-- Who asks, and who owns the schema. strict: it can't even be used.
select 'schema', '', current_user::text, pg_get_userbyid(n.nspowner)::text, not has_schema_privilege(n.oid, 'USAGE'), true
from pg_namespace n where n.nspname = @schema::text
union all
-- Tables beside ours, with their columns: one of ours may have been renamed.
select 'other', '', c.relname::text, string_agg(a.attname::text, ',' order by a.attname collate "C"), true, true
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
where n.nspname = @schema::text and c.relkind in ('r', 'p') and c.relname <> all (@relations::text[])
group by c.oid, c.relname
union all
-- What readers lost, with a restore.
select 'reader', r.relname::text, o.rolname::text, r.owner::text, true, true
from relation r cross join pg_roles o
where o.rolname = any (@readers::text[]) and r.relname = any (@readable::text[])
  and not (has_table_privilege(o.oid, r.oid, 'SELECT') and has_schema_privilege(o.oid, to_regnamespace(quote_ident(@schema::text))::oid, 'USAGE'));

-- name: DriftVersion :one
-- Which version the facts are of.
select m.version, m.dirty from loader_schema_migrations m;
