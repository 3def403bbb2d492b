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

// Page reads the rows after from: at most page_size, at most about
// [PageBytes]. It tries again, with fewer rows, where the server gives up on
// the statement or the connection breaks.
func (s *Source) Page(ctx context.Context, from Cursor) (*Page, error) {
	return s.page(ctx, from, &s.limit, nil, func(limit int) (string, []any) { return s.table.pageSelect(from, limit) })
}

// SettledPage is Page with the safe point. Both are read on one connection: behind a balancer
// another might be one to a standby that lags.
func (s *Source) SettledPage(ctx context.Context, from Cursor) (*Page, error) {
	var point SafePoint
	var at time.Time
	before := func(ctx context.Context, db postgres.DB) error {
		row, err := queries.New().ExportSafePoint(ctx, db)
		point, at = s.safePoint(row), time.Now()
		return err
	}
	page, err := s.page(ctx, from, &s.limit, before, func(limit int) (string, []any) { return s.table.pageSelect(from, limit) })
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
	return s.page(ctx, from, &limit, nil, func(limit int) (string, []any) { return s.table.keysSelect(from, before, limit) })
}

// page reads the page after from. limit, which build puts into the SELECT, then follows what
// the rows weigh and what the server can do in time. before, if not nil, reads something else on the
// same connection first.
func (s *Source) page(ctx context.Context, from Cursor, limit *int, before func(context.Context, postgres.DB) error, build func(limit int) (sql string, args []any)) (*Page, error) {
	var page *Page
	err := s.read(ctx, "reading page after "+from.String(), func(ctx context.Context, db postgres.DB) (err error) {
		if before != nil {
			if err := before(ctx, db); err != nil {
				return err
			}
		}
		sql, args := build(*limit)
		page, err = s.rows(ctx, db, *limit, PageBytes, sql, args...)
		if postgres.TooSlow(err) {
			*limit = max(minLimit, *limit/2)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	page.Next = from
	page.Last = len(page.Rows) < *limit && page.Bytes < PageBytes
	if n := len(page.Rows); n > 0 {
		last := &page.Rows[n-1]
		page.Next = After(last.ExportedAt, last.ID)
		*limit = min(s.config.PageSize, max(1, PageBytes/(page.Bytes/n)))
	}
	return page, nil
}

// rows reads the at most limit rows of a SELECT, and stops after most bytes. What the server
// sends beyond that is thrown away.
func (s *Source) rows(ctx context.Context, db postgres.DB, limit, most int, sql string, args ...any) (*Page, error) {
	rows, err := db.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	page := &Page{table: s.table, Rows: make([]event.Interaction, 0, limit), nulls: make([]uint16, 0, limit)}
	for page.Bytes < most && rows.Next() {
		page.Rows = append(page.Rows, event.Interaction{})
		values := rows.RawValues()
		if err := rows.Scan(targets(&page.Rows[len(page.Rows)-1])[:len(values)]...); err != nil {
			return nil, err
		}
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
	return page, rows.Err()
}

// ByID reads the rows of those ids, as one page without order. Ids that are gone, or
// that are none of the table's type, are not in it.
func (s *Source) ByID(ctx context.Context, ids []string) (*Page, error) {
	var page *Page
	err := s.read(ctx, "reading rows by id", func(ctx context.Context, db postgres.DB) (err error) {
		page, err = s.rows(ctx, db, len(ids), math.MaxInt, s.table.idSelect(), ids)
		return err
	})
	if !postgres.NoSuchValue(err) {
		return page, err
	}
	// One of them is no id of this table, and the server does not say which.
	if len(ids) == 1 {
		return &Page{table: s.table}, nil
	}
	page, err = s.ByID(ctx, ids[:len(ids)/2])
	if err != nil {
		return nil, err
	}
	rest, err := s.ByID(ctx, ids[len(ids)/2:])
	if err != nil {
		return nil, err
	}
	page.Rows, page.nulls, page.Bytes = append(page.Rows, rest.Rows...), append(page.nulls, rest.nulls...), page.Bytes+rest.Bytes
	return page, nil
}
