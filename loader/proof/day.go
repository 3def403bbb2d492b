package proof

import (
	"context"
	"errors"
	"hash/crc32"
	"maps"
	"slices"
	"time"

	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/source"
)

// day compares a day row by row: both sides in the order of the ids, a page at a
// time, whatever the day holds. "" is the rows whose occurred_at is no day that Segment takes.
func (v *verifier) day(ctx context.Context, day string) error {
	rng, err := v.Range.OnDay(day)
	if err != nil {
		return err
	}
	if v.Export.Table().Prints() {
		return v.dayOf(ctx, rng, everyID, &pages[source.Row]{
			read: func(after *string) ([]source.Row, error) { return v.Export.DayRows(ctx, rng, v.Kinds, after, pageRows) },
		})
	}
	// The export's order of ids is not the mirror's, so the rows are sorted here, a part at a time.
	var rows int64
	for key, s := range v.days {
		if key.day == day {
			rows += s.rows.rows
		}
	}
	parts := uint32(rows/partRows) + 1
	for n := range parts {
		in := func(id string) bool { return crc32.ChecksumIEEE([]byte(id))%parts == n }
		part, err := v.Export.DayPart(ctx, rng, v.Kinds, in)
		if err != nil {
			return err
		}
		if err := v.dayOf(ctx, rng, in, &pages[source.Row]{page: part, done: true}); err != nil {
			return err
		}
	}
	return nil
}

func everyID(string) bool { return true }

// dayOf compares those rows of a day whose ids are in a part, of which exported has no others.
func (v *verifier) dayOf(ctx context.Context, rng source.Range, in func(id string) bool, exported *pages[source.Row]) error {
	exported.id = func(r source.Row) string { return r.ID }
	mirrored := &pages[ledger.DayRow]{
		read: func(after *string) ([]ledger.DayRow, error) {
			if rng.NoDay {
				return nil, nil // Nothing without a day is ever mirrored.
			}
			return v.Ledger.DayRows(ctx, *rng.From, *rng.To, after, pageRows)
		},
		id: func(r ledger.DayRow) string { return r.InteractionID },
	}
	lost := chunk[source.Row]{decide: func(rows []source.Row) error { return v.lost(ctx, rows) }}
	extra := chunk[string]{decide: func(ids []string) error { return v.extra(ctx, ids) }}
	both := chunk[string]{decide: func(ids []string) error { return v.both(ctx, ids) }}
	err := merge(exported, mirrored, func(a *source.Row, b *ledger.DayRow) error {
		switch {
		case b == nil:
			return lost.add(*a)
		case a == nil && !in(b.InteractionID):
			return nil
		case a == nil:
			return extra.add(b.InteractionID)
		case b.Copies > 1:
			v.report.Doubled.add(a.ID)
		case a.Kind != b.Kind || !a.At.Equal(b.At) || !b.Whole:
			v.report.Different.add(a.ID)
		default:
			return both.add(a.ID)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return errors.Join(lost.flush(), extra.flush(), both.flush())
}

// merge walks through both sides in the order of the ids; a or b is nil where the other side
// stands alone.
func merge(exported *pages[source.Row], mirrored *pages[ledger.DayRow], each func(a *source.Row, b *ledger.DayRow) error) error {
	for {
		a, err := exported.peek()
		if err != nil {
			return err
		}
		b, err := mirrored.peek()
		switch {
		case err != nil:
			return err
		case a == nil && b == nil:
			return nil
		case a != nil && b != nil && a.ID < b.InteractionID:
			b = nil
		case a != nil && b != nil && b.InteractionID < a.ID:
			a = nil
		}
		if err := each(a, b); err != nil {
			return err
		}
		if a != nil {
			exported.next()
		}
		if b != nil {
			mirrored.pass(b.InteractionID)
		}
	}
}

// chunk collects what is decided of together.
type chunk[T any] struct {
	decide func([]T) error
	items  []T
}

func (c *chunk[T]) add(item T) error {
	if c.items = append(c.items, item); len(c.items) < pageRows {
		return nil
	}
	return c.flush()
}

func (c *chunk[T]) flush() error {
	err := c.decide(c.items)
	c.items = c.items[:0]
	return err
}

// both looks whether rows that are in the mirror were rejected too. The mirror was
// read before, so a reject that is sent meanwhile is not taken for one.
func (v *verifier) both(ctx context.Context, ids []string) error {
	if v.report.Rejected == 0 {
		return nil
	}
	rejected, err := v.Ledger.KnownRejects(ctx, ids)
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
	rejected, err := v.Ledger.KnownRejects(ctx, ids)
	if err != nil {
		return err
	}
	elsewhere, err := v.Ledger.Copies(ctx, ids)
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

// extra decides of rows of the mirror that the export does not have on that day
// up to the watermark: gone, beyond the watermark, or there with another time.
func (v *verifier) extra(ctx context.Context, ids []string) error {
	moved := map[string]time.Time{}
	for some := range slices.Chunk(ids, ledger.RejectsPage) {
		page, err := v.Export.ByID(ctx, some)
		if err != nil {
			return err
		}
		there, exported := map[string]time.Time{}, map[string]time.Time{}
		for i := range page.Rows {
			there[page.Rows[i].ID], exported[page.Rows[i].ID] = page.Rows[i].OccurredAt, page.Rows[i].ExportedAt
		}
		settled, err := v.Export.Settled(ctx, v.Range, slices.Collect(maps.Keys(there)))
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
				v.beyond(exported[id])
			}
		}
	}
	return v.moved(ctx, moved)
}

// beyond counts a row of the mirror that is not among the rows that are compared, by the reason.
func (v *verifier) beyond(exported time.Time) {
	v.report.Beyond++
	switch start, since := v.State.StartAt, v.State.NamespaceSince; {
	case start != nil && exported.Before(*start):
		v.report.BeforeStart++
	case since != nil && !exported.After(*since):
		v.report.BeforeNamespace++
	}
}

// moved decides of rows that the mirror has on another day than the export: the
// mirror has them there too, or not. The latter are found by lost, unless the
// export's day lies outside of the range.
func (v *verifier) moved(ctx context.Context, rows map[string]time.Time) error {
	elsewhere, err := v.Ledger.Copies(ctx, slices.Collect(maps.Keys(rows)))
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
		return v.Range.From == nil && v.Range.To == nil
	}
	return (v.Range.From == nil || !at.Before(*v.Range.From)) && (v.Range.To == nil || at.Before(*v.Range.To))
}

// pageRows is how many rows of a day that differs are read at once. Each page reads the day
// again, so it is large.
const pageRows = 100_000

// partRows is how many rows are held to be sorted, about.
const partRows = 500_000

// pages reads a list page by page, in the order of the ids.
type pages[T any] struct {
	read func(after *string) ([]T, error)
	id   func(T) string
	page []T
	last *string // nil before the first, for an empty text is an id too
	done bool
}

// peek returns the first one that was not passed; nil after the last.
func (p *pages[T]) peek() (first *T, err error) {
	if len(p.page) == 0 && !p.done {
		if p.page, err = p.read(p.last); err != nil {
			return nil, err
		}
		p.done = len(p.page) < pageRows
	}
	if len(p.page) == 0 {
		return nil, nil
	}
	return &p.page[0], nil
}

func (p *pages[T]) next() {
	p.last = new(p.id(p.page[0]))
	p.page = p.page[1:]
}

// pass is next for every row of that id; those that the page cut off are not read.
func (p *pages[T]) pass(id string) {
	for len(p.page) > 0 && p.id(p.page[0]) == id {
		p.next()
	}
}
