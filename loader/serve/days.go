package serve

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/status"
)

const (
	// daysShown is how many days the chart has.
	daysShown = 30
	// countTimeout bounds counting them; countShare is how much longer than that they are left
	// alone at least, so that a large mirror is not counted all the time.
	countTimeout = time.Minute
	countShare   = 20
)

// days counts events by day, again when a run has sent some. It is done beside the view, which
// shows what was counted last.
type days struct {
	mu       sync.Mutex
	counting bool
	// of are the changes that were counted in, at is when, next when they may be counted again.
	of       string
	at, next time.Time
	counted  []ledger.Day
}

// counter counts the events of [from, to) by day; days without one are left out.
type counter func(ctx context.Context, from, to time.Time) ([]ledger.Day, error)

// get returns the days as they were counted last, none if they never were, and when that was if
// more came since.
func (d *days) get(ctx context.Context, s *status.Source, count counter) ([]ledger.Day, *time.Time) {
	today := s.At.UTC().Truncate(24 * time.Hour)
	of, more := changes(s, today)
	d.mu.Lock()
	defer d.mu.Unlock()
	if of != d.of && !d.counting && time.Now().After(d.next) {
		d.counting = true
		done := make(chan struct{})
		go func() {
			defer close(done)
			d.count(ctx, of, today, count)
		}()
		d.mu.Unlock()
		// Usually it takes no time.
		select {
		case <-done:
		case <-time.After(500 * time.Millisecond):
		}
		d.mu.Lock()
	}
	if d.counted != nil && (more || of != d.of) {
		return d.counted, new(d.at)
	}
	return d.counted, nil
}

// changes names what makes the counts what they are: the day, and the runs that sent something.
// more is true if one of these is under way.
func changes(s *status.Source, today time.Time) (of string, more bool) {
	var last time.Time
	for _, r := range s.LastRuns {
		if r.Sent > 0 && r.FinishedAt != nil && r.FinishedAt.After(last) {
			last = *r.FinishedAt
		}
	}
	of = fmt.Sprint(today, last)
	for _, r := range s.Running {
		if r.Sent > 0 {
			of, more = fmt.Sprint(of, r.ID), true
		}
	}
	return of, more
}

// count counts all days. What was counted before stays if it fails.
func (d *days) count(ctx context.Context, of string, today time.Time, count counter) {
	ctx, cancel := context.WithTimeout(ctx, countTimeout)
	defer cancel()
	began := time.Now()
	counted, err := count(ctx, today.AddDate(0, 0, 1-daysShown), today.AddDate(0, 0, 1))
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counting, d.next = false, time.Now().Add(countShare*time.Since(began))
	if err != nil {
		return
	}
	byDate := map[string]ledger.Day{}
	for _, day := range counted {
		byDate[day.Date] = day
	}
	d.of, d.at, d.counted = of, began, make([]ledger.Day, daysShown)
	for i := range d.counted {
		date := today.AddDate(0, 0, i+1-daysShown).Format(time.DateOnly)
		d.counted[i] = ledger.Day{Date: date, Views: byDate[date].Views, Interactions: byDate[date].Interactions}
	}
}
