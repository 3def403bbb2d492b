package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

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
	record := RunRecord{
		ID: r.ID, Kind: RunKind(r.Kind), Status: RunStatus(r.Status), SlotAt: r.SlotAt, StartedAt: r.StartedAt, FinishedAt: r.FinishedAt,
		RangeFrom: r.RangeFrom, RangeTo: r.RangeTo,
		Counters: Counters{
			RowsRead: r.RowsRead, Sent: r.Sent, AlreadyDelivered: r.AlreadyDelivered, Rejected: r.Rejected,
			Batches: r.Batches, Retries: r.Retries,
		},
		WatermarkBefore: r.WatermarkBefore, WatermarkAfter: r.WatermarkAfter, Host: r.Host, Version: r.Version,
	}
	if r.Error != nil {
		record.Error = *r.Error
	}
	return record
}

// RejectsOfKind counts rejects of one reason.
type RejectsOfKind struct {
	Reason     string    `json:"reason"`
	Rejects    int64     `json:"rejects"`
	LastSeenAt time.Time `json:"last_seen_at"`
}

// History is what happened in a schema of late.
type History struct {
	Running     []RunRecord
	Recent      []RunRecord
	LastSuccess *RunRecord
	Rejects     []RejectsOfKind
}

// History reads the last runs and the rejects by reason.
func (l *Ledger) History(ctx context.Context, runs int32) (History, error) {
	var h History
	err := l.InTx(ctx, func(tx pgx.Tx) error {
		running, err := l.q.RunsRunning(ctx, tx)
		if err != nil {
			return err
		}
		for _, r := range running {
			h.Running = append(h.Running, recordOf(r))
		}
		recent, err := l.q.RunsRecent(ctx, tx, runs)
		if err != nil {
			return err
		}
		for _, r := range recent {
			h.Recent = append(h.Recent, recordOf(r))
		}
		last, err := l.q.RunLastSuccess(ctx, tx)
		switch {
		case err == nil:
			record := recordOf(last)
			h.LastSuccess = &record
		case !errors.Is(err, pgx.ErrNoRows):
			return err
		}
		rejects, err := l.q.RejectsByReason(ctx, tx)
		for _, r := range rejects {
			h.Rejects = append(h.Rejects, RejectsOfKind{Reason: r.Reason, Rejects: r.Rejects, LastSeenAt: r.LastSeenAt})
		}
		return err
	})
	if err != nil {
		return h, l.explain(err, "reading the history of schema %q", l.id.Schema)
	}
	return h, nil
}

// Server tells what the warehouse's server says of itself.
func (l *Ledger) Server(ctx context.Context) (postgres.Server, error) {
	var row queries.ExportServerRow
	err := l.InTx(ctx, func(tx pgx.Tx) (err error) {
		row, err = l.q.ExportServer(ctx, tx)
		return err
	})
	if err != nil {
		return postgres.Server{}, l.explain(err, "asking the warehouse")
	}
	return postgres.Server(row), nil
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
		InteractionID: r.InteractionID, Reason: r.Reason, Detail: r.Detail, Interaction: r.Interaction,
		RunID: r.RunID, FirstSeenAt: r.FirstSeenAt, LastSeenAt: r.LastSeenAt, Attempts: r.Attempts,
	}
}

// RejectsPage is how many rejects are read at once; their rows may be wide.
const RejectsPage = 200

// EachReject calls do for the rejects in the order of the rows' ids, a page at a time; reason ""
// means any.
func (l *Ledger) EachReject(ctx context.Context, reason string, do func(page []Reject) error) error {
	for after := ""; ; {
		page, err := l.Rejects(ctx, after, reason, RejectsPage)
		if err != nil {
			return err
		}
		if err := do(page); err != nil {
			return err
		}
		if len(page) < RejectsPage {
			return nil
		}
		after = page[len(page)-1].InteractionID
	}
}

// Rejects returns a page of rejects in the order of the rows' ids, after the one
// given; reason "" means any.
func (l *Ledger) Rejects(ctx context.Context, after, reason string, limit int32) ([]Reject, error) {
	var rejects []Reject
	err := l.InTx(ctx, func(tx pgx.Tx) error {
		rows, err := l.q.RejectsList(ctx, tx, queries.RejectsListParams{After: after, Reason: orNil(reason), Count: limit})
		for _, r := range rows {
			rejects = append(rejects, rejectOf(r))
		}
		return err
	})
	if err != nil {
		return nil, l.explain(err, "reading the rejects of schema %q", l.id.Schema)
	}
	return rejects, nil
}

// Ping asks the warehouse for an answer.
func (l *Ledger) Ping(ctx context.Context) error {
	if err := l.pool.Ping(ctx); err != nil {
		return l.explain(err, "asking the warehouse")
	}
	return nil
}
