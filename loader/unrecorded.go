package loader

import (
	"context"

	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/pages"
	"github.com/candu-loader/candu-loader/loader/postgres"
)

// ahead returns the place that a run of new rows before this one could not record, nil if there is
// none ahead: what lies at or below the watermark was recorded since, or is a backfill's.
func (s *session) ahead() *ledger.Watermark {
	place, mark := s.run.State.Unrecorded, pages.Watermark(s.run.State)
	if place == nil || !mark.IsZero() && (&ledger.Watermark{At: mark.At, ID: mark.ID}).Reaches(place) {
		return nil
	}
	return place
}

// noteUnrecorded stores where the run could not record, for the next one to be careful, and
// forgets the place of an earlier run that was recorded since. If that can't be stored, what the
// next run sends in vain is as much as with the first.
func (s *session) noteUnrecorded(ctx context.Context) {
	before, now, ahead := s.run.State.Unrecorded, s.unrecorded, s.ahead()
	succeeded := s.end.Status == ledger.RunSucceeded
	var forget bool
	switch {
	case before == nil:
	case s.kind == ledger.Manual || s.kind == ledger.Scheduled:
		// A run with a limit may end well before the place.
		forget = ahead != nil && (s.past || succeeded && s.end.Reached != nil)
	default:
		forget = ahead == nil && succeeded
	}
	if now == nil && !forget || now != nil && before != nil && !forget && before.Reaches(now) {
		return
	}
	err := postgres.Retry(ctx, postgres.ConnectTimeout, nil, func(ctx context.Context) error {
		return s.run.NoteUnrecorded(ctx, now)
	})
	if err != nil {
		s.log.Warn("the place that could not be recorded could not be stored: the next run may send pages that it can't record either", "error", err)
	}
}
