package loader

import (
	"context"
	"time"

	"github.com/candu-loader/candu-loader/loader/source"
	"github.com/candu-loader/candu-loader/queries"
)

// day compares a day row by row: both sides in the order of the ids, a page at a
// time, whatever the day holds.
func (v *verifier) day(ctx context.Context, day string) error {
	rng := v.rng
	var from, to time.Time
	if day != "" {
		midnight, err := time.Parse(time.DateOnly, day)
		if err != nil {
			return err
		}
		from, to = midnight, midnight.AddDate(0, 0, 1)
		if rng.From != nil && rng.From.After(from) {
			from = *rng.From
		}
		if rng.To != nil && rng.To.Before(to) {
			to = *rng.To
		}
		rng.From, rng.To = &from, &to
	} else {
		rng.NoDay = true
	}
	left := &pages[source.Row]{
		read: func(after string) ([]source.Row, error) {
			return v.export.DayRows(ctx, rng, v.kinds, after, verifyPage)
		},
		id: func(r source.Row) string { return r.ID },
	}
	right := &pages[queries.VerifyMirrorRowsRow]{
		read: func(after string) ([]queries.VerifyMirrorRowsRow, error) {
			if day == "" {
				return nil, nil // Nothing without a day is ever mirrored.
			}
			return v.book.DayRows(ctx, from, to, after, verifyPage)
		},
		id: func(r queries.VerifyMirrorRowsRow) string { return r.InteractionID },
	}
	var lost []source.Row
	var extra []string
	for {
		a, okA, err := left.peek()
		if err != nil {
			return err
		}
		b, okB, err := right.peek()
		if err != nil {
			return err
		}
		switch {
		case !okA && !okB:
			if err := v.lost(ctx, lost); err != nil {
				return err
			}
			return v.extra(ctx, extra)
		case okA && (!okB || a.ID < b.InteractionID):
			lost = append(lost, a)
			left.next()
		case okB && (!okA || b.InteractionID < a.ID):
			extra = append(extra, b.InteractionID)
			right.next()
		default:
			if a.Kind != b.Kind || !a.At.Equal(b.At) {
				v.report.Different.add(a.ID)
			}
			left.next()
			right.next()
		}
		if len(lost) >= verifyPage {
			if err := v.lost(ctx, lost); err != nil {
				return err
			}
			lost = lost[:0]
		}
		if len(extra) >= verifyPage {
			if err := v.extra(ctx, extra); err != nil {
				return err
			}
			extra = extra[:0]
		}
	}
}

// lost decides of rows of the export that are not in the mirror on their day:
// rejected, mirrored with another time, or missing.
func (v *verifier) lost(ctx context.Context, rows []source.Row) error {
	if len(rows) == 0 {
		return nil
	}
	ids := make([]string, len(rows))
	for i := range rows {
		ids[i] = rows[i].ID
	}
	rejected, err := v.book.KnownRejects(ctx, ids)
	if err != nil {
		return err
	}
	elsewhere, err := v.book.Elsewhere(ctx, ids)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if _, ok := rejected[id]; ok {
			continue
		}
		if _, ok := elsewhere[id]; ok {
			v.report.Different.add(id)
			continue
		}
		v.report.Missing.add(id)
	}
	return nil
}

// extra decides of rows of the mirror that the export does not have on that day
// up to the watermark: gone, or there with another time, which lost decides, or
// beyond the watermark.
func (v *verifier) extra(ctx context.Context, ids []string) error {
	for len(ids) > 0 {
		some := ids[:min(len(ids), rejectsPage)]
		ids = ids[len(some):]
		page, err := v.export.ByID(ctx, some)
		if err != nil {
			return err
		}
		there := map[string]bool{}
		for i := range page.Rows {
			there[page.Rows[i].ID] = true
		}
		for _, id := range some {
			if there[id] {
				v.report.Beyond++
			} else {
				v.report.Unexpected.add(id)
			}
		}
	}
	return nil
}

// pages reads a list page by page, in the order of the ids.
type pages[T any] struct {
	read func(after string) ([]T, error)
	id   func(T) string
	page []T
	last string
	done bool
}

// peek returns the first one that was not passed; false after the last.
func (p *pages[T]) peek() (first T, ok bool, err error) {
	if len(p.page) == 0 && !p.done {
		if p.page, err = p.read(p.last); err != nil {
			return first, false, err
		}
		p.done = len(p.page) < verifyPage
	}
	if len(p.page) == 0 {
		return first, false, nil
	}
	return p.page[0], true, nil
}

func (p *pages[T]) next() {
	p.last = p.id(p.page[0])
	p.page = p.page[1:]
}
