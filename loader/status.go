package loader

import (
	"context"
	"errors"
	"time"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/pages"
	where "github.com/candu-loader/candu-loader/loader/status"
)

// Status says where a source stands.
type Status struct {
	Source string `json:"source"`
	Schema string `json:"schema"`
	// Migrated is false if the schema was never made.
	Migrated         bool       `json:"migrated"`
	SchemaVersion    int        `json:"schema_version"`
	MessageNamespace string     `json:"message_namespace,omitempty"`
	WatermarkAt      *time.Time `json:"watermark_at"`
	WatermarkID      *string    `json:"watermark_id"`
	// LagSeconds is the time since a run last caught up, nil if none did.
	LagSeconds *float64 `json:"lag_seconds"`
	// CompleteUntil is how far the mirror was complete at the last run that got to
	// the end of the export.
	CompleteUntil *time.Time `json:"complete_until"`
	// PendingRows is about how many rows wait behind the watermark, nil if the
	// export could not be asked; PendingError says why.
	PendingRows  *int64                 `json:"pending_rows"`
	PendingError string                 `json:"pending_error,omitempty"`
	Running      []ledger.RunRecord     `json:"running"`
	LastRuns     []ledger.RunRecord     `json:"last_runs"`
	LastSuccess  *ledger.RunRecord      `json:"last_success"`
	Rejects      []ledger.RejectsOfKind `json:"rejects"`
	Schedule     string                 `json:"schedule,omitempty"`
	NextSlot     *time.Time             `json:"next_slot"`
	Timezone     string                 `json:"timezone"`
}

// lastRuns is how many runs a status shows.
const lastRuns = 5

// Status reads where a source stands. It writes nothing.
func (l *Loader) Status(ctx context.Context, src *config.Source) (Status, error) {
	status := Status{Source: src.Nickname, Schema: src.Schema, Timezone: src.Location.String()}
	if src.Schedule != nil {
		next := src.Schedule.Next(time.Now())
		status.Schedule, status.NextSlot = src.Schedule.Text(), &next
	}
	book, err := l.Ledger(ctx, src)
	if err != nil {
		return status, err
	}
	state, err := book.State(ctx)
	if errors.Is(err, ledger.ErrNotMigrated) {
		return status, nil
	}
	if err != nil {
		return status, err
	}
	status.Migrated, status.SchemaVersion, status.MessageNamespace = true, state.Version, state.MessageNamespace.String()
	status.WatermarkAt, status.WatermarkID, status.CompleteUntil = state.WatermarkAt, state.WatermarkID, state.CompleteUntil
	status.LagSeconds = where.Lag(state.CaughtUpAt, time.Now())
	history, err := book.History(ctx, lastRuns)
	if err != nil {
		return status, err
	}
	status.Running, status.LastRuns, status.LastSuccess, status.Rejects = history.Running, history.Recent, history.LastSuccess, history.Rejects
	pending, err := l.Pending(ctx, src, state)
	if err != nil {
		status.PendingError = err.Error()
	} else {
		status.PendingRows = &pending
	}
	return status, nil
}

// Pending counts the rows behind the watermark, exactly while they are few.
func (l *Loader) Pending(ctx context.Context, src *config.Source, state ledger.State) (int64, error) {
	export, err := l.Source(ctx, src)
	if err != nil {
		return 0, err
	}
	defer export.Close()
	return export.Count(ctx, pages.Watermark(state))
}
