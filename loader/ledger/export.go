package ledger

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/candu-loader/candu-loader/queries"
)

// Export is the table that a watermark is about.
type Export struct {
	Place

	// Relation is its quoted name, with its schema's.
	Relation string
	// Zone is that of its times without one, "" if it has none, or it is not known.
	Zone string
}

func (e Export) String() string { return e.Relation + " of " + e.Place.String() }

// Differs reports whether it is another one than what was stored, as far as both are known.
func (e Export) Differs(stored Export) bool {
	return stored.Relation != "" && e.Relation != stored.Relation || e.differs(stored.Place)
}

// adds reports whether there is something in it that was not stored.
func (e Export) adds(stored Export) bool {
	return e.Relation != stored.Relation || e.Database != stored.Database || e.System != "" && e.System != stored.System || e.Zone != "" && e.Zone != stored.Zone
}

func exportOf(s queries.LoaderState) Export {
	return Export{
		Place:    Place{System: orEmpty(s.ExportSystem), Database: orEmpty(s.ExportDatabase)},
		Relation: orEmpty(s.ExportRelation), Zone: orEmpty(s.ExportZone),
	}
}

// SetExport stores which export the watermark is about.
func (r *Run) SetExport(ctx context.Context, e Export) error {
	if !e.adds(r.State.Export) {
		return nil
	}
	rows, err := ask(ctx, r.ledger.writing(), "storing the export's identity", r.ledger.q.ExportSet, queries.ExportSetParams{
		System: orNil(e.System), Database: e.Database, Relation: e.Relation, Zone: orNil(e.Zone), Holder: r.holder,
	})
	if err == nil && rows == 0 {
		err = r.lost(ctx)
	}
	return err
}

// ResetExport makes the next run read another export from where the first run began. Nobody may
// work on the source meanwhile, which else is [fault.Busy].
func (l *Ledger) ResetExport(ctx context.Context, e Export) error {
	return l.writing().inTx(ctx, "beginning with another export", func(tx pgx.Tx) error {
		if err := l.id.alone(ctx, l.q, tx); err != nil {
			return err
		}
		if err := l.q.CommitDurably(ctx, tx); err != nil {
			return err
		}
		return l.q.ExportReset(ctx, tx, queries.ExportResetParams{System: orNil(e.System), Database: e.Database, Relation: e.Relation, Zone: orNil(e.Zone)})
	})
}

// Newest returns the newest events of the mirror, of which each row of the export is known by its
// id and time.
func (l *Ledger) Newest(ctx context.Context, count int32) (map[string]time.Time, error) {
	rows, err := ask(ctx, l, "reading the newest events", l.q.MirrorNewest, count)
	newest := make(map[string]time.Time, len(rows))
	for _, row := range rows {
		newest[row.InteractionID] = row.At
	}
	return newest, err
}
