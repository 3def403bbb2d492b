package source

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/queries"
)

// mostTwice bounds the ids that are looked for.
const mostTwice = 1_000

// The causes of errors about ids.
var (
	// ErrTwice: an id stands in the export more than once.
	ErrTwice = errors.New("is there more than once")
	// ErrTooSlow: the server does not answer a question about all rows within the time that it has for a
	// statement. It is no fault of the rows.
	ErrTooSlow = errors.New("it takes longer than a statement may")
)

// inTime is ask for a question about all rows, which is not asked again where the server gives up on it.
func inTime[T any](ctx context.Context, s *Source, doing string, query func(context.Context, queries.DBTX) (T, error)) (T, error) {
	return ask(ctx, s, doing, func(ctx context.Context, db queries.DBTX) (T, error) {
		answer, err := query(ctx, db)
		if postgres.TooSlow(err) {
			err = fault.Wrap(fault.Failed, ErrTooSlow, "asking once")
		}
		return answer, err
	})
}

// WithoutID counts rows without id from there on, which no page ever holds; it stops counting at 10,000.
func (s *Source) WithoutID(ctx context.Context, from Cursor) (int64, error) {
	if !s.table.nullID {
		return 0, nil
	}
	sql, args := s.table.countSelect(s.table.withoutID(from), countedRows)
	return inTime(ctx, s, "counting rows without id", func(ctx context.Context, db queries.DBTX) (n int64, err error) {
		err = db.QueryRow(ctx, sql, args...).Scan(&n)
		return n, err
	})
}

// Twice returns ids that stand more than once among the rows from there on, 1,000 at most. Where an index
// keeps ids unique it asks nothing.
func (s *Source) Twice(ctx context.Context, from Cursor) ([]string, error) {
	if s.table.UniqueID {
		return nil, nil
	}
	sql, args := s.table.duplicateSelect(from)
	ids, err := inTime(ctx, s, "looking for duplicate ids", func(ctx context.Context, db queries.DBTX) ([]string, error) {
		rows, _ := db.Query(ctx, sql, args...) // CollectRows returns its error.
		return pgx.CollectRows(rows, pgx.RowTo[string])
	})
	if err != nil || !s.table.textID() {
		return ids, err
	}
	for i := range ids {
		raw := rawRow{}
		if raw.texts[colID], err = hex.DecodeString(ids[i]); err != nil {
			return nil, err
		}
		if err = s.convert(ctx, &raw); err != nil {
			return nil, err
		}
		ids[i] = raw.row.ID
	}
	return ids, nil
}

// CheckUnique refuses an export in which an id stands twice among the rows from there on. Where that can't be
// told in time, which [ErrTooSlow] says, each page is looked at.
func (s *Source) CheckUnique(ctx context.Context, from Cursor) error {
	ids, err := s.Twice(ctx, from)
	if err != nil || len(ids) == 0 {
		return err
	}
	return s.twice(ids[0])
}

func (s *Source) twice(id string) error {
	e := &fault.Error{Kind: fault.Precondition, Text: "reading table " + s.table.Relation(), Err: fmt.Errorf("id %q %w", id, ErrTwice)}
	return e.WithHint("Ids must be unique. Find them: SELECT %[1]s, count(*) FROM %[2]s GROUP BY 1 HAVING count(*) > 1; then: %[3]s",
		s.table.sanitized(colID), s.table.Relation(), s.table.UniqueStatement())
}

// unique refuses a page that has an id twice, or ends among rows of one place, of which the next page would
// leave out the others.
func (s *Source) unique(ctx context.Context, page *Page) error {
	if s.table.UniqueID || len(page.Rows) == 0 {
		return nil
	}
	ids := make(map[string]struct{}, len(page.Rows))
	again := ""
	for i := range page.Rows {
		id := page.Rows[i].ID
		if _, seen := ids[id]; seen {
			again = id
		}
		ids[id] = struct{}{}
	}
	if last := &page.Rows[len(page.Rows)-1]; again == "" && !page.Last {
		n, err := s.count(ctx, "looking for duplicate ids", s.table.standing(last), 2)
		if err != nil {
			return err
		}
		if n > 1 {
			return s.twice(last.ID)
		}
	}
	if again == "" {
		return nil
	}
	// Parts of a page may be older than others, so that a row which was exported again is in both.
	rows, err := s.ByID(ctx, []string{again})
	if err == nil && len(rows.Rows) > 1 {
		err = s.twice(again)
	}
	return err
}

// standing are the rows at the place of a row.
func (t *Table) standing(row *event.Interaction) *conditions {
	c := &conditions{}
	t.place(c, colExportedAt, "=", After(row.ExportedAt, row.ID))
	return c
}
