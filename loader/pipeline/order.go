package pipeline

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

// commitOrder is a page's place in the order in which pages are recorded.
type commitOrder struct {
	over chan struct{}
	ok   bool
}

// firstOrder is over: nothing comes before the first page.
func firstOrder() *commitOrder {
	o := newOrder()
	o.end(true)
	return o
}

func newOrder() *commitOrder { return &commitOrder{over: make(chan struct{})} }

// end lets the next page be committed; ok is false if it must not be recorded.
func (o *commitOrder) end(ok bool) {
	o.ok = ok
	close(o.over)
}

// isOver reports whether nobody needs to wait.
func (o *commitOrder) isOver() bool {
	select {
	case <-o.over:
		return true
	default:
		return false
	}
}

// wait waits for that. The error is errBroken if the next page must not be
// recorded.
func (o *commitOrder) wait(ctx context.Context) error {
	select {
	case <-o.over:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if !o.ok {
		return errBroken
	}
	return nil
}

// waitBriefly is wait for somebody who has something open meanwhile: after a while the
// error is errNotYet.
func (o *commitOrder) waitBriefly(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errNotYet)
	defer cancel()
	return o.wait(ctx)
}
