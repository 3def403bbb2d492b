package source

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/queries"
)

// IDType returns the type of the ids as the catalog names it.
func (t *Table) IDType() string { return t.Columns[colID].Type }

// Newest reads the rows that were exported last: at most limit, at most about [PageBytes].
func (s *Source) Newest(ctx context.Context, limit int) (*Page, error) {
	return s.newest(ctx, numColumns, func() *conditions { return s.table.after(&conditions{}, Cursor{}) }, limit)
}

// NewestKeys is Newest for the rows of a range, of which it reads as much as [Source.Keys].
func (s *Source) NewestKeys(ctx context.Context, r Range, limit int) (*Page, error) {
	return s.newest(ctx, numKeys, func() *conditions { return s.table.within(r) }, limit)
}

func (s *Source) newest(ctx context.Context, columns int, of func() *conditions, limit int) (*Page, error) {
	var page *Page
	err := s.read(ctx, "reading the newest rows", func(ctx context.Context, db postgres.DB) (err error) {
		sql, args := s.table.newestSelect(s.table.columnList(columns), of(), limit)
		page, err = s.rows(ctx, db, columns, limit, PageBytes, sql, args...)
		return err
	})
	if postgres.Unconvertible(err) {
		sql, args := s.table.newestSelect(s.table.rawList(columns), of(), min(limit, minLimit))
		return s.raw(ctx, "reading the newest rows", sql, args...)
	}
	if err == nil {
		page.Last = len(page.Rows) < limit && page.Bytes < PageBytes
	}
	return page, err
}

// KindLabels returns the labels of the column kind if it is an enum.
func (s *Source) KindLabels(ctx context.Context) ([]string, error) {
	if !s.table.has(colKind) {
		return nil, nil
	}
	return ask(ctx, s, "reading the labels of kind", func(ctx context.Context, db queries.DBTX) ([]string, error) {
		return queries.New().ExportLabels(ctx, db, int64(s.table.Columns[colKind].oid))
	})
}

// PageSorts reports whether the planner would read a page by scanning or sorting
// the table rather than by an index. To sort what an index found is as good, while that is no more
// than a page or two.
func (s *Source) PageSorts(ctx context.Context) (bool, error) {
	sql, args := s.table.pageSelect(s.table.columnList(numColumns), At(time.Now().Add(-time.Hour)), s.config.PageSize)
	var text string
	err := s.read(ctx, "planning a page", func(ctx context.Context, db postgres.DB) error {
		return db.QueryRow(ctx, "explain (format json) "+sql, args...).Scan(&text)
	})
	if err != nil {
		return false, err
	}
	var plans []struct{ Plan plan }
	if err := json.Unmarshal([]byte(text), &plans); err != nil || len(plans) == 0 {
		return false, fault.Wrap(fault.Failed, err, "reading the plan of a page")
	}
	return plans[0].Plan.sorts(2 * s.config.PageSize), nil
}

// plan is a node of a plan.
type plan struct {
	Type  string  `json:"Node Type"`
	Rows  float64 `json:"Plan Rows"`
	Plans []plan
}

// sorts reports whether it scans a table, or sorts more than so many rows.
func (p plan) sorts(most int) bool {
	if p.Type == "Seq Scan" || (p.Type == "Sort" || p.Type == "Incremental Sort") && p.Rows > float64(most) {
		return true
	}
	return slices.ContainsFunc(p.Plans, func(child plan) bool { return child.sorts(most) })
}

// Identity tells one export from another.
type Identity struct {
	// System is the server's system identifier, "" if the role may not ask for it.
	System, Database string
	// Relation is the quoted name.
	Relation string
}

// Identity asks which export this is.
func (s *Source) Identity(ctx context.Context) (Identity, error) {
	look, err := ask(ctx, s, "asking where the export is", queries.New().PlaceLook)
	if postgres.Denied(err) {
		look.Database, err = ask(ctx, s, "asking where the export is", queries.New().PlaceDatabase)
	}
	return Identity{System: look.System, Database: look.Database, Relation: s.table.Relation()}, err
}
