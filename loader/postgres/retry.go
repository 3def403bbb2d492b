package postgres

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5"

	"github.com/candu-loader/candu-loader/loader/fault"
)

// RetryFor is how long a step is tried again while the database is away: long
// enough for a restart or a failover.
const RetryFor = 2 * time.Minute

// Retry runs step until it succeeds, until its error is not [fault.Retryable],
// or until RetryFor has passed since the first try. Each try has limit as its
// deadline, because a connection that is half open never answers. Step must be
// one that may be repeated. again, if not nil, is told of each try that failed and
// will be repeated.
func Retry(ctx context.Context, limit time.Duration, again func(err error, wait time.Duration), step func(ctx context.Context) error) error {
	policy := backoff.NewExponentialBackOff()
	policy.InitialInterval = 200 * time.Millisecond
	policy.MaxInterval = 5 * time.Second
	options := []backoff.RetryOption{backoff.WithBackOff(policy), backoff.WithMaxElapsedTime(RetryFor)}
	if again != nil {
		options = append(options, backoff.WithNotify(again))
	}
	var last error
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		attempt, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		last = step(attempt)
		switch {
		case last == nil:
			return struct{}{}, nil
		case ctx.Err() != nil:
			last = fault.Wrap(fault.Interrupted, last, "interrupted")
			return struct{}{}, backoff.Permanent(last)
		case KindOf(last) != fault.Retryable && attempt.Err() == nil:
			return struct{}{}, backoff.Permanent(last)
		}
		return struct{}{}, last
	}, options...)
	if err == nil {
		return nil
	}
	if last == nil || ctx.Err() != nil {
		return fault.Wrap(fault.Interrupted, context.Cause(ctx), "interrupted")
	}
	return last
}

// whileRestarting connects, again and again while the server says that it starts or shuts down, and, once it
// has said so, while it does not answer. One that refuses from the first is a wrong URL most times.
func whileRestarting(ctx context.Context, config *pgx.ConnConfig, again func(err error, wait time.Duration), wishes *wishes, connect func() error) error {
	if again == nil {
		return wishes.connect(config, connect)
	}
	plain, seen := config.RuntimeParams, false
	var last error
	_ = Retry(ctx, RetryFor, again, func(context.Context) error { // It returns what last is.
		config.RuntimeParams = maps.Clone(plain)
		if last = wishes.connect(config, connect); last == nil {
			return nil
		}
		restarting := slices.Contains([]string{"57P01", "57P02", "57P03"}, Code(last))
		seen = seen || restarting
		kind := fault.Precondition
		if restarting || seen && isNetwork(last) {
			kind = fault.Retryable
		}
		return fault.Wrap(kind, last, "connecting")
	})
	return last
}
