package postgres_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/loadertest"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/loader/secret"
)

// restarting stands before a server that refuses so many connections with these SQLSTATEs, or, for "",
// by closing them; it returns how to reach it.
func restarting(t *testing.T, url string, codes ...string) (through string, left func() int) {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	pending := make(chan string, len(codes))
	for _, code := range codes {
		pending <- code
	}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			select {
			case code := <-pending:
				back := pgproto3.NewBackend(client, client)
				if _, err := back.ReceiveStartupMessage(); err == nil && code != "" {
					back.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: code, Message: "not now"})
					_ = back.Flush()
				}
				_ = client.Close()
				continue
			default:
			}
			network, address := pgconn.NetworkAddress(config.Host, config.Port)
			server, err := net.Dial(network, address)
			if err != nil {
				_ = client.Close()
				continue
			}
			go func() { _, _ = io.Copy(server, client); _ = server.Close() }()
			go func() { _, _ = io.Copy(client, server); _ = client.Close() }()
		}
	}()
	return fmt.Sprintf("postgres://%s@%s/%s?sslmode=disable", config.User, listener.Addr(), config.Database), func() int { return len(pending) }
}

// A server that restarts is waited for, in all it says meanwhile; one that only refuses is said at once.
func TestOpen_WaitsForARestart(t *testing.T) {
	t.Parallel()
	url := loadertest.Database(t)
	told := 0
	again := func(error, time.Duration) { told++ }
	for _, codes := range [][]string{{"57P03"}, {"57P01", "", "57P03"}, {"57P02", "57P03"}} {
		through, left := restarting(t, url, codes...)
		pool, err := postgres.Open(t.Context(), secret.URL(through), postgres.Options{Name: "warehouse", Again: again})
		require.NoError(t, err, codes)
		pool.Close()
		require.Zero(t, left())
	}
	require.GreaterOrEqual(t, told, 3)
	waited := told

	for _, code := range []string{"28P01", "3D000", "53300", ""} {
		through, _ := restarting(t, url, code)
		_, err := postgres.Open(t.Context(), secret.URL(through), postgres.Options{Name: "warehouse", Again: again})
		require.Equal(t, fault.Precondition, fault.KindOf(err), code)
	}
	through, _ := restarting(t, url, "57P03")
	_, err := postgres.Open(t.Context(), secret.URL(through), postgres.Options{Name: "warehouse"})
	require.Equal(t, fault.Precondition, fault.KindOf(err), "who looks again by itself is told at once")
	require.Contains(t, fault.HintOf(err), "starts or shuts down")
	require.Equal(t, waited, told)
}

// Whose limit it is that is full.
func TestOpen_NamesTheLimit(t *testing.T) {
	t.Parallel()
	server := loadertest.Shared(t)
	url := loadertest.Database(t)
	admin, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer func() { _ = admin.Close(t.Context()) }()
	exec := func(sql string) {
		_, err := admin.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	role, database := loadertest.Role(t, server, "limited"), admin.Config().Database
	open := func() string {
		_, err := postgres.Open(t.Context(), secret.URL(server.URL(database, role)), postgres.Options{Name: "warehouse"})
		require.ErrorContains(t, err, "53300")
		return fault.HintOf(err)
	}
	exec("alter role " + pgx.Identifier{role}.Sanitize() + " connection limit 0")
	require.Contains(t, open(), "ALTER ROLE "+pgx.Identifier{role}.Sanitize()+" CONNECTION LIMIT")
	exec("alter role " + pgx.Identifier{role}.Sanitize() + " connection limit -1")
	exec("alter database " + pgx.Identifier{database}.Sanitize() + " connection limit 0")
	require.Contains(t, open(), "ALTER DATABASE "+pgx.Identifier{database}.Sanitize()+" CONNECTION LIMIT")
	require.Contains(t, postgres.Hint(&pgconn.PgError{Code: "53300", Routine: "InitProcess"}), "raise max_connections")
}

// What time does not mend is no passing trouble, and has a remedy of its own.
func TestHint_WhatCannotPass(t *testing.T) {
	t.Parallel()
	pooling := &pgconn.PgError{Severity: "FATAL", Code: "08P01", Message: "transaction blocks not allowed in statement pooling mode"}
	require.Equal(t, fault.Precondition, postgres.KindOf(pooling))
	require.Contains(t, postgres.Hint(pooling), "pool_mode = transaction")
	require.Contains(t, postgres.Hint(&pgconn.PgError{Code: "08P01", Message: "unsupported startup parameter: options"}), "startup parameter")

	down := &pgconn.PgError{
		Severity: "ERROR", Code: "08001", Message: `could not connect to server "x"`,
		Detail: "connection to server at \"10.0.0.1\", port 5432 failed: Connection refused\n\tIs the server running?",
	}
	require.Equal(t, fault.Precondition, postgres.KindOf(fmt.Errorf("reading: %w", down)))
	require.Contains(t, postgres.Hint(down), "behind a foreign table")
	require.True(t, strings.HasSuffix(postgres.Detailed(down).Error(), `port 5432 failed: Connection refused Is the server running?`), postgres.Detailed(down))
	require.Equal(t, "08001", postgres.Code(postgres.Detailed(down)))
	other := &pgconn.PgError{Code: "23505", Detail: "Key (id)=(secret) already exists."}
	require.Equal(t, error(other), postgres.Detailed(other), "a value of a row is none of ours to print")

	for _, err := range []error{
		&net.OpError{Op: "dial", Err: os.NewSyscallError("socket", syscall.EMFILE)}, os.NewSyscallError("open", syscall.ENFILE),
		&net.DNSError{Err: "dial udp 10.0.0.2:53: socket: too many open files", Name: "db"},
	} {
		require.Contains(t, postgres.Hint(err), "no file descriptors left")
		require.Contains(t, fault.HintOf(postgres.Unreachable(t.Context(), err, "export", "postgres://db/x")), "no file descriptors left")
	}
	require.Empty(t, postgres.Hint(nil))
}
