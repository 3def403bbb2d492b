package loader

import (
	"context"
	"errors"
	"time"
)

// patience is how long a transaction that has written a page waits for the page before. The
// server would end it a little later, see package ledger.
const patience = 5 * time.Second

var (
	errNotYet = errors.New("the page before is not recorded yet")
	errBroken = errors.New("the page before was not recorded")
)

// turn is a page's place in the order in which pages are recorded.
type turn struct {
	over chan struct{}
	ok   bool
}

// firstTurn is over: nothing comes before the first page.
func firstTurn() *turn {
	t := newTurn()
	t.end(true)
	return t
}

func newTurn() *turn { return &turn{over: make(chan struct{})} }

// end lets the next page have its turn; ok is false if it must not be recorded.
func (t *turn) end(ok bool) {
	t.ok = ok
	close(t.over)
}

// isOver reports whether nobody needs to wait.
func (t *turn) isOver() bool {
	select {
	case <-t.over:
		return true
	default:
		return false
	}
}

// wait waits for the end of the turn. The error is errBroken if the next page must not be
// recorded.
func (t *turn) wait(ctx context.Context) error {
	select {
	case <-t.over:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if !t.ok {
		return errBroken
	}
	return nil
}

// waitBriefly is wait for somebody who has something open meanwhile: after a while the
// error is errNotYet.
func (t *turn) waitBriefly(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errNotYet)
	defer cancel()
	return t.wait(ctx)
}
