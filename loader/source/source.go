// Package source reads interactions from the export. It holds the only SELECTs
// on that table; it never writes, and holds no transaction or cursor open
// between two pages.
package source

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/loader/secret"
	"github.com/candu-loader/candu-loader/queries"
)

const (
	// StatementTimeout is how long the server works on one statement for us.
	StatementTimeout = time.Minute
	// countedRows bounds the count of rows that something is wrong with.
	countedRows = 10_000
	// exactCount is up to how many rows are counted one by one.
	exactCount = 100_000
)

// Config says what to read.
type Config struct {
	URL  secret.URL
	Spec Spec
	// PageSize is the greatest number of rows of one SELECT.
	PageSize int
	// SearchPath is for functions behind the export that rely on the session's; none = pg_catalog alone.
	SearchPath []string
	// Timeout is how long the server may work on one statement; 0 =
	// [StatementTimeout].
	Timeout time.Duration
	Log     *slog.Logger
	// Again has a server that restarts waited for as the export is opened, and is told of each try; nil = it is not.
	Again func(err error, wait time.Duration)
}

// Source reads one export. It is not safe for concurrent use.
type Source struct {
	config Config
	reader *postgres.Reader
	// table is as it was last looked at. Only [Source.lookAgain] puts another one in its place; pages keep the one that
	// they were read with.
	table *Table
	// origin is why no safe point says anything, "" if one does.
	origin Blindness
	// clock was the server's when this process's was openedAt.
	clock, openedAt time.Time
	// limit is the next page's; it follows what the rows weigh and what the
	// server can do in time.
	limit int
}

// unpopulated is what Postgres raises for a materialized view WITH NO DATA.
const unpopulated = "55000"

// Open connects and looks at the table. What stands in the way is a
// [fault.Precondition] with its remedy.
func Open(ctx context.Context, config Config) (*Source, error) {
	config.Timeout = cmp.Or(config.Timeout, StatementTimeout)
	reader, err := postgres.OpenReader(ctx, config.URL, postgres.Options{Name: "export", StatementTimeout: config.Timeout, SearchPath: config.SearchPath, Again: config.Again})
	if err != nil {
		return nil, err
	}
	s := &Source{config: config, reader: reader, limit: min(config.PageSize, firstLimit)}
	if s.table, s.origin, s.clock, err = s.lookAt(ctx); err != nil {
		reader.Close()
		return nil, err
	}
	s.openedAt = time.Now()
	return s, nil
}

// lookAt looks at the table, as whoever opens it does, and reads the server's clock.
func (s *Source) lookAt(ctx context.Context) (*Table, Blindness, time.Time, error) {
	relation := s.config.Spec.Relation()
	columns, err := asking(ctx, s.try, "looking for the columns", func(ctx context.Context, db queries.DBTX) ([]queries.ExportColumnsRow, error) {
		return queries.New().ExportColumns(ctx, db, relation)
	})
	if err != nil {
		return nil, "", time.Time{}, err
	}
	table, err := newTable(s.config.Spec, s.reader.Role(), columns)
	if err != nil {
		return nil, "", time.Time{}, err
	}
	table.encoding = s.reader.Encoding()
	origins, err := asking(ctx, s.try, "looking for the tables behind the export", func(ctx context.Context, db queries.DBTX) ([]queries.ExportOriginsRow, error) {
		return queries.New().ExportOrigins(ctx, db, queries.ExportOriginsParams{Relation: relation, ExportedAt: table.Columns[colExportedAt].Name})
	})
	if err == nil {
		err = table.refused(origins)
	}
	if err == nil {
		err = s.lookBehind(ctx, table)
	}
	if err != nil {
		return nil, "", time.Time{}, err
	}
	return table, table.comesFrom(origins), columns[0].Clock, nil
}

// Table returns what was found when the table was last looked at. What [Table.goesOnAs] compares is the same for as long as the
// source is open.
func (s *Source) Table() *Table { return s.table }

// Clock returns the server's clock when the source was opened, and this process's at that time.
func (s *Source) Clock() (server, here time.Time) { return s.clock, s.openedAt }

// Pooled reports whether a pooler stands in between.
func (s *Source) Pooled() bool { return s.reader.Pooled() }

// Close closes the connections.
func (s *Source) Close() { s.reader.Close() }

// read runs fn on one connection, and again through passing trouble of the database, or once more where
// the table is another one than it was: fn must build what it asks for of s.table. doing says in errors what for.
func (s *Source) read(ctx context.Context, doing string, fn func(ctx context.Context, db postgres.DB) error) error {
	return s.readBy(ctx, doing, s.reader.Read, fn)
}

// connects runs fn on a connection.
type connects func(ctx context.Context, fn func(postgres.DB) error) error

// readBy is read by another way to get at a connection.
func (s *Source) readBy(ctx context.Context, doing string, by connects, fn func(ctx context.Context, db postgres.DB) error) error {
	err := s.tryBy(ctx, doing, by, fn)
	if !changed(err) {
		return err
	}
	if err := s.lookAgain(ctx, err); err != nil {
		return err
	}
	return s.tryBy(ctx, doing, by, fn)
}

// try is read that does not look at the table again.
func (s *Source) try(ctx context.Context, doing string, fn func(ctx context.Context, db postgres.DB) error) error {
	return s.tryBy(ctx, doing, s.reader.Read, fn)
}

func (s *Source) tryBy(ctx context.Context, doing string, by connects, fn func(ctx context.Context, db postgres.DB) error) error {
	again := func(err error, wait time.Duration) {
		s.config.Log.Warn("retrying: the export could not be read", "error", err, "wait", wait)
	}
	return postgres.Retry(ctx, s.config.Timeout+postgres.ConnectTimeout, again, func(ctx context.Context) error {
		err := by(ctx, func(db postgres.DB) error { return fn(ctx, db) })
		if err != nil {
			return s.advise(ctx, s.explain(err, doing))
		}
		return nil
	})
}

// explain gives an error of the export's database its kind and remedy.
func (s *Source) explain(err error, doing string) *fault.Error {
	e := &fault.Error{
		Kind: postgres.KindOf(err), Text: fmt.Sprintf("%s in %s", doing, s.config.Spec.Relation()), Err: postgres.Detailed(err), Hint: postgres.Hint(err),
	}
	switch {
	case postgres.Denied(err):
		return e.WithHint("%s", grantHint(s.config.Spec, s.reader.Role()))
	case postgres.Code(err) == skippedTime:
		e.Kind = fault.Precondition
		return e.WithHint("No clock of that zone ever shows such a time: is interactions.timezone the zone of whoever writes the rows?")
	case postgres.Code(err) == unknownZone && s.config.Spec.Zone != "":
		e.Kind = fault.Precondition
		return e.WithHint("If the server does not know the zone of interactions.timezone, %q, write one that it has:  SELECT name FROM pg_timezone_names;", s.config.Spec.Zone)
	case postgres.Code(err) == unpopulated:
		e.Kind = fault.Precondition
		if s.table != nil && s.table.reads != nil && s.table.reads.kind == "m" {
			return e.WithHint("REFRESH MATERIALIZED VIEW %s;", s.table.reads.name)
		}
		return e.WithHint("REFRESH MATERIALIZED VIEW ...; with the one that the server names.")
	case postgres.MissingColumn(err):
		return e.WithHint("A column went since the table was looked at: candu-loader check tells which.")
	case postgres.Missing(err):
		return e.WithHint("Check interactions.table in the config.")
	}
	return e
}

// ask is read for what a query returns.
func ask[T any](ctx context.Context, s *Source, doing string, query func(context.Context, queries.DBTX) (T, error)) (T, error) {
	return asking(ctx, s.read, doing, query)
}

func asking[T any](ctx context.Context, read func(context.Context, string, func(context.Context, postgres.DB) error) error, doing string,
	query func(context.Context, queries.DBTX) (T, error),
) (answer T, err error) {
	err = read(ctx, doing, func(ctx context.Context, db postgres.DB) (err error) {
		answer, err = query(ctx, db)
		return err
	})
	return answer, err
}

// collect reads all rows of a SELECT.
func collect[T any](ctx context.Context, s *Source, doing string, to pgx.RowToFunc[T], sql string, args ...any) ([]T, error) {
	return ask(ctx, s, doing, func(ctx context.Context, db queries.DBTX) ([]T, error) {
		rows, _ := db.Query(ctx, sql, args...) // CollectRows returns its error.
		return pgx.CollectRows(rows, to)
	})
}

// Server tells what the export's server says of itself.
func (s *Source) Server(ctx context.Context) (postgres.Server, error) {
	row, err := ask(ctx, s, "asking the server", queries.New().ExportServer)
	return postgres.Server(row), err
}

// Estimate returns about how many rows come after from, as the planner sees it;
// 0 if it does not say.
func (s *Source) Estimate(ctx context.Context, from Cursor) int64 {
	from.ID = nil // The planner can't estimate comparisons of rows well.
	return s.planned(ctx, s.table.after(&conditions{}, from))
}

// planned returns how many rows the planner expects.
func (s *Source) planned(ctx context.Context, c *conditions) int64 {
	var plan []struct {
		Plan struct {
			Rows float64 `json:"Plan Rows"`
		}
	}
	sql, args := s.table.explainSelect(c)
	err := s.reader.Read(ctx, func(db postgres.DB) error {
		return db.QueryRow(ctx, sql, args...).Scan(&plan)
	})
	if err != nil || len(plan) == 0 {
		return 0 // It is only for show.
	}
	return int64(plan[0].Plan.Rows)
}

// count counts rows, and stops at limit.
func (s *Source) count(ctx context.Context, doing string, c *conditions, limit int) (n int64, err error) {
	sql, args := s.table.countSelect(c, limit)
	err = s.read(ctx, doing, func(ctx context.Context, db postgres.DB) error {
		return db.QueryRow(ctx, sql, args...).Scan(&n)
	})
	return n, err
}

// Count returns how many rows come after from: exactly up to 100,000, beyond
// that about, as the planner sees it.
func (s *Source) Count(ctx context.Context, from Cursor) (int64, error) {
	n, err := s.count(ctx, "counting rows", s.table.after(&conditions{}, from), exactCount)
	if err == nil && n == exactCount {
		n = max(n, s.Estimate(ctx, from))
	}
	return n, err
}

// Unreadable counts rows without exported_at, which no page ever holds; it stops
// counting at 10,000.
func (s *Source) Unreadable(ctx context.Context) (int64, error) {
	return s.count(ctx, "counting rows without exported_at", s.table.unreadable(), countedRows)
}

// Future counts rows whose exported_at lies ahead of the server's clock; it stops counting
// at 10,000.
func (s *Source) Future(ctx context.Context) (int64, error) {
	return s.count(ctx, "counting rows with an exported_at in the future", s.table.future(), countedRows)
}
