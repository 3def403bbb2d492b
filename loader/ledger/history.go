package ledger

import (
	"cmp"
	"context"
	"encoding/json"
	"iter"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/queries"
)

// RunRecord is a row of loader_runs.
type RunRecord struct {
	ID         int64      `json:"id"`
	Kind       RunKind    `json:"kind"`
	Status     RunStatus  `json:"status"`
	SlotAt     *time.Time `json:"slot_at"`
	StartedAt  time.Time  `json:"started_at"`
	FinishedAt *time.Time `json:"finished_at"`
	RangeFrom  *time.Time `json:"range_from"`
	RangeTo    *time.Time `json:"range_to"`
	Counters
	WatermarkBefore *time.Time `json:"watermark_before"`
	WatermarkAfter  *time.Time `json:"watermark_after"`
	Error           string     `json:"error,omitempty"`
	Host            string     `json:"host"`
	Version         string     `json:"version"`
}

func recordOf(r queries.LoaderRun) RunRecord {
	return RunRecord{
		ID: r.ID, Kind: RunKind(r.Kind), Status: RunStatus(r.Status), SlotAt: r.SlotAt, StartedAt: r.StartedAt, FinishedAt: r.FinishedAt,
		RangeFrom: r.RangeFrom, RangeTo: r.RangeTo,
		Counters: Counters{
			RowsRead: r.RowsRead, Sent: r.Sent, AlreadyDelivered: r.AlreadyDelivered, Rejected: r.Rejected,
			RejectedBefore: r.RejectedBefore, Batches: r.Batches, Retries: r.Retries,
		},
		WatermarkBefore: r.WatermarkBefore, WatermarkAfter: r.WatermarkAfter, Host: r.Host, Version: r.Version, Error: orEmpty(r.Error),
	}
}

// RejectsOfReason counts the rejects of one reason.
type RejectsOfReason struct {
	Reason     string    `json:"reason"`
	Count      int64     `json:"count"`
	LastSeenAt time.Time `json:"last_seen_at"`
	// Examples are those seen last.
	Examples []RejectExample `json:"examples"`
}

// Mendable reports whether somebody is to do something about them: not about those of people who were
// forgotten.
func (r RejectsOfReason) Mendable() bool { return r.Reason != string(event.Forgotten) }

// RejectExample is one of the rejected rows.
type RejectExample struct {
	InteractionID string    `json:"interaction_id"`
	Detail        string    `json:"detail"`
	LastSeenAt    time.Time `json:"last_seen_at"`
}

// Failing says since when runs fail, and why the last one did.
type Failing struct {
	// Since is when the first one failed after the last that succeeded.
	Since time.Time `json:"since"`
	Error string    `json:"error"`
}

// History is what happened in a schema of late.
type History struct {
	Running []RunRecord
	// Recent are the last 20 runs, Slots the last 50 slots, the newest first.
	Recent []RunRecord
	Slots  []Slot
	// LastSuccess and Failing are those of scheduled and manual runs. Failing is nil if the last
	// that succeeded or failed did succeed.
	LastSuccess *RunRecord
	Failing     *Failing
	Rejects     []RejectsOfReason
}

const recentRuns, recentSlots, rejectExamples = 20, 50, 3

// History reads the last runs and slots, and the rejects by reason.
func (l *Ledger) History(ctx context.Context) (History, error) {
	var h History
	err := l.inTx(ctx, "reading the history", func(tx pgx.Tx) error {
		running, err1 := l.q.RunsRunning(ctx, tx)
		recent, err2 := l.q.RunsRecent(ctx, tx, recentRuns)
		last, err3 := l.q.RunLastSuccess(ctx, tx)
		failing, err4 := l.q.RunsFailing(ctx, tx)
		slots, err5 := l.q.SlotsRecent(ctx, tx, recentSlots)
		rejects, err6 := l.rejectsByReason(ctx, tx)
		h = History{
			Running: each(running, recordOf), Recent: each(recent, recordOf), LastSuccess: first(each(last, recordOf)),
			Failing: first(each(failing, func(f queries.RunsFailingRow) Failing { return Failing(f) })),
			Slots:   each(slots, slotOf), Rejects: rejects,
		}
		// After the first error the transaction answers nothing else.
		return cmp.Or(err1, err2, err3, err4, err5, err6)
	})
	return h, err
}

// Running reads the runs under way.
func (l *Ledger) Running(ctx context.Context) ([]RunRecord, error) {
	running, err := ask(ctx, l, "reading the runs under way", plain(l.q.RunsRunning), struct{}{})
	return each(running, recordOf), err
}

// Failing reads since when scheduled and manual runs fail, nil = the last one did not.
func (l *Ledger) Failing(ctx context.Context) (*Failing, error) {
	rows, err := ask(ctx, l, "reading whether runs fail", plain(l.q.RunsFailing), struct{}{})
	return first(each(rows, func(f queries.RunsFailingRow) Failing { return Failing(f) })), err
}

func slotOf(r queries.SlotsRecentRow) Slot {
	return Slot{
		At: r.LoaderSlot.SlotAt, Status: SlotStatus(r.LoaderSlot.Status), RunID: r.LoaderSlot.RunID,
		RunStatus: RunStatus(orEmpty(r.RunStatus)), Note: orEmpty(r.LoaderSlot.Note),
	}
}

func (l *Ledger) rejectsByReason(ctx context.Context, tx pgx.Tx) ([]RejectsOfReason, error) {
	rows, err1 := l.q.RejectsByReason(ctx, tx)
	if len(rows) == 0 {
		return nil, err1
	}
	examples, err2 := l.q.RejectsExamples(ctx, tx, rejectExamples)
	return each(rows, func(r queries.RejectsByReasonRow) RejectsOfReason {
		of := RejectsOfReason{Reason: r.Reason, Count: r.Rejects, LastSeenAt: r.LastSeenAt, Examples: []RejectExample{}}
		for _, e := range examples {
			if e.Reason == r.Reason {
				of.Examples = append(of.Examples, RejectExample{InteractionID: e.InteractionID, Detail: e.Detail, LastSeenAt: e.LastSeenAt})
			}
		}
		return of
	}), cmp.Or(err1, err2)
}

// Server tells what the warehouse's server says of itself.
func (l *Ledger) Server(ctx context.Context) (postgres.Server, error) {
	row, err := ask(ctx, l, "asking the server", plain(l.q.ExportServer), struct{}{})
	return postgres.Server(row), err
}

// Reject is a row of loader_rejects.
type Reject struct {
	InteractionID string          `json:"interaction_id"`
	Reason        string          `json:"reason"`
	Detail        string          `json:"detail"`
	Interaction   json.RawMessage `json:"interaction"`
	RunID         int64           `json:"run_id"`
	FirstSeenAt   time.Time       `json:"first_seen_at"`
	LastSeenAt    time.Time       `json:"last_seen_at"`
	Attempts      int32           `json:"attempts"`
}

func rejectOf(r queries.LoaderReject) Reject {
	return Reject{
		InteractionID: rejectedID(r.InteractionID, r.Interaction), Reason: r.Reason, Detail: r.Detail, Interaction: r.Interaction,
		RunID: r.RunID, FirstSeenAt: r.FirstSeenAt, LastSeenAt: r.LastSeenAt, Attempts: r.Attempts,
	}
}

// RejectsPage is how many rejects are read at once; their rows may be wide.
const RejectsPage = 200

// AllRejects gives the rejects in the order of the rows' ids, numbers by their value, a page at a
// time; reason "" means any. It ends after an error.
func (l *Ledger) AllRejects(ctx context.Context, reason string) iter.Seq2[[]Reject, error] {
	return func(yield func([]Reject, error) bool) {
		ids, err := ask(ctx, l, "reading the rejects", l.q.RejectsOrder, orNil(reason))
		if err != nil {
			yield(nil, err)
			return
		}
		for some := range slices.Chunk(ids, RejectsPage) {
			rows, err := ask(ctx, l, "reading the rejects", l.q.RejectsOf, some)
			if !yield(each(rows, rejectOf), err) || err != nil {
				return
			}
		}
	}
}

// Rejects returns a page of rejects in the order of the rows' ids, after the one
// given, of which nil stands before all; reason "" means any.
func (l *Ledger) Rejects(ctx context.Context, after *string, reason string, limit int32) ([]Reject, error) {
	if after != nil {
		after = new(rejectKey(*after))
	}
	rows, err := ask(ctx, l, "reading the rejects", l.q.RejectsList, queries.RejectsListParams{After: after, Reason: orNil(reason), Count: limit})
	return each(rows, rejectOf), err
}

// Pooled reports whether a pooler stands in front of the warehouse.
func (l *Ledger) Pooled(ctx context.Context) bool { return postgres.Pooled(ctx, l.pool) }

// Ping asks the warehouse for an answer.
func (l *Ledger) Ping(ctx context.Context) error {
	if err := l.pool.Ping(ctx); err != nil {
		return l.explain(err, "asking the warehouse")
	}
	return nil
}
