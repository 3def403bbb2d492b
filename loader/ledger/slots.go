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
func (l *Ledger) Slots(holder string) *Slots { return &Slots{ledger: l, holder: holder} }

// SlotsView is what the next slot is computed from.
type SlotsView struct {
	// Schedule is the schedule by which slots were settled so far, with its time
	// zone; nil if they never were.
	Schedule *string
	// Settled is the moment up to which every slot has a row.
	Settled time.Time
	// Abandoned is true if there are slots whose holder died.
	Abandoned bool
	// Now is the database's clock, which all replicas share.
	Now time.Time
}

// Look reads where the accounting of slots stands.
func (s *Slots) Look(ctx context.Context) (SlotsView, error) {
	var row queries.SlotsLookRow
	err := s.ledger.inTx(ctx, "reading the slots", func(tx pgx.Tx) (err error) {
		row, err = s.ledger.q.SlotsLook(ctx, tx)
		return err
	})
	return SlotsView{Schedule: row.SlotsSchedule, Settled: row.Settled, Abandoned: row.Abandoned, Now: row.Now}, err
}

// Begin begins the accounting with a schedule, from since on, in place of the
// schedule before. If another replica did it already, nothing is changed.
func (s *Slots) Begin(ctx context.Context, before *string, schedule string, since time.Time) error {
	return s.ledger.inTx(ctx, "setting the schedule", func(tx pgx.Tx) error {
		_, err := s.ledger.q.SlotsBegin(ctx, tx, queries.SlotsBeginParams{Before: before, Schedule: schedule, Since: since})
		return err
	})
}

// Take records slots with a status and returns those that were not recorded
// before. With SlotRunning they belong to the holder for [LeaseTTL].
func (s *Slots) Take(ctx context.Context, slots []time.Time, status SlotStatus, note string) ([]time.Time, error) {
	var taken []time.Time
	err := s.ledger.inTx(ctx, "recording slots", func(tx pgx.Tx) (err error) {
		taken, err = s.ledger.q.SlotsTake(ctx, tx, queries.SlotsTakeParams{
			Slots: slots, Status: string(status), Note: orNil(note), Holder: s.holder, Ttl: leaseTTL(),
		})
		return err
	})
	return taken, err
}

// Adopt takes over the slots whose holder died, and returns them.
func (s *Slots) Adopt(ctx context.Context) ([]time.Time, error) {
	var adopted []time.Time
	err := s.ledger.inTx(ctx, "taking over slots", func(tx pgx.Tx) (err error) {
		adopted, err = s.ledger.q.SlotsAdopt(ctx, tx, queries.SlotsAdoptParams{Holder: s.holder, Ttl: leaseTTL()})
		return err
	})
	return adopted, err
}

// Renew keeps slots for their holder; false if another has one of them by now.
func (s *Slots) Renew(ctx context.Context, slots []time.Time) (bool, error) {
	var held int64
	err := s.ledger.inTx(ctx, "renewing slots", func(tx pgx.Tx) (err error) {
		held, err = s.ledger.q.SlotsRenew(ctx, tx, queries.SlotsRenewParams{Slots: slots, Holder: s.holder, Ttl: leaseTTL()})
		return err
	})
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
	return s.ledger.inTx(ctx, "releasing slots", func(tx pgx.Tx) error {
		_, err := s.ledger.q.SlotsRelease(ctx, tx, queries.SlotsReleaseParams{Slots: slots, RunID: runID, Note: orNil(note), Holder: s.holder})
		return err
	})
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
