package segment

import (
	"context"
	"time"

	"golang.org/x/time/rate"

	"github.com/candu-loader/candu-loader/loader/fault"
)

const (
	// slotsPerSecond and slack keep the rate limit, see newPace.
	slotsPerSecond = 10
	slack          = 1.006
)

// pace lets requests leave so that no second, wherever it begins, holds more
// events than the limit.
type pace struct {
	// turn is held by the one request that waits for the next slot; the others queue
	// behind it.
	turn    chan struct{}
	limiter *rate.Limiter
	// left says when the last second's worth of requests really left; the oldest is
	// at next.
	left []time.Time
	next int
}

// newPace cuts each second into slots, lets one request leave in each, and returns
// how many events a request may have: a slot's share of the limit.
//
// A plain bucket of events would let a burst and a second's worth through within one
// second. Slots stand a little more than their share of a second apart, so
// more than 99 % of the limit is used, and what the network delays by some
// milliseconds still does not meet the next second's requests at the server. The
// limiter knows only when a request should leave; a timer on a busy machine is late
// at times, and the request a second behind it then waits for it.
func newPace(perSecond, batchSize int) (*pace, int) {
	if perSecond <= 0 {
		return nil, batchSize
	}
	size := min(batchSize, max(1, perSecond/slotsPerSecond))
	slots := max(1, perSecond/size)
	return &pace{
		turn:    make(chan struct{}, 1),
		limiter: rate.NewLimiter(rate.Limit(float64(slots)/slack), 1),
		left:    make([]time.Time, slots),
	}, size
}

// wait waits for a slot. The error is of kind [fault.Interrupted].
func (p *pace) wait(ctx context.Context, stop <-chan struct{}) error {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-stop:
		return errStopped()
	case <-ctx.Done():
		return errCancelled(ctx)
	}
	slot := p.limiter.Reserve()
	if err := wait(ctx, stop, max(slot.Delay(), time.Until(p.left[p.next].Add(time.Second)))); err != nil {
		slot.Cancel()
		return err
	}
	p.left[p.next] = time.Now()
	p.next = (p.next + 1) % len(p.left)
	return nil
}

// wait sleeps for d unless ctx or stop ends it.
func wait(ctx context.Context, stop <-chan struct{}, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-stop:
		return errStopped()
	case <-ctx.Done():
		return errCancelled(ctx)
	}
}

func errStopped() error { return fault.New(fault.Interrupted, "waiting to send: interrupted") }

func errCancelled(ctx context.Context) error {
	return fault.Wrap(fault.Interrupted, context.Cause(ctx), "waiting to send")
}
