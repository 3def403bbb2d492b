//go:build unix

package loadertest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/candu-loader/candu-loader/loader/fakesegment"
)

var shared atomic.Pointer[Server]

// Main runs a package's tests with a Postgres for all of them. For TestMain:
//
//	func TestMain(m *testing.M) { os.Exit(loadertest.Main(m)) }
func Main(m *testing.M) int { return Within(Options{}, m.Run) }

// Within is Main for tests that need another server, or something made before them.
func Within(options Options, run func() int) int {
	return Guarded(func() int {
		server, err := Start(context.Background(), options)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer server.Stop()
		shared.Store(server)
		return run()
	})
}

// Shared returns the server that Main started.
func Shared(tb testing.TB) *Server {
	tb.Helper()
	server := shared.Load()
	if server == nil {
		tb.Fatal("TestMain must call loadertest.Main")
	}
	return server
}

// Database makes a database for one test and returns its URL. If the test fails
// it is kept while the server lives, and its URL is logged.
func Database(tb testing.TB) string {
	tb.Helper()
	return DatabaseOn(tb, Shared(tb))
}

// DatabaseOn is Database on a server of the test's own.
func DatabaseOn(tb testing.TB, server *Server) string {
	tb.Helper()
	return database(tb, server, "template1")
}

// DatabaseIn is Database in another encoding than UTF8.
func DatabaseIn(tb testing.TB, encoding string) string {
	tb.Helper()
	return database(tb, Shared(tb), "template0 encoding '"+encoding+"' lc_collate 'C' lc_ctype 'C'")
}

// Copy makes a copy of a database of the shared server, for one test, and returns its URL. It ends the
// sessions that the original has.
func Copy(tb testing.TB, address string) string {
	tb.Helper()
	parsed, err := url.Parse(address)
	check(tb, err)
	name := strings.TrimPrefix(parsed.Path, "/")
	server := Shared(tb)
	admin(tb, server, func(int) string { return "alter database " + name + " allow_connections false" })
	admin(tb, server, func(int) string {
		// Postgres 13 has no pg_terminate_backend that waits.
		return "do $$ declare sessions constant text[] := array(select pid::text from pg_stat_activity where datname = '" + name + "'); begin " +
			"perform pg_terminate_backend(pid::integer) from unnest(sessions) pid; " +
			"while exists (select from pg_stat_activity where datname = '" + name + "') loop perform pg_sleep(0.01), pg_stat_clear_snapshot(); end loop; end $$"
	})
	made := database(tb, server, name)
	admin(tb, server, func(int) string { return "alter database " + name + " allow_connections true" })
	return made
}

func database(tb testing.TB, server *Server, template string) string {
	tb.Helper()
	name := "t_" + strings.ReplaceAll(uuid.NewString()[:13], "-", "")
	admin(tb, server, func(version int) string {
		if version < 15 {
			return "create database " + name + " template " + template
		}
		// The default writes each page of it into the log: three times as long.
		return "create database " + name + " template " + template + " strategy file_copy"
	})
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("the test's database: %s", server.URL(name, "postgres"))
			return
		}
		if server.given != "" {
			admin(tb, server, func(int) string { return "drop database if exists " + name + " with (force)" })
			return
		}
		// It goes with its server; dropping it writes out what all the others have changed.
		admin(tb, server, func(int) string {
			return "select pg_terminate_backend(pid) from pg_stat_activity where datname = '" + name + "'"
		})
	})
	return server.URL(name, "postgres")
}

// Role makes a role that may log in, for one test, and returns its name.
func Role(tb testing.TB, server *Server, name string) string {
	tb.Helper()
	name += "_" + uuid.NewString()[:8]
	admin(tb, server, func(int) string { return "create role " + pgx.Identifier{name}.Sanitize() + " login" })
	return name
}

// admin runs what the server of that version is told.
func admin(tb testing.TB, server *Server, sql func(version int) string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, server.URL("postgres", "postgres"))
	check(tb, err)
	version := 0
	_, err = fmt.Sscan(conn.PgConn().ParameterStatus("server_version"), &version)
	check(tb, err)
	_, err = conn.Exec(ctx, sql(version))
	check(tb, err)
	check(tb, conn.Close(ctx))
}

// Pool connects for one test.
func Pool(tb testing.TB, url string) *pgxpool.Pool {
	tb.Helper()
	pool, err := pgxpool.New(context.Background(), url)
	check(tb, err)
	tb.Cleanup(pool.Close)
	return pool
}

// Segment starts a fake Segment for one test and returns it with its URL.
func Segment(tb testing.TB, options fakesegment.Options) (*fakesegment.Server, string) {
	tb.Helper()
	fake := fakesegment.New(options)
	check(tb, fake.Start(context.Background(), "127.0.0.1:0"))
	tb.Cleanup(fake.Close)
	return fake, fake.URL()
}

// check is require.NoError: the demo has this package too, and nothing of testify.
func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
