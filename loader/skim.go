package loader

import (
	"context"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/loader/source"
)

// skim passes over the rows before the watermark, which a run reads again for those that
// have come among them late. It reads no more of them than their messageIds are made of, and
// asks the mirror. What follows on a row that is not there is left to be read in full.
type skim struct {
	source    *source.Source
	ledger    *ledger.Ledger
	namespace uuid.UUID
	// until is where the rows begin that may be new.
	until time.Time
	// again is told of a question to the mirror that is repeated.
	again func(err error, wait time.Duration)

	// ahead is the page that was read while the mirror was asked for the one before.
	ahead *skimmed
	// full is how many pages are left to be read in full, and pause how many there were
	// last time: it doubles as long as skimming is of no use.
	full, pause int
	done        bool
}

// skimmed is a page of keys with the messageIds that they make.
type skimmed struct {
	*source.Page
	ids []string
}

// next returns a page of rows that are all delivered, nil if what comes next is to be read
// in full. A nil skim leaves everything to be read in full.
func (s *skim) next(ctx context.Context, from source.Cursor) (*source.Page, error) {
	if s == nil || s.done || !from.At.Before(s.until) {
		return nil, nil
	}
	if s.full > 0 {
		s.full--
		return nil, nil
	}
	page := s.ahead
	if s.ahead = nil; page == nil {
		var err error
		if page, err = s.read(ctx, from); err != nil {
			return nil, err
		}
	}
	delivered, err := s.delivered(ctx, page)
	if err != nil {
		return nil, err
	}
	if delivered == len(page.Rows) {
		s.done, s.pause = page.Last, 0
	} else {
		s.ahead, s.pause = nil, max(1, 2*s.pause)
		s.full = s.pause
		page.Truncate(delivered)
	}
	page.Last = false // Of those before the watermark, at most.
	if delivered > 0 {
		return page.Page, nil
	}
	s.full = max(0, s.full-1) // The one that is read now.
	return nil, nil
}

func (s *skim) read(ctx context.Context, from source.Cursor) (*skimmed, error) {
	page, err := s.source.Skim(ctx, from, s.until)
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(page.Rows))
	for i := range page.Rows {
		ids[i] = event.MessageID(s.namespace, page.Rows[i].ID, page.Rows[i].OccurredAt)
	}
	return &skimmed{page, ids}, nil
}

// delivered returns how many rows of the page are in the mirror, from its first on, and
// reads ahead meanwhile.
func (s *skim) delivered(ctx context.Context, page *skimmed) (int, error) {
	group, ctx := errgroup.WithContext(ctx)
	if !page.Last {
		group.Go(func() (err error) {
			s.ahead, err = s.read(ctx, page.Next)
			return err
		})
	}
	var found map[string]struct{}
	group.Go(func() error {
		return postgres.Retry(ctx, recordTimeout, s.again, func(ctx context.Context) (err error) {
			found, err = s.ledger.Delivered(ctx, page.ids)
			return err
		})
	})
	err := group.Wait()
	for n, id := range page.ids {
		if _, delivered := found[id]; !delivered {
			return n, err
		}
	}
	return len(page.ids), err
}
