-- name: ExportPolicies :many
-- The tables behind the export whose policies hold for whoever reads them, which is the owner of the
-- view in between unless that is security_invoker. Materialized views hold rows of their own.
with recursive reached as (
    select
        c.oid, c.relkind, c.relowner, c.reloptions, c.relrowsecurity, c.relforcerowsecurity,
        r.oid as reader, 0::oid as through, false as invoker
    from pg_class c cross join pg_roles r
    where c.oid = to_regclass(@relation::text) and r.rolname = current_user
    union
    select
        c.oid, c.relkind, c.relowner, c.reloptions, c.relrowsecurity, c.relforcerowsecurity,
        case when o.invoker then v.reader else v.relowner end, v.oid, o.invoker
    from reached v
    cross join lateral (
        select coalesce(bool_or(case when p.opt like 'security_invoker=%' then split_part(p.opt, '=', 2)::boolean else false end), false) as invoker
        from unnest(v.reloptions) as p (opt)
    ) o
    join pg_rewrite w on w.ev_class = v.oid
    join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = w.oid and d.refclassid = 'pg_class'::regclass and d.refobjid <> v.oid
    join pg_class c on c.oid = d.refobjid
    where v.relkind = 'v'
)
select
    t.oid::regclass::text as relation,
    pg_get_userbyid(t.relowner)::text as owner,
    t.relforcerowsecurity as forced,
    r.rolname::text as reader,
    (case when t.through = 0 then '' else t.through::regclass::text end)::text as view,
    t.invoker
from reached t
join pg_roles r on r.oid = t.reader
where t.relrowsecurity and t.relkind in ('r', 'p') and not r.rolsuper and not r.rolbypassrls
  and (t.relforcerowsecurity or not pg_has_role(r.oid, t.relowner, 'USAGE'))
order by 1;

-- name: ExportFunction :many
-- The function in which an error was raised, by the error's context, whose innermost line comes first:
-- PL/pgSQL writes the signature, SQL the name, and what stands around it is in the server's language.
select f.signature::text as signature, f.schema::text as schema
from (
    select
        p.oid::regprocedure::text as signature, n.nspname as schema, p.proname::text as name,
        regexp_split_to_array(@context::text, '[^[:alnum:]_$]+') as words,
        exists (
            select from pg_depend d
            where d.classid = 'pg_rewrite'::regclass and d.refclassid = 'pg_proc'::regclass and d.refobjid = p.oid
        ) as in_view
    from pg_proc p
    join pg_namespace n on n.oid = p.pronamespace
    join pg_language l on l.oid = p.prolang
    where n.nspname not in ('pg_catalog', 'information_schema') and l.lanname not in ('c', 'internal')
      and not exists (select from unnest(p.proconfig) as c (setting) where c.setting like 'search_path=%')
) f
where strpos(@context::text, f.signature) > 0 or f.name = any (f.words)
-- Of functions of one name the signature tells which, else that a view calls it.
order by array_position(f.words, f.name), strpos(@context::text, f.signature) = 0, not f.in_view
limit 1;
