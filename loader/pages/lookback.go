package pages

import (
	"context"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/loader/source"
)

const (
	// stretch is how many pages of keys are passed over in one go at most.
	stretch = 50
	// questions is how many of them the mirror is asked about at once: while one answer
	// travels, the server works on the next.
	questions = 3
)

// deliveredTimeout bounds one try to ask the mirror.
const deliveredTimeout = time.Minute

// skim passes over the rows before the watermark, which a run reads again for those that
// have come among them late. It reads no more of them than their messageIds are made of, and
// asks the mirror. What follows on a row that is not there is left to be read in full.
type skim struct {
	source interface {
		Keys(ctx context.Context, from source.Cursor, before time.Time) (*source.Keys, error)
	}
	ledger interface {
		Delivered(ctx context.Context, ids []string) (map[string]struct{}, error)
	}
	namespace uuid.UUID
	// until is where the rows begin that may be new.
	until time.Time
	// again is told of a question to the mirror that is repeated.
	again func(err error, wait time.Duration)

	// full is how many pages are left to be read in full, and pause how many there were
	// last time: it doubles as long as skimming is of no use.
	full, pause int
	done        bool
}

// next returns a page that passes over rows that are all delivered, nil if what comes next
// is to be read in full. A nil skim leaves everything to be read in full.
func (s *skim) next(ctx context.Context, from source.Cursor) (*source.Page, error) {
	if s == nil || s.done || !from.At.Before(s.until) {
		return nil, nil
	}
	if s.full > 0 {
		s.full--
		return nil, nil
	}
	passed, whole, err := s.pass(ctx, from)
	if err != nil {
		return nil, err
	}
	if whole {
		s.pause = 0
	} else {
		s.pause = max(1, 2*s.pause)
		s.full = s.pause
	}
	if passed.Passed > 0 {
		return passed, nil
	}
	s.full = max(0, s.full-1) // The one that is read now.
	return nil, nil
}

// question is a page of keys on which the mirror is asked.
type question struct {
	keys *source.Keys
	// delivered is how many of the rows are delivered, from the first on. It is closed
	// without an answer if there is none.
	delivered chan int
}

// pass passes over the rows of a stretch of pages, up to the first row that is not
// delivered; whole is true if there is none. Pages are read while the mirror is asked about
// those before. When it returns, nothing is under way any more.
func (s *skim) pass(ctx context.Context, from source.Cursor) (passed *source.Page, whole bool, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	asked := make(chan *question, questions-1) // And the one whose answer is awaited.
	group.Go(func() error {
		defer close(asked)
		return s.ask(ctx, group, from, asked)
	})
	passed, whole = &source.Page{Next: from}, true
	for q := range asked {
		n, answered := <-q.delivered
		if !answered {
			break // Of what comes after it nothing is known.
		}
		if passed.Passed += n; n > 0 {
			passed.Next = q.keys.After(n)
		}
		if whole = n == len(q.keys.Keys); !whole {
			break
		}
		s.done = q.keys.Last
	}
	if whole {
		return passed, true, group.Wait()
	}
	stop()
	_ = group.Wait() // What was stopped says so; what else is in the way meets the next reading too.
	return passed, false, nil
}

// ask reads pages, and asks the mirror about each.
func (s *skim) ask(ctx context.Context, group *errgroup.Group, from source.Cursor, asked chan<- *question) error {
	for range stretch {
		keys, err := s.source.Keys(ctx, from, s.until)
		if err != nil {
			return err
		}
		q := &question{keys: keys, delivered: make(chan int, 1)}
		select {
		case asked <- q:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		group.Go(func() error {
			defer close(q.delivered)
			n, err := s.delivered(ctx, keys.Keys)
			if err == nil {
				q.delivered <- n
			}
			return err
		})
		if keys.Last {
			return nil
		}
		from = keys.Next
	}
	return nil
}

// delivered returns how many of the rows are in the mirror, from the first on.
func (s *skim) delivered(ctx context.Context, keys []source.Key) (int, error) {
	text := make([]byte, 0, len(keys)*event.IDLength)
	for i := range keys {
		text = event.AppendMessageID(text, s.namespace, keys[i].ID, keys[i].OccurredAt)
	}
	all := string(text)
	ids := make([]string, len(keys))
	for i := range ids {
		ids[i] = all[i*event.IDLength:][:event.IDLength]
	}
	var found map[string]struct{}
	err := postgres.Retry(ctx, deliveredTimeout, s.again, func(ctx context.Context) (err error) {
		found, err = s.ledger.Delivered(ctx, ids)
		return err
	})
	if err != nil {
		return 0, err
	}
	for n, id := range ids {
		if _, delivered := found[id]; !delivered {
			return n, nil
		}
	}
	return len(ids), nil
}
