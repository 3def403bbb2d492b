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
)

// inFlight is how many rows can be between sending and recording: four pages that are recorded,
// and four that are sent.
func inFlight(pageSize int) int { return 2 * 4 * pageSize }

// Kills at named places and at random moments, while the export grows.
func TestKills(t *testing.T) {
	t.Parallel()
	w := setup(t, "page_size: 200, lookback: 0s", "batch_size: 50")
	sample(t, w, 2_000, 1)
	places := []string{"migration", "between_pages", "after_send", "inside_commit", "after_commit", "random"}
	next, kills := 2_001, times(24, 1_000)
	for i := 0; w.kills < kills; i++ {
		require.Less(t, i, 3*kills, "the loader does not die any more")
		if i%3 == 2 {
			sample(t, w, 300, next)
			next += 300
		}
		place := places[i%len(places)]
		if i == 0 {
			place = "migration" // There is one only once.
		}
		r := w.start(t, fmt.Sprintf("CANDU_FAILPOINT_KILL=%s:%d", place, 1+w.dice.IntN(2)))
		if place == "random" {
			timer := time.AfterFunc(time.Duration(w.dice.IntN(60))*time.Millisecond, func() { _ = r.cmd.Process.Kill() })
			defer timer.Stop()
		}
		switch code := r.wait(); code {
		case -1:
			w.kills++
		case 0:
		default:
			require.Zero(t, code, r.output.String())
		}
		w.bury(t)
		w.checkWatermark(t)
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
	r := w.start(t, "CANDU_FAILPOINT_WITHOUT=one_transaction", "CANDU_FAILPOINT_KILL=after_watermark:3")
	require.Equal(t, -1, r.wait(), r.output.String())
	w.bury(t)
	w.load(t)
	require.Positive(t, w.number(t, misplaced), "rows must be lost without the mechanism, or this suite proves nothing")
}

// writers commit out of order, hold transactions open, roll back, and use equal
// timestamps, until stop.
func writers(t *testing.T, w *world, commits int, stop <-chan struct{}) {
	t.Helper()
	var group sync.WaitGroup
	const workers = 8
	for worker := range workers {
		dice := w.seed + uint64(worker)
		group.Go(func() {
			for i := range commits / workers {
				select {
				case <-stop:
					return
				default:
				}
				dice = dice*6364136223846793005 + 1442695040888963407
				hold := time.Duration(dice>>40%4) * time.Millisecond
				if dice>>50%500 == 0 {
					hold = 400 * time.Millisecond
				}
				id := worker*10_000_000 + i*3
				if err := write(context.Background(), w, id, hold, dice>>56%10 == 0); err != nil {
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
		writers(t, w, commits, nil)
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
	require.Zero(t, r.wait(), r.output.String())
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
	require.Equal(t, 1, r.wait(), r.output.String())
	require.True(t, contains(r.output, "hint: Segment was not reachable"), r.output.String())
	w.fake.SetFaults(fakesegment.Faults{})
	w.settle(t, rows) // Whatever was accepted without a complete answer is sent again.
}

// Connections to both sides break, stall and crawl.
func TestBrokenNetwork(t *testing.T) {
	t.Parallel()
	w := setup(t, "page_size: 200", "batch_size: 50, retry_for: 5m")
	rows := times(4_000, 40_000)
	sample(t, w, rows, 1)
	r := w.start(t)
	done := make(chan int, 1)
	go func() { done <- r.wait() }()
	// A server that can't be reached at the start is a precondition, exit 3.
	require.Eventually(t, func() bool { return w.fake.Stats().Accepted > 0 }, time.Minute, time.Millisecond)
	code := -2
	for broken := 0; code == -2; broken++ {
		timer := time.NewTimer(time.Duration(30+w.dice.IntN(120)) * time.Millisecond)
		select {
		case code = <-done:
		case <-timer.C:
			proxy := []*toxiproxy.Proxy{w.postgres, w.segment}[broken%2]
			if broken < times(8, 60) {
				proxy.Stop()
				// Meanwhile another's outgoing connection may have been given the port.
				require.Eventually(t, func() bool { return proxy.Start() == nil }, 30*time.Second, 5*time.Millisecond)
			}
		}
		timer.Stop()
	}
	require.Zero(t, code, r.output.String())
	w.settle(t, rows)
}

// Postgres, source and warehouse in one, is killed in the middle of a run, and
// comes back: the run goes on by itself.
func TestPostgresCrash(t *testing.T) {
	t.Parallel()
	for i := range times(1, 10) {
		w := setup(t, "page_size: 100", "batch_size: 50")
		sample(t, w, 4_000, 1)
		w.fake.SetFaults(fakesegment.Faults{Faults: []fakesegment.Fault{{Kind: fakesegment.Delay, DelayMillis: 10}}})
		r := w.start(t)
		at := 500 + int64(w.dice.IntN(2_000))
		require.Eventually(t, func() bool { return w.fake.Stats().Accepted > at }, time.Minute, time.Millisecond)
		began := time.Now()
		require.NoError(t, w.server.Crash(t.Context()))
		require.Zero(t, r.wait(), "crash %d: %s", i, r.output.String())
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
	r := w.start(t)
	done := make(chan int, 1)
	go func() { done <- r.wait() }()
	tick := time.NewTicker(60 * time.Millisecond)
	defer tick.Stop()
	code := -2
	for n := 0; code == -2; n++ {
		select {
		case code = <-done:
		case <-tick.C:
			if n < times(10, 100) {
				_, err := w.db.Exec(t.Context(), "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'candu-loader%'")
				require.NoError(t, err)
			}
		}
	}
	require.Zero(t, code, r.output.String())
	w.settle(t, inFlight(100))
}

// Several loaders are started together: one works, the others say who holds the
// lease, or find nothing to do.
func TestStartedTogether(t *testing.T) {
	t.Parallel()
	w := setup(t, "page_size: 200", "batch_size: 100")
	sample(t, w, 500, 1)
	busy := 0
	for round := range times(4, 60) {
		runs := make([]*run, 4)
		for i := range runs {
			runs[i] = w.start(t)
		}
		worked := 0
		for _, r := range runs {
			switch code := r.wait(); code {
			case 0:
				worked++
			case 5:
				busy++
				require.True(t, contains(r.output, "the run lease is held by "), r.output.String())
			default:
				require.Zero(t, code, r.output.String())
			}
		}
		require.Positive(t, worked)
		sample(t, w, 300, 501+300*round)
	}
	require.Positive(t, busy)
	w.settle(t, 0)
}

// zombie stops a loader in the middle, lets another one take over and finish, and
// wakes it up. It returns its exit code.
func zombie(t *testing.T, w *world, env ...string) int {
	t.Helper()
	w.fake.SetFaults(fakesegment.Faults{Faults: []fakesegment.Fault{{Kind: fakesegment.Delay, DelayMillis: 20}}})
	before := w.fake.Stats().Accepted
	r := w.start(t, env...)
	require.Eventually(t, func() bool { return w.fake.Stats().Accepted > before+200 }, time.Minute, time.Millisecond)
	r.signal(t, syscall.SIGSTOP)
	w.fake.SetFaults(fakesegment.Faults{})
	w.expire(t)
	w.load(t)
	r.signal(t, syscall.SIGCONT)
	code := r.wait()
	t.Logf("the zombie said: %s", r.output)
	return code
}

func TestZombies(t *testing.T) {
	t.Parallel()
	w := setup(t, "page_size: 100", "batch_size: 50, concurrency: 2")
	n := times(2, 30)
	for i := range n {
		sample(t, w, 2_000, 1+2_000*i)
		mirror := "(select count(*) from candu.screens) + (select count(*) from candu.tracks)"
		code := zombie(t, w)
		require.Equal(t, 5, code, "a zombie must not say that it succeeded")
		require.Equal(t, 2_000*(i+1), w.number(t, mirror))
	}
	w.settle(t, n*inFlight(100))
}

// The suite bites: without the fencing token a zombie commits what it has. One that was
// stopped inside of a transaction loses that to its time limit and then notices; so it
// may take some.
func TestZombies_BiteWithoutFencing(t *testing.T) {
	t.Parallel()
	w := setup(t, "page_size: 100", "batch_size: 50, concurrency: 2")
	sample(t, w, 2_000, 1)
	w.load(t)
	for i := range 5 {
		if zombieBites(t, w, 2_001+2_000*i) {
			return
		}
	}
	require.Fail(t, "a zombie must commit without the mechanism, or this suite proves nothing")
}

// zombieBites reports whether a zombie without fencing commits. What it holds is mirrored by
// the other one; then the mirror is emptied. A zombie's commit brings rows back.
func zombieBites(t *testing.T, w *world, first int) bool {
	t.Helper()
	sample(t, w, 2_000, first)
	w.fake.SetFaults(fakesegment.Faults{Faults: []fakesegment.Fault{{Kind: fakesegment.Delay, DelayMillis: 20}}})
	r := w.start(t, "CANDU_FAILPOINT_WITHOUT=fencing")
	before := w.fake.Stats().Accepted
	require.Eventually(t, func() bool { return w.fake.Stats().Accepted > before+200 }, time.Minute, time.Millisecond)
	r.signal(t, syscall.SIGSTOP)
	w.fake.SetFaults(fakesegment.Faults{})
	w.expire(t)
	w.load(t)
	_, err := w.db.Exec(t.Context(), "truncate candu.screens, candu.tracks, candu.tutorial_interaction")
	require.NoError(t, err)
	r.signal(t, syscall.SIGCONT)
	r.wait()
	return w.number(t, "(select count(*) from candu.screens) + (select count(*) from candu.tracks)") > 0
}

// Exporters whose clocks are ahead or behind: lookback catches the latter, the former
// never drag the watermark.
func TestSkewedClocks(t *testing.T) {
	t.Parallel()
	w := setup(t, "page_size: 100, lookback: 2m", "batch_size: 50")
	sample(t, w, 0, 1)
	for i := range times(6, 60) {
		skew := time.Duration(w.dice.IntN(180)-90) * time.Second
		_, err := w.db.Exec(t.Context(), `insert into candu_interactions (id, kind, user_id, tutorial_id, occurred_at, exported_at)
			select $1::bigint * 1000 + n, 'view', 'u', 1, now(), now() + make_interval(secs => $2) from generate_series(1, 50) n`, i, skew.Seconds())
		require.NoError(t, err)
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
	w.fake.SetFaults(fakesegment.Faults{Faults: []fakesegment.Fault{{Kind: fakesegment.Delay, DelayMillis: 10}}})
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		before := w.fake.Stats().Accepted
		r := w.start(t)
		require.Eventually(t, func() bool { return w.fake.Stats().Accepted > before+300 }, time.Minute, time.Millisecond)
		began := time.Now()
		r.signal(t, signal)
		require.Equal(t, 128+int(signal), r.wait(), r.output.String())
		require.Less(t, time.Since(began), 30*time.Second)
	}
	require.Equal(t, 2, w.number(t, "select count(*) from candu.loader_runs where status = 'interrupted'"))
	w.settle(t, 0)
}

// PgBouncer in transaction mode in front of both databases; migrations go to the
// server itself.
func TestPgBouncer(t *testing.T) {
	t.Parallel()
	w := setup(t, "page_size: 100", "batch_size: 50")
	sample(t, w, 2_000, 1)
	address := startBouncer(t, w)
	pooled := "postgres://postgres@" + address + "/postgres?sslmode=disable"
	w.configure(t, pooled, w.server.URL("postgres", "postgres"), "page_size: 100", "batch_size: 50")
	w.load(t)
	sample(t, w, 500, 2_001)
	w.settle(t, 0)
}
