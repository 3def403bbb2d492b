package loader_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/loadertest"
	"github.com/candu-loader/candu-loader/loader/preflight"
)

// as returns the URL for a role.
func as(t *testing.T, address, role string) string {
	t.Helper()
	u, err := url.Parse(address)
	require.NoError(t, err)
	if query := u.Query(); u.Host == "" {
		query.Set("user", role)
		u.RawQuery = query.Encode()
	}
	u.User = url.User(role)
	return u.String()
}

// codes lists the findings of check that are at least warnings.
func (w *world) codes(t *testing.T) (codes []string) {
	t.Helper()
	for _, f := range w.loader(t).Check(t.Context(), w.cfg.Sources[0], true) {
		if f.Level != preflight.LevelInfo {
			codes = append(codes, string(f.Level)+" "+f.Code)
		}
	}
	return codes
}

// What the loader's role, or its database, has set for itself changes nothing of a load, on a direct
// connection and through poolers.
func TestRun_WithAnybodysSettings(t *testing.T) {
	t.Parallel()
	for i, setting := range []string{
		"datestyle = 'German'", "datestyle = 'SQL, DMY'", "standard_conforming_strings = off", "statement_timeout = '200ms'", "lock_timeout = '1ms'",
		"default_transaction_read_only = on", "default_transaction_isolation = 'serializable'", "default_transaction_isolation = 'repeatable read'",
		"idle_in_transaction_session_timeout = '1ms'", "client_encoding = 'LATIN1'", "client_encoding = 'EUC_JP'",
		"search_path = elsewhere, public", "search_path = ''", "timezone = 'America/New_York'", "quote_all_identifiers = on", "synchronous_commit = off",
		"idle_session_timeout = '500ms'", "transaction_timeout = '200ms'",
		"bytea_output = 'escape'; intervalstyle = 'sql_standard'; extra_float_digits = -15; xmlbinary = 'hex'",
		// What is left alone, for nothing relies on it.
		"row_security = on; check_function_bodies = off; " +
			"plan_cache_mode = force_generic_plan; array_nulls = off; transform_null_equals = on; default_transaction_deferrable = on",
	} {
		of := []string{"role", "database"}[i%2]
		t.Run(of+" "+setting, func(t *testing.T) {
			t.Parallel()
			plain := loadertest.Database(t)
			admin := loadertest.Pool(t, plain)
			role := loadertest.Role(t, loadertest.Shared(t), "spoilt")
			sample := loadertest.Export{Rows: 300, Seed: 3, Bad: map[string]float64{"missing_identity": 0.1}}
			require.NoError(t, sample.Create(t.Context(), admin))
			require.NoError(t, sample.Fill(t.Context(), admin))
			var database string
			require.NoError(t, admin.QueryRow(t.Context(), "select current_database()").Scan(&database))
			name := map[string]string{"role": role, "database": database}[of]
			statements := []string{
				"grant create on database " + database + " to " + role, "grant select on candu_interactions to " + role, "grant pg_read_all_stats to " + role,
				"create schema elsewhere", "create table elsewhere.loader_state ()", "create table elsewhere.screens ()",
			}
			for one := range strings.SplitSeq(setting, "; ") {
				known, _, _ := strings.Cut(one, " ")
				statements = append(statements,
					"do $$ begin if current_setting('"+known+"', true) is not null then execute $a$alter "+of+" "+name+" set "+one+"$a$; end if; end $$")
			}
			for _, statement := range statements {
				_, err := admin.Exec(t.Context(), statement)
				require.NoError(t, err, statement)
			}
			load := func(address string) {
				w := newWorld(t, settings{url: as(t, address, role), source: "schema: candu_test\npage_size: 100"})
				w.db = admin
				summary := w.run(t)
				require.Positive(t, summary.Sent)
				require.EqualValues(t, 300, summary.Sent+summary.Rejected)
				w.settled(t, "candu_interactions", "id")
				require.True(t, w.verify(t, loader.VerifyOptions{}).Proved)
				require.Equal(t, []string{"warning rows_rejected"}, w.codes(t))
				w.exec(t, "drop schema candu_test cascade")
			}
			load(plain)
			if !strings.Contains(setting, "timeout = '200ms'") && !strings.Contains(setting, "idle_session") {
				// These end what a pooler's client does before its first transaction.
				load(loadertest.Pooler{DropsAll: true}.Start(t, plain))
			}
		})
	}
}

// Migrations go through a pooler, and nothing that it drops leads them astray.
func TestMigrate_ThroughAPooler(t *testing.T) {
	t.Parallel()
	for name, pooler := range map[string]loadertest.Pooler{
		"it drops search_path": {Drops: []string{"search_path"}, Knows: append([]string{
			"row_security", "quote_all_identifiers", "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "default_transaction_isolation",
			"extra_float_digits", "intervalstyle", "bytea_output", "xmlbinary", "jit", "default_transaction_read_only", "candu_loader.connection", "tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout",
		}, loadertest.Tracked...)},
		"it drops all":   {DropsAll: true},
		"it refuses all": {Knows: loadertest.Tracked},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plain := loadertest.Database(t)
			w := newWorld(t, settings{url: pooler.Start(t, plain)})
			w.db = loadertest.Pool(t, plain)
			w.sample(t, loadertest.Export{Rows: 100})
			done, err := w.loader(t).Migrate(t.Context(), w.cfg.Sources[0], ledger.MigrateOptions{Create: true})
			require.NoError(t, err)
			require.Equal(t, ledger.Migration{Schema: "candu_test", To: ledger.Latest()}, done)
			require.Equal(t, "0", w.one(t, "select count(*) from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())"),
				"a lock that stays with the pooler's connection keeps everybody out")
			require.Equal(t, "candu_interactions", w.one(t, "select string_agg(relname, ' ') from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'v')"))
			w.made = true
			require.EqualValues(t, 100, w.run(t).Sent)
			w.settled(t, "candu_interactions", "id")
			require.True(t, w.verify(t, loader.VerifyOptions{}).Proved)
			require.Empty(t, w.codes(t))
		})
	}
}

// Two people stay two, whatever a role or a database says of how values are printed; a view that makes texts of
// such values gives the same ones to everybody.
func TestRun_ReadsValuesInFull(t *testing.T) {
	t.Parallel()
	plain := loadertest.Database(t)
	admin := loadertest.Pool(t, plain)
	require.NoError(t, loadertest.Export{}.Create(t.Context(), admin))
	var database string
	require.NoError(t, admin.QueryRow(t.Context(), "select current_database()").Scan(&database))
	for _, statement := range []string{
		"alter table candu_interactions alter user_id type float8 using user_id::float8, alter anonymous_id type float4 using anonymous_id::float4",
		`insert into candu_interactions (id, kind, user_id, anonymous_id, tutorial_id, segment_id, portal_id, occurred_at, exported_at)
			select n, 'view', 1234567890123456 + n, 16777200 + n, 1, 's', 1, now() - interval '1 hour', now() - interval '1 hour' from generate_series(1, 3) as n`,
		"create view printed as select id, kind, user_id, anonymous_id, tutorial_id, '\\x00ff'::bytea::text as segment_id, portal_id, " +
			"interval '-1 day 2 hours'::text as version_id, xmlelement(name x, '\\xff'::bytea)::text as event_name, occurred_at, exported_at from candu_interactions",
		"alter database " + database + " set extra_float_digits = 0", "alter database " + database + " set intervalstyle = 'sql_standard'",
		"alter database " + database + " set bytea_output = 'escape'", "alter database " + database + " set xmlbinary = 'hex'",
	} {
		_, err := admin.Exec(t.Context(), statement)
		require.NoError(t, err, statement)
	}
	for name, address := range map[string]string{"direct": plain, "pooled": loadertest.Pooler{DropsAll: true}.Start(t, plain)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, settings{url: address, source: "schema: " + name + "\n"})
			w.db = admin
			w.cfg.Sources[0].Interactions.Table.Name = "printed"
			require.EqualValues(t, 3, w.run(t).Sent)
			require.Equal(t, "1234567890123457 1234567890123458 1234567890123459 16777201 16777202 16777203", w.one(t,
				"select string_agg(user_id, ' ' order by user_id) || ' ' || string_agg(anonymous_id, ' ' order by anonymous_id) from "+name+".screens"))
			require.Equal(t, "\\x00ff -1 days +02:00:00", w.one(t, "select distinct segment_id || ' ' || version_id from "+name+".screens"))
			require.True(t, w.verify(t, loader.VerifyOptions{}).Proved)
		})
	}
}
