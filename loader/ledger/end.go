package ledger

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/candu-loader/candu-loader/loader/failpoint"
	"github.com/candu-loader/candu-loader/queries"
)

// End is how a run ended.
type End struct {
	Status   RunStatus
	Counters Counters
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

// Finish ends the run, frees its leases, and returns the watermark as it is stored then. If the run
// is not as it left it nothing is written, and the error is that of [Run.Record]. What it
// calls succeeded survives a crash of the warehouse.
func (r *Run) Finish(ctx context.Context, end End) (watermark *time.Time, err error) {
	c := end.Counters
	params := queries.RunFinishParams{
		ID: r.ID, Leases: r.leases, Tokens: r.tokens, Holder: r.holder, PageBefore: r.recorded, Page: r.tried, Asked: r.asked.Load(), Status: string(end.Status), Idle: idleTimeout,
		RowsRead: c.RowsRead, Sent: c.Sent, AlreadyDelivered: c.AlreadyDelivered, Rejected: c.Rejected, RejectedBefore: c.RejectedBefore, Batches: c.Batches, Retries: c.Retries,
		Error: orNil(end.Err),
	}
	if reached := end.Reached; reached != nil {
		params.ReachedAgo, params.CompleteUntil, params.HeldBackBy = interval(time.Since(reached.At)), reached.CompleteUntil, orNil(reached.HeldBack)
	}
	var ended []*time.Time
	err = r.ledger.inTx(ctx, "finishing a run", func(tx pgx.Tx) (err error) {
		ended, err = r.ledger.q.RunFinish(ctx, tx, params)
		if err == nil && len(ended) == 0 && !failpoint.Without("compare") {
			err = errHeld
		}
		return err
	})
	if !errors.Is(err, errHeld) {
		if len(ended) > 0 {
			watermark = ended[0]
		}
		return watermark, err
	}
	// Either it is not as we left it, or the answer to an earlier try got lost and the run is
	// finished already.
	where, err := ask(ctx, r.ledger, "looking where a run stands", r.ledger.q.RunWhere, queries.RunWhereParams{Leases: r.leases, Tokens: r.tokens, Holder: r.holder, ID: r.ID})
	if err != nil {
		return nil, err
	}
	done := []RunStatus{RunSucceeded, RunFailed}
	if len(where) > 0 && where[0].Status != nil && slices.Contains(done, RunStatus(*where[0].Status)) {
		return where[0].WatermarkAfter, nil
	}
	return nil, r.lost(ctx)
}
