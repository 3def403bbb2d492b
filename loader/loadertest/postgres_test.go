//go:build unix

package loadertest_test

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/loadertest"
)

// ownerEnv makes a test own what it starts until it is killed.
const ownerEnv = "CANDU_LOADERTEST_OWNER"

func TestMain(m *testing.M) { os.Exit(loadertest.Main(m)) }

// own starts what tests start, says where it is, and does nothing for ever.
func own(t *testing.T) {
	t.Helper()
	program := exec.CommandContext(t.Context(), "sleep", "1000")
	program.Stdout = os.Stdout // It ends when both have ended.
	loadertest.Guard(program)
	require.NoError(t, program.Start())
	require.NoError(t, program.Process.Signal(syscall.SIGSTOP))
	_, err := fmt.Printf("%s %s\n", loadertest.Database(t), t.TempDir())
	require.NoError(t, err)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func ping(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

func start(t *testing.T, options loadertest.Options) *loadertest.Server {
	t.Helper()
	server, err := loadertest.Start(t.Context(), options)
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	return server
}

// However tests end, a server, a folder and a program that is stopped end with them. The second
// signal is what go test sends to a test that takes too long.
func TestMain_LeavesNothing(t *testing.T) {
	t.Parallel()
	if os.Getenv(ownerEnv) != "" {
		own(t)
	}
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGQUIT} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			// Without the signal that a stopped group of processes gets when nobody is left who could let it go on.
			owner := exec.CommandContext(t.Context(), "/bin/sh", "-c", `trap "" HUP; exec "$0" "$@"`, os.Args[0], "-test.run=^TestMain_LeavesNothing$")
			owner.Env = append(os.Environ(), ownerEnv+"=1", "CANDU_TEST_DATABASE_URL=")
			_, err := owner.StdinPipe()
			require.NoError(t, err)
			out, err := owner.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, owner.Start())
			var address, dir string
			_, err = fmt.Fscanln(out, &address, &dir)
			require.NoError(t, err)
			require.NoError(t, ping(t.Context(), address))
			require.DirExists(t, dir)
			parsed, err := url.Parse(address)
			require.NoError(t, err)
			server := parsed.Query().Get("host")
			require.DirExists(t, server)

			require.NoError(t, owner.Process.Signal(signal))
			ended := make(chan error)
			go func() {
				_, err := io.Copy(io.Discard, out)
				ended <- err
			}()
			require.NoError(t, loadertest.Receive(t, ended, "the program to end"))
			_ = owner.Wait()
			loadertest.Eventually(t, func() bool { return ping(t.Context(), address) != nil }, "the server to end")
			for _, path := range []string{server, filepath.Dir(dir)} {
				loadertest.Eventually(t, func() bool { return !exists(path) }, "%s to go", path)
			}
		})
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func TestServer_LeavesNoDirectory(t *testing.T) {
	t.Parallel()
	server := start(t, loadertest.Options{Durable: true}) // Never a server that was given.
	parsed, err := url.Parse(server.URL("postgres", "postgres"))
	require.NoError(t, err)
	dir := parsed.Query().Get("host")
	require.DirExists(t, dir)
	server.Stop()
	require.NoDirExists(t, dir)
	server.Stop() // A second time does no harm.
}

func TestServer_CrashKeepsWhatWasCommitted(t *testing.T) {
	t.Parallel()
	server := start(t, loadertest.Options{Durable: true, TCP: true, Settings: []string{"work_mem=5MB"}})
	url := server.URL("postgres", "postgres")
	require.Contains(t, url, server.Address())
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "create table t as select 1 as n")
	require.NoError(t, err)

	require.NoError(t, server.Kill())
	require.Error(t, conn.Ping(t.Context()), "the connection broke")
	require.Error(t, ping(t.Context(), url), "nobody answers")
	require.NoError(t, server.Restart(t.Context()))
	require.Error(t, server.Restart(t.Context()), "it runs already")

	conn, err = pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	var setting string
	require.NoError(t, conn.QueryRow(t.Context(), "select current_setting('work_mem') from t").Scan(&setting))
	require.Equal(t, "5MB", setting)
	require.NoError(t, conn.Close(t.Context()))

	require.NoError(t, server.Crash(t.Context()))
	require.NoError(t, ping(t.Context(), url))
	require.NoError(t, server.Kill())
	server.Stop() // While it is down.
}

func TestStart_SaysWhyAServerEnded(t *testing.T) {
	t.Parallel()
	_, err := loadertest.Start(t.Context(), loadertest.Options{Settings: []string{"no_such_setting=1"}})
	require.ErrorContains(t, err, "starting the server: it ended at once")
	require.ErrorContains(t, err, `unrecognized configuration parameter "no_such_setting"`)
}

func TestServer_Log(t *testing.T) {
	t.Parallel()
	server := start(t, loadertest.Options{Settings: []string{"log_statement=all", "log_min_messages=log"}})
	conn, err := pgx.Connect(t.Context(), server.URL("postgres", "postgres"))
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "select 'this statement'")
	require.NoError(t, err)
	require.NoError(t, conn.Close(t.Context()))
	require.Contains(t, server.Log(), "select 'this statement'")
}

func TestDatabase_IsFreshForEachTest(t *testing.T) {
	t.Parallel()
	first, second := loadertest.Database(t), loadertest.Database(t)
	require.NotEqual(t, first, second)
	_, err := loadertest.Pool(t, first).Exec(t.Context(), "create table t ()")
	require.NoError(t, err)
	_, err = loadertest.Pool(t, second).Exec(t.Context(), "create table t ()")
	require.NoError(t, err)
}
