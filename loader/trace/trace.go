// Package trace tells the life of one row of the export: where it is, and why.
package trace

import (
	"cmp"
	"context"
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/segment"
	"github.com/candu-loader/candu-loader/loader/source"
)

// Place is where a row of the export is.
type Place string

// The places.
const (
	// InMirror: Segment accepted the event.
	InMirror Place = "mirror"
	// InRejects: the row can't be sent as it is.
	InRejects Place = "rejects"
	// Pending: a run has yet to read it.
	Pending Place = "pending"
	// Excluded: no run will ever read it.
	Excluded Place = "excluded"
	// Missing: runs have passed it by, for instance because it was committed very late.
	Missing Place = "missing"
)

// Explanation is the life of one row.
type Explanation struct {
	Source string `json:"source"`
	Schema string `json:"schema"`
	// Asked is the id as it was given, InteractionID the row's, MessageID the
	// event's ("" while there is none).
	Asked         string `json:"asked"`
	InteractionID string `json:"interaction_id"`
	MessageID     string `json:"message_id,omitempty"`
	// At is when that was so, by the warehouse's clock; by this machine's while there is no schema.
	At time.Time `json:"at"`

	// Row is the row in the export by canonical column names, nil if it is gone.
	Row        json.RawMessage `json:"row"`
	ExportedAt *time.Time      `json:"exported_at"`
	// ExportError says why the export could not be asked.
	ExportError string `json:"export_error,omitempty"`
	// Event is what the row makes today, nil if it makes none; then WouldReject says why.
	Event       *ExplainedEvent `json:"event"`
	WouldReject *event.Reject   `json:"would_reject"`
	Selection   *Selection      `json:"selection"`

	// Mirror is what stands in the mirror; more than one row if the time of the row in the
	// export was changed after it was sent.
	Mirror []ledger.MirrorRow `json:"mirror"`
	Reject *ledger.Reject     `json:"reject"`
	// Runs mirrored or rejected it: one, or a run and a backfill beside it.
	Runs []ledger.RunRecord `json:"runs"`
	// Running are the runs that are under way now.
	Running []ledger.RunRecord `json:"running"`
	// Failing says since when runs fail, and why the last one did; nil = it did not.
	Failing *ledger.Failing `json:"failing"`

	Place Place `json:"place"`
	// Answer says in one sentence where the event is.
	Answer string `json:"answer"`
}

// ExplainedEvent is the event that a row makes.
type ExplainedEvent struct {
	Kind  string `json:"kind"`
	Name  string `json:"name"`
	Bytes int    `json:"bytes"`
	// JSON is the event as it is sent.
	JSON json.RawMessage `json:"json"`
}

// Selection says whether the next run reads a row, and by what.
type Selection struct {
	NextRunReadsIt bool `json:"next_run_reads_it"`
	// Why is one sentence.
	Why         string     `json:"why"`
	WatermarkAt *time.Time `json:"watermark_at"`
	WatermarkID *string    `json:"watermark_id"`
	// Passed is true if the watermark stands at or beyond the row.
	Passed bool `json:"watermark_passed"`
	// ReadsFrom is where the next run begins: watermark - lookback; nil = the beginning.
	ReadsFrom       *time.Time `json:"reads_from"`
	LookbackSeconds float64    `json:"lookback_seconds"`
	StartAt         *time.Time `json:"start_at"`
	NextSlot        *time.Time `json:"next_slot"`
}

// Config says where a row may be.
type Config struct {
	Source *config.Source
	Ledger *ledger.Ledger
	// State is where the source stands; Migrated is false if there is no schema yet.
	State    ledger.State
	Migrated bool
	// ReadsFrom is where the next run begins to read, the zero cursor = the beginning.
	ReadsFrom source.Cursor
	// Export is nil if it could not be opened: then it is told what the ledger knows.
	// ExportError says why.
	Export      *source.Source
	ExportError error
	// Rules and Encoder make the row's event as a run would; nil without an export.
	Rules   *event.Rules
	Encoder *segment.Encoder
}

// Row tells the life of one row, by its id or by its event's messageId. It writes nothing. An
// id that is nowhere is a [fault.Precondition].
func Row(ctx context.Context, c Config, id string) (Explanation, error) {
	src := c.Source
	x := &explainer{Config: c, out: Explanation{
		Source: src.Nickname, Schema: src.Schema, Asked: id, InteractionID: id,
		Mirror: []ledger.MirrorRow{}, Runs: []ledger.RunRecord{}, Running: []ledger.RunRecord{},
	}}
	if x.out.At = c.State.Clock; x.out.At.IsZero() {
		x.out.At = time.Now()
	}
	if c.ExportError != nil {
		x.out.ExportError = c.ExportError.Error()
	}
	if err := x.explain(ctx); err != nil {
		return x.out, err
	}
	if x.out.Row == nil && len(x.out.Mirror) == 0 && x.out.Reject == nil {
		if c.ExportError != nil {
			return x.out, c.ExportError
		}
		return x.out, fault.New(fault.Precondition, "explaining %q of source %q: no row or event with this id", id, src.Nickname).
			WithHint("ID is the id of a row in %s, or a messageId. It is neither there nor in schema %s; rows that never were exported can't be explained.",
				src.Interactions.Table, src.Schema)
	}
	x.conclude()
	return x.out, nil
}

// explainer collects an explanation.
type explainer struct {
	Config

	row *event.Interaction
	out Explanation
}

func (x *explainer) explain(ctx context.Context) error {
	if err := x.findRow(ctx, x.out.Asked); err != nil {
		return err
	}
	// A row's id may look like a messageId, so it is asked for first.
	if message, at, ok := event.ParseMessageID(x.out.Asked); ok && x.row == nil {
		if err := x.findByMessage(ctx, message, at); err != nil {
			return err
		}
	}
	if x.row != nil {
		if err := x.convert(); err != nil {
			return err
		}
		x.selectRow()
	}
	if !x.Migrated {
		return nil
	}
	if err := x.findOutcome(ctx); err != nil {
		return err
	}
	var err error
	if x.out.Running, err = x.Ledger.Running(ctx); err == nil {
		x.out.Failing, err = x.Ledger.Failing(ctx)
	}
	return err
}

// findRow reads a row of the export by its id.
func (x *explainer) findRow(ctx context.Context, id string) error {
	if x.Export == nil {
		return nil
	}
	page, err := x.Export.ByID(ctx, []string{id})
	if err != nil || len(page.Rows) == 0 {
		return err
	}
	return x.keep(page, 0)
}

func (x *explainer) keep(page *source.Page, i int) (err error) {
	x.row = &page.Rows[i]
	x.out.InteractionID = x.row.ID
	if !x.row.ExportedAt.IsZero() {
		x.out.ExportedAt = &x.row.ExportedAt
	}
	x.out.Row, err = page.Object(i)
	return err
}

// findByMessage finds the row whose event has, or would have, that messageId: through the
// mirror, in the export at the time that is part of the id, or among the rejects.
func (x *explainer) findByMessage(ctx context.Context, message string, at time.Time) error {
	if x.Migrated {
		mirror, err := x.Ledger.Mirror(ctx, message)
		if err != nil {
			return err
		}
		if len(mirror) > 0 {
			x.out.MessageID, x.out.Mirror, x.out.InteractionID = message, mirror, mirror[0].InteractionID
			return x.findRow(ctx, x.out.InteractionID)
		}
	}
	if x.State.MessageNamespace == uuid.Nil {
		return nil
	}
	if err := x.findByTime(ctx, message, at); err != nil || x.row != nil {
		return err
	}
	return x.findReject(ctx, message)
}

// findByTime looks at the rows of the millisecond that the messageId names.
func (x *explainer) findByTime(ctx context.Context, message string, from time.Time) error {
	if x.Export == nil {
		return nil
	}
	to := from.Add(time.Millisecond)
	everything := source.At(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC))
	reader, _, err := x.Export.Range(ctx, source.Range{From: &from, To: &to, UpTo: everything})
	if err != nil {
		return err
	}
	for {
		page, err := reader.Next(ctx)
		if err != nil || page == nil {
			return err
		}
		for i := range page.Rows {
			if row := &page.Rows[i]; event.MessageID(x.State.MessageNamespace, row.ID, row.OccurredAt) == message {
				return x.keep(page, i)
			}
		}
	}
}

// findReject looks for a reject whose row is gone from the export.
func (x *explainer) findReject(ctx context.Context, message string) error {
	if !x.Migrated {
		return nil
	}
	for page, err := range x.Ledger.AllRejects(ctx, "") {
		if err != nil {
			return err
		}
		for _, reject := range page {
			var row struct {
				OccurredAt time.Time `json:"occurred_at"`
			}
			// What is no time makes no messageId.
			if json.Unmarshal(reject.Interaction, &row) == nil &&
				event.MessageID(x.State.MessageNamespace, reject.InteractionID, row.OccurredAt) == message {
				x.out.InteractionID, x.out.MessageID = reject.InteractionID, message
				return nil
			}
		}
	}
	return nil
}

// convert makes the row's event as a run would.
func (x *explainer) convert() error {
	made, reject := x.Rules.Convert(x.row)
	if reject != nil {
		x.out.WouldReject = reject
		return nil
	}
	if x.State.MessageNamespace == uuid.Nil {
		// The first migration draws the namespace; until then nobody knows the id.
		made.MessageID = ""
	}
	text, err := x.Encoder.JSON(&made)
	x.out.MessageID = made.MessageID
	x.out.Event = &ExplainedEvent{Kind: made.Kind.String(), Name: made.Kind.Name(), Bytes: len(text), JSON: text}
	return err
}

// findOutcome asks the ledger what became of the row.
func (x *explainer) findOutcome(ctx context.Context) (err error) {
	out := &x.out
	if len(out.Mirror) == 0 && out.MessageID != "" {
		if out.Mirror, err = x.Ledger.Mirror(ctx, out.MessageID); err != nil {
			return err
		}
	}
	if out.Reject, err = x.Ledger.Reject(ctx, out.InteractionID); err != nil {
		return err
	}
	if len(out.Mirror) == 0 && out.Reject == nil {
		if out.Mirror, err = x.Ledger.MirrorOf(ctx, out.InteractionID); err != nil {
			return err
		}
	}
	switch {
	case len(out.Mirror) > 0:
		if out.Row == nil {
			out.MessageID = cmp.Or(out.MessageID, out.Mirror[0].MessageID)
		}
		if at := out.Mirror[0].MirroredAt; at != nil {
			out.Runs, err = x.Ledger.RunsAt(ctx, *at)
		}
	case out.Reject != nil:
		run, err := x.Ledger.RunRecord(ctx, out.Reject.RunID)
		if err != nil {
			return err
		}
		if run != nil {
			out.Runs = []ledger.RunRecord{*run}
		}
	}
	return err
}
