package loader

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/source"
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
	right := &pages[ledger.DayRow]{
		read: func(after string) ([]ledger.DayRow, error) {
			if day == "" {
				return nil, nil // Nothing without a day is ever mirrored.
			}
			return v.book.DayRows(ctx, from, to, after, verifyPage)
		},
		id: func(r ledger.DayRow) string { return r.InteractionID },
	}
	var lost []source.Row
	var extra, both []string
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
			return errors.Join(v.lost(ctx, lost), v.extra(ctx, extra), v.both(ctx, both))
		case okA && (!okB || a.ID < b.InteractionID):
			lost = append(lost, a)
			left.next()
		case okB && (!okA || b.InteractionID < a.ID):
			extra = append(extra, b.InteractionID)
			right.pass(b.InteractionID)
		default:
			switch {
			case b.Copies > 1:
				v.report.Doubled.add(a.ID)
			case a.Kind != b.Kind || !a.At.Equal(b.At) || !b.Whole:
				v.report.Different.add(a.ID)
			default:
				both = append(both, a.ID)
			}
			left.next()
			right.pass(b.InteractionID)
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
		if len(both) >= verifyPage {
			if err := v.both(ctx, both); err != nil {
				return err
			}
			both = both[:0]
		}
	}
}

// both looks whether rows that are in the mirror were rejected too. The mirror was
// read before, so a reject that is sent meanwhile is not taken for one.
func (v *verifier) both(ctx context.Context, ids []string) error {
	if v.report.Rejected == 0 {
		return nil
	}
	rejected, err := v.book.KnownRejects(ctx, ids)
	for id := range rejected {
		v.report.Doubled.add(id)
	}
	return err
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
	elsewhere, err := v.book.Copies(ctx, ids)
	if err != nil {
		return err
	}
	for _, row := range rows {
		_, known := rejected[row.ID]
		copies := elsewhere[row.ID]
		switch {
		case known:
		case len(copies) == 0:
			v.report.Missing.add(row.ID)
		case !slices.ContainsFunc(copies, func(c ledger.Copy) bool { return c.Kind == row.Kind && c.At.Equal(row.At) }):
			v.report.Different.add(row.ID)
		}
	}
	return nil
}

// goneRejects names the rejects of days that are gone from the export, and returns
// their days.
func (v *verifier) goneRejects(ctx context.Context, days map[string]bool) (map[string]bool, error) {
	gone := map[string]bool{}
	if len(days) == 0 {
		return gone, nil
	}
	err := v.eachReject(ctx, func(page []rejectOfDay) error {
		day := map[string]string{}
		for _, reject := range page {
			if days[reject.day] {
				day[reject.id] = reject.day
			}
		}
		if len(day) == 0 {
			return nil
		}
		there, err := v.export.ByID(ctx, slices.Collect(maps.Keys(day)))
		if err != nil {
			return err
		}
		for i := range there.Rows {
			delete(day, there.Rows[i].ID)
		}
		for _, id := range slices.Sorted(maps.Keys(day)) {
			v.report.Unexpected.add(id)
			gone[day[id]] = true
		}
		return nil
	})
	return gone, err
}

// extra decides of rows of the mirror that the export does not have on that day
// up to the watermark: gone, beyond the watermark, or there with another time.
func (v *verifier) extra(ctx context.Context, ids []string) error {
	moved := map[string]time.Time{}
	for some := range slices.Chunk(ids, rejectsPage) {
		page, err := v.export.ByID(ctx, some)
		if err != nil {
			return err
		}
		there := map[string]time.Time{}
		for i := range page.Rows {
			there[page.Rows[i].ID] = page.Rows[i].OccurredAt
		}
		settled, err := v.export.Settled(ctx, v.rng, slices.Collect(maps.Keys(there)))
		if err != nil {
			return err
		}
		for _, id := range some {
			at, ok := there[id]
			switch {
			case !ok:
				v.report.Unexpected.add(id)
			case settled[id]:
				moved[id] = at
			default:
				v.report.Beyond++
			}
		}
	}
	return v.moved(ctx, moved)
}

// moved decides of rows that the mirror has on another day than the export: the
// mirror has them there too, or not. The latter are found by lost, unless the
// export's day lies outside of the range.
func (v *verifier) moved(ctx context.Context, rows map[string]time.Time) error {
	elsewhere, err := v.book.Copies(ctx, slices.Collect(maps.Keys(rows)))
	if err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(rows)) {
		at := rows[id]
		switch {
		case slices.ContainsFunc(elsewhere[id], func(c ledger.Copy) bool { return c.At.Equal(at) }):
			v.report.Doubled.add(id)
		case !v.inRange(at):
			v.report.Different.add(id)
		}
	}
	return nil
}

// inRange reports whether occurred_at, zero for NULL, lies in the range.
func (v *verifier) inRange(at time.Time) bool {
	if at.IsZero() {
		return v.rng.From == nil && v.rng.To == nil
	}
	return (v.rng.From == nil || !at.Before(*v.rng.From)) && (v.rng.To == nil || at.Before(*v.rng.To))
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

// pass is next for every row of that id; those that the page cut off are not read.
func (p *pages[T]) pass(id string) {
	for len(p.page) > 0 && p.id(p.page[0]) == id {
		p.next()
	}
}
