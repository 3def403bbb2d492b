// Package pages knows where the pages of a run come from (what came since the watermark,
// lookback before it, a range, the rejects), and how far the watermark may follow them.
package pages

import (
	"fmt"
	"time"

	"github.com/candu-loader/candu-loader/loader/failpoint"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/source"
)

// watermark decides, page by page, how far a run may move the stored watermark:
// to the end of each page that lies wholly before its own safe point. The first page that
// reaches beyond it fixes the watermark there for the rest of the run, for the safe
// point of a later page says nothing about the places that the run has passed.
type watermark struct {
	// place is where it stands, the zero cursor if nothing was ever recorded.
	place source.Cursor
	fixed bool
	// onward is true once all that is read lies beyond the watermark, so that ids of
	// the same moment need not be compared, which is the database's business.
	onward bool
	// heldBy is the number of prepared transactions that hold the watermark.
	heldBy int64
	// settled is how far the export was settled when its last page was read; heldBack is why
	// that is not about the moment of reading.
	settled  time.Time
	heldBack string
}

// advance takes the safe point that was read before a page and the page's last
// cursor, and returns the place to store, nil if the watermark stays.
func (w *watermark) advance(point source.SafePoint, end source.Cursor) *ledger.Watermark {
	if w.fixed {
		return nil
	}
	if point.Prepared > 0 {
		// A prepared transaction may commit rows anywhere below.
		w.fixed, w.heldBy = true, point.Prepared
		return nil
	}
	if !end.At.Before(point.At) && !failpoint.Without("safe_point") {
		// Rows of the moment itself may still come, so it stands before them all.
		end, w.fixed = source.At(point.At), true
	}
	if !w.before(end) {
		return nil
	}
	w.place, w.onward = end, true
	return &ledger.Watermark{At: end.At, ID: end.ID}
}

// before reports whether the watermark would move forward. Where it can't tell, it
// would not: reading rows again is harmless.
func (w *watermark) before(to source.Cursor) bool {
	switch {
	case !to.Finite():
		return false
	case w.place.IsZero() || w.place.At.Before(to.At):
		return true
	default:
		return w.place.At.Equal(to.At) && to.ID != nil && (w.place.ID == nil || w.onward)
	}
}

// reachedEnd notes that the page read after point was the export's last.
func (w *watermark) reachedEnd(point source.SafePoint, lookback time.Duration) {
	switch {
	case w.heldBy > 0 || point.Prepared > 0:
		w.heldBack = "a prepared transaction is open in the export's database, and hides which rows it will commit"
		return
	case !point.Visible:
		// Lookback alone vouches for late rows, and only where later ones were seen: a replica may
		// have stopped.
		w.heldBack = fmt.Sprintf("rows that commit late can't be seen (%s), so nothing nearer than lookback to the newest row counts as complete", point.Reason)
		if !w.place.IsZero() {
			w.settled = w.place.At.Add(-lookback)
		}
		return
	case w.fixed && w.place.At.Before(point.At):
		w.settled = w.place.At
	default:
		w.settled = point.At
	}
	if point.Clock.Sub(w.settled) > time.Minute {
		w.heldBack = "a transaction that began then was still open in the export's database"
	}
}

// completeUntil returns how far everything is mirrored or rejected, nil if that can't be known,
// or the run did not get to the end.
func (w *watermark) completeUntil() *time.Time {
	if w.settled.IsZero() {
		return nil
	}
	return &w.settled
}
