package pages

import (
	"context"
	"time"

	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/source"
)

// Start returns where the next run begins: the watermark less lookback, but nothing before the
// place where the first run began, or that another schema has sent, of which this one is a copy.
func Start(state ledger.State, lookback time.Duration) source.Cursor {
	start, border := lookedBack(state, lookback), Border(state)
	if border.IsZero() || start.At.After(border.At) || start.At.Equal(border.At) && start.ID != nil {
		return start
	}
	return border
}

// Border returns the place up to which a copy leaves the rows to the original, the zero cursor if
// the schema is no copy.
func Border(state ledger.State) source.Cursor {
	return place(state.NamespaceSince, state.NamespaceSinceID)
}

func lookedBack(state ledger.State, lookback time.Duration) source.Cursor {
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
func Watermark(state ledger.State) source.Cursor { return place(state.WatermarkAt, state.WatermarkID) }

func place(at *time.Time, id *string) source.Cursor {
	switch {
	case at == nil:
		return source.Cursor{}
	case id == nil:
		return source.At(*at)
	}
	return source.After(*at, *id)
}

// Ranges are the pages of a range. They move no watermark. Without a reader there is none.
type Ranges struct{ *source.RangeReader }

// Next returns the next page, nil after the last one.
func (r Ranges) Next(ctx context.Context, _ int64) (*source.Page, error) {
	return r.RangeReader.Next(ctx)
}

// Settle moves no watermark.
func (r Ranges) Settle(*source.Page) (*ledger.Watermark, []ledger.Rejected) { return nil, nil }
