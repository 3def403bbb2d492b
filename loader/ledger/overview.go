package ledger

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/queries"
)

// What the status page and alerts ask beside the history of the runs.

// SwapAlerts stores what was announced if nobody did meanwhile; false = somebody did.
func (l *Ledger) SwapAlerts(ctx context.Context, before, after []byte) (bool, error) {
	var swapped int64
	err := l.inTx(ctx, "recording alerts", func(tx pgx.Tx) (err error) {
		swapped, err = l.q.AlertsSwap(ctx, tx, queries.AlertsSwapParams{Before: before, After: after})
		return err
	})
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
	var days []Day
	err := l.inTx(ctx, "counting days", func(tx pgx.Tx) error {
		rows, err := l.q.DaysCount(ctx, tx, queries.DaysCountParams{Since: event.IDPrefix(from), Until: event.IDPrefix(to)})
		for _, r := range rows {
			days = append(days, Day{Date: r.Day, Views: r.Views, Interactions: r.Interactions})
		}
		return err
	})
	return days, err
}
