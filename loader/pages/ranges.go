package pages

import (
	"context"
	"time"

	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/source"
)

// Start returns where the next run begins: the watermark less lookback, but nothing before the
// place where the first run began.
func Start(state ledger.State, lookback time.Duration) source.Cursor {
	if state.WatermarkAt == nil || lookback == 0 && state.WatermarkID != nil {
		return Watermark(state)
	}
	at := state.WatermarkAt.Add(-lookback)
	if state.StartAt != nil && at.Before(*state.StartAt) {
		at = *state.StartAt
	}
	return source.At(at)
}

// Watermark returns the stored watermark as a place in the reading order, the zero cursor if
// there is none.
func Watermark(state ledger.State) source.Cursor {
	switch {
	case state.WatermarkAt == nil:
		return source.Cursor{}
	case state.WatermarkID == nil:
		return source.At(*state.WatermarkAt)
	}
	return source.After(*state.WatermarkAt, *state.WatermarkID)
}

// Ranges are the pages of a range. They move no watermark. Without a reader there is none.
type Ranges struct{ *source.RangeReader }

// Next returns the next page, nil after the last one.
func (r Ranges) Next(ctx context.Context, _ int64) (*source.Page, error) {
	return r.RangeReader.Next(ctx)
}

// Settle moves no watermark.
func (r Ranges) Settle(*source.Page) (*ledger.Watermark, []ledger.Rejected) { return nil, nil }
