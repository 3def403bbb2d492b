package pipeline

import (
	"cmp"
	"context"
	"time"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/failpoint"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/loader/segment"
)

// This file is the pipeline's end: what becomes of pages whose batches were sent. They are
// recorded in groups, in their order.

const (
	// groupWait is how long the first page of a group waits for others.
	groupWait = time.Second
	// groupBytes is from where on a group takes no further page.
	groupBytes = 8 << 20
)

// group is a group of pages on its way into the ledger.
type group struct {
	ledger.Group

	pages int
	// counted is what its pages add to the run's numbers once they are recorded.
	counted ledger.Counters
	rejects event.Tally
	// mark is where the watermark stands then; nil = where it stood.
	mark *ledger.Watermark
	// spans are in flight until the group is recorded.
	spans []*span
	// end is the last place of its pages, recorded what is closed when they are recorded.
	end      *ledger.Watermark
	recorded []chan struct{}
}

func (g *group) reset() {
	g.Reset()
	clear(g.spans)
	g.pages, g.counted, g.rejects, g.mark, g.spans = 0, ledger.Counters{}, event.Tally{}, nil, g.spans[:0]
	g.end, g.recorded = nil, g.recorded[:0]
}

// record records the pages that were sent, in groups. When one group could not be recorded, none
// that comes after it may be.
func (p *Pipeline) record(ctx context.Context, sent <-chan *parcel, places <-chan struct{}) {
	g := &group{Group: ledger.Group{Resent: p.Intake.config.Resend}}
	broken := false
	for more := true; more; {
		more = p.fill(g, sent, places)
		if !broken {
			if err := p.commit(ctx, &g.Group); err != nil {
				p.halt(err)
				p.couldNot(err, g.end)
				broken = true
			} else {
				p.count(g.counted)
				p.rejects.Plus(g.rejects)
				p.recorded = cmp.Or(g.mark, p.recorded)
				p.past(g.end, g.recorded...)
			}
		}
		p.Intake.done(g.spans)
		g.reset()
		p.tell()
	}
}

// fill takes what was sent into the group: up to three pages or 8 MiB, and those that come within
// a second of the first. more is false after the last page. A page's place is free once it is
// encoded.
func (p *Pipeline) fill(g *group, sent <-chan *parcel, places <-chan struct{}) (more bool) {
	var due <-chan time.Time
	for g.pages < p.trial.pagesInGroup() && g.Bytes() < groupBytes {
		select {
		case next, ok := <-sent:
			if !ok {
				return false
			}
			p.add(g, next)
			<-places
			if g.pages == 1 && due == nil {
				due = time.After(groupWait)
			}
		case <-due:
			return true
		}
	}
	return true
}

// add encodes a page. After one with batches that were not delivered the watermark stays, but
// what was accepted is still mirrored, so that the next run does not send it again.
func (p *Pipeline) add(g *group, next *parcel) {
	page, counted, complete := p.page(next)
	if p.gap = p.gap || !complete; p.gap {
		page.Watermark = nil
	}
	if next.span != nil {
		g.spans = append(g.spans, next.span)
	}
	if g.pages == 0 && !page.Any() {
		// There is nothing to wait for.
		p.count(counted)
		p.past(nil, next.recorded)
		p.tell()
		return
	}
	g.end, g.recorded = cmp.Or(lastPlace(next.Page), g.end), append(g.recorded, next.recorded)
	g.counted = g.counted.Plus(counted)
	for _, r := range page.Rejected {
		if !r.Gone {
			g.rejects.Add(r.Reason, r.InteractionID, r.Detail)
		}
	}
	page.Counters = p.Counters().Plus(g.counted)
	g.Add(&page)
	g.mark = cmp.Or(page.Watermark, g.mark)
	if page.Any() {
		g.pages++
	}
}

// commit records a group, through passing trouble of the database.
func (p *Pipeline) commit(ctx context.Context, g *ledger.Group) error {
	if !g.Any() {
		return nil
	}
	defer timed(p.Timed, StepRecord)()
	failpoint.At("after_send")
	record := func(g *ledger.Group) error {
		return postgres.Retry(ctx, recordTimeout, p.again, func(ctx context.Context) error { return p.Run.Record(ctx, g) })
	}
	if failpoint.Without("one_transaction") {
		if err := record(g.WithoutRows()); err != nil {
			return err
		}
		failpoint.At("after_watermark")
	}
	err := record(g)
	failpoint.At("after_commit")
	return p.explained(ctx, err)
}

func (p *Pipeline) again(err error, wait time.Duration) {
	p.Log.Warn("retrying: the warehouse could not be written to", "error", err, "wait", wait)
}

// page makes of a parcel what is to be recorded, and what that adds to the run's numbers;
// complete is false if some of its events were not delivered.
func (p *Pipeline) page(next *parcel) (page ledger.Page, counted ledger.Counters, complete bool) {
	complete = true
	page = ledger.Page{
		Mirrored: make([]ledger.Mirrored, 0, len(next.batches)),
		Number:   next.Number, Asked: next.Asked,
		Rejected: next.Rejected, Cleared: next.delivered,
		Version: p.Version, Library: segment.Library(), Watermark: next.watermark,
	}
	mirrored := 0
	for _, b := range next.batches {
		complete = complete && b.err == nil
		for _, accepted := range b.Accepted {
			page.Mirrored = append(page.Mirrored, ledger.Mirrored{
				Events: b.Events[accepted.From:accepted.To], SentAt: accepted.SentAt, ReceivedAt: accepted.ReceivedAt,
			})
			mirrored += accepted.To - accepted.From
		}
		for _, refused := range b.Refused {
			detail := refused.Detail
			if p.mayBeSent() {
				detail += mayBeAccepted
			}
			reject, err := next.refused(&b.Events[refused.Index], detail+refused.Said)
			if err != nil {
				p.halt(err)
				complete = false
				break
			}
			page.Rejected = append(page.Rejected, reject)
		}
	}
	for i := range page.Rejected {
		if !page.Rejected[i].Gone {
			counted.Rejected++
		}
	}
	counted.Sent, counted.RowsRead = int64(mirrored), int64(mirrored)+counted.Rejected
	if complete {
		counted.RowsRead, counted.AlreadyDelivered, counted.RejectedBefore = int64(next.Page.Read()), int64(next.Already), int64(next.RejectedBefore())
	}
	return page, counted, complete
}
