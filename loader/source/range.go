package source

import (
	"context"
	"strings"
	"time"

	"github.com/candu-loader/candu-loader/loader/postgres"
)

// Range is a piece of the export for a backfill.
type Range struct {
	// ByExported takes From and To as bounds of exported_at instead of
	// occurred_at.
	ByExported bool
	// From is inclusive, To exclusive; nil = open.
	From, To *time.Time
	// ExportedFrom is inclusive, ExportedBefore exclusive; nil = open.
	ExportedFrom, ExportedBefore *time.Time
	// NoDay takes only rows whose occurred_at is no day that Segment takes.
	NoDay bool
	// UpTo is the watermark; only rows at or below it count. A nil ID ends before
	// every id of that moment.
	UpTo Cursor
	// ordered by occurred_at instead of exported_at.
	byOccurred bool
}

// conditions collects the WHERE of a statement and its arguments.
type conditions struct {
	texts []string
	args  []any
}

func (c *conditions) arg(value any) string {
	c.args = append(c.args, value)
	return placeholder(len(c.args))
}

func (c *conditions) add(text string) { c.texts = append(c.texts, text) }

func (c *conditions) where() string { return "\nwhere " + strings.Join(c.texts, "\n  and ") }

// moment compares a time column with a moment.
func (t *Table) moment(c *conditions, column int, operator string, at time.Time) {
	zoned := t.Columns[column].zoned()
	kind := "timestamp"
	if zoned {
		kind = "timestamptz"
	}
	c.add(t.sanitized(column) + " " + operator + " " + c.arg(At(at).timestamp(zoned)) + "::" + kind)
}

// place compares the row's place in the reading order with a cursor.
func (t *Table) place(c *conditions, column int, operator string, cursor Cursor) {
	zoned := t.Columns[column].zoned()
	kind := "timestamp"
	if zoned {
		kind = "timestamptz"
	}
	c.add("(" + t.sanitized(column) + ", " + t.sanitized(colID) + ") " + operator + " (" +
		c.arg(cursor.timestamp(zoned)) + "::" + kind + ", " + c.arg(*cursor.ID) + "::" + t.idType() + ")")
}

// within returns the conditions of a range, without the watermark's.
func (t *Table) within(r Range) *conditions {
	c := &conditions{}
	column := colOccurredAt
	if r.ByExported {
		column = colExportedAt
	}
	c.add(t.sanitized(colExportedAt) + " is not null")
	if r.From != nil {
		t.moment(c, column, ">=", *r.From)
	}
	if r.To != nil {
		t.moment(c, column, "<", *r.To)
	}
	if r.NoDay {
		c.add("(" + t.dayExpression() + ") is null")
	}
	if r.ExportedFrom != nil {
		t.moment(c, colExportedAt, ">=", *r.ExportedFrom)
	}
	if r.ExportedBefore != nil {
		t.moment(c, colExportedAt, "<", *r.ExportedBefore)
	}
	return c
}

// rangeSelect returns the SELECT of a page of a range, after a row.
func (t *Table) rangeSelect(r Range, after Cursor, limit int) (string, []any) {
	c := t.within(r)
	t.upTo(c, r)
	order := colExportedAt
	if r.byOccurred {
		order = colOccurredAt
	}
	if after.ID != nil {
		t.place(c, order, ">", after)
	}
	return "select " + t.columnList(numColumns) + "\nfrom " + t.Relation() + c.where() +
		"\norder by " + t.sanitized(order) + ", " + t.sanitized(colID) + "\nlimit " + c.arg(limit), c.args
}

// beyondSelect counts the rows of a range that the watermark has not reached.
func (t *Table) beyondSelect(r Range) (string, []any) {
	c := t.within(r)
	switch {
	case r.UpTo.IsZero():
	case r.UpTo.ID != nil:
		t.place(c, colExportedAt, ">", r.UpTo)
	default:
		t.moment(c, colExportedAt, ">=", r.UpTo.At)
	}
	return "select count(*) from " + t.Relation() + c.where(), c.args
}

// RangeReader reads the pages of a range.
type RangeReader struct {
	source *Source
	rng    Range
	after  Cursor
	done   bool
}

// Range returns a reader of the rows of a range. It reads in the order of
// occurred_at where an index serves that, else by the index on exported_at, passing
// over the rows outside; missing is then the statement that makes the index, else "".
func (s *Source) Range(ctx context.Context, r Range) (reader *RangeReader, missing string, err error) {
	if !r.ByExported {
		name := s.table.Columns[colOccurredAt].Name
		r.byOccurred, err = s.indexedBy(ctx, name+","+s.table.Columns[colID].Name)
		if err != nil {
			return nil, "", err
		}
		if !r.byOccurred {
			missing = "CREATE INDEX CONCURRENTLY ON " + s.table.Relation() + " (" + quoted(name) + ", " + s.table.sanitized(colID) + ");"
		}
	}
	return &RangeReader{source: s, rng: r}, missing, nil
}

// Page returns the next page, nil after the last one.
func (r *RangeReader) Page(ctx context.Context) (*Page, error) {
	if r.done {
		return nil, nil
	}
	var page *Page
	s := r.source
	limit := s.limit
	err := s.retry(ctx, func(ctx context.Context) error {
		return s.reader.Read(ctx, func(db postgres.DB) (err error) {
			limit = s.limit
			sql, args := s.table.rangeSelect(r.rng, r.after, limit)
			if page, err = s.rows(ctx, db, PageBytes, limit, sql, args...); err != nil {
				return s.readError(err, r.after)
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	if n := len(page.Rows); n > 0 {
		last := &page.Rows[n-1]
		r.after = After(last.ExportedAt, last.ID)
		if r.rng.byOccurred {
			r.after.At = last.OccurredAt
		}
		s.limit = min(s.config.PageSize, max(1, PageBytes/(page.Bytes/n)))
	}
	page.Last = len(page.Rows) < limit && page.Bytes < PageBytes
	r.done = page.Last
	return page, nil
}

// RangeEstimate returns about how many rows of a range there are to read, as the
// planner sees it; 0 if it does not say.
func (s *Source) RangeEstimate(ctx context.Context, r Range) int64 {
	c := s.table.within(r)
	s.table.upTo(c, r)
	return s.planned(ctx, "explain (format json) select from "+s.table.Relation()+c.where(), c.args)
}

// Beyond counts the rows of a range that the watermark has not reached.
func (s *Source) Beyond(ctx context.Context, r Range) (int64, error) {
	var n int64
	sql, args := s.table.beyondSelect(r)
	err := s.retry(ctx, func(ctx context.Context) error {
		return s.reader.Read(ctx, func(db postgres.DB) error {
			return wrap(db.QueryRow(ctx, sql, args...).Scan(&n), s.config.Spec, "counting rows behind the watermark")
		})
	})
	return n, err
}
