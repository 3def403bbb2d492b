-- For sqlc alone: tables that stand in no migration.

-- Made by golang-migrate.
create table loader_schema_migrations (version bigint not null primary key, dirty boolean not null);

-- Postgres's own catalogs, with the columns that are used.
create table pg_class (oid oid not null, relname name not null, relnamespace oid not null, relkind "char" not null, relowner oid not null, relam oid not null,
    reloptions text[] not null, relrowsecurity boolean not null, relforcerowsecurity boolean not null);
create table pg_namespace (oid oid not null, nspname name not null, nspowner oid not null);
create table pg_constraint (
    conname name not null, contype "char" not null, conrelid oid not null, confrelid oid not null, conindid oid not null, conparentid oid not null
);
create table pg_attrdef (adrelid oid not null, adnum smallint not null, adbin pg_node_tree not null);
create table pg_trigger (tgname name not null, tgrelid oid not null, tgisinternal boolean not null, tgenabled "char" not null);
create table pg_rewrite (oid oid not null, rulename name not null, ev_class oid not null, ev_type "char" not null, ev_enabled "char" not null, ev_action pg_node_tree not null);
create table pg_attribute (
    attrelid oid not null, attnum smallint not null, attname name not null, atttypid oid not null,
    atttypmod integer not null, attnotnull boolean not null, attisdropped boolean not null, attcollation oid not null, atthasdef boolean not null, attidentity "char" not null
);
create table pg_type (oid oid not null, typtype "char" not null, typbasetype oid not null);
create table pg_enum (enumtypid oid not null, enumlabel name not null, enumsortorder real not null);
create table pg_index (
    indexrelid oid not null, indrelid oid not null, indisunique boolean not null, indisvalid boolean not null,
    indisexclusion boolean not null, indpred text, indexprs text, indnkeyatts smallint not null, indkey smallint[] not null,
    indisready boolean not null, indislive boolean not null, indcollation oid[] not null, indclass oid[] not null, indoption smallint[] not null
);
create table pg_stat_activity (datname name, usename name, application_name text, pid integer not null, backend_type text, state text, query text, query_start timestamptz, xact_start timestamptz,
    wait_event_type text, wait_event text);
create table pg_stat_replication (pid integer not null);
create table pg_prepared_xacts (database name not null);
create table pg_roles (oid oid not null, rolname name not null, rolsuper boolean not null, rolbypassrls boolean not null, rolinherit boolean not null);
create table pg_language (oid oid not null, lanname name not null);
create table pg_stat_ssl (pid integer not null, ssl boolean not null);
create table pg_subscription_rel (srsubid oid not null, srrelid oid not null);
create table pg_inherits (inhrelid oid not null, inhparent oid not null);
create table pg_depend (classid oid not null, objid oid not null, refclassid oid not null, refobjid oid not null);
create table pg_proc (oid oid not null, proname name not null, pronamespace oid not null, provolatile "char" not null, proretset boolean not null,
    prolang oid not null, proconfig text[] not null);
create table pg_database (oid oid not null, datname name not null);
create table pg_db_role_setting (setdatabase oid not null, setrole oid not null, setconfig text[] not null);
create table pg_am (oid oid not null, amname name not null);
create table pg_opclass (oid oid not null, opcfamily oid not null);
create table pg_opfamily (oid oid not null, opfname name not null);
create table pg_partitioned_table (partrelid oid not null, partattrs smallint[] not null);
