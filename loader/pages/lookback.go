package pages

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/loader/source"
)

// deliveredTimeout bounds one try to ask the mirror.
const deliveredTimeout = time.Minute

// lookbackScan passes over the rows before the watermark, which a run reads again for those
// that have come among them late. It reads no more of them than their messageIds are made of,
// and asks the mirror, page by page. Where a row is not delivered, one page is read in full.
type lookbackScan struct {
	source interface {
		Keys(ctx context.Context, from source.Cursor, before time.Time) (*source.Page, error)
	}
	ledger interface {
		Delivered(ctx context.Context, page int64, ids []string) (map[string]struct{}, error)
	}
	// namespaces are this schema's, and those of the schemas that it is a copy of.
	namespaces []uuid.UUID
	// until is where the rows begin that may be new.
	until time.Time
	// again is told of a question to the mirror that is repeated.
	again func(err error, wait time.Duration)

	// full is true if the next page begins with a row that is not delivered.
	full bool
	done bool
}

// next returns a page that passes over rows that are all delivered, nil if what comes next
// is to be read in full. A nil scan leaves everything to be read in full.
func (s *lookbackScan) next(ctx context.Context, number int64, from source.Cursor) (*source.Page, error) {
	if s == nil || s.done || !from.At.Before(s.until) {
		return nil, nil
	}
	if s.full {
		s.full = false
		return nil, nil
	}
	page, err := s.source.Keys(ctx, from, s.until)
	if err != nil {
		return nil, err
	}
	n, err := s.delivered(ctx, number, page.Rows)
	if err != nil {
		return nil, err
	}
	whole := n == len(page.Rows)
	s.done = whole && page.Last
	if n == 0 {
		return nil, nil
	}
	s.full = !whole
	last := &page.Rows[n-1]
	return &source.Page{Next: source.After(last.ExportedAt, last.ID), Passed: n}, nil
}

// delivered returns how many of the rows are in the mirror, from the first on.
func (s *lookbackScan) delivered(ctx context.Context, number int64, rows []event.Interaction) (int, error) {
	n := len(s.namespaces)
	ids := make([]string, 0, n*len(rows))
	for i := range rows {
		for _, namespace := range s.namespaces {
			ids = append(ids, event.MessageID(namespace, rows[i].ID, rows[i].OccurredAt))
		}
	}
	var found map[string]struct{}
	err := postgres.Retry(ctx, deliveredTimeout, s.again, func(ctx context.Context) (err error) {
		found, err = s.ledger.Delivered(ctx, number, ids)
		return err
	})
	if err != nil {
		return 0, err
	}
	for i := range rows {
		if !slices.ContainsFunc(ids[n*i:n*(i+1)], func(id string) bool { _, in := found[id]; return in }) {
			return i, nil
		}
	}
	return len(rows), nil
}
