package loader_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/loadertest"
)

// A commit that waits for a standby which is not there is no silence: the log says what is waited for, and once that is
// mended the run goes on, and nothing is there twice.
func TestRun_WaitsForAStandby(t *testing.T) {
	t.Parallel()
	for name, from := range map[string]int{"as a run begins": 0, "as it records": 41} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, err := loadertest.Start(t.Context(), loadertest.Options{Settings: []string{"synchronous_commit=on"}})
			require.NoError(t, err)
			t.Cleanup(server.Stop)
			l := newLineIn(t, 200, settings{url: loadertest.DatabaseOn(t, server)})
			l.exec(t, "create table probe (n integer)")
			var once sync.Once
			lose := func() {
				l.exec(t, "alter system set synchronous_standby_names = 'nobody'")
				l.exec(t, "select pg_reload_conf()")
				asked := make(chan struct{})
				defer close(asked)
				go func() {
					for range asked { // Until one waits, for the server does not follow at once.
						_, _ = l.db.Exec(t.Context(), "insert into probe default values")
					}
				}()
				loadertest.Eventually(t, func() bool {
					select {
					case asked <- struct{}{}:
					default:
					}
					return l.one(t, "select exists (select from pg_stat_activity where wait_event = 'SyncRep')") == "true"
				}, "commits to wait")
			}
			l.look = func(rows []int) int {
				if from > 0 && rows[0] >= from {
					once.Do(lose)
				}
				return 0
			}
			if from == 0 {
				lose()
			}
			mended := make(chan struct{})
			go func() {
				defer close(mended)
				loadertest.Eventually(t, func() bool { return strings.Contains(l.log.String(), "waiting for a synchronous standby") }, "the log to say it")
				for _, sql := range []string{"alter system set synchronous_standby_names = ''", "select pg_reload_conf()"} {
					if _, err := l.db.Exec(t.Context(), sql); err != nil {
						t.Error(err)
					}
				}
			}()
			summary, err := l.try(t, loader.RunOptions{})
			<-mended
			require.NoError(t, err)
			require.EqualValues(t, 200, summary.Sent)
			require.Contains(t, l.log.String(), `synchronous_standby_names is \"nobody\", connected standbys: 0`)
			require.Contains(t, l.log.String(), "ALTER SYSTEM SET synchronous_standby_names = '';")
			for n := range 200 {
				_, times := l.through(n + 1)
				require.Equal(t, 1, times, "row %d", n+1)
			}
			require.Equal(t, "200", l.one(t, "select count(*) from candu_test.screens"))
			require.True(t, l.verify(t, loader.VerifyOptions{}).Proved)
		})
	}
}

// So is one that waits for a lock, with who holds it.
func TestRun_WaitsForALockOfTheMirror(t *testing.T) {
	t.Parallel()
	l := newLine(t, 200, "")
	var once sync.Once
	l.look = func(rows []int) int {
		if rows[0] >= 41 {
			once.Do(func() {
				tx, err := l.db.Begin(t.Context())
				require.NoError(t, err)
				_, err = tx.Exec(t.Context(), "set application_name = 'dashboard'; lock table candu_test.screens in share mode")
				require.NoError(t, err)
				go func() {
					loadertest.Eventually(t, func() bool {
						return strings.Contains(l.log.String(), "waiting for a lock") || strings.Contains(l.log.String(), "retrying: ")
					}, "the log to say anything")
					_ = tx.Rollback(t.Context())
				}()
			})
		}
		return 0
	}
	summary, err := l.try(t, loader.RunOptions{})
	require.NoError(t, err)
	require.EqualValues(t, 200, summary.Sent)
	require.Contains(t, l.log.String(), "waiting for a lock (relation) that is held by pid")
	require.Contains(t, l.log.String(), `application \"dashboard\"`)
	require.Contains(t, l.log.String(), "SELECT pg_terminate_backend(")
}
