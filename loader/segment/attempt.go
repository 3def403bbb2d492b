package segment

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"sync"
	"time"

	analytics "github.com/segmentio/analytics-go/v3"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/human"
)

// forever keeps analytics-go from acting by itself: it shall send once, when it
// is closed.
const forever = 24 * time.Hour

// outcome is what one attempt came to.
type outcome struct {
	// status is the HTTP status, 0 if there was no complete answer.
	status     int
	retryAfter time.Duration
	sentAt     time.Time
	receivedAt time.Time
	// left is true if the request, or a part of it, went out.
	left bool
	// err is why the batch was not accepted, nil if it was.
	err error
	// at is when a refusal came, see doubt.
	at int64
}

// unclear says of an attempt that is to be repeated that it may have been accepted all the
// same, "" if it can't have been.
func (o outcome) unclear() string {
	switch {
	case o.status == 0 && o.left:
		return "an earlier attempt had no answer: it may have been accepted"
	case o.status >= 500, o.status >= 200 && o.status < 300:
		return fmt.Sprintf("an earlier attempt was answered %d: it may have been accepted", o.status)
	}
	return ""
}

// attempt sends a batch once, with a client of its own, and waits for the
// outcome. A client that is closed sends what it has and does not try again: the only
// way to have analytics-go v3.3.0 say what became of a batch, with a fresh sentAt on
// each attempt. The error is about our own doing, which no further attempt mends.
func (s *Sender) attempt(ctx context.Context, batch []event.Event) (outcome, error) {
	g := s.gateway
	if err := g.clock.check(g.config.Endpoint); err != nil {
		return outcome{}, err
	}
	transport := g.connections()
	via := &recorder{base: g.dated(transport), key: s.key, ctx: ctx, timeout: g.config.Timeout}
	results := &callback{}
	client, err := analytics.NewWithConfig(s.key.Reveal(), analytics.Config{
		Endpoint:  g.config.Endpoint,
		Transport: via,
		BatchSize: len(batch) + 1, // never full before Close
		Interval:  forever,
		// Between attempts it waits for this or for Close, which has happened.
		RetryAfter: func(int) time.Duration { return forever },
		Callback:   results,
		Logger:     analytics.StdLogger(log.New(io.Discard, "", 0)), // the default one prints whole events
		// Fresh each time: the client writes into it.
		DefaultContext: &analytics.Context{Extra: map[string]any{"integration": s.integration}},
	})
	if err != nil {
		return outcome{}, fmt.Errorf("making an analytics client: %w", err)
	}
	for i := range batch {
		if err := client.Enqueue(s.encoder.message(&batch[i])); err != nil {
			results.Failure(nil, err) // Its reasons are checked by package event.
		}
	}
	// Close sends, and with it stamps sentAt.
	out := outcome{sentAt: time.Now()}
	if err := client.Close(); err != nil {
		return outcome{}, fmt.Errorf("closing the analytics client: %w", err)
	}
	out.status, out.retryAfter, out.receivedAt, out.left = via.status, via.retryAfter, via.receivedAt, via.left.Load()
	requests := via.requests.Load()
	if requests > 0 {
		g.count(func(s *Stats) { s.Requests[out.status]++ })
		g.renew(transport, out.status == 0 || out.status >= 500)
	}
	switch {
	case requests == 1 && via.err != nil:
		out.err = via.err
	case requests == 1 && results.accepted == len(batch):
	default:
		return out, fmt.Errorf("encoding a batch of %s: %w", human.Count(int64(len(batch)), "event"), cmp.Or(results.err, errUnaccounted))
	}
	return out, nil
}

// errUnaccounted means that analytics-go did not do what this package relies on.
var errUnaccounted = errors.New("analytics-go did not account for every event")

// verdict is what to do after an attempt.
type verdict uint8

const (
	accepted verdict = iota
	again            // try the same batch later
	halve            // something in the batch may be bad
	refused          // nothing of this source gets through
)

// judge is the one place that decides what an HTTP status means. The list of
// statuses to retry is Segment's own
// (https://support.twilio.com/hc/en-us/articles/51769112022299).
func judge(out outcome) verdict {
	switch status := out.status; {
	case out.err == nil:
		return accepted
	case status == 0:
		if fault.TLS(out.err) || errors.Is(out.err, http.ErrSchemeMismatch) {
			return refused
		}
		return again
	case status == 400 || status == 413:
		return halve
	case status == 408 || status == 410 || status == 429 || status == 460:
		return again
	case status == 501 || status == 505 || status == 511:
		return refused
	case status >= 500 || status >= 200 && status < 300:
		return again
	}
	return refused
}

// refusal explains an answer that ends the run.
func refusal(endpoint string, out outcome) error {
	said := ""
	if answer, ok := errors.AsType[*answerError](out.err); ok {
		said = answer.said()
	}
	switch status := out.status; {
	case status == 0:
		return &fault.Error{
			Kind: fault.Precondition, Err: out.err, Text: "sending to " + endpoint,
			Hint: "The server's certificate can't be trusted: check segment.endpoint, the machine's CA certificates, and proxies in between.",
		}
	case status == 401 || status == 403:
		return fault.New(fault.Precondition, "sending to %s: answer %d, the write key was refused%s", endpoint, status, said).
			WithHint("Check write_key: in Segment under Connections > Sources > your source > Settings > API Keys.")
	case status >= 300 && status < 400:
		return fault.New(fault.Precondition, "sending to %s: answer %d, a redirect, which would lose the events%s", endpoint, status, said).
			WithHint("Check segment.endpoint (https://api.segment.io) and proxies in between.")
	default:
		return fault.New(fault.Precondition, "sending to %s: answer %d%s", endpoint, status, said).
			WithHint("Segment's API does not answer a valid request like this: check segment.endpoint and proxies in between.")
	}
}

// callback counts what analytics-go says of its messages. It is called from several
// goroutines.
type callback struct {
	mu       sync.Mutex
	accepted int
	// err is why one of them was not.
	err error
}

// Success implements [analytics.Callback].
func (c *callback) Success(analytics.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.accepted++
}

// Failure implements [analytics.Callback].
func (c *callback) Failure(_ analytics.Message, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}
