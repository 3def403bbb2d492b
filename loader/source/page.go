package source

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/queries"
)

const (
	// PageBytes bounds a page by what its rows take in memory, whatever page_size
	// says: rows may be wide.
	PageBytes = 2 << 20
	// firstLimit is how many rows are asked for while it is not known how wide
	// they are.
	firstLimit = 500
	// minLimit is the smallest page that is tried on a server that is slow.
	minLimit = 50
	// rowOverhead is what a row takes beside its texts.
	rowOverhead = 256
	// mostKeys is how many keys [PageBytes] hold, if their ids are no longer than UUIDs. To ask
	// for more of them would be to throw some away.
	mostKeys = PageBytes / (rowOverhead + 36 + 16)
)

// Page is a piece of the export in the order of (exported_at, id).
type Page struct {
	Rows []event.Interaction
	// Next is where the next page begins: the last row's cursor, or the one asked for
	// if there was no row.
	Next Cursor
	// Last is true if there was no further row at the time.
	Last bool
	// Bytes is about what the page takes in memory.
	Bytes int
	// Settled is the safe point that was read before the page, if one was, SettledAt when, by this
	// process's clock.
	Settled   SafePoint
	SettledAt time.Time
	// Passed is how many rows before Next were found delivered by their keys. They are not
	// among Rows, which are none then.
	Passed int

	nulls []uint16
	table *Table
}

// Read returns how many rows were read, in full or by their keys.
func (p *Page) Read() int { return len(p.Rows) + p.Passed }

// Object returns row i as JSON by canonical column names.
func (p *Page) Object(i int) ([]byte, error) { return p.table.object(&p.Rows[i], p.nulls[i]) }

// ObjectOf is Object for a row of the page that is known by its address.
func (p *Page) ObjectOf(row *event.Interaction) ([]byte, error) {
	for i := range p.Rows {
		if &p.Rows[i] == row {
			return p.Object(i)
		}
	}
	return nil, fmt.Errorf("finding row %q in its page", row.ID)
}

// Truncate forgets all but the first n rows.
func (p *Page) Truncate(n int) {
	if n >= len(p.Rows) {
		return
	}
	p.Rows, p.nulls, p.Last = p.Rows[:n], p.nulls[:n], false
	if n > 0 {
		p.Next = After(p.Rows[n-1].ExportedAt, p.Rows[n-1].ID)
	}
}

// reading says which rows are read as a page, and how.
type reading struct {
	// from is where the page begins, in the order of a time column and id.
	from  Cursor
	order int
	// columns is how many of the canonical ones are read.
	columns int
	// limit is the most rows. It follows what the rows weigh and what the server can do in time.
	limit *int
	// before, if not nil, reads something else on the same connection first.
	before func(context.Context, postgres.DB) error
	build  func(list string, from Cursor, limit int) (sql string, args []any)
}

// Page reads the rows after from: at most page_size, at most about
// [PageBytes]. It tries again, with fewer rows, where the server gives up on
// the statement or the connection breaks.
func (s *Source) Page(ctx context.Context, from Cursor) (*Page, error) {
	return s.page(ctx, s.after(from))
}

func (s *Source) after(from Cursor) reading {
	return reading{
		from: from, order: colExportedAt, columns: numColumns, limit: &s.limit,
		build: func(list string, from Cursor, limit int) (string, []any) {
			return s.table.pageSelect(list, from, limit)
		},
	}
}

// SettledPage is Page with the safe point. Both are read on one connection: behind a balancer
// another might be one to a standby that lags.
func (s *Source) SettledPage(ctx context.Context, from Cursor) (*Page, error) {
	var point SafePoint
	var at time.Time
	r := s.after(from)
	r.before = func(ctx context.Context, db postgres.DB) error {
		row, err := queries.New().ExportSafePoint(ctx, db)
		point, at = s.safePoint(row), time.Now()
		return err
	}
	page, err := s.page(ctx, r)
	if err != nil {
		return nil, err
	}
	page.Settled, page.SettledAt = point, at
	return page, nil
}

// Keys is Page for the rows that were exported before a moment, of which it reads no more
// than what a messageId is made of, and the place: where the mirror has them, nobody needs the
// rest, and that is most of the reading.
func (s *Source) Keys(ctx context.Context, from Cursor, before time.Time) (*Page, error) {
	limit := min(s.config.PageSize, mostKeys)
	return s.page(ctx, reading{
		from: from, order: colExportedAt, columns: numKeys, limit: &limit,
		build: func(list string, from Cursor, limit int) (string, []any) {
			return s.table.keysSelect(list, from, before, limit)
		},
	})
}

// placeOf is where a row stands in the order of a time column and id.
func placeOf(row *event.Interaction, order int) Cursor {
	if order == colOccurredAt {
		return After(row.OccurredAt, row.ID)
	}
	return After(row.ExportedAt, row.ID)
}

// page reads a page, past rows that Postgres can't convert: it gives the rows before such a one, in
// their order, and that one is read by its bytes.
func (s *Source) page(ctx context.Context, r reading) (*Page, error) {
	page := &Page{table: s.table, Next: r.from}
	from := r.from
	for {
		part, last, err := s.part(ctx, r, from, page)
		if err != nil && !postgres.Unconvertible(err) {
			return nil, err
		}
		page.add(part)
		if err == nil {
			page.Last = last
			break
		}
		if n := len(part.Rows); n > 0 {
			from = placeOf(&part.Rows[n-1], r.order)
		}
		if page.Bytes >= PageBytes || len(page.Rows) >= *r.limit {
			break
		}
		sql, args := r.build(s.table.rawList(r.columns), from, 1)
		row, rawErr := s.raw(ctx, "reading the row after "+from.String(), sql, args...)
		switch {
		case rawErr != nil:
			return nil, rawErr
		case len(row.Rows) == 0:
			return nil, err // What can't be converted is not the next row.
		}
		page.add(row)
		from = placeOf(&row.Rows[0], r.order)
	}
	if page.table != s.table {
		return s.page(ctx, r) // A page is of one table.
	}
	if n := len(page.Rows); n > 0 {
		if err := s.unique(ctx, page); err != nil {
			return nil, err
		}
		page.Next = placeOf(&page.Rows[n-1], colExportedAt)
		*r.limit = min(s.config.PageSize, max(1, PageBytes/(page.Bytes/n)))
	}
	return page, nil
}

// part reads what is still wanted of a page. If there is a row that Postgres can't convert, the part
// is the rows before it.
func (s *Source) part(ctx context.Context, r reading, from Cursor, page *Page) (part *Page, last bool, err error) {
	before := r.before
	if from != r.from {
		before = nil
	}
	err = s.read(ctx, "reading page after "+from.String(), func(ctx context.Context, db postgres.DB) (err error) {
		if before != nil {
			if err := before(ctx, db); err != nil {
				return err
			}
		}
		limit := max(1, *r.limit-len(page.Rows))
		sql, args := r.build(s.table.columnList(r.columns), from, limit)
		part, err = s.rows(ctx, db, r.columns, limit, PageBytes-page.Bytes, sql, args...)
		if postgres.TooSlow(err) {
			*r.limit = max(minLimit, *r.limit/2)
		}
		last = part != nil && len(part.Rows) < limit && part.Bytes < PageBytes-page.Bytes
		return err
	})
	return part, last, err
}

func (p *Page) add(more *Page) {
	if p.Rows == nil {
		p.Rows, p.nulls, p.Bytes = more.Rows, more.nulls, more.Bytes
		return
	}
	p.Rows, p.nulls, p.Bytes = append(p.Rows, more.Rows...), append(p.nulls, more.nulls...), p.Bytes+more.Bytes
}

// rows reads the at most limit rows of a SELECT of the first columns, and stops after most bytes. What the server
// sends beyond that is thrown away. With an error it returns the rows that came before.
func (s *Source) rows(ctx context.Context, db postgres.DB, columns, limit, most int, sql string, args ...any) (*Page, error) {
	page := &Page{table: s.table, Rows: make([]event.Interaction, 0, limit), nulls: make([]uint16, 0, limit)}
	rows, err := db.Query(ctx, sql, append([]any{formats[:columns]}, args...)...)
	if err != nil {
		return page, err
	}
	defer rows.Close()
	if err := s.table.sameTypes(rows.FieldDescriptions()); err != nil {
		return page, err
	}
	for page.Bytes < most && rows.Next() {
		page.Rows = append(page.Rows, event.Interaction{})
		values, row := rows.RawValues(), &page.Rows[len(page.Rows)-1]
		if err := rows.Scan(s.table.texts(targets(row), values)...); err != nil {
			return page, err
		}
		s.table.clean(row)
		var nulls uint16
		page.Bytes += rowOverhead
		for i, value := range values {
			if value == nil {
				nulls |= 1 << i
			}
			page.Bytes += len(value)
		}
		page.nulls = append(page.nulls, nulls)
	}
	rows.Close()
	if err := rows.Err(); err != nil && (page.Bytes < most || !postgres.Unconvertible(err)) {
		return page, err
	}
	return page, nil
}

// ByID reads the rows of those ids, as one page without order. Ids that are gone, or
// that are none of the table's type, are not in it.
func (s *Source) ByID(ctx context.Context, ids []string) (*Page, error) {
	table := s.table
	var plain []string
	var raw [][]byte
	for _, id := range ids {
		if bytes, ok := s.table.ofHex(id); ok {
			raw = append(raw, bytes)
		} else {
			plain = append(plain, id)
		}
	}
	page, err := byIDs(plain, func(ids []string) (*Page, error) { return s.byID(ctx, ids) })
	if err != nil {
		return nil, err
	}
	page.table = table
	more, err := byIDs(raw, func(ids [][]byte) (*Page, error) {
		return s.raw(ctx, "reading rows by id", s.table.hexSelect(), ids)
	})
	if err != nil {
		return nil, err
	}
	if s.table != table {
		return s.ByID(ctx, ids) // As a page.
	}
	page.add(more)
	return page, nil
}

func (s *Source) byID(ctx context.Context, ids []string) (*Page, error) {
	var page *Page
	err := s.read(ctx, "reading rows by id", func(ctx context.Context, db postgres.DB) (err error) {
		page, err = s.rows(ctx, db, numColumns, len(ids), math.MaxInt, s.table.idSelect(s.table.columnList(numColumns)), ids)
		return err
	})
	if len(ids) == 1 && postgres.Unconvertible(err) {
		return s.raw(ctx, "reading rows by id", s.table.idSelect(s.table.rawList(numColumns)), ids)
	}
	return page, err
}

// byIDs reads the rows of ids. Where one of them is no id of this table, or can't be converted, the
// server does not say which.
func byIDs[T any](ids []T, read func([]T) (*Page, error)) (*Page, error) {
	if len(ids) == 0 {
		return &Page{}, nil
	}
	page, err := read(ids)
	switch {
	case !postgres.NoSuchValue(err) && !postgres.Unconvertible(err):
		return page, err
	case len(ids) == 1:
		return &Page{}, nil
	}
	page, err = byIDs(ids[:len(ids)/2], read)
	if err != nil {
		return nil, err
	}
	rest, err := byIDs(ids[len(ids)/2:], read)
	if err != nil {
		return nil, err
	}
	page.add(rest)
	return page, nil
}
