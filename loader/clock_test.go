package loader_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/fakesegment"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/loadertest"
	"github.com/candu-loader/candu-loader/loader/preflight"
)

// Segment shifts an event's time by what the sender's clock is off, for ever: so not even the first
// event of a run leaves, of any run.
func TestRun_StopsBeforeTheFirstEventWhereTheClockIsFarOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	w.cfg.Segment.CDN = w.fake.URL()
	w.sample(t, loadertest.Export{Rows: 300})
	for n, ahead := range []time.Duration{3 * time.Hour, -3 * time.Hour, 6 * time.Minute} {
		if n == 1 { // The key is known by now, and nobody is asked about it.
			w.fake.SetClock(0)
			w.run(t)
			w.insert(t, 10_000, time.Now().Add(-time.Minute))
		}
		before := w.fake.Stats()
		w.fake.SetClock(ahead)
		_, err := w.try(t, loader.RunOptions{})
		require.True(t, fault.Is(err, fault.Precondition), "%v", err)
		require.ErrorContains(t, err, "comparing clocks with "+w.fake.URL())
		require.Equal(t, before.Requests, w.fake.Stats().Requests)
		require.Equal(t, preflight.LevelError, w.check(t)["segment_clock_skew"].Level)
	}
	require.Equal(t, "0", w.one(t, "select count(*) from candu_test.loader_rejects"))

	w.fake.SetClock(2 * time.Minute)
	require.Equal(t, preflight.LevelWarning, w.check(t)["segment_clock_skew"].Level)
	require.EqualValues(t, 1, w.run(t).Sent)
	require.Contains(t, w.log.String(), "this machine's clock differs from Segment's")
	w.settled(t, "candu_interactions", "id")
}

// Where nobody is asked before, the first answer decides: what was under way is recorded, and no
// more is sent.
func TestRun_StopsAtTheFirstAnswerWhereNobodyIsAsked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{fake: fakesegment.Options{ClockAhead: -3 * time.Hour}, segment: "concurrency: 1\nbatch_size: 100", source: "page_size: 100"})
	w.sample(t, loadertest.Export{Rows: 1000})
	_, err := w.try(t, loader.RunOptions{})
	require.True(t, fault.Is(err, fault.Precondition), "%v", err)
	require.EqualValues(t, 1, w.fake.Stats().Requests)
	require.Len(t, w.list(t, mirrored), 100, "Segment has them")
	w.fake.SetClock(0)
	w.run(t)
	w.settled(t, "candu_interactions", "id")
}
