package pipeline

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/candu-loader/candu-loader/loader/failpoint"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/loader/segment"
)

// This file is the pipeline's end: what becomes of pages whose batches were sent.

// recorders is how many pages are written at once, for writing takes longer than all else
// where Segment is quick. They are committed one after the other.
const recorders = 2

// record writes the pages in order. After a page with batches that were not
// delivered the watermark stays, but what was accepted is still mirrored, so that
// the next run does not send it again.
func (p *Pipeline) record(ctx context.Context, slots <-chan struct{}, parcels <-chan *parcel) {
	var group errgroup.Group
	group.SetLimit(recorders)
	var broken atomic.Bool
	gap, before := false, firstOrder()
	for next := range parcels {
		next.sent.Wait()
		var page ledger.Page
		err := errBroken
		if !broken.Load() {
			var complete bool
			page, complete, err = p.page(next)
			gap = gap || !complete
			if gap {
				page.Watermark = nil
			}
		}
		last, mine := before, newOrder()
		before = mine
		group.Go(func() error {
			if err == nil {
				err = p.commit(ctx, page, last)
			}
			if err != nil {
				p.halt(err)
				broken.Store(true)
			}
			mine.end(err == nil)
			p.Intake.Done(next.Classified)
			p.tell()
			<-slots
			return nil
		})
	}
	_ = group.Wait() // Its functions report through halt.
}

// commit records a page, through passing trouble of the database, when the one before is
// recorded. Most of the work, which is the mirror's, is done before that.
func (p *Pipeline) commit(ctx context.Context, page ledger.Page, before *commitOrder) error {
	if !page.Any() {
		return before.wait(ctx)
	}
	defer timed(p.Timed, StepRecord)()
	failpoint.At("after_send")
	if p.Overlap && !before.isOver() {
		// Once, and if anything is in the way, again in its turn.
		attempt, cancel := context.WithTimeout(ctx, recordTimeout)
		err := p.Run.RecordAfter(attempt, page, before.waitBriefly)
		cancel()
		if err == nil {
			failpoint.At("after_commit")
			return nil
		}
		p.Log.Debug("a page will be written again in its turn", "error", err)
	}
	if err := before.wait(ctx); err != nil {
		return err
	}
	record := func(page ledger.Page) error {
		return postgres.Retry(ctx, recordTimeout, p.again, func(ctx context.Context) error { return p.Run.Record(ctx, page) })
	}
	if failpoint.Without("one_transaction") {
		if err := record(ledger.Page{Watermark: page.Watermark, Counters: page.Counters}); err != nil {
			return err
		}
		failpoint.At("after_watermark")
	}
	err := record(page)
	failpoint.At("after_commit")
	return err
}

func (p *Pipeline) again(err error, wait time.Duration) {
	p.Log.Warn("retrying: the warehouse did not record a page", "error", err, "wait", wait)
}

// page makes of a parcel what is to be recorded; complete is false if some of
// its events were not delivered.
func (p *Pipeline) page(next *parcel) (page ledger.Page, complete bool, err error) {
	complete = true
	page = ledger.Page{
		Mirrored: make([]ledger.Mirrored, 0, len(next.batches)),
		Rejected: next.Rejected,
		Version:  p.Version, Library: segment.Library(), Watermark: next.watermark,
	}
	mirrored := 0
	for _, b := range next.batches {
		complete = complete && b.err == nil
		for _, accepted := range b.delivery.Accepted {
			page.Mirrored = append(page.Mirrored, ledger.Mirrored{
				Events: b.events[accepted.From:accepted.To], SentAt: accepted.SentAt, ReceivedAt: accepted.ReceivedAt,
			})
			mirrored += accepted.To - accepted.From
		}
		for _, refused := range b.delivery.Refused {
			if b.err != nil && fault.Is(b.err, fault.Precondition) {
				// Whoever refuses everything has said nothing about this row.
				break
			}
			reject, err := next.refused(&b.events[refused.Index], refused.Detail)
			if err != nil {
				return page, false, err
			}
			page.Rejected = append(page.Rejected, reject)
		}
	}
	page.Cleared = next.cleared(page.Mirrored)
	if complete {
		p.counters.read.Add(int64(next.Page.Read()))
		p.counters.already.Add(int64(next.Already))
	} else {
		p.counters.read.Add(int64(mirrored + len(page.Rejected)))
	}
	p.counters.rejected.Add(int64(len(page.Rejected)))
	page.Counters = p.Counters()
	return page, complete, nil
}
