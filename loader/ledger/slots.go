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
	At     time.Time
	Status SlotStatus
	RunID  *int64
	// RunStatus is the run's, "" without a run.
	RunStatus string
	Note      string
}

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

// LookAtSlots reads where the accounting of slots stands.
func (l *Ledger) LookAtSlots(ctx context.Context) (SlotsView, error) {
	var row queries.SlotsLookRow
	err := l.inTx(ctx, "reading the slots", func(tx pgx.Tx) (err error) {
		row, err = l.q.SlotsLook(ctx, tx)
		return err
	})
	return SlotsView{Schedule: row.SlotsSchedule, Settled: row.Settled, Abandoned: row.Abandoned, Now: row.Now}, err
}

// BeginSlots begins the accounting with a schedule, from since on, in place of the
// schedule before. If another replica did it already, nothing is changed.
func (l *Ledger) BeginSlots(ctx context.Context, before *string, schedule string, since time.Time) error {
	return l.inTx(ctx, "setting the schedule", func(tx pgx.Tx) error {
		_, err := l.q.SlotsBegin(ctx, tx, queries.SlotsBeginParams{Before: before, Schedule: schedule, Since: since})
		return err
	})
}

// TakeSlots records slots with a status and returns those that were not recorded
// before. With SlotRunning they belong to holder for [LeaseTTL].
func (l *Ledger) TakeSlots(ctx context.Context, slots []time.Time, status SlotStatus, note, holder string) ([]time.Time, error) {
	var taken []time.Time
	err := l.inTx(ctx, "recording slots", func(tx pgx.Tx) (err error) {
		taken, err = l.q.SlotsTake(ctx, tx, queries.SlotsTakeParams{
			Slots: slots, Status: string(status), Note: orNil(note), Holder: holder, Ttl: leaseTTL(),
		})
		return err
	})
	return taken, err
}

// AdoptSlots takes over the slots whose holder died, and returns them.
func (l *Ledger) AdoptSlots(ctx context.Context, holder string) ([]time.Time, error) {
	var adopted []time.Time
	err := l.inTx(ctx, "taking over slots", func(tx pgx.Tx) (err error) {
		adopted, err = l.q.SlotsAdopt(ctx, tx, queries.SlotsAdoptParams{Holder: holder, Ttl: leaseTTL()})
		return err
	})
	return adopted, err
}

// RenewSlots keeps slots for their holder; false if another has one of them by now.
func (l *Ledger) RenewSlots(ctx context.Context, slots []time.Time, holder string) (bool, error) {
	var held int64
	err := l.inTx(ctx, "renewing slots", func(tx pgx.Tx) (err error) {
		held, err = l.q.SlotsRenew(ctx, tx, queries.SlotsRenewParams{Slots: slots, Holder: holder, Ttl: leaseTTL()})
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

// EndSlots ends slots, all or none. Those that the holder lost are left alone.
func (l *Ledger) EndSlots(ctx context.Context, holder string, ends ...SlotsEnd) error {
	return l.inTx(ctx, "ending slots", func(tx pgx.Tx) error {
		for _, end := range ends {
			if len(end.Slots) == 0 {
				continue
			}
			_, err := l.q.SlotsEnd(ctx, tx, queries.SlotsEndParams{
				Slots: end.Slots, Status: string(end.Status), RunID: end.RunID, Note: orNil(end.Note), Holder: holder,
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// ReleaseSlots leaves slots that did not end to whoever looks next.
func (l *Ledger) ReleaseSlots(ctx context.Context, slots []time.Time, runID *int64, note, holder string) error {
	return l.inTx(ctx, "releasing slots", func(tx pgx.Tx) error {
		_, err := l.q.SlotsRelease(ctx, tx, queries.SlotsReleaseParams{Slots: slots, RunID: runID, Note: orNil(note), Holder: holder})
		return err
	})
}

// Slots returns the last slots, the newest first.
func (l *Ledger) Slots(ctx context.Context, count int32) ([]Slot, error) {
	var slots []Slot
	err := l.inTx(ctx, "reading the slots", func(tx pgx.Tx) error {
		rows, err := l.q.SlotsRecent(ctx, tx, count)
		for _, r := range rows {
			slots = append(slots, Slot{
				At: r.LoaderSlot.SlotAt, Status: SlotStatus(r.LoaderSlot.Status), RunID: r.LoaderSlot.RunID,
				RunStatus: orEmpty(r.RunStatus), Note: orEmpty(r.LoaderSlot.Note),
			})
		}
		return err
	})
	return slots, err
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
