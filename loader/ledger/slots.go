package ledger

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/candu-loader/candu-loader/queries"
)

// SlotStatus is how a slot ended, or that it did not yet.
type SlotStatus string

// The ends of a slot, and SlotRunning before one of them.
const (
	SlotRunning        SlotStatus = "running"
	SlotRan            SlotStatus = "ran"
	SlotCaughtUp       SlotStatus = "caught_up"
	SlotSkippedOverlap SlotStatus = "skipped_overlap"
	SlotMissed         SlotStatus = "missed"
)

// Slot is a row of loader_slots.
type Slot struct {
	At     time.Time  `json:"at"`
	Status SlotStatus `json:"status"`
	RunID  *int64     `json:"run_id"`
	// RunStatus is the run's, "" without a run.
	RunStatus RunStatus `json:"run_status,omitempty"`
	Note      string    `json:"note,omitempty"`
}

// Slots accounts for the slots of a source's schedule, for one holder. It is safe for concurrent
// use.
type Slots struct {
	ledger *Ledger
	holder string
}

// Slots returns the accounting of slots for a holder, see [Holder].
func (l *Ledger) Slots(holder string) *Slots { return &Slots{ledger: l.writing(), holder: holder} }

// SlotsView is what the next slot is computed from.
type SlotsView struct {
	// Schedule is the schedule with which somebody began last, with its time zone, and Since when;
	// nil if nobody did.
	Schedule *string
	Since    *time.Time
	// Last is the last slot of the schedule that was asked for that has a row, and before which all
	// have one; the zero time if there is none.
	Last time.Time
	// Abandoned is true if there are slots whose holder died.
	Abandoned bool
	// Now is the database's clock, which all replicas share.
	Now time.Time
}

// Look reads where the accounting of a schedule's slots stands. passed is the last slot that is known
// to be recorded, by whomever; the zero time = none is.
func (s *Slots) Look(ctx context.Context, schedule string, passed time.Time) (SlotsView, error) {
	params := queries.SlotsLookParams{Schedule: schedule}
	if !passed.IsZero() {
		params.Passed = &passed
	}
	row, err := ask(ctx, s.ledger, "reading the slots", s.ledger.q.SlotsLook, params)
	view := SlotsView{Schedule: row.SlotsSchedule, Since: row.SlotsSince, Abandoned: row.Abandoned, Now: row.Now}
	if row.Last.Unix() != 0 {
		view.Last = row.Last
	}
	return view, err
}

// Begin begins the accounting with a schedule, from since on, in place of the
// schedule before. If another replica did it already, nothing is changed.
func (s *Slots) Begin(ctx context.Context, before *string, schedule string, since time.Time) error {
	_, err := ask(ctx, s.ledger, "setting the schedule", s.ledger.q.SlotsBegin, queries.SlotsBeginParams{Before: before, Schedule: schedule, Since: since})
	return err
}

// Take records slots of a schedule with a status and returns those that were not recorded
// before. With SlotRunning they belong to the holder for [LeaseTTL].
func (s *Slots) Take(ctx context.Context, schedule string, slots []time.Time, status SlotStatus, note string) ([]time.Time, error) {
	return ask(ctx, s.ledger, "recording slots", s.ledger.q.SlotsTake, queries.SlotsTakeParams{
		Slots: slots, Schedule: schedule, Status: string(status), Note: orNil(note), Holder: s.holder, Ttl: leaseTTL(),
	})
}

// Adopt takes over the slots whose holder died, and returns them.
func (s *Slots) Adopt(ctx context.Context) ([]time.Time, error) {
	return ask(ctx, s.ledger, "taking over slots", s.ledger.q.SlotsAdopt, queries.SlotsAdoptParams{Holder: s.holder, Ttl: leaseTTL()})
}

// Renew keeps slots for their holder; false if another has one of them by now.
func (s *Slots) Renew(ctx context.Context, slots []time.Time) (bool, error) {
	held, err := ask(ctx, s.ledger, "renewing slots", s.ledger.q.SlotsRenew, queries.SlotsRenewParams{Slots: slots, Holder: s.holder, Ttl: leaseTTL()})
	return held == int64(len(slots)), err
}

// SlotsEnd says how slots of a holder end.
type SlotsEnd struct {
	Slots  []time.Time
	Status SlotStatus
	RunID  *int64
	Note   string
}

// End ends slots, all or none. Those that the holder lost are left alone.
func (s *Slots) End(ctx context.Context, ends ...SlotsEnd) error {
	return s.ledger.inTx(ctx, "ending slots", func(tx pgx.Tx) error {
		for _, end := range ends {
			if len(end.Slots) == 0 {
				continue
			}
			_, err := s.ledger.q.SlotsEnd(ctx, tx, queries.SlotsEndParams{
				Slots: end.Slots, Status: string(end.Status), RunID: end.RunID, Note: orNil(end.Note), Holder: s.holder,
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Release leaves slots that did not end to whoever looks next.
func (s *Slots) Release(ctx context.Context, slots []time.Time, runID *int64, note string) error {
	_, err := ask(ctx, s.ledger, "releasing slots", s.ledger.q.SlotsRelease, queries.SlotsReleaseParams{
		Slots: slots, RunID: runID, Note: orNil(note), Holder: s.holder,
	})
	return err
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
