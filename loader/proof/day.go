package proof

import (
	"context"
	"errors"
	"hash/crc32"
	"strconv"

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
		return v.dayOf(ctx, day, rng, everyID, &pages[source.Row]{
			read: func(after *string) ([]source.Row, error) {
				return v.Export.DayRows(ctx, rng, v.Prints, after, pageRows)
			},
		})
	}
	// The export's order of ids is not the mirror's, so the rows are sorted here, a part at a time.
	var rows int64
	for key, s := range v.days {
		if key.day == day {
			rows += s.exported.rows
		}
	}
	parts := uint32(rows/partRows) + 1
	for n := range parts {
		in := func(id string) bool { return crc32.ChecksumIEEE([]byte(id))%parts == n }
		part, err := v.Export.DayPart(ctx, rng, v.Prints, in)
		if err != nil {
			return err
		}
		if err := v.dayOf(ctx, day, rng, in, &pages[source.Row]{page: part, done: true}); err != nil {
			return err
		}
	}
	return nil
}

func everyID(string) bool { return true }

// dayOf compares those rows of a day whose ids are in a part, of which exported has no others.
func (v *verifier) dayOf(ctx context.Context, day string, rng source.Range, in func(id string) bool, exported *pages[source.Row]) error {
	exported.id = func(r source.Row) string { return r.ID }
	of := v.mirrorPrints(rng)
	table := func(name ledger.MirrorTable) *pages[ledger.Fingerprint] {
		return &pages[ledger.Fingerprint]{
			read: func(after *string) ([]ledger.Fingerprint, error) {
				return v.Ledger.RowPrints(ctx, name, of, after, pageRows)
			},
			id: func(f ledger.Fingerprint) string { return f.InteractionID },
		}
	}
	sides := &merged{exported: exported, screens: table(ledger.Screens), tracks: table(ledger.Tracks), interactions: table(ledger.Interactions)}
	doubtful := chunk[candidate]{decide: func(list []candidate) error { return v.decide(ctx, day, list) }}
	equal := chunk[string]{decide: func(ids []string) error { return v.rejectedToo(ctx, ids) }}
	for {
		id, row, mirrored, err := sides.next()
		switch {
		case err != nil:
			return err
		case mirrored == nil && row == nil:
			return errors.Join(doubtful.flush(), equal.flush())
		case row == nil && !in(id):
		case row != nil && mirrored.holds(row):
			v.report.Rows++
			v.report.Mirrored++
			err = equal.add(id)
		default:
			err = doubtful.add(candidate{id, row != nil})
		}
		if err != nil {
			return err
		}
	}
}

// held are the fingerprints of what the mirror has of one row of the export on one day; nil = nothing.
type held struct{ screens, tracks, interactions *ledger.Fingerprint }

// holds reports whether the mirror has a row exactly as it is.
func (m *held) holds(row *source.Row) bool {
	once := func(f *ledger.Fingerprint) bool {
		return f != nil && f.Rows == 1 && f.Wrong == 0 && f.Sum == strconv.FormatInt(row.Sum, 10)
	}
	switch row.Kind {
	case "view":
		return once(m.screens) && m.tracks == nil && m.interactions == nil
	case "interaction":
		return m.screens == nil && m.tracks != nil && m.tracks.Rows == 1 && once(m.interactions) && m.tracks.Common == m.interactions.Common
	}
	return false
}

// merged walks through all sides in the order of the ids.
type merged struct {
	exported                      *pages[source.Row]
	screens, tracks, interactions *pages[ledger.Fingerprint]
}

// next returns what there is of the next id: nil where there is nothing.
func (m *merged) next() (id string, row *source.Row, mirrored *held, err error) {
	row, err = m.exported.peek()
	if err != nil {
		return "", nil, nil, err
	}
	found := row != nil
	if found {
		id = row.ID
	}
	tables := []*pages[ledger.Fingerprint]{m.screens, m.tracks, m.interactions}
	var prints [3]*ledger.Fingerprint
	for i, table := range tables {
		if prints[i], err = table.peek(); err != nil {
			return "", nil, nil, err
		}
		if prints[i] != nil && (!found || prints[i].InteractionID < id) {
			id, found = prints[i].InteractionID, true
		}
	}
	if !found {
		return "", nil, nil, nil
	}
	if row != nil && row.ID != id {
		row = nil
	}
	if row != nil {
		m.exported.next()
	}
	for i, table := range tables {
		if prints[i] != nil && prints[i].InteractionID != id {
			prints[i] = nil
		}
		if prints[i] != nil {
			table.next()
		}
	}
	return id, row, &held{prints[0], prints[1], prints[2]}, nil
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
	if len(c.items) == 0 {
		return nil
	}
	err := c.decide(c.items)
	c.items = c.items[:0]
	return err
}

// rejectedToo looks whether rows that are in the mirror as they should be were rejected too. The mirror was
// read before, so a reject that is sent meanwhile is not taken for one.
func (v *verifier) rejectedToo(ctx context.Context, ids []string) error {
	if !v.hasRejects {
		return nil
	}
	rejected, err := v.Ledger.KnownRejects(ctx, ids)
	for _, id := range ids {
		if _, known := rejected[id]; known {
			v.report.Mirrored--
			v.report.Doubled.add(id, nil)
		}
	}
	return err
}

// pageRows is how many rows of a day that differs are read at once. Each page reads the day
// again, so it is large.
const pageRows = 30_000

// partRows is how many rows are held to be sorted, about.
const partRows = 300_000

// pages reads a list page by page, in the order of the ids.
type pages[T any] struct {
	read func(after *string) ([]T, error)
	id   func(T) string
	page []T
	last *string
	done bool
}

// peek returns the first one that was not passed; nil after the last.
func (p *pages[T]) peek() (first *T, err error) {
	if len(p.page) == 0 && !p.done {
		if p.page, err = p.read(p.last); err != nil {
			return nil, err
		}
		p.done = len(p.page) < pageRows
		if n := len(p.page); n > 0 {
			p.last = new(p.id(p.page[n-1]))
		}
	}
	if len(p.page) == 0 {
		return nil, nil
	}
	return &p.page[0], nil
}

func (p *pages[T]) next() { p.page = p.page[1:] }
