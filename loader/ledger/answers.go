package ledger

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/jackc/pgx/v5"

	"github.com/candu-loader/candu-loader/loader/failpoint"
	"github.com/candu-loader/candu-loader/queries"
)

// Answers answers what was delivered and rejected before.
//
// Those of a run are commits: where something was found, the number of the page for which it was asked
// is written into the run's row in the same transaction, and [Run.Record] of that page demands
// it, as [Run.Finish] does. For a row that is not sent since the mirror has it, and whose place the watermark passes, is lost if
// the warehouse goes back to before the mirror had it: whoever keeps that commit keeps all that
// the answer has seen. It also finds out if the answer comes from another server, or another loader
// has taken over; the error is then that of Record.
type Answers struct {
	ledger *Ledger
	run    *Run // nil = nothing is noted.
	pages  *atomic.Int64
}

// Answers returns answers for somebody who writes nothing.
func (l *Ledger) Answers() *Answers { return &Answers{ledger: l, pages: &atomic.Int64{}} }

// Answers returns the run's answers.
func (r *Run) Answers() *Answers { return &Answers{ledger: r.ledger, run: r, pages: &r.pages} }

// Page returns the number of the next page, from 1 on. It grows over the whole run.
func (a *Answers) Page() int64 { return a.pages.Add(1) }

// Beside reports whether a backfill is under way beside the run, so that rows may be delivered
// that were not when the run began.
func (a *Answers) Beside() bool { return a.run != nil && a.run.beside.Load() }

// LastID is [Ledger.LastID].
func (a *Answers) LastID(ctx context.Context) (string, error) { return a.ledger.LastID(ctx) }

// Delivered is [Ledger.Delivered] for a page.
func (a *Answers) Delivered(ctx context.Context, page int64, ids []string) (map[string]struct{}, error) {
	noted := false
	found, err := a.ledger.delivered(ctx, ids, a.note(page, &noted))
	return found, a.close(ctx, page, noted, err)
}

// KnownRejects is [Ledger.KnownRejects] for a page.
func (a *Answers) KnownRejects(ctx context.Context, page int64, interactionIDs []string) (map[string]KnownReject, error) {
	noted := false
	known, err := a.ledger.knownRejects(ctx, interactionIDs, a.note(page, &noted))
	return known, a.close(ctx, page, noted, err)
}

func (a *Answers) note(page int64, noted *bool) func(context.Context, pgx.Tx) error {
	if a.run == nil {
		return nil
	}
	return func(ctx context.Context, tx pgx.Tx) error {
		rows, err := a.ledger.q.RunAsked(ctx, tx, queries.RunAskedParams{ID: a.run.ID, Holder: a.run.holder, Page: page})
		if err == nil && rows == 0 && !failpoint.Without("compare") {
			err = errHeld
		}
		*noted = err == nil
		return err
	}
}

// close keeps in mind which commits there are, for the end of the run.
func (a *Answers) close(ctx context.Context, page int64, noted bool, err error) error {
	if err == nil && noted {
		a.run.asked.Store(max(a.run.asked.Load(), page)) // One goroutine asks.
	}
	if errors.Is(err, errHeld) {
		return a.run.lost(ctx)
	}
	return err
}
