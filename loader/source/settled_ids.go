package source

import (
	"context"

	"github.com/jackc/pgx/v5"
)

func (t *Table) settledSelect(r Range, ids []string) (string, []any) {
	c := t.within(Range{ExportedFrom: r.ExportedFrom, After: r.After, UpTo: r.UpTo})
	c.add(t.sanitized(colID) + " = any (" + c.arg(ids) + "::text[]::" + t.idType() + "[])")
	return "select " + t.sanitized(colID) + "::text\nfrom " + t.Relation() + c.where(), c.args
}

// Settled returns those of the ids, which must be of the table's type, whose rows are
// between start_at, or what a copy inherited, and the watermark of a range, whatever their occurred_at.
func (s *Source) Settled(ctx context.Context, r Range, ids []string) (map[string]bool, error) {
	settled := map[string]bool{}
	if len(ids) == 0 {
		return settled, nil
	}
	sql, args := s.table.settledSelect(r, ids)
	found, err := collect(ctx, s, "comparing rows with the watermark", pgx.RowTo[string], sql, args...)
	for _, id := range found {
		settled[id] = true
	}
	return settled, err
}
