package loader

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/postgres"
)

// This file has what runs of all kinds share: how they begin, hold their lease, and end.

// deliveryMemory is for how long Segment remembers messageIds
// (https://segment.com/docs/guides/duplicate-data/).
const deliveryMemory = 24 * time.Hour

// migrateTimeout bounds one try to migrate, the wait for another one's included.
const migrateTimeout = 10 * time.Minute

// openRun opens the ledger and begins a run, after a migration if that is what is
// missing.
func (l *Loader) openRun(ctx context.Context, src *config.Source, opts ledger.RunOptions) (*ledger.Run, error) {
	book, err := l.Ledger(ctx, src)
	if err != nil {
		return nil, err
	}
	opts.Holder = ledger.Holder()
	var run *ledger.Run
	open := func(ctx context.Context) error {
		run, err = book.OpenRun(ctx, opts)
		return err
	}
	err = postgres.Retry(ctx, recordTimeout, nil, open)
	if errors.Is(err, ledger.ErrNotMigrated) {
		err = postgres.Retry(ctx, migrateTimeout, nil, func(ctx context.Context) error {
			_, err := l.Migrate(ctx, src)
			return err
		})
		if err != nil {
			return nil, err
		}
		err = postgres.Retry(ctx, recordTimeout, nil, open)
	}
	return run, err
}

// whileHeld runs work and renews the lease meanwhile. If the lease is lost, work
// is cancelled and the loss is the error.
func whileHeld(ctx context.Context, run *ledger.Run, work func(ctx context.Context) error) error {
	group, ctx := errgroup.WithContext(ctx)
	keeping, stop := context.WithCancel(ctx)
	group.Go(func() error { return run.Keep(keeping) })
	group.Go(func() error {
		defer stop()
		return work(ctx)
	})
	return group.Wait()
}

// finish writes how the run ended. A run whose lease is gone can write nothing,
// and its error says so already.
func (l *Loader) finish(ctx context.Context, run *ledger.Run, end ledger.End, cause error) error {
	if fault.Is(cause, fault.Busy) {
		return nil
	}
	// Even if the time is up: a short last try.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*postgres.ConnectTimeout)
	defer cancel()
	return postgres.Retry(ctx, postgres.ConnectTimeout, nil, func(ctx context.Context) error { return run.Finish(ctx, end) })
}

// status is the run's status for how its work ended.
func status(err error) ledger.RunStatus {
	switch {
	case err == nil:
		return ledger.RunSucceeded
	case fault.Is(err, fault.Interrupted):
		return ledger.RunInterrupted
	}
	return ledger.RunFailed
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// warnDead tells of runs that ended without a word. What they sent and did not
// record goes out again, which Segment drops only for about a day.
func warnDead(log *slog.Logger, run *ledger.Run) {
	if run.Dead == 0 {
		return
	}
	age := time.Since(run.DeadSince)
	log.Warn("an earlier run ended without a word and was marked interrupted", "runs", run.Dead, "last_seen", run.DeadSince.UTC(), "age", age.Round(time.Second))
	if age > deliveryMemory {
		log.Warn("what it sent without recording is sent again, after more than 24 h: Segment may pass duplicates on to streaming destinations; warehouses drop them",
			"last_seen", run.DeadSince.UTC())
	}
}
