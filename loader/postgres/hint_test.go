package postgres_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/loadertest"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/loader/secret"
)

// What keeps a role out of a database comes with the statement that lets it in, which is run here.
func TestOpen_RemediesOfRefusals(t *testing.T) {
	t.Parallel()
	server := loadertest.Shared(t)
	quote := func(name string) string { return pgx.Identifier{name}.Sanitize() }
	for name, c := range map[string]struct {
		refuse string
		code   string
	}{
		"no right to connect":   {refuse: "revoke connect on database DB from public", code: "42501"},
		"no connections at all": {refuse: "alter database DB allow_connections false", code: "55000"},
		"no right to log in":    {refuse: "alter role ROLE nologin", code: "28000"},
		"no such role":          {refuse: "drop role ROLE", code: "28000"},
		"the role's limit":      {refuse: "alter role ROLE connection limit 0", code: "53300"},
		"the database's limit":  {refuse: "alter database DB connection limit 0", code: "53300"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := loadertest.Database(t)
			config, err := pgx.ParseConfig(url)
			require.NoError(t, err)
			role := loadertest.Role(t, server, `odd"one`)
			names := strings.NewReplacer("DB", quote(config.Database), "ROLE", quote(role))
			admin := loadertest.Pool(t, server.URL("postgres", "postgres"))
			_, err = admin.Exec(t.Context(), names.Replace(c.refuse))
			require.NoError(t, err)
			through := server.URL(config.Database, role)
			open := func() error {
				pool, err := postgres.Open(t.Context(), secret.URL(through), postgres.Options{Name: "warehouse"})
				if err == nil {
					pool.Close()
				}
				return err
			}
			err = open()
			require.ErrorContains(t, err, c.code)
			require.Equal(t, fault.Precondition, fault.KindOf(err))
			hint := fault.HintOf(err)
			begin := max(strings.Index(hint, "ALTER "), strings.Index(hint, "GRANT "), strings.Index(hint, "CREATE "))
			require.NotEqual(t, -1, begin, hint)
			statement, _, _ := strings.Cut(hint[begin:], ";")
			_, err = admin.Exec(t.Context(), statement)
			require.NoError(t, err, statement)
			require.NoError(t, open(), statement)
		})
	}
}

// Without sslmode the driver tries with TLS, and then without: what the second try met is what counts where the
// first one only found that there is no TLS.
func TestOpen_HintsOfTheTryWithoutTLS(t *testing.T) {
	t.Parallel()
	server, err := loadertest.Start(t.Context(), loadertest.Options{TCP: true})
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	plain := strings.ReplaceAll(server.URL("postgres", "postgres"), "sslmode=disable", "")
	for parameter, hint := range map[string]string{
		"target_session_attrs=standby": "target_session_attrs",
		"require_auth=md5":             "require_auth",
		"channel_binding=require":      "channel_binding",
		"role=nobody":                  "Take the parameter",
		"track_activities=perhaps":     "Take the parameter",
		"sslmode=require":              "The server offers no TLS",
	} {
		_, err := postgres.Open(t.Context(), secret.URL(plain+parameter), postgres.Options{Name: "warehouse"})
		require.Error(t, err, parameter)
		require.Contains(t, fault.HintOf(err), hint, err)
		require.Equal(t, strings.HasPrefix(parameter, "sslmode"), strings.Contains(err.Error(), "refused TLS"), err)
	}
}

func TestUnreachable_ByRoutine(t *testing.T) {
	t.Parallel()
	for hint, pg := range map[string]*pgconn.PgError{
		"Take the parameter":                      {Code: "42501", Routine: "set_config_with_handle", Message: `permission denied to set parameter "x"`},
		`GRANT CONNECT ON DATABASE "x" TO "u";`:   {Code: "42501", Routine: "CheckMyDatabase"},
		"does not convert the encoding":           {Code: "0A000", Routine: "InitializeClientEncoding"},
		"DROP DATABASE that was interrupted":      {Code: "55000", Routine: "InitPostgres"},
		`Or, if it is there:  ALTER ROLE "u" LOG`: {Code: "28000", Routine: "InitializeSessionUserId", Message: "autre langue"},
		"pg_hba.conf":                             {Code: "28000", Routine: "ClientAuthentication"},
	} {
		require.Contains(t, fault.HintOf(postgres.Unreachable(t.Context(), errors.Join(pg), "export", "postgres://u@db/x")), hint)
	}
}

// A statement_timeout of the role's that ends the first question, where a pooler keeps the loader's own away: the remedy
// counts more than what role and database have.
func TestUnreachable_ByATimeout(t *testing.T) {
	t.Parallel()
	server := loadertest.Shared(t)
	config, err := pgx.ParseConfig(loadertest.Database(t))
	require.NoError(t, err)
	role := loadertest.Role(t, server, "hasty")
	url := server.URL(config.Database, role)
	admin := loadertest.Pool(t, server.URL("postgres", "postgres"))
	exec := func(sql string) {
		_, err := admin.Exec(t.Context(), sql)
		require.NoError(t, err, sql)
	}
	exec("alter role " + role + " set statement_timeout = 1234")
	exec("alter database " + config.Database + " set statement_timeout = 1234")
	hint := fault.HintOf(postgres.Unreachable(t.Context(), &pgconn.PgError{Code: "57014"}, "export", secret.URL(url)))
	_, statement, found := strings.Cut(hint, "ALTER ROLE")
	require.True(t, found, hint)
	exec("ALTER ROLE" + statement)
	var now string
	require.NoError(t, loadertest.Pool(t, url).QueryRow(t.Context(), "show statement_timeout").Scan(&now))
	require.Equal(t, "0", now)
}
