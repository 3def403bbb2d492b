package scheduler

import (
	"context"
	"time"

	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/postgres"
)

// keep renews what this replica has taken, slots or a turn to verify, until ctx is done, and says that it is lost if
// another has it.
func keep(ctx context.Context, renew func(context.Context) (held bool, err error), lost func()) {
	tick := time.Tick(ledger.RenewEvery)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick:
		}
		attempt, stop := context.WithTimeout(ctx, ledger.RenewEvery)
		held, err := renew(attempt)
		stop()
		if err == nil && !held && ctx.Err() == nil {
			lost()
			return
		}
	}
}

// write tries until it is written, even after ctx is done, and for a moment then.
func write(ctx context.Context, do func(context.Context) error) error {
	limit := endTimeout
	if ctx.Err() != nil {
		limit = postgres.ConnectTimeout
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	return postgres.Retry(ctx, limit, nil, do)
}
