// Package pages knows where the pages of a run come from (what came since the watermark,
// lookback before it, a range, the rejects), and how far the watermark may follow them.
package pages

import (
	"cmp"
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
	// holder is whose transaction the watermark was fixed at.
	holder source.Session
	// hidden is why one of the safe points said nothing: pages that were passed then may get
	// rows that no later one tells of. "" = all of them did.
	hidden source.Blindness
}

// advance takes the safe point that was read before a page and the page's last
// cursor, and returns the place to store, nil if the watermark stays.
func (w *watermark) advance(point source.SafePoint, end source.Cursor) *ledger.Watermark {
	w.hidden = cmp.Or(w.hidden, point.Reason)
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
		end, w.fixed, w.holder = source.At(point.At), true, point.Oldest
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
	w.hidden = cmp.Or(w.hidden, point.Reason)
	holder := point.Oldest
	switch {
	case w.heldBy > 0 || point.Prepared > 0:
		w.heldBack = "a prepared transaction is open in the export's database, and hides which rows it will commit"
		return
	case w.hidden != "":
		// Lookback alone vouches for late rows, and only where later ones were seen: a replica may
		// have stopped.
		w.heldBack = fmt.Sprintf("rows that commit late can't be seen (%s), so nothing nearer than lookback to the newest row counts as complete", w.hidden)
		if !w.place.IsZero() {
			w.settled = w.place.At.Add(-lookback)
		}
		return
	case w.fixed && w.place.At.Before(point.At):
		w.settled, holder = w.place.At, w.holder
	default:
		w.settled = point.At
	}
	if point.Clock.Sub(w.settled) > source.LongOpen {
		w.heldBack = "a transaction that began then was still open in the export's database"
		if holder.PID != 0 {
			w.heldBack += fmt.Sprintf(": %s; %s ends it", holder, holder.End())
		}
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
