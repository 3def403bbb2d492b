package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
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

// leases returns the leases that a run of this kind takes, in the order of their names. A repair
// and a retry send rows that a backfill might have under way, too.
func (k RunKind) leases() []string {
	switch k {
	case Backfill:
		return []string{LeaseBackfill}
	case Repair, Retry:
		return []string{LeaseBackfill, LeaseRun}
	}
	return []string{LeaseRun}
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
	// Begin is what a run of new rows begins with; nil = it is none.
	Begin *Beginning
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

// Run is a run under way: it holds its leases until Finish.
type Run struct {
	ledger *Ledger
	leases []string
	// tokens are the leases' tokens, in the same order.
	tokens []int64
	holder string
	// recorded is the number of the last page that this run has recorded, tried of the last that it
	// tried to: the answer may have got lost.
	recorded, tried int64
	// asked is that of the last page which an answer kept rows of from being sent.
	asked atomic.Int64
	// begun is by this process's clock when the warehouse's was clock.
	begun time.Time
	clock time.Time

	// ID is the run's number.
	ID int64
	// State is the schema's state when the run began.
	State State
	// ClockLost is by how much the export's clock was put back since the run before, and the
	// watermark with it; 0 if it was not.
	ClockLost time.Duration
	// WaitFor is whose backfill sends rows beyond the place where the run begins; "" = nobody's.
	WaitFor string
	// HasRejects says whether loader_rejects had rows when the run began.
	HasRejects bool
	// Dead is how many runs were found dead under these leases and marked
	// interrupted; DeadSince is when their lease was renewed last.
	Dead      int
	DeadSince time.Time

	// pages counts the pages that were read.
	pages atomic.Int64
	// beside is true while a backfill of somebody else is under way, as far as is known.
	beside atomic.Bool
	// behind is how far the export's clock is behind the warehouse's at least, in nanoseconds; it
	// counts only if measured.
	behind   atomic.Int64
	measured atomic.Bool
}

// Ledger returns the ledger of the run's schema.
func (r *Run) Ledger() *Ledger { return r.ledger }

// Holder returns a name for a holder of a lease: host, process, and a part of its
// own for each call. It is short and plain enough to be part of a session's name, of which Postgres
// keeps 63 bytes of ASCII.
func Holder() string {
	const mostOfHost = 28
	host := strings.Map(func(r rune) rune {
		if r > ' ' && r < 0x7f {
			return r
		}
		return '_'
	}, hostname())
	return fmt.Sprintf("%s:%d:%s", host[:min(len(host), mostOfHost)], os.Getpid(), uuid.NewString()[:8])
}

func hostname() string {
	name, _ := os.Hostname()
	return cmp.Or(name, "unknown")
}

var errHeld = errors.New("held")

// OpenRun takes the leases of the run's kind and begins it, in one short transaction.
//
// A lease that another loader holds is [fault.Busy]: the error says who and
// since when. A schema that is not there is a [fault.Precondition] with the cause [ErrAbsent],
// an old one with [ErrNotMigrated]. In all cases nothing was written.
func (l *Ledger) OpenRun(ctx context.Context, opts RunOptions) (*Run, error) {
	latest := Latest()
	run := &Run{leases: opts.Kind.leases(), holder: cmp.Or(opts.Holder, Holder())}
	if opts.Lease != "" {
		run.leases = []string{opts.Lease}
	}
	run.ledger = l.named(run.holder)
	var row queries.RunOpenRow
	at, err := here(ctx, l.pool)
	if err != nil {
		return nil, l.explain(err, "asking where schema %q is", l.id.Schema)
	}
	err = l.inTx(ctx, "beginning a run", func(tx pgx.Tx) (err error) {
		if !failpoint.Without("takeover") {
			if err := l.q.SessionsEnd(ctx, tx, queries.SessionsEndParams{Leases: run.leases, Far: interval(2 * LeaseTTL)}); err != nil {
				return err
			}
		}
		facts, err := l.facts(ctx, tx)
		if err != nil {
			return err
		}
		row, err = l.q.RunOpen(ctx, tx, queries.RunOpenParams{
			Leases: run.leases, Holder: run.holder, Idle: idleTimeout, Ttl: leaseTTL(), Far: interval(2 * LeaseTTL), Kind: string(opts.Kind),
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
		case row.RunID == nil:
			return errHeld
		}
		run.begun, run.clock = time.Now(), row.Clock
		run.tokens, run.ID, run.State = row.Tokens, *row.RunID, stateOf(row.LoaderState, row.SchemaVersion)
		if run.State.Forgotten, err = l.forgotten(ctx, tx, struct{}{}); err != nil {
			return err
		}
		if err := l.admit(ctx, tx, row.LoaderState, at); err != nil {
			return err
		}
		if err := l.settledShape(l.compare(facts)); err != nil || opts.Begin == nil {
			return err
		}
		return run.begin(ctx, tx, opts.Begin)
	})
	if errors.Is(err, errHeld) {
		return nil, busy(l.id.Schema, cmp.Or(row.HeldName, run.leases[0]), cmp.Or(row.HeldBy, "another loader"), row.HeldSince)
	}
	if err != nil {
		return nil, err
	}
	run.HasRejects, run.Dead, run.DeadSince = row.HasRejects, int(row.DeadRuns), row.HeldUntil.Add(-LeaseTTL)
	return run, nil
}

func busy(schema, lease, holder string, since time.Time) error {
	e := fault.New(fault.Busy, "schema %q: the %s lease is held by %s since %s", schema, lease, holder, since.UTC().Format(time.RFC3339))
	return e.WithHint("Wait for that loader to end. If it died, its lease runs out within %s.", LeaseTTL)
}

// lost says why the run is not as this loader left it: it slept too long, and another has taken
// over, which is [fault.Busy]; or the warehouse is not what it was.
func (r *Run) lost(ctx context.Context) error {
	where, err := ask(ctx, r.ledger, "looking where a run stands", r.ledger.q.RunWhere, queries.RunWhereParams{Leases: r.leases, Tokens: r.tokens, Holder: r.holder, ID: r.ID})
	if err != nil {
		return err
	}
	schema := r.ledger.id.Schema
	if r.ID == 0 { // It has the leases alone, see Forget.
		return takenOver(schema)
	}
	if len(where) > 0 && (where[0].HeldBy != "" || where[0].Status != nil && *where[0].Status == string(RunInterrupted)) {
		return fault.New(fault.Busy, "schema %q: run %d lost its lease to %s, nothing more was recorded", schema, r.ID, cmp.Or(where[0].HeldBy, "another loader")).
			WithHint("This process was paused or cut off for longer than %s. The other loader carries on; look at `candu-loader status`.", LeaseTTL)
	}
	found := "it is not there"
	if len(where) > 0 && where[0].Page != nil {
		found = fmt.Sprintf("it stands at page %d", *where[0].Page)
	}
	return fault.New(fault.Failed, "schema %q: run %d has recorded up to page %d, and now %s: the warehouse went back, nothing more was recorded",
		schema, r.ID, r.recorded, found).
		WithHint("A failover, a restored backup, or a crash with synchronous_commit = off lost what was committed. Run again: it goes on from what is there, " +
			"and sends what was lost under the same ids. Then `candu-loader verify`.")
}

// Keep renews the leases until ctx ends. It returns an error of kind
// [fault.Busy] as soon as one is found to be another's, else nil. Trouble
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
		if err := r.renew(ctx); err != nil {
			return err
		}
	}
}

func (r *Run) renew(ctx context.Context) error {
	attempt, cancel := context.WithTimeout(ctx, RenewEvery)
	defer cancel()
	held, err := ask(attempt, r.ledger.writing(), "renewing the lease", r.ledger.q.LeaseRenew,
		queries.LeaseRenewParams{Ttl: leaseTTL(), Leases: r.leases, Tokens: r.tokens, Holder: r.holder})
	if err != nil || int(held) == len(r.leases) || failpoint.Without("compare") {
		return nil
	}
	err = r.lost(attempt)
	if attempt.Err() != nil || fault.KindOf(err) == fault.Retryable {
		return nil
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
