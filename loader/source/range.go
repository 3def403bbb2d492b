package source

import (
	"context"
	"fmt"
	"math"
	"time"
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
	// After leaves out what stands at or before it; the zero cursor = nothing. A nil ID stands
	// before every id of that moment.
	After Cursor
	// NoDay takes only rows whose occurred_at is no day that Segment takes.
	NoDay bool
	// UpTo is the watermark; only rows at or below it count. A nil ID ends before
	// every id of that moment.
	UpTo Cursor
	// ordered by occurred_at instead of exported_at.
	byOccurred bool
}

// OnDay returns the part of the range that lies on a day (UTC) by occurred_at; "" are the rows
// whose occurred_at is no day that Segment takes.
func (r Range) OnDay(day string) (Range, error) {
	if r.NoDay = day == ""; r.NoDay {
		return r, nil
	}
	from, err := time.Parse(time.DateOnly, day)
	if err != nil {
		return r, fmt.Errorf("reading day %q: %w", day, err)
	}
	to := from.AddDate(0, 0, 1)
	if r.From == nil || r.From.Before(from) {
		r.From = &from
	}
	if r.To == nil || r.To.After(to) {
		r.To = &to
	}
	return r, nil
}

// inRange returns the conditions of a range, without the watermark's.
func (t *Table) inRange(r Range) *conditions {
	c := &conditions{}
	column := colOccurredAt
	if r.ByExported {
		column = colExportedAt
	}
	c.add(t.sanitized(colExportedAt) + " is not null")
	t.withID(c)
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
	if !r.After.IsZero() {
		t.after(c, r.After)
	}
	if r.ExportedBefore != nil {
		t.moment(c, colExportedAt, "<", *r.ExportedBefore)
	}
	return c
}

// within returns the conditions of a range up to the watermark.
func (t *Table) within(r Range) *conditions {
	c := t.inRange(r)
	if r.UpTo.ID != nil {
		t.place(c, colExportedAt, "<=", r.UpTo)
	} else {
		t.moment(c, colExportedAt, "<", r.UpTo.At)
	}
	return c
}

// rangeSelect returns the SELECT of a page of a range, after a row.
func (t *Table) rangeSelect(list string, r Range, after Cursor, limit int) (string, []any) {
	c, order := t.within(r), r.order()
	if after.ID != nil {
		t.place(c, order, ">", after)
	}
	return t.ordered(list, c, order, limit)
}

// order is the time column by which the rows are read.
func (r Range) order() int {
	if r.byOccurred {
		return colOccurredAt
	}
	return colExportedAt
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
	if t := s.table; !r.ByExported {
		if missing, err = s.missingIndex(ctx, colOccurredAt); err != nil {
			return nil, "", err
		}
		// In its order there are places twice, or none, where a clock change repeats or skips an hour.
		r.byOccurred = missing == "" && (t.Columns[colOccurredAt].zoned() || t.zone() == utc)
	}
	return &RangeReader{source: s, rng: r}, missing, nil
}

// GoOn makes the reader go on where one of the same range, or a greater one, is; nil = at the beginning.
func (r *RangeReader) GoOn(before *RangeReader) {
	if before != nil && before.rng.byOccurred == r.rng.byOccurred {
		r.after, r.done = before.after, before.done
	}
}

// Next returns the next page, nil after the last one. A nil reader has none.
func (r *RangeReader) Next(ctx context.Context) (*Page, error) {
	if r == nil || r.done {
		return nil, nil
	}
	page, err := r.source.page(ctx, reading{
		from: r.after, order: r.rng.order(), columns: numColumns, limit: &r.source.limit,
		build: func(list string, from Cursor, limit int) (string, []any) {
			return r.source.table.rangeSelect(list, r.rng, from, limit)
		},
	})
	if err != nil {
		return nil, err
	}
	r.done = page.Last
	if n := len(page.Rows); n > 0 {
		r.after = placeOf(&page.Rows[n-1], r.rng.order())
	}
	return page, nil
}

// RangeEstimate returns about how many rows of a range there are to read, as the
// planner sees it; 0 if it does not say.
func (s *Source) RangeEstimate(ctx context.Context, r Range) int64 {
	return s.planned(ctx, s.table.within(r))
}

// Within counts the rows of a range up to the watermark.
func (s *Source) Within(ctx context.Context, r Range) (int64, error) {
	return s.count(ctx, "counting rows", s.table.within(r), math.MaxInt)
}

// Beyond counts the rows of a range that the watermark has not reached.
func (s *Source) Beyond(ctx context.Context, r Range) (int64, error) {
	return s.count(ctx, "counting rows beyond the watermark", s.table.after(s.table.inRange(r), r.UpTo), math.MaxInt)
}
