// Package source reads interactions from the export. It holds the only SELECTs
// on that table; it never writes, and holds no transaction or cursor open
// between two pages.
package source

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/loader/secret"
	"github.com/candu-loader/candu-loader/queries"
)

const (
	// StatementTimeout is how long the server works on one statement for us.
	StatementTimeout = time.Minute
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
	// countedNulls bounds the count of rows without exported_at.
	countedNulls = 10_000
)

// Config says what to read.
type Config struct {
	URL  secret.URL
	Spec Spec
	// PageSize is the greatest number of rows of one SELECT.
	PageSize int
	// Timeout is how long the server may work on one statement; 0 =
	// [StatementTimeout].
	Timeout time.Duration
	Log     *slog.Logger
}

// Source reads one export. It is not safe for concurrent use.
type Source struct {
	config Config
	reader *postgres.Reader
	table  *Table
	// limit is the next page's; it follows what the rows weigh and what the
	// server can do in time.
	limit int
}

// Open connects and looks at the table. What stands in the way is a
// [fault.Precondition] with its remedy.
func Open(ctx context.Context, config Config) (*Source, error) {
	config.Timeout = cmp.Or(config.Timeout, StatementTimeout)
	reader, err := postgres.OpenReader(ctx, config.URL, postgres.Options{Name: "export"}, config.Timeout)
	if err != nil {
		return nil, err
	}
	s := &Source{config: config, reader: reader, limit: min(config.PageSize, firstLimit)}
	err = s.retry(ctx, func(ctx context.Context) error {
		return reader.Read(ctx, func(db postgres.DB) (err error) {
			s.table, err = Look(ctx, db, config.Spec)
			return err
		})
	})
	if err != nil {
		reader.Close()
		return nil, err
	}
	return s, nil
}

// Table returns what was found when the source was opened.
func (s *Source) Table() *Table { return s.table }

// Pooled reports whether a pooler stands in between.
func (s *Source) Pooled() bool { return s.reader.Pooled() }

// Close closes the connections.
func (s *Source) Close() { s.reader.Close() }

// Blindness is why a safe point says nothing about late rows, for people.
type Blindness string

// The ways to be blind.
const (
	ForeignTable Blindness = "the export is a foreign table"
	Replica      Blindness = "the export is read from a replica"
	NoStatsRole  Blindness = "the role lacks pg_read_all_stats"
)

// SafePoint says how far the export is settled: rows that commit after it was
// read have an exported_at at or beyond At.
type SafePoint struct {
	// At is the start of the oldest transaction that was open, and at most 10 s
	// before the server's clock.
	At time.Time
	// Clock is the server's clock.
	Clock time.Time
	// Prepared is the number of prepared transactions, which hide their start:
	// while there is one, the watermark must stay where it is.
	Prepared int64
	// Visible is false where At says nothing about late rows, and lookback alone
	// has to catch them; Reason says why.
	Visible bool
	Reason  Blindness
	// Role is whom we are connected as.
	Role string
}

// SafePoint reads the safe point. It holds for pages that are read after it.
func (s *Source) SafePoint(ctx context.Context) (SafePoint, error) {
	var point SafePoint
	err := s.retry(ctx, func(ctx context.Context) error {
		return s.reader.Read(ctx, func(db postgres.DB) error {
			row, err := queries.New().ExportSafePoint(ctx, db)
			if err != nil {
				return explain(err, s.config.Spec, "reading the safe point")
			}
			point = SafePoint{At: row.SafePoint, Clock: row.ServerClock, Prepared: row.Prepared, Visible: true, Role: row.Role}
			switch {
			case s.table.Foreign:
				point.Visible, point.Reason = false, ForeignTable
			case row.IsReplica:
				point.Visible, point.Reason = false, Replica
			case !row.SeesAll:
				point.Visible, point.Reason = false, NoStatsRole
			}
			return nil
		})
	})
	return point, err
}

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
	// Settled is the safe point that was read before the page, if one was.
	Settled SafePoint
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
	var page *Page
	err := s.retry(ctx, func(ctx context.Context) error {
		return s.reader.Read(ctx, func(db postgres.DB) (err error) {
			page, err = s.page(ctx, db, from)
			return err
		})
	})
	return page, err
}

func (s *Source) page(ctx context.Context, db postgres.DB, from Cursor) (*Page, error) {
	limit := s.limit
	_, args := s.table.after(from)
	page, err := s.rows(ctx, db, PageBytes, limit, s.table.pageSelect(from), append(args, limit)...)
	if err != nil {
		return nil, s.readError(err, from)
	}
	page.Next = from
	if n := len(page.Rows); n > 0 {
		last := &page.Rows[n-1]
		page.Next = After(last.ExportedAt, last.ID)
		s.limit = min(s.config.PageSize, max(1, PageBytes/(page.Bytes/n)))
	}
	page.Last = len(page.Rows) < limit && page.Bytes < PageBytes
	return page, nil
}

// rows reads at most limit rows, and stops after most bytes.
func (s *Source) rows(ctx context.Context, db postgres.DB, most, limit int, sql string, args ...any) (*Page, error) {
	page := &Page{table: s.table, Rows: make([]event.Interaction, 0, limit), nulls: make([]uint16, 0, limit)}
	err := s.scan(ctx, db, sql, args, func(rows pgx.Rows) (more bool, err error) {
		page.Rows = append(page.Rows, event.Interaction{})
		if err := rows.Scan(targets(&page.Rows[len(page.Rows)-1])...); err != nil {
			return false, err
		}
		var nulls uint16
		page.Bytes += rowOverhead
		for i, value := range rows.RawValues() {
			if value == nil {
				nulls |= 1 << i
			}
			page.Bytes += len(value)
		}
		page.nulls = append(page.nulls, nulls)
		return page.Bytes < most, nil
	})
	return page, err
}

// scan gives each row to fn, until it wants no more. What the server
// sends beyond that is thrown away.
func (s *Source) scan(ctx context.Context, db postgres.DB, sql string, args []any, fn func(rows pgx.Rows) (more bool, err error)) error {
	rows, err := db.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for more := true; more && rows.Next(); {
		if more, err = fn(rows); err != nil {
			return err
		}
	}
	rows.Close()
	return rows.Err()
}

// ByID reads the rows of those ids, as one page without order. Ids that are gone, or
// that are none of the table's type, are not in it.
func (s *Source) ByID(ctx context.Context, ids []string) (*Page, error) {
	var page *Page
	err := s.retry(ctx, func(ctx context.Context) error {
		return s.reader.Read(ctx, func(db postgres.DB) (err error) {
			page, err = s.rows(ctx, db, math.MaxInt, len(ids), s.table.idSelect(), ids)
			return wrap(err, s.config.Spec, "reading rows by id")
		})
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

func (s *Source) readError(err error, from Cursor) error {
	if postgres.TooSlow(err) {
		s.limit = max(minLimit, s.limit/2)
	}
	return explain(err, s.config.Spec, "reading page after %s of %s", from, s.config.Spec.Relation())
}

// Estimate returns about how many rows come after from, as the planner sees it;
// 0 if it does not say.
func (s *Source) Estimate(ctx context.Context, from Cursor) int64 {
	sql, args := s.table.estimateSelect(from)
	return s.planned(ctx, sql, args)
}

// planned returns how many rows the planner expects.
func (s *Source) planned(ctx context.Context, sql string, args []any) int64 {
	var plan []struct {
		Plan struct {
			Rows float64 `json:"Plan Rows"`
		}
	}
	err := s.reader.Read(ctx, func(db postgres.DB) error {
		return db.QueryRow(ctx, sql, args...).Scan(&plan)
	})
	if err != nil || len(plan) == 0 {
		return 0 // It is only for show.
	}
	return int64(plan[0].Plan.Rows)
}

// exactCount is up to how many rows are counted one by one.
const exactCount = 100_000

// Count returns how many rows come after from: exactly up to 100,000, beyond
// that about, as the planner sees it.
func (s *Source) Count(ctx context.Context, from Cursor) (int64, error) {
	var n int64
	sql, args := s.table.countSelect(from)
	err := s.reader.Read(ctx, func(db postgres.DB) error {
		return wrap(db.QueryRow(ctx, sql, append(args, exactCount)...).Scan(&n), s.config.Spec, "counting rows")
	})
	if err == nil && n == exactCount {
		n = max(n, s.Estimate(ctx, from))
	}
	return n, err
}

// Unreadable counts rows without exported_at, which no page ever holds; it stops
// counting at 10,000.
func (s *Source) Unreadable(ctx context.Context) (int64, error) {
	var n int64
	err := s.retry(ctx, func(ctx context.Context) error {
		return s.reader.Read(ctx, func(db postgres.DB) error {
			err := db.QueryRow(ctx, s.table.nullsSelect(), countedNulls).Scan(&n)
			return wrap(err, s.config.Spec, "counting rows without exported_at")
		})
	})
	return n, err
}

// CheckUnique refuses an export in which an id stands twice among the rows from
// there on. Where an index keeps ids unique it asks nothing.
func (s *Source) CheckUnique(ctx context.Context, from Cursor) error {
	if s.table.UniqueID {
		return nil
	}
	sql, args := s.table.duplicateSelect(from)
	var id string
	err := s.retry(ctx, func(ctx context.Context) error {
		return s.reader.Read(ctx, func(db postgres.DB) error {
			rows, err := db.Query(ctx, sql, args...)
			if err != nil {
				return wrap(err, s.config.Spec, "looking for duplicate ids")
			}
			defer rows.Close()
			if rows.Next() {
				if err := rows.Scan(&id); err != nil {
					return wrap(err, s.config.Spec, "looking for duplicate ids")
				}
				rows.Close()
				return notUnique(s.config.Spec, id)
			}
			return wrap(rows.Err(), s.config.Spec, "looking for duplicate ids")
		})
	})
	return err
}

func notUnique(spec Spec, id string) error {
	return fault.New(fault.Precondition, "reading table %s: id %q stands there more than once", spec.Relation(), id).
		WithHint("Ids must be unique. Find them: SELECT %[1]s, count(*) FROM %[2]s GROUP BY 1 HAVING count(*) > 1; then keep them so: ALTER TABLE %[2]s ADD UNIQUE (%[1]s);",
			quoted(spec.column("id")), spec.Relation())
}

// retry repeats a reading through passing trouble of the database.
func (s *Source) retry(ctx context.Context, step func(ctx context.Context) error) error {
	return postgres.Retry(ctx, s.config.Timeout+postgres.ConnectTimeout, func(err error, wait time.Duration) {
		s.config.Log.Warn("reading the export is tried again", "error", err, "wait", wait)
	}, step)
}

func wrap(err error, spec Spec, text string) error {
	if err == nil {
		return nil
	}
	return explain(err, spec, "%s in %s", text, spec.Relation())
}
