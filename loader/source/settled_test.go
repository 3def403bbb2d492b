package source

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/loadertest"
)

// columns are an export's, for relations that no export of loadertest makes.
const columns = `id bigint, kind text, user_id text, anonymous_id text, tutorial_id integer, segment_id text, portal_id integer,
	version_id text, event_name text, occurred_at timestamptz, exported_at timestamptz`

// unstamped are all but exported_at.
const unstamped = "id, kind, user_id, anonymous_id, tutorial_id, segment_id, portal_id, version_id, event_name, occurred_at"

func execute(t *testing.T, db loadertest.DB, sql string, args ...any) {
	t.Helper()
	_, err := db.Exec(context.WithoutCancel(t.Context()), sql, args...)
	require.NoError(t, err, sql)
}

// connected is a session of its own.
func connected(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

// reader makes a role that may read what is there and what comes, and see all, and returns the URL with it.
func reader(t *testing.T, url string) string {
	t.Helper()
	role := loadertest.Role(t, loadertest.Shared(t), "reader")
	db := connected(t, url)
	execute(t, db, "grant pg_read_all_stats to "+role+"; grant select on all tables in schema public to "+role+"; alter default privileges in schema public grant select on tables to "+role)
	return loadertest.Shared(t).URL(db.Config().Database, role)
}

// What is behind an export is followed down to its tables. Where one of them gets its rows otherwise than
// by the sessions of this database, or can't be followed, the safe point says nothing.
func TestSafePoint_SaysNothing(t *testing.T) {
	t.Parallel()
	url := loadertest.Database(t)
	db := loadertest.Pool(t, url)
	require.NoError(t, loadertest.Export{}.Create(t.Context(), db))
	execute(t, db, `
		create foreign data wrapper nowhere;
		create server far foreign data wrapper nowhere;
		create foreign table far_away (`+columns+`) server far;
		create materialized view kept as select * from candu_interactions;
		create function rows_of() returns setof candu_interactions stable language sql as 'select * from public.candu_interactions';
		create table raws (raw timestamp default now(), `+strings.ReplaceAll(columns, ", exported_at timestamptz", "")+`);
		create function moment_of(timestamp) returns timestamptz immutable language sql as $f$select $1 at time zone 'UTC'$f$;
		create function told(text) returns text stable language sql as 'select $1'`)
	reading, list := reader(t, url), "id, kind, user_id, anonymous_id, tutorial_id, segment_id, portal_id, version_id, event_name, occurred_at, exported_at"
	for name, c := range map[string]struct{ sql, want string }{
		"a foreign table":                {"create foreign table $ (" + columns + ") server far", "public.$ is a foreign table"},
		"a view over a foreign table":    {"create view $ as select * from far_away", "public.far_away is a foreign table"},
		"a view over views":              {"create view $_1 as select * from far_away; create view $_2 as select * from $_1; create view $ as select " + list + " from candu_interactions union all select * from $_2", "public.far_away is a foreign table"},
		"a subquery":                     {"create view $ as select * from candu_interactions where id in (select id from far_away)", "public.far_away is a foreign table"},
		"a foreign partition":            {"create table $ (" + columns + ") partition by range (id); create table $_1 partition of $ for values from (0) to (9) partition by range (id); create foreign table $_2 partition of $_1 for values from (0) to (5) server far", "public.$_2 is a foreign table"},
		"a view over a partition":        {"create table $_0 (" + columns + ") partition by range (id); create foreign table $_1 partition of $_0 for values from (0) to (9) server far; create view $ as select * from $_0", "public.$_1 is a foreign table"},
		"a foreign child":                {"create table $ (" + columns + "); create foreign table $_1 () inherits ($) server far", "public.$_1 is a foreign table"},
		"a materialized view":            {"create materialized view $ as select * from candu_interactions", "public.$ is a materialized view"},
		"a view over a materialized":     {"create view $ as select * from kept", "public.kept is a materialized view"},
		"a set-returning function":       {"create view $ as select * from rows_of()", "function public.rows_of"},
		"a function that is no constant": {"create view $ as select id, told(kind) as kind, user_id, anonymous_id, tutorial_id, segment_id, portal_id, version_id, event_name, occurred_at, exported_at from candu_interactions", "function public.told"},
		"a function of Postgres":         {"create view $ as select * from candu_interactions where query_to_xml('table elsewhere', true, true, '') is not null", "function pg_catalog.query_to_xml"},
		"rules":                          {"create table $ (" + columns + "); create rule aside as on insert to $ do instead nothing", "public.$ has rules"},
		"nothing":                        {"create view $ as select 1::bigint as id, 'view'::text as kind, 'u'::text as user_id, ''::text as anonymous_id, 1 as tutorial_id, ''::text as segment_id, 1 as portal_id, ''::text as version_id, ''::text as event_name, now() as occurred_at, now() as exported_at", "no table behind the view"},
		"a generated time":               {"create table $ (" + columns + ", raw timestamp default now()); alter table $ drop exported_at, add exported_at timestamptz generated always as (raw at time zone 'UTC') stored", "public.$ (by timezone) makes times of what has no zone"},
		"a partition's generated time":   {"create table $ (" + columns + ", raw timestamp default now()) partition by range (id); alter table $ drop exported_at, add exported_at timestamptz generated always as (raw at time zone 'UTC') stored; create table $_1 partition of $ for values from (0) to (9)", "(by timezone) makes times"},
		"a default without a zone":       {"create table $ (" + columns + "); alter table $ alter exported_at set default (now() at time zone 'UTC')", "public.$ (by timestamptz) makes times"},
		"a default of a day":             {"create table $ (" + columns + "); alter table $ alter exported_at set default current_date", "public.$ (by timestamptz) makes times"},
		"a default behind a view":        {"create table $_1 (" + columns + ", stamp timestamptz default localtimestamp); create view $ as select id, kind, user_id, anonymous_id, tutorial_id, segment_id, portal_id, version_id, event_name, occurred_at, stamp as exported_at from $_1", "public.$_1 (by timestamptz) makes times"},
		"a time that a view converts":    {"create view $ as select " + unstamped + ", raw at time zone 'UTC' as exported_at from raws", "public.$ (by timezone) makes times"},
		"a time with an offset":          {"create view $ as select " + unstamped + ", raw at time zone interval '2 hours' as exported_at from raws", "public.$ (by timezone) makes times"},
		"a time that a view casts":       {"create view $ as select " + unstamped + ", raw::timestamptz as exported_at from raws", "public.$ (by timestamptz) makes times"},
		"a day":                          {"create view $ as select " + unstamped + ", raw::date::timestamptz as exported_at from raws", "public.$ (by timestamptz) makes times"},
		"a day and a time":               {"create view $ as select " + unstamped + ", raw::date + raw::time::timetz as exported_at from raws", "public.$ (by "},
		"a text":                         {"create view $ as select " + unstamped + ", raw::text::timestamptz as exported_at from raws", "public.$ (by a cast) makes times"},
		"texts":                          {"create view $ as select " + unstamped + ", (array[raw::text]::timestamptz[])[1] as exported_at from raws", "public.$ (by a cast) makes times"},
		"a text as it is written":        {"create view $ as select " + unstamped + ", to_timestamp(raw::text, 'YYYY-MM-DD HH24:MI:SS') as exported_at from raws", "public.$ (by to_timestamp) makes times"},
		"parts":                          {"create view $ as select " + unstamped + ", make_timestamptz(extract(year from raw)::int, 1, 1, 1, 1, 1) as exported_at from raws", "public.$ (by make_timestamptz) makes times"},
		"JSON":                           {"create view $ as select " + unstamped + ", (jsonb_populate_record(null::candu_interactions, to_jsonb(r))).exported_at from raws r", "public.$ (by jsonb_populate_record) makes times"},
		"XML":                            {"create view $ as select " + unstamped + ", at as exported_at from raws, xmltable('/x' passing xmlelement(name x, raw) columns at timestamptz path '.')", "public.$ (by a cast) makes times"},
		"somebody's function":            {"create view $ as select " + unstamped + ", moment_of(raw) as exported_at from raws", "public.$ (by moment_of) makes times"},
		"a view over what converts":      {"create view $_1 as select *, raw at time zone 'UTC' as seen from raws; create view $ as select " + unstamped + ", seen as exported_at from $_1", "public.$_1 (by timezone) makes times"},
		"whole seconds":                  {"create table $ (" + columns + "); alter table $ alter exported_at type timestamptz(0)", "public.$ rounds times"},
		"whole milliseconds in a view":   {"create view $ as select " + unstamped + ", now()::timestamptz(3) as exported_at from raws", "public.$ rounds times"},
		"whole seconds within a view":    {"create view $ as select " + unstamped + ", x as exported_at from (select *, now()::timestamptz(0) as x from raws) as r union all select " + unstamped + ", now() from raws", "public.$ (by timestamptz) rounds"},
		"a default that is cut":          {"create table $ (" + columns + "); alter table $ alter exported_at set default date_trunc('minute', now())", "public.$ (by date_trunc) rounds times"},
		"a time without a zone":          {"create table $ (" + columns + "); alter table $ alter exported_at type timestamp", "without time zone"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			relation := "r" + uuid.NewString()[:8]
			expand := func(s string) string { return strings.ReplaceAll(s, "$", relation) }
			execute(t, db, expand(c.sql))
			s := open(t, reading, relation, 10)
			defer s.Close()
			point, err := s.SafePoint(t.Context())
			require.NoError(t, err)
			require.Contains(t, string(point.Reason), expand(c.want))
			require.False(t, point.Visible)
		})
	}
}

// What can be followed down to tables that sessions of this database write is no reason to be silent.
func TestSafePoint_Speaks(t *testing.T) {
	t.Parallel()
	url := loadertest.Database(t)
	db := loadertest.Pool(t, url)
	require.NoError(t, loadertest.Export{}.Create(t.Context(), db))
	execute(t, db, "create function plain(text) returns text immutable language sql as 'select lower($1)'")
	reading := reader(t, url)
	for relation, sql := range map[string]string{
		"candu_interactions": "select",
		"viewed":             "create view viewed_1 as select * from candu_interactions; create view viewed as select * from viewed_1 where id > 0 and exported_at < now()",
		"computed":           "create view computed as select id, plain(kind) as kind, user_id, anonymous_id, tutorial_id, segment_id, portal_id, version_id, event_name, occurred_at, exported_at from candu_interactions",
		"restricted":         "create view restricted as select *, occurred_at at time zone 'UTC' as day from candu_interactions where exported_at > now() - interval '90 days' and exported_at > current_date",
		"defaulted":          "create table defaulted (" + columns + ", made timestamp default now()); alter table defaulted alter exported_at set default now(), alter exported_at type timestamptz(6), alter occurred_at set default localtimestamp, alter occurred_at type timestamptz(0)",
		"epochs":             "create view epochs as select " + unstamped + ", to_timestamp(extract(epoch from exported_at)::float8) as exported_at from candu_interactions",
		"parted":             "create table parted (" + columns + ") partition by range (id); create table parted_1 partition of parted for values from (0) to (9)",
		"inherited":          "create table inherited (" + columns + "); create table inherited_1 () inherits (inherited)",
		"updatable":          "create view updatable as select * from candu_interactions",
	} {
		t.Run(relation, func(t *testing.T) {
			t.Parallel()
			execute(t, db, sql)
			s := open(t, reading, relation, 10)
			defer s.Close()
			point, err := s.SafePoint(t.Context())
			require.NoError(t, err)
			require.Empty(t, point.Reason)
			require.True(t, point.Visible)
		})
	}
}

// A session that switched off track_activities hides its transaction; a role or database that will is
// named beforehand.
func TestSafePoint_OfSessionsThatAreNotTracked(t *testing.T) {
	t.Parallel()
	url := loadertest.Database(t)
	db := loadertest.Pool(t, url)
	require.NoError(t, loadertest.Export{}.Create(t.Context(), db))
	reason := func() string {
		s := open(t, url, "candu_interactions", 10)
		defer s.Close()
		point, err := s.SafePoint(t.Context())
		require.NoError(t, err)
		require.Equal(t, point.Reason == "", point.Visible)
		return string(point.Reason)
	}
	require.Empty(t, reason())
	writer := connected(t, url)
	execute(t, writer, "set track_activities to off")
	execute(t, writer, "begin; insert into candu_interactions (id, kind) values (1, 'view')")
	require.Contains(t, reason(), fmt.Sprintf("a session of role %q (pid %d) hides its transactions", "postgres", writer.PgConn().PID()))
	execute(t, writer, "commit")
	execute(t, writer, "set track_activities to on")
	require.Empty(t, reason())

	// What is switched on for the loader's role alone says nothing of others.
	alone := loadertest.Role(t, loadertest.Shared(t), "alone")
	execute(t, db, "grant pg_read_all_stats to "+alone+"; grant select on candu_interactions to "+alone+"; alter role "+alone+" set track_activities to on")
	s := open(t, loadertest.Shared(t).URL(db.Config().ConnConfig.Database, alone), "candu_interactions", 10)
	defer s.Close()
	point, err := s.SafePoint(t.Context())
	require.NoError(t, err)
	require.Contains(t, string(point.Reason), "track_activities was switched on for the loader's role")

	role := loadertest.Role(t, loadertest.Shared(t), "hiding")
	execute(t, db, fmt.Sprintf("alter role %s in database %s set track_activities to 'no'", role, db.Config().ConnConfig.Database))
	require.Contains(t, reason(), "track_activities is off for role "+role)
	execute(t, db, fmt.Sprintf("alter role %s in database %s reset track_activities", role, db.Config().ConnConfig.Database))
	require.Empty(t, reason())
	execute(t, db, fmt.Sprintf("alter database %s set track_activities to 'false'", db.Config().ConnConfig.Database))
	require.Contains(t, reason(), "track_activities is off, so")
}

// The transactions of one message carry its arrival, and between two of them none is open.
func TestSafePoint_OfManyTransactionsInOneMessage(t *testing.T) {
	t.Parallel()
	url := loadertest.Database(t)
	db := loadertest.Pool(t, url)
	require.NoError(t, loadertest.Export{}.Create(t.Context(), db))
	// The server's view of what is open, as if all of it were found between two transactions, half a minute later.
	execute(t, db, `
		set allow_system_table_mods = on;
		do $do$ begin
			execute 'create or replace view pg_catalog.pg_stat_activity as ' || replace(replace(pg_get_viewdef('pg_catalog.pg_stat_activity'::regclass),
				's.xact_start,', 'null::timestamptz as xact_start,'), 's.query_start,', 's.query_start - interval ''30 s'' as query_start,');
		end $do$`)
	s := open(t, url, "candu_interactions", 10)
	defer s.Close()
	for name, c := range map[string]struct {
		message string
		counts  bool
	}{
		"a message":   {"begin; select; commit; select pg_sleep(3600)", true},
		"a block":     {"do $$ begin commit; perform pg_sleep(3600); end $$", true},
		"a procedure": {"call forever();", false}, // Each of its transactions has a time of its own.
		"both":        {"call nothing(); select pg_sleep(3600)", true},
	} {
		func() {
			t.Log(name) // One after the other: each looks for the oldest.
			execute(t, db, `
				create or replace procedure forever() language plpgsql as 'begin commit; perform pg_sleep(3600); end';
				create or replace procedure nothing() language plpgsql as 'begin end'`)
			conn := connected(t, url)
			pid, done := conn.PgConn().PID(), make(chan struct{})
			is := func(what string) bool {
				var found bool
				require.NoError(t, db.QueryRow(t.Context(), "select exists (select from pg_stat_activity where pid = $1 and "+what+")", pid).Scan(&found))
				return found
			}
			go func() {
				defer close(done)
				_, _ = conn.PgConn().Exec(context.WithoutCancel(t.Context()), c.message).ReadAll()
			}()
			defer func() {
				execute(t, db, "select pg_terminate_backend($1)", pid)
				<-done
				loadertest.Eventually(t, func() bool { return !is("true") }, "the session to end")
			}()
			loadertest.Eventually(t, func() bool { return is("wait_event = 'PgSleep'") }, "the session to be at work")
			point, err := s.SafePoint(t.Context())
			require.NoError(t, err)
			if !c.counts {
				require.Zero(t, point.Oldest)
				return
			}
			require.EqualValues(t, pid, point.Oldest.PID)
			require.Equal(t, point.Oldest.Since, point.At)
			require.GreaterOrEqual(t, point.Clock.Sub(point.At), 30*time.Second)
		}()
	}
}

// A transaction that is prepared between the two looks is in one of them.
func TestSafePoint_LooksAtSessionsBeforePreparedTransactions(t *testing.T) {
	t.Parallel()
	url := loadertest.Database(t)
	db := loadertest.Pool(t, url)
	require.NoError(t, loadertest.Export{}.Create(t.Context(), db))
	execute(t, db, `
		set allow_system_table_mods = on;
		create function pg_catalog.looked(text) returns boolean language plpgsql as $$
			begin
				-- Locks of the session outlive the statement that begins a look.
				if $1 = 'sessions' then
					perform pg_advisory_xact_lock(1);
				elsif not exists (select from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()) then
					raise exception 'looked at prepared transactions first';
				end if;
				return true;
			end $$;
		do $do$ begin
			execute 'create or replace view pg_catalog.pg_stat_activity as ' || rtrim(pg_get_viewdef('pg_catalog.pg_stat_activity'::regclass), ';')
				|| ' where pg_catalog.looked(''sessions'')';
			execute 'create or replace view pg_catalog.pg_prepared_xacts as ' || rtrim(pg_get_viewdef('pg_catalog.pg_prepared_xacts'::regclass), ';')
				|| ' where pg_catalog.looked(''prepared'')';
		end $do$`)
	prepared := connected(t, url)
	execute(t, prepared, "begin; insert into candu_interactions (id, kind) values (1, 'view'); prepare transaction '"+prepared.Config().Database+"'")
	t.Cleanup(func() { execute(t, prepared, "rollback prepared '"+prepared.Config().Database+"'") })
	s := open(t, url, "candu_interactions", 10)
	defer s.Close()
	point, err := s.SafePoint(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, point.Prepared)
}

// A transaction of another database writes nothing here.
func TestSafePoint_OfAnotherDatabase(t *testing.T) {
	t.Parallel()
	url := loadertest.Database(t)
	require.NoError(t, loadertest.Export{}.Create(t.Context(), loadertest.Pool(t, url)))
	other := connected(t, loadertest.Database(t))
	execute(t, other, "begin; select")
	s := open(t, url, "candu_interactions", 10)
	defer s.Close()
	point, err := s.SafePoint(t.Context())
	require.NoError(t, err)
	require.Zero(t, point.Oldest)
	here := connected(t, url)
	execute(t, here, "set application_name to 'the exporter'; begin; select")
	point, err = s.SafePoint(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, here.PgConn().PID(), point.Oldest.PID)
	require.Equal(t, "postgres", point.Oldest.Role)
	require.Equal(t, "the exporter", point.Oldest.Application)
	require.False(t, point.LongHeld())
}

// A role that is a member of pg_read_all_stats, and does not inherit from it, sees nothing of others either.
func TestStatsGrant(t *testing.T) {
	t.Parallel()
	server := loadertest.Shared(t)
	url := loadertest.Database(t)
	db := loadertest.Pool(t, url)
	require.NoError(t, loadertest.Export{}.Create(t.Context(), db))
	for _, before := range []string{"", "alter role ROLE noinherit", "alter role ROLE noinherit; grant pg_read_all_stats to ROLE", "grant pg_read_all_stats to ROLE; alter role ROLE noinherit"} {
		role := loadertest.Role(t, server, "stats")
		execute(t, db, strings.ReplaceAll(before+"; grant select on candu_interactions to ROLE", "ROLE", role))
		s := open(t, server.URL(db.Config().ConnConfig.Database, role), "candu_interactions", 10)
		if point, err := s.SafePoint(t.Context()); !point.Visible {
			require.NoError(t, err)
			require.Equal(t, NoStatsRole, point.Reason, before)
			execute(t, db, s.StatsGrant(t.Context()))
		}
		point, err := s.SafePoint(t.Context())
		require.NoError(t, err)
		require.True(t, point.Visible, "%s: %s", before, point.Reason)
		s.Close()
	}
}
