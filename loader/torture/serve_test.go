//go:build unix

package torture_test

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/fakesegment"
)

// Three replicas with a slot every second, of which one is killed each few seconds
// while rows come in: every slot ends once, and every row arrives once.
func TestServe_Replicas(t *testing.T) {
	t.Parallel()
	w := setup(t, `page_size: 200, lookback: 0s, schedule: "@every 1s"`, "batch_size: 50")
	sample(t, w, 2_000, 1)
	// Slow answers, so that kills meet runs under way.
	w.fake.SetFaults(fakesegment.Faults{Faults: []fakesegment.Fault{{Kind: fakesegment.Delay, DelayMillis: 300}}})
	replicas := []*run{}
	for range 3 {
		replicas = append(replicas, w.command(t, []string{"serve"}))
	}
	t.Cleanup(func() {
		for _, r := range replicas {
			_ = r.cmd.Process.Kill()
			r.wait()
		}
	})
	writing, stop := context.WithCancel(t.Context())
	defer stop()
	written := make(chan error, 1)
	go func() { written <- trickle(writing, w) }()

	// A busy machine takes its time until one of them serves.
	require.Eventually(t, func() bool {
		var slots int64
		err := w.db.QueryRow(t.Context(), "select count(*) from candu.loader_slots").Scan(&slots)
		return err == nil && slots > 0
	}, time.Minute, 50*time.Millisecond)
	end := time.After(time.Duration(times(60, 600)) * time.Second)
	kill := time.NewTicker(3 * time.Second)
	defer kill.Stop()
killing:
	for {
		select {
		case <-end:
			break killing
		case <-kill.C:
			victim := w.dice.IntN(len(replicas))
			require.NoError(t, replicas[victim].cmd.Process.Kill())
			require.Equal(t, -1, replicas[victim].wait(), replicas[victim].output.String())
			w.kills++
			replicas[victim] = w.command(t, []string{"serve"})
			w.checkWatermark(t)
		}
	}
	stop()
	require.NoError(t, <-written)
	for _, r := range replicas {
		r.signal(t, syscall.SIGTERM)
	}
	for _, r := range replicas {
		require.Equal(t, 143, r.wait(), r.output.String())
	}
	w.fake.SetFaults(fakesegment.Faults{})
	// What time would do with the slots and the lease of the dead.
	w.expire(t)
	_, err := w.db.Exec(t.Context(), "update candu.loader_slots set held_until = clock_timestamp() - interval '1 second' where status = 'running'")
	require.NoError(t, err)
	last := w.command(t, []string{"serve", "--once"})
	require.Zero(t, last.wait(), last.output.String())

	require.Zero(t, w.number(t, `select count(*) from (
		select slot_at - lag(slot_at) over (order by slot_at) as step from candu.loader_slots) s where step <> interval '1 second'`), "slots without a row")
	require.GreaterOrEqual(t, w.number(t, "select count(*) from candu.loader_slots"), times(60, 600))
	require.Zero(t, w.number(t, "select count(*) from candu.loader_slots where status not in ('ran', 'caught_up', 'skipped_overlap', 'missed')"), "slots without an end")
	require.Zero(t, w.number(t, "select count(*) from candu.loader_slots where (run_id is null) = (status in ('ran', 'caught_up'))"), "slots without their run")
	require.Positive(t, w.number(t, "select count(*) from candu.loader_slots where status = 'ran'"))
	t.Log(w.one(t, "select string_agg(format('%s %s', n, status), ', ') from (select status, count(*) as n from candu.loader_slots group by 1) s"))
	w.settle(t, w.kills*inFlight(200))
}

// trickle inserts a few rows now and then, until ctx is done.
func trickle(ctx context.Context, w *world) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for id := 1_000_000; ; id++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := write(context.WithoutCancel(ctx), w, id*3, 0, false); err != nil {
			return err
		}
	}
}
