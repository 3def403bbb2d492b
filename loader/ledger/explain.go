package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/candu-loader/candu-loader/queries"
)

// MirrorRow is a row of the mirror, whatever the event.
type MirrorRow struct {
	// Table is screens or tutorial_interaction.
	Table         string     `json:"table"`
	MessageID     string     `json:"message_id"`
	InteractionID string     `json:"interaction_id"`
	Timestamp     *time.Time `json:"timestamp"`
	SentAt        *time.Time `json:"sent_at"`
	ReceivedAt    *time.Time `json:"received_at"`
	MirroredAt    *time.Time `json:"uuid_ts"`
	// Row has all columns.
	Row json.RawMessage `json:"row"`
}

func mirrorRow(r queries.ExplainByMessageRow) MirrorRow {
	row := MirrorRow{
		Table: r.Relation, MessageID: r.ID, Timestamp: r.Timestamp, SentAt: r.SentAt, ReceivedAt: r.ReceivedAt, MirroredAt: r.UuidTs, Row: r.Mirrored,
	}
	if r.LoaderInteractionID != nil {
		row.InteractionID = *r.LoaderInteractionID
	}
	return row
}

// Mirror returns what the mirror holds under a messageId.
func (l *Ledger) Mirror(ctx context.Context, messageID string) ([]MirrorRow, error) {
	var found []MirrorRow
	err := l.InTx(ctx, func(tx pgx.Tx) error {
		rows, err := l.q.ExplainByMessage(ctx, tx, messageID)
		for _, r := range rows {
			found = append(found, mirrorRow(r))
		}
		return err
	})
	if err != nil {
		return nil, l.explain(err, "looking for event %q in schema %q", messageID, l.id.Schema)
	}
	return found, nil
}

// MirrorOf returns what the mirror holds of a row of the export, the newest first. It
// reads the whole mirror.
func (l *Ledger) MirrorOf(ctx context.Context, interactionID string) ([]MirrorRow, error) {
	var found []MirrorRow
	err := l.InTx(ctx, func(tx pgx.Tx) error {
		rows, err := l.q.ExplainByInteraction(ctx, tx, interactionID)
		for _, r := range rows {
			found = append(found, mirrorRow(queries.ExplainByMessageRow(r)))
		}
		return err
	})
	if err != nil {
		return nil, l.explain(err, "looking for row %q in schema %q", interactionID, l.id.Schema)
	}
	return found, nil
}

// Reject returns the reject of a row of the export, nil if there is none.
func (l *Ledger) Reject(ctx context.Context, interactionID string) (*Reject, error) {
	var reject *Reject
	err := l.InTx(ctx, func(tx pgx.Tx) error {
		r, err := l.q.ExplainReject(ctx, tx, interactionID)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err == nil {
			reject = new(rejectOf(r))
		}
		return err
	})
	if err != nil {
		return nil, l.explain(err, "looking for a reject of row %q in schema %q", interactionID, l.id.Schema)
	}
	return reject, nil
}

// RunsAt returns the runs that were under way at that moment.
func (l *Ledger) RunsAt(ctx context.Context, at time.Time) ([]RunRecord, error) {
	var runs []RunRecord
	err := l.InTx(ctx, func(tx pgx.Tx) error {
		rows, err := l.q.ExplainRunsAt(ctx, tx, at)
		for _, r := range rows {
			runs = append(runs, recordOf(r))
		}
		return err
	})
	if err != nil {
		return nil, l.explain(err, "looking for a run in schema %q", l.id.Schema)
	}
	return runs, nil
}

// RunRecord returns a run by its number, nil if there is none.
func (l *Ledger) RunRecord(ctx context.Context, id int64) (*RunRecord, error) {
	var record *RunRecord
	err := l.InTx(ctx, func(tx pgx.Tx) error {
		r, err := l.q.ExplainRun(ctx, tx, id)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err == nil {
			record = new(recordOf(r))
		}
		return err
	})
	if err != nil {
		return nil, l.explain(err, "reading run %d of schema %q", id, l.id.Schema)
	}
	return record, nil
}
