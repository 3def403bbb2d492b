//go:build unix

package torture_test

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/fakesegment"
	"github.com/candu-loader/candu-loader/loader/loadertest"
)

// Three replicas with a slot every second, of which one after the other is killed while a run
// is under way and rows come in: every slot ends once, and every row arrives once.
func TestServe_Replicas(t *testing.T) {
	t.Parallel()
	w := setup(t, `page_size: 200, lookback: 0s, schedule: "@every 1s"`, "batch_size: 50")
	sample(t, w, 2_000, 1)
	w.load(t) // Else each has to wait for the schema.
	// Slow answers, so that kills meet runs under way.
	w.fake.SetFaults(fakesegment.Faults{Faults: []fakesegment.Fault{{Kind: fakesegment.Delay, DelayMillis: 300}}})
	replicas := []*run{}
	for range 3 {
		replicas = append(replicas, w.command(t, []string{"serve"}))
	}
	writing, stop := context.WithCancel(t.Context())
	defer stop()
	written := make(chan error, 1)
	go func() { written <- trickle(writing, w) }()

	const ran = "select count(distinct run_id) from candu.loader_slots where status in ('ran', 'caught_up')"
	kills := times(4, 180)
	for ; w.kills < kills; w.kills++ {
		before := w.number(t, ran)
		loadertest.Eventually(t, func() bool { return w.number(t, ran) > before }, "kill %d: a slot to end", w.kills)
		requests := w.fake.Stats().Requests
		loadertest.Eventually(t, func() bool { return w.fake.Stats().Requests > requests }, "kill %d: a run to send", w.kills)
		victim := w.dice.IntN(len(replicas))
		require.False(t, replicas[victim].ends(time.Duration(w.dice.IntN(300))*time.Millisecond), "%s", replicas[victim].output)
		replicas[victim].signal(t, syscall.SIGKILL)
		require.Equal(t, -1, replicas[victim].wait(t), "%s", replicas[victim].output)
		w.inherit(t, replicas[victim])
		replicas[victim] = w.command(t, []string{"serve"})
		w.checkWatermark(t)
	}
	stop()
	require.NoError(t, loadertest.Receive(t, written, "the last row to be written"))
	for _, r := range replicas {
		loadertest.Eventually(t, func() bool { return strings.Contains(r.output.String(), "msg=serving") }, "a replica to serve")
		r.signal(t, syscall.SIGTERM)
	}
	for _, r := range replicas {
		require.Equal(t, 143, r.wait(t), "%s", r.output)
	}
	w.fake.SetFaults(fakesegment.Faults{})
	// What time would do with the slots and the lease of the dead.
	w.expire(t)
	w.exec(t, "update candu.loader_slots set held_until = clock_timestamp() - interval '1 second' where status = 'running'")
	last := w.command(t, []string{"serve", "--once"})
	require.Zero(t, last.wait(t), "%s", last.output)

	require.Zero(t, w.number(t, `select count(*) from (
		select slot_at - lag(slot_at) over (order by slot_at) as step from candu.loader_slots) s where step <> interval '1 second'`), "slots without a row")
	require.GreaterOrEqual(t, w.number(t, ran), kills)
	require.Zero(t, w.number(t, "select count(*) from candu.loader_slots where status not in ('ran', 'caught_up', 'skipped_overlap', 'missed')"), "slots without an end")
	require.Zero(t, w.number(t, "select count(*) from candu.loader_slots where (run_id is null) = (status in ('ran', 'caught_up'))"), "slots without their run")
	t.Log(w.one(t, "select string_agg(format('%s %s', n, status), ', ') from (select status, count(*) as n from candu.loader_slots group by 1) s"))
	w.settle(t, w.kills*inFlight(200))
}

// inherit does what time would do: the lease and the slots of a loader that died run out.
func (w *world) inherit(t *testing.T, dead *run) {
	t.Helper()
	holder := fmt.Sprintf("%%:%d:%%", dead.cmd.Process.Pid)
	for _, sql := range []string{
		"update candu.loader_leases set expires_at = clock_timestamp() - interval '1 second' where expires_at > clock_timestamp() and holder like $1",
		"update candu.loader_slots set held_until = clock_timestamp() - interval '1 second' where status = 'running' and holder like $1",
	} {
		w.exec(t, sql, holder)
	}
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
