package ledger

import (
	"context"
	"time"

	"github.com/candu-loader/candu-loader/queries"
)

// Fingerprint counts the mirror's rows of a day and kind. It is a sum over half of the MD5
// of each row's id and time, whatever their order.
type Fingerprint struct {
	// Day is in UTC.
	Day string
	// Kind is view, interaction, or tutorial_interaction for the rows of that table.
	Kind        string
	Rows        int64
	Fingerprint string
}

// Fingerprints computes, in the server, counts and fingerprints of the mirror per
// day and kind; from and to bound the time of the events, nil = open.
func (l *Ledger) Fingerprints(ctx context.Context, from, to *time.Time) ([]Fingerprint, error) {
	rows, err := ask(ctx, l, "computing fingerprints", l.q.VerifyMirror, queries.VerifyMirrorParams{RangeFrom: from, RangeTo: to})
	return each(rows, func(row queries.VerifyMirrorRow) Fingerprint { return Fingerprint(row) }), err
}

// DayRow is what the mirror has of one row of the export on one day.
type DayRow struct {
	InteractionID string
	Kind          string
	At            time.Time
	// Whole is false for a track without its row in tutorial_interaction.
	Whole bool
	// Copies is how often the row stands in that day.
	Copies int64
}

// DayRows reads a page of the mirror's rows of [from, to), in the order of the bytes
// of the export's ids, after the one given; nil stands before every id.
func (l *Ledger) DayRows(ctx context.Context, from, to time.Time, after *string, limit int32) ([]DayRow, error) {
	rows, err := ask(ctx, l, "reading a day", l.q.VerifyMirrorRows, queries.VerifyMirrorRowsParams{DayFrom: &from, DayTo: &to, After: after, Count: limit})
	return each(rows, func(row queries.VerifyMirrorRowsRow) DayRow { return DayRow(row) }), err
}

// Copy is one place of the mirror where a row of the export stands.
type Copy struct {
	InteractionID string
	Kind          string
	At            time.Time
}

// Copies finds rows of the export in the mirror by their own ids, for which
// there is no index. A row may stand there more than once.
func (l *Ledger) Copies(ctx context.Context, interactionIDs []string) (map[string][]Copy, error) {
	found := map[string][]Copy{}
	if len(interactionIDs) == 0 {
		return found, nil
	}
	rows, err := ask(ctx, l, "looking for rows", l.q.VerifyElsewhere, interactionIDs)
	for _, row := range rows {
		found[row.InteractionID] = append(found[row.InteractionID], Copy(row))
	}
	return found, err
}
