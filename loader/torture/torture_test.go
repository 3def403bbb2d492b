//go:build unix

// Package torture tries to break the guarantees: real processes of the loader, a
// real Postgres, and a fake Segment, with proxies in between. Every scenario ends in
// the same invariants (world.settle).
package torture_test

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/fakesegment"
	"github.com/candu-loader/candu-loader/loader/loadertest"
)

// inFlight is how many rows can be between sending and recording: three pages that are recorded,
// and three that are sent.
func inFlight(pageSize int) int { return 2 * 3 * pageSize }

// Kills at named places and at random moments, while the export grows.
func TestKills(t *testing.T) {
	t.Parallel()
	w := setup(t, "page_size: 200, lookback: 0s", "batch_size: 50")
	sample(t, w, 2_000, 1)
	places := []string{"between_pages", "after_send", "inside_commit", "after_commit"}
	for i := range times(24, 1_000) {
		place, nth := places[i%len(places)], 1
		switch {
		case i == 0:
			place = "migration" // There is one only once.
		case i%3 == 1:
			nth = 2 // Where no run comes by again, it ends in peace.
		case i%3 == 2:
			place = "random"
		}
		r := w.start(t, fmt.Sprintf("CANDU_FAILPOINT_KILL=%s:%d", place, nth))
		if place == "random" {
			r.ends(time.Duration(w.dice.IntN(60)) * time.Millisecond)
			r.signal(t, syscall.SIGKILL)
		}
		code := r.wait(t)
		if place != "random" && nth == 1 {
			require.Equal(t, -1, code, "at %s: %s", place, r.output)
		}
		if code == -1 {
			w.kills++
		} else {
			require.Zero(t, code, "%s", r.output)
		}
		w.bury(t)
		w.checkWatermark(t)
		// So that the next one has something to do.
		sample(t, w, 100, 2_001+100*i)
	}
	began := time.Now()
	w.settle(t, w.kills*inFlight(200))
	total.recovery(time.Since(began))
}

// The suite bites: where the watermark is recorded before the mirror, a kill in
// between loses rows.
func TestKills_BiteWithoutOneTransaction(t *testing.T) {
	t.Parallel()
	w := setup(t, "page_size: 200, lookback: 0s", "batch_size: 50")
	sample(t, w, 2_000, 1)
	r := w.start(t, "CANDU_FAILPOINT_WITHOUT=one_transaction", "CANDU_FAILPOINT_KILL=after_watermark:2")
	require.Equal(t, -1, r.wait(t), "%s", r.output)
	w.bury(t)
	w.load(t)
	require.Positive(t, w.number(t, misplaced), "rows must be lost without the mechanism, or this suite proves nothing")
}

// writers commit out of order, hold transactions open, roll back, and use equal
// timestamps.
func writers(t *testing.T, w *world, commits int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience())
	defer cancel()
	var group sync.WaitGroup
	const workers = 8
	for worker := range workers {
		dice := w.seed + uint64(worker)
		group.Go(func() {
			for i := range commits / workers {
				dice = dice*6364136223846793005 + 1442695040888963407
				hold := time.Duration(dice>>40%4) * time.Millisecond
				if dice>>50%500 == 0 {
					hold = 400 * time.Millisecond
				}
				id := worker*10_000_000 + i*3
				if err := write(ctx, w, id, hold, dice>>56%10 == 0); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
}

// write is one transaction of an exporter: rows stamped with its beginning.
func write(ctx context.Context, w *world, id int, hold time.Duration, rollback bool) error {
	tx, err := w.db.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(ctx) }()
	if _, err := tx.Exec(ctx, `insert into candu_interactions (id, kind, user_id, tutorial_id, occurred_at, exported_at)
		select $1::bigint + n, 'view', 'u', 1, now(), date_trunc('milliseconds', now()) from generate_series(0, 1) n`, id); err != nil {
		return err
	}
	if hold > 0 {
		timer := time.NewTimer(hold)
		defer timer.Stop()
		<-timer.C
	}
	if rollback {
		return nil
	}
	if _, err := tx.Exec(ctx, `insert into candu_interactions (id, kind, user_id, tutorial_id, occurred_at, exported_at)
		values ($1, 'view', 'u', 1, now(), now())`, id+2); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

// Rows that commit late are not missed, with lookback 0, while runs go on.
func TestLateCommits(t *testing.T) {
	t.Parallel()
	w := setup(t, "page_size: 1000, lookback: 0s", "batch_size: 500")
	sample(t, w, 0, 1)
	commits := times(3_000, 100_000)
	done := make(chan struct{})
	go func() {
		defer close(done)
		writers(t, w, commits)
	}()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
			w.load(t)
		}
	}
	w.settle(t, 0)
	total.commits(commits)
}

// The suite bites: with the watermark at the last row read, rows that commit
// behind it are missed.
func TestLateCommits_BiteWithoutSafePoint(t *testing.T) {
	t.Parallel()
	w := setup(t, "page_size: 1000, lookback: 0s", "batch_size: 500")
	sample(t, w, 0, 1)
	tx, err := w.db.Begin(t.Context())
	require.NoError(t, err)
	insert := `insert into candu_interactions (id, kind, user_id, tutorial_id, occurred_at, exported_at) values ($1, 'view', 'u', 1, now(), now())`
	_, err = tx.Exec(t.Context(), insert, 1)
	require.NoError(t, err)
	_, err = w.db.Exec(t.Context(), insert, 2)
	require.NoError(t, err)
	r := w.start(t, "CANDU_FAILPOINT_WITHOUT=safe_point")
	require.Zero(t, r.wait(t), "%s", r.output)
	require.NoError(t, tx.Commit(t.Context()))
	w.load(t)
	require.Equal(t, 1, w.number(t, misplaced), "a row must be lost without the mechanism, or this suite proves nothing")
}

// Segment answers with trouble of every kind; and stays away for longer than
// retry_for.
func TestStorm(t *testing.T) {
	t.Parallel()
	w := setup(t, "page_size: 1000", "batch_size: 100, concurrency: 16, retry_for: 5m")
	rows := times(5_000, 100_000)
	sample(t, w, rows, 1)
	w.fake.SetFaults(fakesegment.Faults{Faults: []fakesegment.Fault{
		{Kind: fakesegment.Status, Status: 429, RetryAfter: 1, Share: 0.01},
		{Kind: fakesegment.Status, Status: 503, Share: 0.08}, {Kind: fakesegment.Status, Status: 500, Share: 0.02},
		{Kind: fakesegment.ResetBefore, Share: 0.04}, {Kind: fakesegment.ResetAfter, Share: 0.04}, {Kind: fakesegment.Cut, Share: 0.03},
		{Kind: fakesegment.Delay, DelayMillis: 30, Share: 0.2}, {Kind: fakesegment.Status, Status: 413, Share: 0.02},
	}})
	w.load(t)
	sample(t, w, 1_000, rows+1)
	w.configure(t, w.url, w.url, "page_size: 1000", "batch_size: 100, retry_for: 1s")
	w.fake.SetFaults(fakesegment.Faults{Faults: []fakesegment.Fault{{Kind: fakesegment.Status, Status: 503}}})
	r := w.start(t)
	require.Equal(t, 1, r.wait(t), "%s", r.output)
	require.Contains(t, r.output.String(), "hint: Segment could not be reached")
	w.fake.SetFaults(fakesegment.Faults{})
	w.settle(t, rows) // Whatever was accepted without a complete answer is sent again.
}

// Connections to both sides break, stall and crawl.
func TestBrokenNetwork(t *testing.T) {
	t.Parallel()
	w := setup(t, "page_size: 200", "batch_size: 50, retry_for: 5m")
	rows := times(4_000, 40_000)
	sample(t, w, rows, 1)
	// A server that can't be reached at the start is a precondition, exit 3.
	r := w.startStopped(t, "between_pages", 2)
	r.goOn(t)
	for broken := range times(8, 60) {
		if broken > 0 && r.ends(time.Duration(30+w.dice.IntN(120))*time.Millisecond) {
			break
		}
		proxy := []*toxiproxy.Proxy{w.postgres, w.segment}[broken%2]
		proxy.Stop()
		// Meanwhile another's outgoing connection may have been given the port.
		loadertest.Eventually(t, func() bool { return proxy.Start() == nil }, "the port of a proxy to be free again")
	}
	require.Zero(t, r.wait(t), "%s", r.output)
	w.settle(t, rows)
}

// Postgres, source and warehouse in one, is killed in the middle of a run, and
// comes back: the run goes on by itself.
func TestPostgresCrash(t *testing.T) {
	t.Parallel()
	for i := range times(1, 9) {
		server, err := loadertest.Start(t.Context(), loadertest.Options{TCP: true, Durable: true})
		require.NoError(t, err)
		t.Cleanup(server.Stop)
		w := setupOn(t, server, "page_size: 100", "batch_size: 50")
		sample(t, w, 4_000, 1)
		place := []string{"inside_commit", "between_pages", "after_send"}[i%3]
		r := w.startStopped(t, place, 2+w.dice.IntN(4))
		began := time.Now()
		require.NoError(t, w.server.Kill())
		r.goOn(t)
		require.NoError(t, w.server.Restart(t.Context()))
		require.Zero(t, r.wait(t), "crash %d at %s: %s", i, place, r.output)
		total.recovery(time.Since(began))
		w.db.Reset()
		w.settle(t, inFlight(100))
	}
}

// Backends are terminated again and again, in the middle of whatever they do.
func TestTerminatedBackends(t *testing.T) {
	t.Parallel()
	w := setup(t, "page_size: 100", "batch_size: 50")
	sample(t, w, times(3_000, 20_000), 1)
	r := w.startStopped(t, "between_pages", 2)
	r.goOn(t)
	for range times(10, 100) {
		w.exec(t, `select pg_terminate_backend(pid) from pg_stat_activity
			where datname = current_database() and application_name like 'candu-loader%'`)
		if r.ends(60 * time.Millisecond) {
			break
		}
	}
	require.Zero(t, r.wait(t), "%s", r.output)
	w.settle(t, inFlight(100))
}

// Several loaders are started together: one works, the others say who holds the
// lease, or find nothing to do.
func TestStartedTogether(t *testing.T) {
	t.Parallel()
	w := setup(t, "page_size: 200", "batch_size: 100")
	sample(t, w, 500, 1)
	for round := range times(4, 60) {
		runs := make([]*run, 4)
		for i := range runs {
			runs[i] = w.start(t)
		}
		worked := 0
		for _, r := range runs {
			switch code := r.wait(t); code {
			case 0:
				worked++
			case 5:
				require.Contains(t, r.output.String(), "the run lease is held by ")
			default:
				require.Zero(t, code, "%s", r.output)
			}
		}
		require.Positive(t, worked)
		sample(t, w, 300, 501+300*round)
	}
	w.settle(t, 0)
}

// A loader that comes while another one works says who that is.
func TestStartedBeside(t *testing.T) {
	t.Parallel()
	w := setup(t, "page_size: 200", "batch_size: 100")
	sample(t, w, 500, 1)
	first := w.startStopped(t, "between_pages", 2)
	// While it stands, its lease would run out.
	w.exec(t, "update candu.loader_leases set expires_at = clock_timestamp() + interval '45 seconds'")
	second := w.start(t)
	require.Equal(t, 5, second.wait(t), "%s", second.output)
	require.Contains(t, second.output.String(), "the run lease is held by ")
	require.Contains(t, second.output.String(), fmt.Sprintf(":%d:", first.cmd.Process.Pid))
	first.goOn(t)
	require.Zero(t, first.wait(t), "%s", first.output)
	w.settle(t, 0)
}

// takeOver lets another loader take over from one that stands, and finish.
func takeOver(t *testing.T, w *world) {
	t.Helper()
	w.expire(t)
	w.load(t)
}

// A loader that stood while another one took over records nothing more, wherever it stood. One
// that stood inside of a transaction loses that to the server's limit.
func TestZombies(t *testing.T) {
	t.Parallel()
	w := setup(t, "page_size: 100", "batch_size: 50, concurrency: 2")
	n := times(3, 30)
	for i := range n {
		sample(t, w, 2_000, 1+2_000*i)
		place := []string{"between_pages", "after_send", "inside_commit"}[i%3]
		zombie := w.startStopped(t, place, 1+w.dice.IntN(4))
		takeOver(t, w)
		zombie.goOn(t)
		require.Equal(t, 5, zombie.wait(t), "stopped at %s, a zombie must not say that it succeeded: %s", place, zombie.output)
		require.Equal(t, 2_000*(i+1), w.number(t, mirrored))
	}
	w.settle(t, n*inFlight(100))
}

// The suite bites: without a look at the lease a zombie commits what it has. The other one
// mirrored that; then the mirror is emptied, and the zombie's commit brings rows back.
func TestZombies_BiteWithoutComparing(t *testing.T) {
	t.Parallel()
	w := setup(t, "page_size: 100", "batch_size: 50, concurrency: 2")
	sample(t, w, 2_000, 1)
	zombie := w.startStopped(t, "after_send", 1, "CANDU_FAILPOINT_WITHOUT=compare")
	takeOver(t, w)
	for _, table := range []string{"screens", "tracks", "tutorial_interaction"} { // Not truncate: the zombie may be looking at them.
		w.exec(t, "delete from candu."+table)
	}
	zombie.goOn(t)
	zombie.wait(t)
	require.Positive(t, w.number(t, mirrored), "a zombie must commit without the mechanism, or this suite proves nothing")
}

// Exporters whose clocks are ahead or behind: lookback catches the latter, the former
// never drag the watermark.
func TestSkewedClocks(t *testing.T) {
	t.Parallel()
	w := setup(t, "page_size: 100, lookback: 2m", "batch_size: 50")
	sample(t, w, 0, 1)
	for i := range times(6, 60) {
		skew := time.Duration(w.dice.IntN(180)-90) * time.Second
		w.exec(t, `insert into candu_interactions (id, kind, user_id, tutorial_id, occurred_at, exported_at)
			select $1::bigint * 1000 + n, 'view', 'u', 1, now(), now() + make_interval(secs => $2) from generate_series(1, 50) n`, i, skew.Seconds())
		w.load(t)
	}
	w.settle(t, 0)
}

// SIGTERM in the middle of a run: what is in flight is recorded, and nothing is
// sent twice.
func TestTerminated(t *testing.T) {
	t.Parallel()
	w := setup(t, "page_size: 100", "batch_size: 50")
	sample(t, w, 3_000, 1)
	// It notices before the rest is sent.
	w.fake.SetFaults(fakesegment.Faults{Faults: []fakesegment.Fault{{Kind: fakesegment.Delay, DelayMillis: 100}}})
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		r := w.startStopped(t, "between_pages", 4)
		r.signal(t, signal)
		r.goOn(t)
		require.Equal(t, 128+int(signal), r.wait(t), "%s", r.output)
	}
	require.Equal(t, 2, w.number(t, "select count(*) from candu.loader_runs where status = 'interrupted'"))
	w.fake.SetFaults(fakesegment.Faults{})
	w.settle(t, 0)
}
