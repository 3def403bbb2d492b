package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/loadertest"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/loader/secret"
)

func TestMain(m *testing.M) { os.Exit(loadertest.Main(m)) }

func TestKindOf(t *testing.T) {
	t.Parallel()
	for code, kind := range map[string]fault.Kind{
		"40001": fault.Retryable, "40P01": fault.Retryable, "57014": fault.Retryable, "57P01": fault.Retryable, "08006": fault.Retryable,
		"53300": fault.Retryable, "55P03": fault.Retryable, "25P03": fault.Retryable,
		"42501": fault.Precondition, "42P01": fault.Precondition, "42703": fault.Precondition, "28P01": fault.Precondition, "3D000": fault.Precondition,
		"25006": fault.Precondition, "22003": fault.Failed, "23505": fault.Failed,
	} {
		require.Equal(t, kind, postgres.KindOf(fmt.Errorf("reading: %w", &pgconn.PgError{Code: code})), code)
	}
	require.Equal(t, fault.Retryable, postgres.KindOf(io.ErrUnexpectedEOF))
	require.Equal(t, fault.Interrupted, postgres.KindOf(context.Canceled))
	require.Equal(t, fault.Busy, postgres.KindOf(fault.New(fault.Busy, "known")), "a kind that is there stays")
	require.Equal(t, fault.Failed, postgres.KindOf(errors.New("x")))
}

func TestReader_IsReadOnlyInUTCWithATimeLimit(t *testing.T) {
	t.Parallel()
	url := loadertest.Database(t)
	r, err := postgres.OpenReader(t.Context(), secret.URL(url), postgres.Options{Name: "export", StatementTimeout: 1234 * time.Millisecond})
	require.NoError(t, err)
	defer r.Close()
	require.False(t, r.Pooled())
	require.NoError(t, r.Read(t.Context(), func(db postgres.DB) error {
		var readOnly, limit, zone string
		require.NoError(t, db.QueryRow(t.Context(), "select current_setting('transaction_read_only'), current_setting('statement_timeout'), current_setting('timezone')").
			Scan(&readOnly, &limit, &zone))
		require.Equal(t, []string{"on", "1234ms", "UTC"}, []string{readOnly, limit, zone})
		_, err := db.Exec(t.Context(), "create table x ()")
		require.ErrorContains(t, err, "read-only")
		return nil
	}))
}

func TestRetry(t *testing.T) {
	t.Parallel()
	tries := 0
	err := postgres.Retry(t.Context(), time.Second, nil, func(context.Context) error {
		if tries++; tries < 3 {
			return &pgconn.PgError{Code: "57P01"}
		}
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, 3, tries)

	tries = 0
	err = postgres.Retry(t.Context(), time.Second, nil, func(context.Context) error {
		tries++
		return &pgconn.PgError{Code: "42501"}
	})
	require.Equal(t, 1, tries, "what an operator has to mend is not tried again")
	require.Equal(t, fault.Precondition, postgres.KindOf(err))

	ctx, cancel := context.WithCancel(t.Context())
	err = postgres.Retry(ctx, time.Second, nil, func(context.Context) error {
		cancel()
		return &pgconn.PgError{Code: "57P01"}
	})
	require.Equal(t, fault.Interrupted, fault.KindOf(err))
}

func TestOpen_SaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	server := loadertest.Shared(t)
	for name, c := range map[string]struct{ url, text, hint string }{
		"no database": {server.URL("nowhere", "postgres"), `database "nowhere" does not exist`, "Check the database's name"},
		"no role":     {server.URL("postgres", "nobody"), `role "nobody" does not exist`, `CREATE ROLE "nobody" LOGIN;`},
		"no server":   {"postgres://u:hunter2@127.0.0.1:1/x", "connection refused", "Check host and port"},
		"no host":     {"postgres://u:hunter2@no-such-host.invalid/x", "no-such-host.invalid", "Check"},
	} {
		_, err := postgres.Open(t.Context(), secret.URL(c.url), postgres.Options{Name: "warehouse"})
		require.ErrorContains(t, err, c.text, name)
		require.Equal(t, fault.Precondition, fault.KindOf(err), name)
		require.Contains(t, fault.HintOf(err), c.hint, name)
		require.NotContains(t, err.Error(), "hunter2")
	}
	_, err := postgres.Open(t.Context(), "postgres://u:hunter2@db:x/y", postgres.Options{Name: "warehouse"})
	require.Equal(t, fault.Config, fault.KindOf(err))
	require.NotContains(t, err.Error(), "hunter2")
}

// Every connection over the network asks the server to notice that its other end vanished, within 20 s.
func TestConnections_AskForKeepalives(t *testing.T) {
	t.Parallel()
	server, err := loadertest.Start(t.Context(), loadertest.Options{TCP: true})
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	url := server.URL("postgres", "postgres")
	// Postgres 13 has no check interval.
	const shown = `select string_agg(coalesce(current_setting(name, true), case when current_setting('server_version_num')::integer < 140000 then '5s' end), ' ' order by name) from unnest(array['tcp_keepalives_idle', 'tcp_keepalives_interval',
		'tcp_keepalives_count', 'tcp_user_timeout', 'client_connection_check_interval']) name`
	const asked = "5s 2 5 5 15000"
	show := func(db postgres.DB) (text string) {
		require.NoError(t, db.QueryRow(t.Context(), shown).Scan(&text))
		return text
	}
	pool, err := postgres.Open(t.Context(), secret.URL(url), postgres.Options{Name: "warehouse"})
	require.NoError(t, err)
	defer pool.Close()
	require.Equal(t, asked, show(pool))
	r, err := postgres.OpenReader(t.Context(), secret.URL(url), postgres.Options{Name: "export", StatementTimeout: time.Second})
	require.NoError(t, err)
	defer r.Close()
	require.NoError(t, r.Read(t.Context(), func(db postgres.DB) error {
		require.Equal(t, asked, show(db))
		return nil
	}))

	own, err := postgres.Open(t.Context(), secret.URL(url+"&tcp_keepalives_idle=7"), postgres.Options{Name: "warehouse"})
	require.NoError(t, err)
	defer own.Close()
	require.Equal(t, "5s 2 7 5 15000", show(own), "what the URL says counts")
}
