package postgres_test

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/loadertest"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/loader/secret"
)

// hostile are settings of roles and databases that would change what is read or written.
var hostile = []string{
	"search_path = hostile, public", "row_security = on", "datestyle = 'German, DMY'", "timezone = 'America/New_York'", "standard_conforming_strings = off",
	"escape_string_warning = off", "quote_all_identifiers = on", "lock_timeout = '1ms'", "idle_in_transaction_session_timeout = '1ms'",
	"default_transaction_isolation = 'serializable'", "default_transaction_read_only = on", "client_encoding = 'LATIN1'",
	"extra_float_digits = 0", "intervalstyle = 'sql_standard'", "bytea_output = 'escape'", "xmlbinary = 'hex'",
}

// spoil gives a role or a database hostile settings. limit is that of its timeouts, which older servers
// don't all know: behind a pooler they hold until the first transaction begins.
func spoil(t *testing.T, db *pgxpool.Pool, what, limit string) {
	t.Helper()
	newer := map[int]string{0: "statement_timeout = '" + limit + "'", 14: "idle_session_timeout = '" + limit + "'", 17: "transaction_timeout = '" + limit + "'"}
	var version int
	require.NoError(t, db.QueryRow(t.Context(), "select current_setting('server_version_num')::int / 10000").Scan(&version))
	settings := slices.Clone(hostile)
	for since, setting := range newer {
		if version >= since {
			settings = append(settings, setting)
		}
	}
	for _, setting := range settings {
		_, err := db.Exec(t.Context(), "alter "+what+" set "+setting)
		require.NoError(t, err, setting)
	}
}

// shown are the settings that count, as a statement on the connection has them.
const shown = `select string_agg(name || '=' || current_setting(name, true), '; ' order by name) from unnest(array['search_path', 'row_security', 'datestyle',
	'timezone', 'standard_conforming_strings', 'quote_all_identifiers', 'statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout',
	'transaction_isolation', 'transaction_read_only', 'client_encoding', 'transaction_timeout', 'extra_float_digits', 'intervalstyle', 'bytea_output', 'xmlbinary']) name`

// Whatever role, database, URL, environment and poolers say, each statement has the settings that are
// relied on.
func TestConnections_HaveTheirSettings(t *testing.T) {
	all := []string{
		"search_path", "row_security", "client_encoding", "datestyle", "timezone", "standard_conforming_strings", "quote_all_identifiers", "statement_timeout",
		"extra_float_digits", "intervalstyle", "bytea_output", "xmlbinary", "jit", "lock_timeout", "idle_in_transaction_session_timeout", "default_transaction_isolation", "default_transaction_read_only", "candu_loader.connection",
		"tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout", "transaction_timeout",
	}
	except := func(name string) []string {
		return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return s == name })
	}
	for name, c := range map[string]struct {
		pooler *loadertest.Pooler
		query  string
		env    string
		pooled bool
	}{
		"direct":                       {},
		"URL":                          {query: "search_path=hostile&Row_Security=on&DateStyle=SQL&TimeZone=Asia/Tokyo&statement_timeout=1&STATEMENT_TIMEOUT=2&client_encoding=latin1"},
		"options in the URL":           {query: "options=" + strings.ReplaceAll(url.QueryEscape("-c search_path=hostile -c statement_timeout=1ms -c datestyle=SQL -c default_transaction_read_only=on"), "+", "%20")},
		"options in the environment":   {env: "-c search_path=hostile -c standard_conforming_strings=off"},
		"only servers that can write":  {query: "target_session_attrs=read-write"},
		"it drops all":                 {pooler: &loadertest.Pooler{DropsAll: true}, pooled: true},
		"it drops all by name":         {pooler: &loadertest.Pooler{Drops: all, Knows: []string{"application_name"}}, pooled: true},
		"it refuses all":               {pooler: &loadertest.Pooler{Knows: loadertest.Tracked}, query: "search_path=hostile&statement_timeout=1", pooled: true},
		"it drops search_path alone":   {pooler: &loadertest.Pooler{Drops: []string{"search_path"}, Knows: except("search_path")}, pooled: true},
		"it drops row_security alone":  {pooler: &loadertest.Pooler{Drops: []string{"row_security"}, Knows: except("row_security")}, pooled: true},
		"it drops float digits alone":  {pooler: &loadertest.Pooler{Drops: []string{"extra_float_digits"}, Knows: except("extra_float_digits")}, pooled: true},
		"it drops the mark alone":      {pooler: &loadertest.Pooler{Drops: []string{"candu_loader.connection"}, Knows: except("candu_loader.connection")}, pooled: true},
		"it drops keepalives alone":    {pooler: &loadertest.Pooler{Drops: []string{"tcp_keepalives_idle", "tcp_user_timeout"}, Knows: except("tcp_keepalives_idle")}},
		"it passes on what is tracked": {pooler: &loadertest.Pooler{DropsAll: true, Knows: loadertest.Tracked}, pooled: true},
	} {
		t.Run(name, func(t *testing.T) {
			plain := loadertest.Database(t)
			admin := loadertest.Pool(t, plain)
			address := plain
			if c.pooler != nil {
				if !slices.Contains(c.pooler.Knows, "application_name") {
					c.pooler.Knows = append(c.pooler.Knows, "application_name")
				}
				address = c.pooler.Start(t, plain)
			}
			var database string
			require.NoError(t, admin.QueryRow(t.Context(), "select current_database()").Scan(&database))
			limit := "1ms"
			if c.pooler != nil {
				limit = "30s"
			}
			spoil(t, admin, "database "+database, limit)
			role := loadertest.Role(t, loadertest.Shared(t), "spoilt")
			spoil(t, admin, "role "+role, limit)
			u, err := url.Parse(address)
			require.NoError(t, err)
			query := u.Query()
			query.Set("user", role)
			u.User, u.RawQuery = url.User(role), strings.Trim(query.Encode()+"&"+c.query, "&")
			if u.Host != "" {
				query.Del("user")
				u.RawQuery = strings.Trim(query.Encode()+"&"+c.query, "&")
			}
			if c.env != "" {
				t.Setenv("PGOPTIONS", c.env)
			}

			const common = "; datestyle=%s; extra_float_digits=1; idle_in_transaction_session_timeout=1min; intervalstyle=postgres; lock_timeout=0; quote_all_identifiers=off; row_security=off; search_path=%s; " +
				"standard_conforming_strings=on; statement_timeout=%s; timezone=UTC; transaction_isolation=read committed; transaction_read_only=%s; xmlbinary=base64"
			is := func(db postgres.DB, path, timeout, readOnly string) {
				t.Helper()
				var now string
				require.NoError(t, db.QueryRow(t.Context(), shown).Scan(&now))
				now = strings.Replace(now, "; transaction_timeout=0", "", 1)
				style := "ISO, MDY"
				if strings.Contains(now, "ISO, DMY") {
					style = "ISO, DMY" // The order of what is read stays the server's.
				}
				require.Equal(t, "bytea_output=hex; client_encoding=UTF8"+fmt.Sprintf(common, style, path, timeout, readOnly), now)
			}
			reader, err := postgres.OpenReader(t.Context(), secret.URL(u.String()), postgres.Options{Name: "export", StatementTimeout: 90 * time.Second})
			require.NoError(t, err)
			defer reader.Close()
			require.Equal(t, c.pooled, reader.Pooled())
			require.NoError(t, reader.Read(t.Context(), func(db postgres.DB) error {
				is(db, "pg_catalog", "90s", "on")
				is(db, "pg_catalog", "90s", "on")
				return nil
			}))
			pool, err := postgres.Open(t.Context(), secret.URL(u.String()), postgres.Options{Name: "warehouse", SearchPath: []string{"Odd Name"}})
			require.NoError(t, err)
			defer pool.Close()
			require.NoError(t, postgres.InTx(t.Context(), pool, "", func(tx pgx.Tx) error {
				is(tx, `"Odd Name", pg_temp`, "0", "off")
				return nil
			}))
			require.NoError(t, postgres.InTx(t.Context(), pool, "; set local search_path to "+postgres.Path("Other Name")+"; set local statement_timeout to '45s'", func(tx pgx.Tx) error {
				is(tx, `"Other Name", pg_temp`, "45s", "off")
				return nil
			}))
			require.NoError(t, postgres.Read(t.Context(), pool, func(db postgres.DB) error {
				is(db, `"Odd Name", pg_temp`, "0", "off")
				return nil
			}))
		})
	}
}

// A database that converts nothing gives its bytes as they are.
func TestConnections_TakeBytesAsTheyAreWhereNothingIsConverted(t *testing.T) {
	t.Parallel()
	server := loadertest.Shared(t)
	admin := loadertest.Pool(t, server.URL("postgres", "postgres"))
	name := "ascii_" + strings.ToLower(strings.ReplaceAll(t.Name()[:8], "/", ""))
	_, err := admin.Exec(t.Context(), "create database "+name+" encoding 'SQL_ASCII' locale 'C' template template0")
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = admin.Exec(context.Background(), "drop database "+name+" with (force)") })
	plain := server.URL(name, "postgres")
	for _, address := range []string{plain, loadertest.Pooler{DropsAll: true}.Start(t, plain)} {
		reader, err := postgres.OpenReader(t.Context(), secret.URL(address), postgres.Options{Name: "export"})
		require.NoError(t, err)
		require.NoError(t, reader.Read(t.Context(), func(db postgres.DB) error {
			var text []byte
			require.NoError(t, db.QueryRow(t.Context(), `select E'\xff'::text`, pgx.QueryExecModeExec, pgx.QueryResultFormats{pgx.BinaryFormatCode}).Scan(&text))
			require.Equal(t, []byte{0xff}, text)
			return nil
		}))
		reader.Close()
	}
}

// What is read back costs a connection one statement and no second connection.
func TestConnections_OneIsEnough(t *testing.T) {
	t.Parallel()
	plain := loadertest.Database(t)
	admin := loadertest.Pool(t, plain)
	role := loadertest.Role(t, loadertest.Shared(t), "alone")
	_, err := admin.Exec(t.Context(), "alter role "+role+" connection limit 1")
	require.NoError(t, err)
	u, err := url.Parse(plain)
	require.NoError(t, err)
	query := u.Query()
	query.Set("user", role)
	u.RawQuery = query.Encode()
	reader, err := postgres.OpenReader(t.Context(), secret.URL(u.String()), postgres.Options{Name: "export"})
	require.NoError(t, err)
	defer reader.Close()
	require.False(t, reader.Pooled())
}
