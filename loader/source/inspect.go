package source

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/queries"
)

// IDType returns the type of the ids as the catalog names it.
func (t *Table) IDType() string { return t.Columns[colID].Type }

// IsView reports whether the export is a view, so that indexes stand elsewhere.
func (t *Table) IsView() bool { return t.view }

// IndexStatement returns the statement that makes the index for reading pages.
func (t *Table) IndexStatement() string {
	return fmt.Sprintf("CREATE INDEX CONCURRENTLY ON %s (%s, %s);", t.Relation(), t.sanitized(colExportedAt), t.sanitized(colID))
}

// NullStatement returns the statement that gives rows without exported_at one.
func (t *Table) NullStatement() string {
	return fmt.Sprintf("UPDATE %s SET %s = now() WHERE %[2]s IS NULL;", t.Relation(), t.sanitized(colExportedAt))
}

// UniqueStatement returns the statement that keeps ids unique.
func (t *Table) UniqueStatement() string {
	return fmt.Sprintf("ALTER TABLE %s ADD UNIQUE (%s);", t.Relation(), t.sanitized(colID))
}

// Server tells what the export's server says of itself.
func (s *Source) Server(ctx context.Context) (postgres.Server, error) {
	var server postgres.Server
	err := s.reader.Read(ctx, func(db postgres.DB) error {
		row, err := queries.New().ExportServer(ctx, db)
		server = postgres.Server(row)
		return err
	})
	return server, err
}

// Indexed reports whether an index begins with (exported_at, id).
func (s *Source) Indexed(ctx context.Context) (bool, error) {
	return s.indexedBy(ctx, s.table.Columns[colExportedAt].Name+","+s.table.Columns[colID].Name)
}

func (s *Source) indexedBy(ctx context.Context, columns string) (bool, error) {
	found := false
	err := s.reader.Read(ctx, func(db postgres.DB) error {
		indexes, err := queries.New().ExportIndexes(ctx, db, s.config.Spec.Relation())
		if err != nil {
			return explain(err, s.config.Spec, "looking at the indexes of %s", s.config.Spec.Relation())
		}
		for _, index := range indexes {
			if index == columns || len(index) > len(columns) && index[:len(columns)+1] == columns+"," {
				found = true
			}
		}
		return nil
	})
	return found, err
}

// Future counts rows whose exported_at lies ahead of the server's clock.
func (s *Source) Future(ctx context.Context) (int64, error) {
	var n int64
	err := s.reader.Read(ctx, func(db postgres.DB) error {
		return wrap(db.QueryRow(ctx, s.table.futureSelect(), countedNulls).Scan(&n), s.config.Spec, "counting rows of the future")
	})
	return n, err
}

// PageSorts reports whether the planner would read a page by scanning or sorting
// the table rather than by an index.
func (s *Source) PageSorts(ctx context.Context) (bool, error) {
	from := At(time.Now().Add(-time.Hour))
	_, args := s.table.after(from)
	var plan string
	err := s.reader.Read(ctx, func(db postgres.DB) error {
		sql := "explain (format json) " + s.table.pageSelect(from)
		return wrap(db.QueryRow(ctx, sql, append(args, s.config.PageSize)...).Scan(&plan), s.config.Spec, "planning a page")
	})
	return strings.Contains(plan, `"Sort"`) || strings.Contains(plan, `"Seq Scan"`), err
}
