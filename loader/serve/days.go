package serve

import (
	"context"
	"sync"
	"time"

	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/statuspage"
)

// daysShown is how many days the chart has.
const daysShown = 30

// days counts events by day: all of them now and then, the last two often. It is done
// beside the view, which shows what is known.
type days struct {
	mu          sync.Mutex
	counting    bool
	all, recent time.Time
	byDate      map[string]ledger.Day
}

const (
	allDaysFor, recentDaysFor = time.Hour, 20 * time.Second
	countTimeout              = time.Minute
)

func (d *days) get(ctx context.Context, book *ledger.Ledger) []statuspage.Day {
	today := time.Now().UTC().Truncate(24 * time.Hour)
	d.mu.Lock()
	from := today.AddDate(0, 0, -1)
	all := time.Since(d.all) > allDaysFor || today.After(d.all)
	if all {
		from = today.AddDate(0, 0, 1-daysShown)
	}
	if !d.counting && (all || time.Since(d.recent) > recentDaysFor) {
		d.counting = true
		done := make(chan struct{})
		go func() {
			defer close(done)
			d.count(context.WithoutCancel(ctx), book, from, today.AddDate(0, 0, 1), all)
		}()
		d.mu.Unlock()
		// Usually it takes no time.
		select {
		case <-done:
		case <-time.After(500 * time.Millisecond):
		}
		d.mu.Lock()
	}
	defer d.mu.Unlock()
	if d.all.IsZero() {
		return nil
	}
	shown := make([]statuspage.Day, daysShown)
	for i := range shown {
		date := today.AddDate(0, 0, i+1-daysShown).Format(time.DateOnly)
		shown[i] = statuspage.Day{Date: date, Views: d.byDate[date].Views, Interactions: d.byDate[date].Interactions}
	}
	return shown
}

func (d *days) count(ctx context.Context, book *ledger.Ledger, from, to time.Time, all bool) {
	ctx, cancel := context.WithTimeout(ctx, countTimeout)
	defer cancel()
	counted, err := book.Days(ctx, from, to)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counting, d.recent = false, time.Now()
	if all {
		// Even if it failed: it would take as long again.
		d.all = time.Now()
		d.byDate = nil
	}
	if err != nil {
		return
	}
	if d.byDate == nil {
		d.byDate = map[string]ledger.Day{}
	}
	for date := range d.byDate {
		if date >= from.Format(time.DateOnly) {
			delete(d.byDate, date)
		}
	}
	for _, day := range counted {
		d.byDate[day.Date] = day
	}
}
