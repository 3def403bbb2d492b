package serve

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/status"
)

// today is by the warehouse's clock, which is not this machine's.
var today = time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)

// mirror answers with views of today, or fails, and counts how often it is asked.
type mirror struct {
	views int64
	err   error
	asked int
}

func (m *mirror) count(context.Context, time.Time, time.Time) ([]ledger.Day, error) {
	m.asked++
	return []ledger.Day{{Date: today.Format(time.DateOnly), Views: m.views}}, m.err
}

// shown returns today's views, -1 if nothing is counted yet, when all that is due was counted.
func shown(t *testing.T, d *days, s *status.Source, m *mirror) (views int64, asOf *time.Time) {
	t.Helper()
	pause := func(until time.Time) bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.next = until
		return !d.counting
	}
	pause(time.Time{})
	d.get(t.Context(), s, m.count)
	require.Eventually(t, func() bool { return pause(time.Now().Add(time.Hour)) }, time.Minute, time.Millisecond, "the count ends")
	all, asOf := d.get(t.Context(), s, m.count)
	if all == nil {
		return -1, asOf
	}
	require.Len(t, all, daysShown)
	return all[daysShown-1].Views, asOf
}

func run(id, sent int64, ended time.Time) status.Run {
	run := ledger.RunRecord{ID: id, Counters: ledger.Counters{Sent: sent}}
	if !ended.IsZero() {
		run.FinishedAt = &ended
	}
	return status.Run{RunRecord: run}
}

func TestDays(t *testing.T) {
	t.Parallel()
	var d days
	m := &mirror{err: errors.New("away")}
	s := &status.Source{At: today}
	expect := func(views int64, fresh bool, why string) {
		t.Helper()
		got, asOf := shown(t, &d, s, m)
		require.Equal(t, views, got, why)
		require.Equal(t, fresh, asOf == nil, why)
	}
	expect(-1, true, "a count that failed shows nothing")
	m.err = nil
	expect(0, true, "nothing is there")
	began := time.Now()
	m.views, s.Running = 5, []status.Run{run(1, 5, time.Time{})}
	expect(5, false, "a run is under way, and goes on")
	m.views, s.Running, s.LastRuns = 9, nil, []status.Run{run(1, 9, began)}
	expect(9, true, "it ended")
	asked := m.asked
	s.LastRuns = append([]status.Run{run(2, 0, began.Add(time.Minute))}, s.LastRuns...)
	expect(9, true, "a run that sent nothing")
	require.Equal(t, asked, m.asked, "and nothing is counted")
	m.err, m.views, s.LastRuns = errors.New("away"), 11, append([]status.Run{run(3, 2, began.Add(time.Hour))}, s.LastRuns...)
	expect(9, false, "what was counted before a count that failed stays")
	m.err = nil
	expect(11, true, "and is counted again")

	s.LastRuns = append([]status.Run{run(4, 1, began.Add(2*time.Hour))}, s.LastRuns...)
	all, asOf := d.get(t.Context(), s, m.count)
	require.EqualValues(t, 11, all[daysShown-1].Views, "not all the time")
	require.NotNil(t, asOf)
}
