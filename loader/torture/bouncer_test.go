//go:build unix && pgbouncer

package torture_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/loadertest"
)

// startBouncer starts a PgBouncer in front of the world's server, in transaction mode unless the settings
// say something else, and returns its address. Three connections for all make clients share them.
func startBouncer(t *testing.T, w *world, settings string) string {
	t.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program = "/usr/sbin/pgbouncer"
	}
	dir, err := os.MkdirTemp("", "candu-bouncer-")
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())
	host, port, err := net.SplitHostPort(w.server.Address())
	require.NoError(t, err)
	_, listen, err := net.SplitHostPort(address)
	require.NoError(t, err)
	ini := filepath.Join(dir, "pgbouncer.ini")
	require.NoError(t, os.WriteFile(ini, fmt.Appendf(nil, `[databases]
* = host=%s port=%s user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %s
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
%s
`, host, port, listen, settings), 0o644))
	cmd := exec.Command(program, "-q", ini)
	loadertest.Guard(cmd)
	if os.Getuid() == 0 {
		// It refuses to run as root.
		require.NoError(t, os.Chmod(dir, 0o755))
		nobody, err := user.Lookup("nobody")
		require.NoError(t, err)
		uid, err := strconv.ParseUint(nobody.Uid, 10, 32)
		require.NoError(t, err)
		gid, err := strconv.ParseUint(nobody.Gid, 10, 32)
		require.NoError(t, err)
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	require.NoError(t, cmd.Start(), "install pgbouncer: .ci/setup pgbouncer")
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	loadertest.Eventually(t, func() bool {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	}, "pgbouncer to listen")
	return address
}

// dropped are the names of all that is asked for at start-up, which PgBouncer then accepts and drops.
const dropped = "ignore_startup_parameters = search_path,row_security,client_encoding,datestyle,timezone,standard_conforming_strings,quote_all_identifiers,extra_float_digits,intervalstyle,bytea_output,xmlbinary," +
	"statement_timeout,lock_timeout,idle_in_transaction_session_timeout,default_transaction_isolation,default_transaction_read_only,candu_loader.connection," +
	"tcp_keepalives_idle,tcp_keepalives_interval,tcp_keepalives_count,tcp_user_timeout"

// session is a mode in which a client keeps its connection to the server.
const session = "pool_mode = session\ndefault_pool_size = 12"

// PgBouncer in front of both databases, and of the migrations, whatever it does with what is asked for at
// start-up, and whatever the database has set.
func TestPgBouncer(t *testing.T) {
	t.Parallel()
	for name, settings := range map[string]string{
		"in transaction mode, refusing": "", "in transaction mode, dropping": dropped,
		"in session mode, refusing": session, "in session mode, dropping": session + "\n" + dropped,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := setup(t, "page_size: 100", "batch_size: 50")
			sample(t, w, 2_000, 1)
			w.exec(t, `do $$ begin
				execute format('alter database %I set default_transaction_isolation = serializable', current_database());
				execute format('alter database %I set default_transaction_read_only = on', current_database());
				execute format('alter database %I set datestyle = German', current_database());
				execute format('alter database %I set search_path = elsewhere', current_database());
			end $$`)
			url := w.at(t, startBouncer(t, w, settings))
			w.configure(t, url, url, "page_size: 100", "batch_size: 50")
			w.load(t)
			sample(t, w, 500, 2_001)
			w.settle(t, 0)
			require.Zero(t, w.number(t, "select count(*) from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())"))
		})
	}
}

// Behind a pooler, too, texts of a database in another encoding arrive as they are there.
func TestPgBouncer_OtherEncodings(t *testing.T) {
	t.Parallel()
	for encoding, want := range map[string]string{"SQL_ASCII": "Straße\ufffd", "LATIN1": "StraÃ\u009fe\u0081"} {
		w := setup(t, "", "")
		export := &world{server: w.server, direct: loadertest.DatabaseIn(t, encoding)}
		db := loadertest.Pool(t, export.direct+"&client_encoding=UTF8")
		require.NoError(t, loadertest.Export{}.Create(t.Context(), db))
		_, err := db.Exec(t.Context(), `insert into candu_interactions (id, kind, user_id, tutorial_id, version_id, occurred_at, exported_at)
			values (1, 'view', 'u', 1, convert_from($1::bytea, 'SQL_ASCII'), now(), now())`, []byte("Straße\x81"))
		require.NoError(t, err)
		address := startBouncer(t, w, "")
		w.configure(t, w.at(t, address), w.direct, fmt.Sprintf("interactions: {url: %q}", export.at(t, address)), "batch_size: 50")
		w.load(t)
		var got string
		require.NoError(t, w.db.QueryRow(t.Context(), "select version_id from candu.screens").Scan(&got))
		require.Equal(t, want, got)
	}
}
