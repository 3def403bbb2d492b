package pipeline

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/loader/segment"
	"github.com/candu-loader/candu-loader/loader/source"
)

// This file tries to record before anything is sent. What is sent and can't be recorded goes out
// again with each run, for ever. So each run tries the first page that has something to send; and
// where a run before could not record, one page at a time is tried, sent and recorded, until it is
// recorded past that place. Past is recorded, not read: a late row before the place must not open
// the gates.

// trialRows is how many rows of each kind are tried of a run's first page.
const trialRows = 200

// trial is how carefully a pipeline sends.
type trial struct {
	// done is true once a page was tried.
	done bool
	// careful is true while one page is in flight and each is tried, always if that stays so.
	careful, always atomic.Bool
	past            bool
	unrecorded      *ledger.Watermark
}

// NotRecorded returns the end of the pages that could not be recorded, nil if there are none.
// Call it after Flow.
func (p *Pipeline) NotRecorded() *ledger.Watermark { return p.trial.unrecorded }

// Past reports whether it was recorded past Config.Unrecorded. Call it after Flow.
func (p *Pipeline) Past() bool { return p.trial.past }

// pagesInGroup is how many pages a group takes.
func (t *trial) pagesInGroup() int {
	if t.careful.Load() {
		return 1
	}
	return pagesInGroup
}

// past notes that pages up to end are recorded.
func (p *Pipeline) past(end *ledger.Watermark, recorded ...chan struct{}) {
	if place := p.Unrecorded; place != nil && end != nil && !p.gap && end.Reaches(place) {
		p.trial.past = true
		p.trial.careful.Store(p.trial.always.Load())
	}
	for _, done := range recorded {
		close(done)
	}
}

// couldNot notes that pages up to end could not be recorded. Who was interrupted, or has lost the
// lease, has learned nothing about them.
func (p *Pipeline) couldNot(err error, end *ledger.Watermark) {
	if !fault.Is(err, fault.Interrupted) && !fault.Is(err, fault.Busy) {
		p.trial.unrecorded = end
	}
}

// settled waits until the page, and all before it, are recorded; false if that won't be.
func (p *parcel) settled(ctx context.Context) bool {
	select {
	case <-p.recorded:
		return true
	case <-ctx.Done():
		return false
	}
}

// lastPlace is the greatest place of a page in the reading order, nil if there is none.
func lastPlace(page *source.Page) *ledger.Watermark {
	last := -1
	for i := range page.Rows {
		row := &page.Rows[i]
		if source.At(row.ExportedAt).Finite() && (last < 0 || !row.ExportedAt.Before(page.Rows[last].ExportedAt)) {
			last = i
		}
	}
	if last < 0 {
		return nil
	}
	id := page.Rows[last].ID
	return &ledger.Watermark{At: page.Rows[last].ExportedAt, ID: &id}
}

// try tries to record a page of which nothing was sent yet. Rows that the warehouse refuses become
// rejects; any other trouble is the error. before is the page before it: nothing else may be on its
// way into the ledger.
func (p *Pipeline) try(ctx context.Context, c *Classified, before *parcel) error {
	careful := p.trial.careful.Load()
	switch {
	case careful && c.fresh() == 0, !careful && (p.trial.done || len(c.Events) == 0):
		return nil
	case before != nil && !before.settled(ctx):
		return context.Cause(ctx)
	}
	p.trial.done = true
	events := c.Events
	if !careful {
		events = sample(events)
	}
	err := p.tried(ctx, c, events, c.Rejected)
	if !postgres.OfData(err) {
		return p.explained(ctx, err)
	}
	// Where there is one there may be more, further on.
	p.trial.always.Store(true)
	p.trial.careful.Store(true)
	found, err := p.sift(ctx, c)
	if err != nil {
		return p.explained(ctx, err)
	}
	// All pages before this one are recorded, so that to halt leaves nothing behind.
	return p.Intake.brake(found)
}

// explained adds to an error of recording what differs in the schema by now.
func (p *Pipeline) explained(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	asking, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return p.Run.Explain(asking, err)
}

// tried tries to record some of a page's events and rejects.
func (p *Pipeline) tried(ctx context.Context, c *Classified, events []event.Event, rejected []ledger.Rejected) error {
	now := time.Now()
	mirrored := []ledger.Mirrored{{Events: events, SentAt: now, ReceivedAt: now}}
	g := ledger.Group{Resent: p.Intake.config.Resend}
	g.Add(&ledger.Page{
		Mirrored: mirrored, Rejected: rejected, Cleared: c.delivered, Counters: p.Counters(),
		Version: p.Version, Library: segment.Library(),
	})
	return postgres.Retry(ctx, recordTimeout, p.again, func(ctx context.Context) error { return p.Run.Try(ctx, &g) })
}

// sample returns some events of each kind, for each has tables of its own.
func sample(events []event.Event) (some []event.Event) {
	taken := map[event.Kind]int{}
	for i := range events {
		if kind := events[i].Kind; taken[kind] < trialRows {
			taken[kind]++
			some = append(some, events[i])
		}
	}
	return some
}
