package segment

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/human"
)

// errLate means that the time for retries is up.
var errLate = errors.New("the time for retries is up")

// request is one request with its repetitions.
type request struct {
	*Sender

	stop   <-chan struct{}
	events []event.Event

	// began is when the first attempt was admitted, zero before it.
	began    time.Time
	attempts int
	// unclear says of an attempt that it may have been accepted, "" if none may.
	unclear string
}

// exchange repeats the attempt while the answer is a passing trouble: what it returns is an
// acceptance, or a refusal of these events.
func (r *request) exchange(ctx context.Context) (outcome, error) {
	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval, waits.MaxInterval, waits.Multiplier = r.gateway.config.firstWait, r.gateway.config.maxWait, 2
	if err := r.admit(ctx, time.Time{}, errLate); err != nil {
		return outcome{}, err
	}
	for {
		out, verdict, err := r.once(ctx)
		switch {
		case err != nil:
			return out, err
		case verdict == accepted || verdict == halve:
			return out, nil
		case verdict == refused:
			return out, refusal(r.gateway.config.Endpoint, out)
		case ctx.Err() != nil:
			return out, fault.Wrap(fault.Interrupted, context.Cause(ctx), "sending a batch")
		}
		if err := r.admit(ctx, r.again(waits.NextBackOff(), out), out.err); err != nil {
			return out, err
		}
		r.gateway.count(func(s *Stats) { s.Retries++ })
	}
}

// once is one attempt, which the doubt is told of.
func (r *request) once(ctx context.Context) (out outcome, is verdict, err error) {
	r.attempts++
	began := r.doubt.begin()
	out, err = r.attempt(ctx, r.events)
	is = judge(out)
	switch {
	case err == nil && is == accepted:
		r.doubt.accepted(began, &r.events[0])
	case err == nil && is == halve:
		out.at = r.doubt.refused()
	default:
		r.doubt.failed()
		r.unclear = cmp.Or(out.unclear(), r.unclear)
	}
	return out, is, err
}

// again returns when the next attempt is due: after the backoff, when Segment asked for it, and
// once more when the time is up.
func (r *request) again(backoff time.Duration, out outcome) time.Time {
	g, now := r.gateway, time.Now()
	pause := min(backoff, g.config.maxWait) // The jitter goes beyond the cap.
	if left := r.until().Sub(now); left > 0 {
		pause = min(pause, left)
	}
	pause = max(pause, out.retryAfter)
	if out.retryAfter > 0 || out.status == http.StatusTooManyRequests {
		// The other senders would get the same answer.
		g.pause(pause)
	}
	due := g.afterPause(now.Add(pause))
	if !due.After(r.until()) {
		g.config.Log.Warn("retrying: Segment did not accept a batch", "status", out.status, "error", out.err, "wait", time.Until(due).Round(time.Millisecond))
	}
	return due
}

// until ends the repetitions; it is zero before the first attempt.
func (r *request) until() time.Time {
	if r.began.IsZero() {
		return time.Time{}
	}
	return r.began.Add(r.gateway.config.RetryFor)
}

// admit waits for the next attempt to be due, if that is in time; cause is what
// went wrong before.
func (r *request) admit(ctx context.Context, due time.Time, cause error) error {
	err := r.gateway.admit(ctx, r.stop, due, r.until())
	if errors.Is(err, errLate) {
		return &fault.Error{
			Kind: fault.Retryable, Err: cause, Text: fmt.Sprintf("sending a batch of %s for %s in %s", human.Count(int64(len(r.events)), "event"),
				human.Duration(time.Since(r.began)), human.Count(int64(r.attempts), "attempt")),
			Hint: "Segment could not be reached, or accepted nothing, for longer than segment.retry_for. Nothing is lost: the next run goes on from here.",
		}
	}
	if err == nil && r.began.IsZero() {
		r.began = time.Now()
	}
	return err
}
