package loader

import (
	"context"
	"time"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/pipeline"
	"github.com/candu-loader/candu-loader/loader/source"
)

// turns says how backfill, repair and retry of one source take turns: who waits says so, and a
// backfill, which may take days, looks now and then, and lets it go first.
type turns struct {
	// look is how often a backfill looks whether somebody waits, patience how long one waits, poll how
	// often it looks.
	look, patience, poll time.Duration
}

var usualTurns = turns{look: time.Minute, patience: 5 * time.Minute, poll: time.Second}

// forever is the patience of a backfill that let another go first.
const forever = 1<<63 - 1

// awaitRun opens a run, and waits for its leases where another holds them, as long as patience lasts.
func (l *Loader) awaitRun(ctx context.Context, src *config.Source, opts ledger.RunOptions, patience time.Duration) (*ledger.Run, error) {
	opts.Holder = ledger.Holder()
	var run *ledger.Run
	err := l.await(ctx, src, patience, func() (err error) {
		run, err = l.openRun(ctx, src, opts)
		if fault.Is(err, fault.Busy) && patience > 0 && opts.Lease == "" {
			// Trouble here costs a turn, not a row.
			if book, err := l.ledger(ctx, src); err == nil {
				_ = book.Want(ctx, opts.Holder)
			}
		}
		return err
	})
	return run, err
}

// await tries until it is not busy, as long as patience lasts.
func (l *Loader) await(ctx context.Context, src *config.Source, patience time.Duration, try func() error) error {
	told := ""
	for began := time.Now(); ; {
		err := try()
		if !fault.Is(err, fault.Busy) || time.Since(began) >= patience {
			return err
		}
		if err.Error() != told {
			told = err.Error()
			l.log.Info("waiting for another loader", "source", src.Nickname, "for", told)
		}
		select {
		case <-ctx.Done():
			return fault.Wrap(fault.Interrupted, context.Cause(ctx), "waiting for another loader")
		case <-time.After(l.turns.poll):
		}
	}
}

// awaitBackfill waits until no backfill sends what the run would read: a run that begins lower than
// usual, because the export's clock was put back, or lookback is longer than it was.
func (s *session) awaitBackfill() error {
	if s.run.WaitFor == "" {
		return nil
	}
	return s.loader.await(s.soft, s.src, s.loader.turns.patience, func() error {
		holder, err := s.run.WaitsFor(s.hard)
		if err == nil && holder != "" {
			err = fault.New(fault.Busy, "schema %q: the run begins among rows that the backfill of %s is sending", s.src.Schema, holder).
				WithHint("Wait for that backfill to end.")
		}
		return err
	})
}

// yielding are pages that end early when somebody waits for the backfill's lease.
type yielding struct {
	pipeline.Pages
	every  time.Duration
	wanted func(ctx context.Context) bool
	looked time.Time
	// yielded is true if they ended early.
	yielded bool
}

// Next returns the next page, nil after the last one or when somebody waits.
func (y *yielding) Next(ctx context.Context, number int64) (*source.Page, error) {
	if time.Since(y.looked) >= y.every {
		y.looked = time.Now()
		y.yielded = y.wanted(ctx)
	}
	if y.yielded {
		return nil, nil
	}
	return y.Pages.Next(ctx, number)
}
