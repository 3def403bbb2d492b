package ledger

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/human"
	"github.com/candu-loader/candu-loader/queries"
)

// Beginning is what a run of new rows begins with.
type Beginning struct {
	// StartAt is stored if the source has neither a start nor a watermark; nil = the beginning.
	StartAt *time.Time
	// StartNow says that it is a start of now, by the export's clock.
	StartNow bool
	// Lookback is how far before a watermark a run begins.
	Lookback func(watermark *time.Time) time.Duration
	// ExportClock was read from the export At this process's time.
	ExportClock, At time.Time
}

// CheckStart refuses a start that no row has reached by the export's clock; zero = it is not known. Older
// versions stored whatever start_at was.
func (s State) CheckStart(clock time.Time) error {
	if s.StartAt == nil || clock.IsZero() || !s.StartAt.After(clock) {
		return nil
	}
	return fault.New(fault.Precondition, "the first run began at %s, which lies after the export's clock, %s: no row is read",
		s.StartAt.UTC().Format(time.RFC3339), clock.UTC().Format(time.RFC3339)).
		WithHint("Write a start_at up to today into the config, and: candu-loader migrate %s --start-at", human.Quote(s.Nickname))
}

// begin stores where the first run of a source begins, and where this run reads from, in the transaction
// that took the lease, and reads the state again: another may have moved it while we waited
// for the lease.
//
// It is the only place where the watermark goes back: rows that an export stamps after its clock
// was put back lie below it. So does the place up to which a copy leaves the rows to the original:
// what the original sent beyond, the mirror knows.
func (r *Run) begin(ctx context.Context, tx pgx.Tx, b *Beginning) error {
	r.measured.Store(false)
	r.Measure(b.ExportClock, b.At)
	if err := r.ledger.q.StateLock(ctx, tx); err != nil {
		return err
	}
	row, err := r.ledger.q.RunBegin(ctx, tx, queries.RunBeginParams{
		ID: r.ID, Leases: r.leases, Holder: r.holder, Ttl: leaseTTL(), Behind: r.behindParam(),
		StartAt: b.StartAt, StartNow: b.StartNow, Lookback: interval(b.Lookback(r.State.WatermarkAt)),
	})
	if err != nil {
		return err
	}
	r.beside.Store(row.Beside)
	r.State.StartAt, r.State.WatermarkAt, r.State.WatermarkID = row.StartAt, row.WatermarkAt, row.WatermarkID
	r.State.NamespaceSince, r.State.NamespaceSinceID = row.NamespaceSince, row.NamespaceSinceID
	r.ClockLost = durationOf(row.ClockLost)
	r.WaitFor = row.WaitsFor
	return nil
}

// WaitsFor returns what WaitFor is by now.
func (r *Run) WaitsFor(ctx context.Context) (string, error) {
	return ask(ctx, r.ledger, "looking for a backfill", r.ledger.q.RunWaitsFor, queries.RunWaitsForParams{ID: r.ID, Holder: r.holder})
}

// Border decides up to which exported_at a backfill may send while runs go on, and notes it, so that a run
// that would begin lower waits. nil = there is nothing that it may send beside the run which is
// under way.
func (r *Run) Border(ctx context.Context, lookback time.Duration) (*time.Time, error) {
	var border []*time.Time
	err := r.ledger.writing().inTx(ctx, "deciding what to send beside runs", func(tx pgx.Tx) (err error) {
		if err := r.ledger.q.StateLock(ctx, tx); err != nil {
			return err
		}
		border, err = r.ledger.q.BackfillBorder(ctx, tx, queries.BackfillBorderParams{
			ID: r.ID, Holder: r.holder, Leases: r.leases, Lookback: interval(lookback),
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(border) == 0 {
		return nil, r.lost(ctx)
	}
	return border[0], nil
}

// Want tells the holder of the backfill's lease that somebody waits for it. It is to be repeated
// every few seconds.
func (l *Ledger) Want(ctx context.Context, holder string) error {
	return l.writing().inTx(ctx, "asking for a lease", func(tx pgx.Tx) error {
		return l.q.LeaseWant(ctx, tx, queries.LeaseWantParams{Lease: LeaseBackfill, Holder: holder})
	})
}

// Wanted returns who waits for the backfill's lease, "" if nobody does.
func (l *Ledger) Wanted(ctx context.Context) (string, error) {
	return ask(ctx, l, "looking who waits", l.q.LeaseWanted, LeaseBackfill)
}

// Measure notes how far the export's clock is behind the warehouse's: it was clock when this
// process's was at. The least is kept, which is when the export's was furthest ahead.
func (r *Run) Measure(clock, at time.Time) {
	behind := int64(r.clock.Add(at.Sub(r.begun)).Sub(clock))
	if !r.measured.Swap(true) || behind < r.behind.Load() {
		r.behind.Store(behind)
	}
}

// Now is the warehouse's clock.
func (r *Run) Now() time.Time { return r.clock.Add(time.Since(r.begun)) }

func (r *Run) behindParam() pgtype.Interval {
	if !r.measured.Load() {
		return pgtype.Interval{}
	}
	return interval(time.Duration(r.behind.Load()))
}

// durationOf is the inverse of interval, for differences of clocks.
func durationOf(i pgtype.Interval) time.Duration {
	return time.Duration(i.Microseconds)*time.Microsecond + time.Duration(i.Days)*24*time.Hour + time.Duration(i.Months)*30*24*time.Hour
}
