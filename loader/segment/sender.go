package segment

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/human"
	"github.com/candu-loader/candu-loader/loader/secret"
)

const (
	// maxBatchBytes is the greatest request, below Segment's 500 KB and below what
	// analytics-go would cut by itself, which counts no commas.
	maxBatchBytes = 480_000
	// envelope is what a request has beside its events, generously.
	envelope = 1_000
	// tooManyRefused events in a row, with none ever accepted, mean that the
	// answer is not about the events.
	tooManyRefused = 100
)

// Sender delivers the events of one source. It is safe for concurrent use.
type Sender struct {
	gateway     *Gateway
	key         secret.String
	encoder     *Encoder
	integration map[string]any

	everAccepted atomic.Bool
	refusedOnly  atomic.Int64
}

// Sender returns a sender for the source with that write key.
func (g *Gateway) Sender(key secret.String, encoder *Encoder) *Sender {
	return &Sender{
		gateway: g, key: key, encoder: encoder,
		integration: map[string]any{"name": "candu", "version": g.config.Version},
	}
}

// Delivery says what became of a batch, by the index of its events.
type Delivery struct {
	// Accepted are the ranges that one request each brought through.
	Accepted []Accepted
	// Refused are events that Segment does not take.
	Refused []Refusal
	// Retries counts the attempts that were repeated.
	Retries int
}

// Accepted says that events From up to, without, To were accepted by one
// request.
type Accepted struct {
	From, To int
	// SentAt is when that request left, ReceivedAt when its answer was there.
	SentAt, ReceivedAt time.Time
}

// Refusal is an event that Segment does not take.
type Refusal struct {
	Index  int
	Detail string
}

// Cut returns how many of the leading events make the next batch: at least one,
// and no more than the batch size and 480,000 bytes.
func (s *Sender) Cut(events []event.Event) int {
	bytes := envelope
	for i := range events {
		bytes += events[i].Size + 1
		if i > 0 && (bytes > maxBatchBytes || i == s.gateway.batchSize) {
			return i
		}
	}
	return len(events)
}

// errLate means that the time for retries is up.
var errLate = errors.New("the time for retries is up")

// inFlight is a batch under way: what all requests for it and its halves share.
type inFlight struct {
	*Sender
	stop <-chan struct{}
	// until ends the retries, zero before the first attempt.
	until     time.Time
	delivered Delivery
}

// Send delivers a batch, and tries again as long as it makes sense: for RetryFor
// from the first attempt. An answer of 400 or 413 halves the batch until the
// event that is to blame is alone.
//
// With an error, the Delivery still says what was accepted before it. Its kind is
// [fault.Retryable] if the time was up, [fault.Precondition] if Segment refuses this
// source (then no single event counts as refused), [fault.Interrupted] if stop was
// closed (what is under way is then finished, but no request is begun) or ctx is done
// (everything ends at once).
func (s *Sender) Send(ctx context.Context, stop <-chan struct{}, batch []event.Event) (Delivery, error) {
	f := inFlight{Sender: s, stop: stop}
	err := f.deliver(ctx, batch, 0)
	if fault.Is(err, fault.Precondition) {
		f.delivered.Refused = nil
	}
	return f.delivered, err
}

// deliver sends batch, whose first event has the index offset in the Delivery.
func (f *inFlight) deliver(ctx context.Context, batch []event.Event, offset int) error {
	out, err := f.retry(ctx, batch)
	if err != nil {
		return err
	}
	switch judge(out) {
	case accepted:
		f.delivered.Accepted = append(f.delivered.Accepted, Accepted{From: offset, To: offset + len(batch), SentAt: out.sentAt, ReceivedAt: out.receivedAt})
		f.gateway.count(func(s *Stats) { s.Accepted += int64(len(batch)) })
		f.everAccepted.Store(true)
		return nil
	case halve:
		if len(batch) == 1 {
			return f.refuse(offset, fmt.Sprintf("Segment answered %d %s", out.status, http.StatusText(out.status)))
		}
		middle := len(batch) / 2
		if err := f.deliver(ctx, batch[:middle], offset); err != nil {
			return err
		}
		return f.deliver(ctx, batch[middle:], offset+middle)
	default:
		return refusal(f.gateway.config.Endpoint, out)
	}
}

// retry repeats the attempt while the answer is a passing trouble.
func (f *inFlight) retry(ctx context.Context, batch []event.Event) (outcome, error) {
	g := f.gateway
	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval, waits.MaxInterval, waits.Multiplier = g.config.firstWait, g.config.maxWait, 2
	if err := f.admit(ctx, batch, time.Time{}, errLate); err != nil {
		return outcome{}, err
	}
	for {
		out, err := f.attempt(ctx, batch)
		if err != nil || judge(out) != again {
			return out, err
		}
		if ctx.Err() != nil {
			return out, fault.Wrap(fault.Interrupted, context.Cause(ctx), "sending a batch")
		}
		// The jitter goes beyond the cap.
		pause := max(min(waits.NextBackOff(), g.config.maxWait), out.retryAfter)
		if out.retryAfter > 0 || out.status == http.StatusTooManyRequests {
			// The other senders would get the same answer.
			g.pause(pause)
		}
		due := g.afterPause(time.Now().Add(pause))
		if !due.After(f.until) {
			g.config.Log.Warn("retrying: Segment did not accept a batch", "status", out.status, "error", out.err, "wait", time.Until(due).Round(time.Millisecond))
		}
		if err := f.admit(ctx, batch, due, out.err); err != nil {
			return out, err
		}
		f.delivered.Retries++
		g.count(func(s *Stats) { s.Retries++ })
	}
}

// admit waits for the next attempt to be due, if that is in time; cause is what
// went wrong before.
func (f *inFlight) admit(ctx context.Context, batch []event.Event, due time.Time, cause error) error {
	err := f.gateway.admit(ctx, f.stop, due, f.until)
	if errors.Is(err, errLate) {
		return &fault.Error{
			Kind: fault.Retryable, Err: cause, Text: fmt.Sprintf("sending a batch of %s for %s", human.Count(int64(len(batch)), "event"), human.Duration(f.gateway.config.RetryFor)),
			Hint: "Segment could not be reached, or accepted nothing, for longer than segment.retry_for. Nothing is lost: the next run goes on from here.",
		}
	}
	if err == nil && f.until.IsZero() {
		f.until = time.Now().Add(f.gateway.config.RetryFor)
	}
	return err
}

// refuse notes an event that Segment does not take, and stops where it takes
// none: then the answer is not about the event.
func (f *inFlight) refuse(index int, detail string) error {
	f.delivered.Refused = append(f.delivered.Refused, Refusal{Index: index, Detail: detail})
	f.gateway.count(func(s *Stats) { s.Refused++ })
	if !f.everAccepted.Load() && f.refusedOnly.Add(1) >= tooManyRefused {
		return fault.New(fault.Precondition, "sending to %s: each of the first %d events was refused, and none accepted (%s)",
			f.gateway.config.Endpoint, tooManyRefused, detail).
			WithHint("The events are hardly to blame: check write_key (32 characters) and segment.endpoint. " +
				"Rows that were rejected meanwhile are sent by `candu-loader rejects retry NICKNAME --reason refused_by_segment`.")
	}
	return nil
}
