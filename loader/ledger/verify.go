package ledger

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

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
	var prints []Fingerprint
	err := l.inTx(ctx, "computing fingerprints", func(tx pgx.Tx) error {
		rows, err := l.q.VerifyMirror(ctx, tx, queries.VerifyMirrorParams{RangeFrom: from, RangeTo: to})
		for _, row := range rows {
			prints = append(prints, Fingerprint(row))
		}
		return err
	})
	return prints, err
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
// of the export's ids, after the one given.
func (l *Ledger) DayRows(ctx context.Context, from, to time.Time, after string, limit int32) ([]DayRow, error) {
	var page []DayRow
	err := l.inTx(ctx, "reading a day", func(tx pgx.Tx) error {
		rows, err := l.q.VerifyMirrorRows(ctx, tx, queries.VerifyMirrorRowsParams{DayFrom: &from, DayTo: &to, After: after, Count: limit})
		for _, row := range rows {
			page = append(page, DayRow(row))
		}
		return err
	})
	return page, err
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
	err := l.inTx(ctx, "looking for rows", func(tx pgx.Tx) error {
		rows, err := l.q.VerifyElsewhere(ctx, tx, interactionIDs)
		for _, row := range rows {
			found[row.InteractionID] = append(found[row.InteractionID], Copy(row))
		}
		return err
	})
	return found, err
}
