package ledger

import (
	"context"
	"time"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/queries"
)

// What the status page and alerts ask beside the history of the runs.

// SwapAlerts stores what was announced if nobody did meanwhile; false = somebody did.
func (l *Ledger) SwapAlerts(ctx context.Context, before, after []byte) (bool, error) {
	swapped, err := ask(ctx, l.writing(), "recording alerts", l.q.AlertsSwap, queries.AlertsSwapParams{Before: before, After: after})
	return swapped == 1, err
}

// Day counts the events of one day in UTC.
type Day struct {
	Date         string `json:"date"` // 2026-01-31
	Views        int64  `json:"views"`
	Interactions int64  `json:"interactions"`
}

// Days counts the mirrored events of [from, to) by day; days without one are left out.
func (l *Ledger) Days(ctx context.Context, from, to time.Time) ([]Day, error) {
	rows, err := ask(ctx, l, "counting days", l.q.DaysCount, queries.DaysCountParams{Since: event.IDPrefix(from), Until: event.IDPrefix(to)})
	return each(rows, func(r queries.DaysCountRow) Day {
		return Day{Date: r.Day, Views: r.Views, Interactions: r.Interactions}
	}), err
}
