package ledger

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/candu-loader/candu-loader/queries"
)

// Fingerprints computes, in the server, counts and fingerprints of the mirror per
// day and kind; from and to bound the time of the events, nil = open.
func (l *Ledger) Fingerprints(ctx context.Context, from, to *time.Time) ([]queries.VerifyMirrorRow, error) {
	var rows []queries.VerifyMirrorRow
	err := l.InTx(ctx, func(tx pgx.Tx) (err error) {
		rows, err = l.q.VerifyMirror(ctx, tx, queries.VerifyMirrorParams{RangeFrom: from, RangeTo: to})
		return err
	})
	if err != nil {
		return nil, l.explain(err, "computing fingerprints of schema %q", l.id.Schema)
	}
	return rows, nil
}

// DayRows reads a page of the mirror's rows of [from, to), in the order of the bytes
// of the export's ids, after the one given.
func (l *Ledger) DayRows(ctx context.Context, from, to time.Time, after string, limit int32) ([]queries.VerifyMirrorRowsRow, error) {
	var rows []queries.VerifyMirrorRowsRow
	err := l.InTx(ctx, func(tx pgx.Tx) (err error) {
		rows, err = l.q.VerifyMirrorRows(ctx, tx, queries.VerifyMirrorRowsParams{DayFrom: &from, DayTo: &to, After: after, Count: limit})
		return err
	})
	if err != nil {
		return nil, l.explain(err, "reading a day of schema %q", l.id.Schema)
	}
	return rows, nil
}

// Elsewhere finds rows of the export in the mirror by their own ids, for which
// there is no index. A row may stand there more than once.
func (l *Ledger) Elsewhere(ctx context.Context, interactionIDs []string) (map[string][]queries.VerifyElsewhereRow, error) {
	found := map[string][]queries.VerifyElsewhereRow{}
	if len(interactionIDs) == 0 {
		return found, nil
	}
	err := l.InTx(ctx, func(tx pgx.Tx) error {
		rows, err := l.q.VerifyElsewhere(ctx, tx, interactionIDs)
		for _, row := range rows {
			found[row.InteractionID] = append(found[row.InteractionID], row)
		}
		return err
	})
	if err != nil {
		return nil, l.explain(err, "looking for rows in schema %q", l.id.Schema)
	}
	return found, nil
}
