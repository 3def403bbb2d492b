package ledger

import (
	"context"
	"encoding/json"
	"time"

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
	return MirrorRow{
		Table: r.Relation, MessageID: r.ID, InteractionID: orEmpty(r.LoaderInteractionID),
		Timestamp: r.Timestamp, SentAt: r.SentAt, ReceivedAt: r.ReceivedAt, MirroredAt: r.UuidTs, Row: r.Mirrored,
	}
}

// Mirror returns what the mirror holds under a messageId.
func (l *Ledger) Mirror(ctx context.Context, messageID string) ([]MirrorRow, error) {
	rows, err := ask(ctx, l, "looking for an event", l.q.ExplainByMessage, messageID)
	return each(rows, mirrorRow), err
}

// MirrorOf returns what the mirror holds of a row of the export, the newest first. It
// reads the whole mirror.
func (l *Ledger) MirrorOf(ctx context.Context, interactionID string) ([]MirrorRow, error) {
	rows, err := ask(ctx, l, "looking for a row", l.q.ExplainByInteraction, interactionID)
	return each(rows, func(r queries.ExplainByInteractionRow) MirrorRow { return mirrorRow(queries.ExplainByMessageRow(r)) }), err
}

// Reject returns the reject of a row of the export, nil if there is none.
func (l *Ledger) Reject(ctx context.Context, interactionID string) (*Reject, error) {
	rows, err := ask(ctx, l, "looking for a reject", l.q.ExplainReject, rejectKey(interactionID))
	return first(each(rows, rejectOf)), err
}

// RunsAt returns the runs that were under way at that moment.
func (l *Ledger) RunsAt(ctx context.Context, at time.Time) ([]RunRecord, error) {
	rows, err := ask(ctx, l, "looking for a run", l.q.ExplainRunsAt, at)
	return each(rows, recordOf), err
}

// RunRecord returns a run by its number, nil if there is none.
func (l *Ledger) RunRecord(ctx context.Context, id int64) (*RunRecord, error) {
	rows, err := ask(ctx, l, "reading a run", l.q.ExplainRun, id)
	return first(each(rows, recordOf)), err
}

func first[T any](rows []T) *T {
	if len(rows) == 0 {
		return nil
	}
	return &rows[0]
}
