package segment

import (
	"context"
	"slices"
	"time"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/secret"
)

const (
	// maxBatchBytes is the greatest request, below Segment's 500 KB and below what
	// analytics-go would cut by itself, which counts no commas.
	maxBatchBytes = 480_000
	// envelope is what a request has beside its events, generously.
	envelope = 1_000
)

// Sender delivers the events of one source. It is safe for concurrent use.
type Sender struct {
	gateway     *Gateway
	key         secret.String
	encoder     *Encoder
	integration map[string]any
	doubt       doubt
}

// Sender returns a sender for the source with that write key.
func (g *Gateway) Sender(key secret.String, encoder *Encoder) *Sender {
	return &Sender{
		gateway: g, key: key, encoder: encoder,
		integration: map[string]any{"name": "candu", "version": g.config.Version},
	}
}

// Batch is the events of one request, and what became of them. It has one user at a time.
type Batch struct {
	Events []event.Event
	// Accepted are the ranges that one request each brought through.
	Accepted []Accepted
	// Refused are events that Segment does not take.
	Refused []Refusal
	// Retries counts the attempts that were repeated.
	Retries int

	// open are the events that are neither.
	open []piece
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
	Index int
	// Detail says why, Said quotes the answer, "" if it had no words.
	Detail, Said string
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

// Send delivers a batch as one request, and tries again as long as it makes sense. A batch that is
// refused (400, 413), or held back because so many were, is undecided: see [Sender.Settle].
//
// The error's kind is [fault.Retryable] if RetryFor was up, [fault.Precondition] if Segment
// refuses this source, [fault.Interrupted] if stop was closed (what is under way is then
// finished, but no request is begun) or ctx is done (everything ends at once).
func (s *Sender) Send(ctx context.Context, stop <-chan struct{}, b *Batch) error {
	b.open = []piece{{to: len(b.Events)}}
	if s.doubt.many() {
		return nil
	}
	_, err := s.try(ctx, stop, b, 0)
	return err
}

// Undecided reports whether events of the batch are neither accepted nor refused.
func (b *Batch) Undecided() bool { return len(b.open) > 0 }

// try sends an open piece of a batch.
func (s *Sender) try(ctx context.Context, stop <-chan struct{}, b *Batch, i int) (outcome, error) {
	p := &b.open[i]
	r := request{Sender: s, stop: stop, events: b.Events[p.from:p.to], unclear: p.unclear}
	out, err := r.exchange(ctx)
	b.Retries += max(0, r.attempts-1)
	p.unclear = r.unclear
	switch {
	case err != nil:
	case out.err == nil:
		b.Accepted = append(b.Accepted, Accepted{From: p.from, To: p.to, SentAt: out.sentAt, ReceivedAt: out.receivedAt})
		s.gateway.count(func(stats *Stats) { stats.Accepted += int64(len(r.events)) })
		b.open = slices.Delete(b.open, i, i+1)
	default:
		p.refusedAt = out.at
	}
	return out, err
}
