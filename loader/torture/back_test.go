//go:build unix

package torture_test

import (
	"context"
	"net/url"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/loadertest"
)

// moment is when the warehouse goes back: to where the run was at kept, "" = it had not begun,
// when the run is at lost.
type moment struct{ kept, lost string }

var (
	atTheBeginning = moment{"", "after_commit:3"}
	inTheMiddle    = moment{"after_commit:2", "after_commit:5"}
	atTheEnd       = moment{"after_commit:2", "before_end:1"}
)

// disaster is a way in which a warehouse goes back: to what it was at keep, when it strikes.
type disaster struct{ keep, strike func() }

// goBack starts a run, lets the warehouse go back, and returns the run when it has ended, and whether
// anything was lost.
func (w *world) goBack(t *testing.T, m moment, d disaster, env ...string) (r *run, lost bool) {
	t.Helper()
	if m.kept == "" {
		d.keep()
		r = w.start(t, append(env, "CANDU_FAILPOINT_STOP="+m.lost)...)
	} else {
		r = w.start(t, append(env, "CANDU_FAILPOINT_STOP="+m.kept+","+m.lost)...)
		r.stops(t)
		d.keep()
		r.goOn(t)
	}
	r.stops(t)
	const stands = "select format('run %s at page %s', id, page) from candu.loader_runs order by id desc limit 1"
	before := w.one(t, stands)
	d.strike()
	w.mu.Lock()
	w.watermark = ""
	w.mu.Unlock()
	after := w.one(t, stands)
	t.Logf("%v: %q, then %q", m, before, after)
	r.goOn(t)
	r.wait(t)
	w.expire(t)
	return r, before != after
}

// wentBack checks how a run ended whose commits were lost.
func wentBack(t *testing.T, w *world, r *run) {
	t.Helper()
	require.Equal(t, 1, r.code, "%s", r.output)
	require.Contains(t, r.output.String(), "the warehouse went back, nothing more was recorded")
	require.NotContains(t, r.output.String(), "succeeded")
	require.Zero(t, w.number(t, "select count(*) from candu.loader_runs where id = (select max(id) from candu.loader_runs) and status = 'succeeded'"))
}

// failover is a real standby that gets nothing any more from the moment keep on, and becomes the
// warehouse when it strikes. The old one lives on, cut off.
func (w *world) failover(t *testing.T) disaster {
	t.Helper()
	primary, link := w.db, proxyTo(t, w.server.Address())
	standby, err := w.server.Standby(t.Context(), link.Listen)
	require.NoError(t, err)
	t.Cleanup(standby.Stop)
	direct := w.at(t, standby.Address())
	db := loadertest.Pool(t, direct)
	return disaster{
		keep: func() {
			var written string
			require.NoError(t, primary.QueryRow(t.Context(), "select pg_current_wal_insert_lsn()::text").Scan(&written))
			loadertest.Eventually(t, func() bool {
				var has bool
				require.NoError(t, db.QueryRow(t.Context(), "select pg_last_wal_replay_lsn() >= $1::text::pg_lsn", written).Scan(&has))
				return has
			}, "the standby to have what the primary has")
			link.Stop()
		},
		strike: func() {
			var promoted bool
			require.NoError(t, db.QueryRow(t.Context(), "select pg_promote(true, 120)").Scan(&promoted))
			require.True(t, promoted)
			w.postgres.Stop()
			w.postgres.Upstream = standby.Address()
			loadertest.Eventually(t, func() bool { return w.postgres.Start() == nil }, "the proxy's port to be free again")
			w.server, w.direct, w.db = standby, direct, db
		},
	}
}

// crash is a real one: the server keeps what it wrote at a checkpoint, and loses commits that nobody
// waited for. The writer of its log may come in between, then it loses nothing.
func (w *world) crash(t *testing.T) disaster {
	t.Helper()
	return disaster{
		keep: func() { w.exec(t, "checkpoint") },
		strike: func() {
			require.NoError(t, w.server.Crash(t.Context()))
			w.db.Reset()
		},
	}
}

// restore puts a backup back.
func (w *world) restore(t *testing.T) disaster {
	t.Helper()
	server := loadertest.Pool(t, w.server.URL("postgres", "postgres"))
	exec := func(sql string) {
		_, err := server.Exec(context.WithoutCancel(t.Context()), sql)
		require.NoError(t, err, sql)
	}
	at, err := url.Parse(w.direct)
	require.NoError(t, err)
	name := strings.TrimPrefix(at.Path, "/")
	t.Cleanup(func() { exec("drop database if exists " + name + "_backup") })
	return disaster{
		keep: func() {
			w.db.Reset() // A database that is copied may have no visitors.
			exec("create database " + name + "_backup template " + name)
		},
		strike: func() {
			exec("drop database " + name + " with (force)")
			exec("create database " + name + " template " + name + "_backup")
			w.db.Reset()
		},
	}
}

// alone makes a world with a server of its own, one row, and the schema.
func alone(t *testing.T, settings ...string) *world {
	t.Helper()
	server, err := loadertest.Start(t.Context(), loadertest.Options{TCP: true, Settings: settings})
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	w := setupOn(t, server, "page_size: 100, lookback: 1m", "batch_size: 50")
	w.begin(t)
	return w
}

// begin makes an export of one row, and the schema.
func (w *world) begin(t *testing.T) {
	t.Helper()
	sample(t, w, 1, 1)
	r := w.command(t, []string{"migrate"})
	require.Zero(t, r.wait(t), "%s", r.output)
}

// forgetful are the settings of a server that loses in a crash what it has committed since its last
// checkpoint.
var forgetful = []string{
	"synchronous_commit=off", "wal_writer_delay=10s", "wal_writer_flush_after=1GB", "bgwriter_lru_maxpages=0", "autovacuum=off",
}

// The warehouse fails over to a standby that lags: the run ends, and the next one goes on from what
// is there.
func TestFailover(t *testing.T) {
	t.Parallel()
	for range times(1, 6) {
		w := alone(t)
		rows := 1
		for _, m := range []moment{atTheBeginning, inTheMiddle, atTheEnd} {
			sample(t, w, 2_000, rows+1)
			rows += 2_000
			r, lost := w.goBack(t, m, w.failover(t))
			require.True(t, lost)
			wentBack(t, w, r)
		}
		w.settle(t, 3*rows)
	}
}

// The suite bites: a run that does not compare says that it succeeded, and passes rows that
// are lost.
func TestFailover_BitesWithoutComparing(t *testing.T) {
	t.Parallel()
	w := alone(t)
	for i, m := range []moment{atTheEnd, inTheMiddle} {
		sample(t, w, 2_000, 2+2_000*i)
		r, lost := w.goBack(t, m, w.failover(t), "CANDU_FAILPOINT_WITHOUT=compare")
		require.True(t, lost)
		require.Zero(t, r.code, "%s", r.output)
		require.Contains(t, r.output.String(), "succeeded")
		require.Positive(t, w.number(t, misplaced), "it must say so while rows are missing, or this suite proves nothing")
		w.load(t)
		require.Equal(t, m == inTheMiddle, w.number(t, misplaced) > 0, "rows that the watermark has passed must be lost for good, or this suite proves nothing")
	}
}

// The warehouse crashes with synchronous_commit = off.
func TestCrash(t *testing.T) {
	t.Parallel()
	w := alone(t, forgetful...)
	rows := 1
	for i := range times(1, 12) {
		for _, m := range []moment{atTheBeginning, inTheMiddle, atTheEnd} {
			for lost := false; !lost; {
				sample(t, w, 2_000, rows+1)
				rows += 2_000
				var r *run
				if r, lost = w.goBack(t, m, w.crash(t)); lost {
					wentBack(t, w, r)
				} else {
					require.Zero(t, r.code, "crash %d: %s", i, r.output)
				}
			}
		}
	}
	w.load(t)

	// What a run calls succeeded was waited for.
	sample(t, w, 500, rows+1)
	d := w.crash(t)
	d.keep()
	w.load(t)
	d.strike()
	require.Equal(t, "succeeded", w.one(t, "select status from candu.loader_runs order by id desc limit 1"))
	require.Zero(t, w.number(t, misplaced))
	w.settle(t, 3*rows)
}

// The suite bites.
func TestCrash_BitesWithoutComparing(t *testing.T) {
	t.Parallel()
	w := alone(t, forgetful...)
	rows := 1
	for lost := false; !lost; {
		sample(t, w, 2_000, rows+1)
		rows += 2_000
		var r *run
		r, lost = w.goBack(t, inTheMiddle, w.crash(t), "CANDU_FAILPOINT_WITHOUT=compare")
		require.Zero(t, r.code, "%s", r.output)
		w.load(t)
	}
	require.Positive(t, w.number(t, misplaced), "rows must be lost without the mechanism, or this suite proves nothing")
}

// twoHolders starts a run, puts back a backup that was made before, and starts a second one, which
// has the same number and the same token. Both stand, having recorded.
func twoHolders(t *testing.T, stops string, env ...string) (w *world, first, second *run) {
	t.Helper()
	w = setup(t, "page_size: 100, lookback: 1m", "batch_size: 50")
	w.begin(t)
	sample(t, w, 2_000, 2)
	backup := w.restore(t)
	backup.keep()
	const holds = "select concat_ws(' ', r.id, l.token) from candu.loader_runs r, candu.loader_leases l where r.status = 'running'"
	first = w.start(t, append(env, "CANDU_FAILPOINT_STOP="+stops)...)
	first.stops(t)
	holder := w.one(t, holds)
	backup.strike()
	second = w.startStopped(t, "after_commit", 1)
	require.Equal(t, holder, w.one(t, holds), "run and token repeat")
	// While it stands, its lease would run out.
	w.exec(t, "update candu.loader_leases set expires_at = clock_timestamp() + interval '45 seconds'")
	return w, first, second
}

// A backup is put back in the middle of a run, and another run begins: the first one records nothing
// more, though the second has its number and its token.
func TestTwoHolders(t *testing.T) {
	t.Parallel()
	for range times(1, 10) {
		w, first, second := twoHolders(t, "after_commit:3")
		const stands = "select concat_ws(' ', watermark_id, (select page from candu.loader_runs)) from candu.loader_state"
		before := w.one(t, stands)
		first.goOn(t)
		require.Equal(t, 5, first.wait(t), "%s", first.output)
		require.Contains(t, first.output.String(), "nothing more was recorded")
		require.Equal(t, before, w.one(t, stands))
		second.goOn(t)
		require.Zero(t, second.wait(t), "%s", second.output)
		w.settle(t, 2_001)
	}
}

// The suite bites: without a look at the holder the first one moves the second one's watermark.
func TestTwoHolders_BiteWithoutComparing(t *testing.T) {
	t.Parallel()
	w, first, second := twoHolders(t, "after_commit:3,after_commit:4", "CANDU_FAILPOINT_WITHOUT=compare")
	first.goOn(t)
	first.stops(t)
	for _, r := range []*run{first, second} {
		r.signal(t, syscall.SIGKILL)
		r.wait(t)
	}
	w.bury(t)
	w.load(t)
	require.Positive(t, w.number(t, misplaced), "rows must be lost without the mechanism, or this suite proves nothing")
}
