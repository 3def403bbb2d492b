package segment

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/human"
)

// A refusal is judged by what is accepted beside it. An answer of 400 or 413 to a batch may be
// about an event in it, or about nothing in it: a proxy, a wrong key, a fault at Segment answer
// so to everything. So an event counts as refused only after it was refused alone, then a
// request that began later was accepted, and then it was refused alone once more.

const (
	// maxInARow bounds what is sent to something that refuses everything: after so many refusals in a
	// row it is asked whether anything is accepted at all. Where nothing ever was, samples of them
	// are single events that are tried for that.
	maxInARow = 45
	samples   = 25
)

// piece is a part of a batch whose events are not decided yet.
type piece struct {
	from, to int
	// refusedAt is when a request of just these events was refused, 0 if there was none.
	refusedAt int64
	// unclear says of an earlier attempt that it may have been accepted, "" if none may.
	unclear string
}

// Doubtful reports whether nothing was accepted since events of these batches were refused.
func (s *Sender) Doubtful(batches []*Batch) bool {
	return !s.doubt.since(lastRefusal(batches))
}

// lastRefusal returns when the last of the open pieces was refused, 0 if none was.
func lastRefusal(batches []*Batch) (at int64) {
	for _, b := range batches {
		for i := range b.open {
			at = max(at, b.open[i].refusedAt)
		}
	}
	return at
}

// Settle decides the batches of a page that are undecided. It halves what was refused until the
// culprits are alone, as long as something is accepted meanwhile. Where nothing is, an event that
// was accepted before is sent once more, under its messageId, so that Segment drops it; where
// none ever was, some events of the page and of those ahead are tried alone. If that is refused
// too, the error's kind is [fault.Precondition], and no event counts as refused.
//
// Nobody else may use the batches. The error is otherwise as that of Send.
func (s *Sender) Settle(ctx context.Context, stop <-chan struct{}, page, ahead []*Batch) error {
	c := settling{Sender: s, stop: stop, page: page, all: slices.Concat(page, ahead)}
	if witness, _ := s.doubt.known(); witness == nil && lastRefusal(page) > 0 {
		if err := c.ask(ctx); err != nil {
			return err
		}
	}
	for _, b := range page {
		if err := c.divide(ctx, b); err != nil {
			return err
		}
	}
	return c.confirm(ctx)
}

// settling is a page that is being settled.
type settling struct {
	*Sender

	stop      <-chan struct{}
	page, all []*Batch
}

// divide sends what is open of a batch, and halves of what is refused, until every event is
// accepted or was refused alone.
func (c *settling) divide(ctx context.Context, b *Batch) error {
	for {
		i := slices.IndexFunc(b.open, func(p piece) bool { return p.refusedAt == 0 || p.to-p.from > 1 })
		if i < 0 {
			return nil
		}
		if p := b.open[i]; p.refusedAt > 0 {
			middle := (p.from + p.to) / 2
			b.open = slices.Replace(b.open, i, i+1, piece{from: p.from, to: middle, unclear: p.unclear}, piece{from: middle, to: p.to, unclear: p.unclear})
		}
		if c.doubt.many() {
			if err := c.ask(ctx); err != nil {
				return err
			}
			continue // What was asked with may have been of this piece.
		}
		if _, err := c.try(ctx, c.stop, b, i); err != nil {
			return err
		}
	}
}

// confirm sends the events that were refused alone once more, after something was accepted.
func (c *settling) confirm(ctx context.Context) error {
	if at := lastRefusal(c.page); at > 0 && !c.doubt.since(at) {
		if err := c.ask(ctx); err != nil {
			return err
		}
	}
	for _, b := range c.page {
		for len(b.open) > 0 {
			p := b.open[0]
			out, err := c.try(ctx, c.stop, b, 0)
			if err != nil {
				return err
			}
			if out.err != nil {
				b.open = b.open[1:]
				b.Refused = append(b.Refused, refuse(p, out))
				c.gateway.count(func(s *Stats) { s.Refused++ })
			}
		}
	}
	return nil
}

// ask finds out whether anything is accepted at present.
func (c *settling) ask(ctx context.Context) error {
	witness, _ := c.doubt.known()
	if witness == nil {
		return c.sample(ctx)
	}
	r := request{Sender: c.Sender, stop: c.stop, events: []event.Event{*witness}}
	out, err := r.exchange(ctx)
	if err == nil && out.err != nil {
		err = c.nothing(out)
	}
	return err
}

// sample tries single events, spread from the last one that is open to the first, until one is
// accepted.
func (c *settling) sample(ctx context.Context) error {
	total := 0
	for _, b := range c.all {
		for _, p := range b.open {
			total += p.to - p.from
		}
	}
	var last outcome
	for i, n := 0, min(total, samples); i < n; i++ {
		b, at := c.open(total - 1 - i*(total-1)/max(1, n-1))
		alone := &Batch{Events: b.Events[at : at+1], open: []piece{{to: 1}}}
		out, err := c.try(ctx, c.stop, alone, 0)
		b.Retries += alone.Retries
		if err != nil {
			return err
		}
		if out.err == nil {
			b.take(at, alone.Accepted[0])
			return nil
		}
		last = out
	}
	return c.nothing(last)
}

// open returns the nth open event, as its batch and its index there.
func (c *settling) open(nth int) (*Batch, int) {
	for _, b := range c.all {
		for _, p := range b.open {
			if nth < p.to-p.from {
				return b, p.from + nth
			}
			nth -= p.to - p.from
		}
	}
	panic("an event beyond those that are open")
}

// take notes that an event was accepted alone; the rest of its piece was not tried without it.
func (b *Batch) take(at int, by Accepted) {
	by.From, by.To = at, at+1
	b.Accepted = append(b.Accepted, by)
	i := slices.IndexFunc(b.open, func(p piece) bool { return p.from <= at && at < p.to })
	p := b.open[i]
	b.open = slices.Delete(b.open, i, i+1)
	for _, rest := range []piece{{from: at + 1, to: p.to, unclear: p.unclear}, {from: p.from, to: at, unclear: p.unclear}} {
		if rest.from < rest.to {
			b.open = slices.Insert(b.open, i, rest)
		}
	}
}

// nothing is the error where nothing is accepted.
func (c *settling) nothing(out outcome) error {
	_, inARow := c.doubt.known()
	return fault.New(fault.Precondition, "sending to %s: the last %s refused, whatever was in them: %v",
		c.gateway.config.Endpoint, human.Count(int64(inARow), "request")+human.Noun(int64(inARow), " was", " were"), out.err).
		WithHint("What refuses everything says nothing about the events: check write_key (32 characters), segment.endpoint and proxies in between. " +
			"No row was rejected for it; one that really can't be sent is rejected when another one is accepted beside it.")
}

// refuse says why an event, alone in its piece, is refused.
func refuse(p piece, out outcome) Refusal {
	r := Refusal{Index: p.from, Detail: fmt.Sprintf("Segment answered %d %s", out.status, http.StatusText(out.status))}
	if p.unclear != "" {
		r.Detail += " (" + p.unclear + ")"
	}
	if answer, ok := errors.AsType[*answerError](out.err); ok {
		r.Said = answer.said()
	}
	return r
}
