package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/candu-loader/candu-loader/loader/failpoint"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/queries"
)

// LeaseTTL is how long a lease outlives its last renewal, by the database's
// clock; RenewEvery is how often its holder renews it.
const (
	LeaseTTL   = 30 * time.Second
	RenewEvery = 10 * time.Second
)

// The names of the leases. Everything that may send rows above or around the
// watermark takes LeaseRun.
const (
	LeaseRun      = "run"
	LeaseBackfill = "backfill"
)

// RunKind says what a run is for.
type RunKind string

// The kinds of runs.
const (
	Scheduled RunKind = "scheduled"
	Manual    RunKind = "manual"
	Backfill  RunKind = "backfill"
	Repair    RunKind = "repair"
	Retry     RunKind = "retry"
)

// RunStatus is how a run stands or ended.
type RunStatus string

// The statuses of runs.
const (
	RunRunning     RunStatus = "running"
	RunSucceeded   RunStatus = "succeeded"
	RunFailed      RunStatus = "failed"
	RunInterrupted RunStatus = "interrupted"
)

// Lease returns the lease that a run of this kind takes.
func (k RunKind) Lease() string {
	if k == Backfill {
		return LeaseBackfill
	}
	return LeaseRun
}

// RunOptions describes a run to begin.
type RunOptions struct {
	Kind RunKind
	// SlotAt is the slot of the schedule, nil for a run by hand.
	SlotAt *time.Time
	// From and To are the range of a backfill or repair, nil = open.
	From, To *time.Time
	// Lease is taken instead of the kind's own; "" = the kind's.
	Lease string
	// Version of the program.
	Version string
	// Holder is how the holder of the lease is called; "" makes a name. Whoever tries
	// again because an answer got lost must give the same name.
	Holder string
}

// Counters are the numbers of a run so far.
type Counters struct {
	RowsRead         int64 `json:"rows_read"`
	Sent             int64 `json:"sent"`
	AlreadyDelivered int64 `json:"already_delivered"`
	Rejected         int64 `json:"rejected"`
	// RejectedBefore counts rows that an earlier run rejected and that are as they were.
	RejectedBefore int64 `json:"rejected_before"`
	Batches        int64 `json:"batches"`
	Retries        int64 `json:"retries"`
}

// Plus returns the sum.
func (c Counters) Plus(d Counters) Counters {
	return Counters{
		RowsRead: c.RowsRead + d.RowsRead, Sent: c.Sent + d.Sent, AlreadyDelivered: c.AlreadyDelivered + d.AlreadyDelivered,
		Rejected: c.Rejected + d.Rejected, RejectedBefore: c.RejectedBefore + d.RejectedBefore,
		Batches: c.Batches + d.Batches, Retries: c.Retries + d.Retries,
	}
}

// Run is a run under way: it holds the lease until Finish.
type Run struct {
	ledger *Ledger
	lease  string
	holder string
	token  int64

	// ID is the run's number.
	ID int64
	// State is the schema's state when the run began.
	State State
	// HasRejects says whether loader_rejects had rows when the run began.
	HasRejects bool
	// Dead is how many runs were found dead under this lease and marked
	// interrupted; DeadSince is when their lease was renewed last.
	Dead      int
	DeadSince time.Time
}

// Ledger returns the ledger of the run's schema.
func (r *Run) Ledger() *Ledger { return r.ledger }

// Holder returns a name for a holder of a lease: host, process, and a part of its
// own for each call.
func Holder() string {
	return fmt.Sprintf("%s:%d:%s", hostname(), os.Getpid(), uuid.NewString()[:8])
}

func hostname() string {
	name, _ := os.Hostname()
	return cmp.Or(name, "unknown")
}

var errHeld = errors.New("held")

// OpenRun takes the lease and begins a run, in one short transaction.
//
// A lease that another loader holds is [fault.Busy]: the error says who and
// since when. A schema that is not there is a [fault.Precondition] with the cause [ErrAbsent],
// an old one with [ErrNotMigrated]. In all cases nothing was written.
func (l *Ledger) OpenRun(ctx context.Context, opts RunOptions) (*Run, error) {
	latest := Latest()
	lease, holder := cmp.Or(opts.Lease, opts.Kind.Lease()), cmp.Or(opts.Holder, Holder())
	var row queries.RunOpenRow
	err := l.inTx(ctx, "beginning a run", func(tx pgx.Tx) (err error) {
		row, err = l.q.RunOpen(ctx, tx, queries.RunOpenParams{
			Lease: lease, Holder: holder, Idle: idleTimeout, Ttl: leaseTTL(), Kind: string(opts.Kind),
			SlotAt: opts.SlotAt, RangeFrom: opts.From, RangeTo: opts.To,
			Host: hostname(), Version: opts.Version,
		})
		switch {
		case err != nil:
			return err
		case row.SchemaDirty || int(row.SchemaVersion) < latest || !slices.Equal(row.LoaderState.Readers, sortedReaders(l.id.Readers)):
			return notMigrated(fmt.Sprintf("schema %q", l.id.Schema), nil)
		case int(row.SchemaVersion) > latest:
			return newer(l.id.Schema, int(row.SchemaVersion), latest)
		case row.Token == nil:
			return errHeld
		}
		return l.verify(row.LoaderState)
	})
	if errors.Is(err, errHeld) {
		return nil, busy(l.id.Schema, lease, cmp.Or(orEmpty(row.HeldBy), "another loader"), row.HeldSince)
	}
	if err != nil {
		return nil, err
	}
	run := &Run{
		ledger: l, lease: lease, holder: holder, token: *row.Token, ID: *row.RunID,
		State:      stateOf(row.LoaderState, row.SchemaVersion),
		HasRejects: row.HasRejects, Dead: int(row.DeadRuns),
	}
	if row.HeldUntil != nil {
		run.DeadSince = row.HeldUntil.Add(-LeaseTTL)
	}
	return run, nil
}

func busy(schema, lease, holder string, since *time.Time) error {
	e := fault.New(fault.Busy, "schema %q: the %s lease is held by %s", schema, lease, holder)
	if since != nil {
		e.Text += " since " + since.UTC().Format(time.RFC3339)
	}
	return e.WithHint("Wait for that loader to end. If it died, its lease runs out within %s.", LeaseTTL)
}

// lost is what a loader learns that slept too long.
func (r *Run) lost() error {
	return fault.New(fault.Busy, "schema %q: run %d lost its lease to another loader, nothing more was recorded", r.ledger.id.Schema, r.ID).
		WithHint("This process was paused or cut off for longer than %s. The other loader carries on; look at `candu-loader status`.", LeaseTTL)
}

// Keep renews the lease until ctx ends. It returns an error of kind
// [fault.Busy] as soon as the lease is found to be another's, else nil. Trouble
// with the database is passed over: the check in Record is what protects.
func (r *Run) Keep(ctx context.Context) error {
	tick := time.NewTicker(RenewEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		attempt, cancel := context.WithTimeout(ctx, RenewEvery)
		held, err := ask(attempt, r.ledger.writing(), "renewing the lease", r.ledger.q.LeaseRenew, queries.LeaseRenewParams{Ttl: leaseTTL(), Lease: r.lease, Token: r.token})
		cancel()
		if err == nil && held == 0 && !failpoint.Without("fencing") {
			return r.lost()
		}
	}
}

// Start records where the first run of a source begins, once.
func (r *Run) Start(ctx context.Context, at time.Time) error {
	return r.ledger.writing().inTx(ctx, "setting the start", func(tx pgx.Tx) error { return r.ledger.q.StartSet(ctx, tx, at) })
}

// End is how a run ended.
type End struct {
	Status   RunStatus
	Counters Counters
	// WatermarkAfter is the time of the watermark at the end, nil if there is none.
	WatermarkAfter *time.Time
	// Reached is set if the run came to the end of the export.
	Reached *Reached
	// Err is the error's text, "" if there was none. It must hold no secret.
	Err string
}

// Reached is what a run found that came to the end of the export.
type Reached struct {
	// At is when it began to read the last page, by this process's clock: all that could be
	// seen then is mirrored or rejected.
	At time.Time
	// CompleteUntil is how far that is all that will ever be exported, as far as can be known;
	// nil = nothing is known.
	CompleteUntil *time.Time
	// HeldBack is why CompleteUntil lies well before At, "" if it does not.
	HeldBack string
}

// Finish ends the run and frees the lease. If the lease is another's by now,
// nothing is written and the error is of kind [fault.Busy].
func (r *Run) Finish(ctx context.Context, end End) error {
	c := end.Counters
	params := queries.RunFinishParams{
		ID: r.ID, Lease: r.lease, Token: r.token, Status: string(end.Status), Idle: idleTimeout,
		RowsRead: c.RowsRead, Sent: c.Sent, AlreadyDelivered: c.AlreadyDelivered, Rejected: c.Rejected,
		RejectedBefore: c.RejectedBefore, Batches: c.Batches, Retries: c.Retries,
		WatermarkAfter: end.WatermarkAfter, Error: orNil(end.Err),
	}
	if reached := end.Reached; reached != nil {
		params.ReachedAgo, params.CompleteUntil, params.HeldBackBy = interval(time.Since(reached.At)), reached.CompleteUntil, orNil(reached.HeldBack)
	}
	rows, err := ask(ctx, r.ledger, "finishing a run", r.ledger.q.RunFinish, params)
	if err != nil || rows > 0 {
		return err
	}
	// Either somebody else has the lease, or the answer to an earlier try got lost and the run is
	// finished already.
	status, err := ask(ctx, r.ledger, "reading a run", r.ledger.q.RunStatus, r.ID)
	if err == nil && status != string(RunSucceeded) && status != string(RunFailed) {
		err = r.lost()
	}
	return err
}

func leaseTTL() pgtype.Interval { return interval(LeaseTTL) }

func interval(d time.Duration) pgtype.Interval {
	return pgtype.Interval{Microseconds: d.Microseconds(), Valid: true}
}

func orNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
