package loader

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/failpoint"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/loader/segment"
	"github.com/candu-loader/candu-loader/loader/source"
)

// pagesInFlight bounds the pages between reading and recording, and with them the
// memory, and what a crash sends again, whatever the backlog: one is read, some are sent,
// two are recorded.
const pagesInFlight = 4

// batchesAhead is how many batches may wait for a sender, so that the next page is
// read meanwhile.
const batchesAhead = 64

// reader gives the pages of a run, one after the other. While next reads a page, place
// may be asked about the one before.
type reader interface {
	// next returns the next page, nil after the last one.
	next(ctx context.Context) (*source.Page, error)
	// place returns where the watermark may move once the page, and all before it, are
	// recorded; nil if it stays. Pages come in their order.
	place(page *source.Page) *ledger.Watermark
}

// missingRows is a reader whose last page lacks rows that are to stay rejects.
type missingRows interface{ missing() []ledger.Rejected }

// pipeline moves pages from a reader through Segment into the ledger. Reading,
// sending and recording overlap; pages are recorded in the order in which they
// were read.
type pipeline struct {
	reader reader
	sorter *sorter
	sender *segment.Sender
	run    *ledger.Run
	log    *slog.Logger
	// senders is how many batches are in flight.
	senders int
	// limit ends the reading after that many rows that were new; 0 = no limit.
	// limited is set when it did.
	limit, fresh int
	limited      bool
	// overlap is true if a page may be written while the one before is: no row is in both.
	overlap bool
	// progress is told after each batch and each page; nil = nobody asks.
	progress func(ledger.Counters)
	timed    func(PageStep, time.Duration)

	counters counters
	// base is what an earlier part of the same run counted.
	base ledger.Counters
	// stop is closed when no further page is wanted: a signal, or a failure.
	stop     chan struct{}
	stopOnce sync.Once
	mu       sync.Mutex
	err      error
}

// parcel is one page on its way.
type parcel struct {
	page *source.Page
	// missing are rows that the page lacks and that stay rejects.
	missing   []ledger.Rejected
	sorted    sorted
	watermark *ledger.Watermark
	batches   []*batch
	done      sync.WaitGroup
}

// batch is a piece of a parcel's events, and what became of it.
type batch struct {
	parcel   *parcel
	events   []event.Event
	delivery segment.Delivery
	err      error
}

// counters are the run's numbers, written by several goroutines.
type counters struct {
	read, sent, already, rejected, batches, retries atomic.Int64
}

func (c *counters) snapshot() ledger.Counters {
	return ledger.Counters{
		RowsRead: c.read.Load(), Sent: c.sent.Load(), AlreadyDelivered: c.already.Load(),
		Rejected: c.rejected.Load(), Batches: c.batches.Load(), Retries: c.retries.Load(),
	}
}

// newPipeline returns a pipeline for a run of the source; it lacks its reader.
func (l *Loader) newPipeline(src *config.Source, run *ledger.Run, export *source.Source, log *slog.Logger, integrations map[string]any) *pipeline {
	encoder := segment.NewEncoder(integrations)
	return &pipeline{
		run: run, log: log, stop: make(chan struct{}), overlap: !failpoint.Without("one_transaction"),
		sender: l.gateway.Sender(src.WriteKey, encoder), senders: l.gateway.Concurrency(),
		sorter: &sorter{
			ledger: run.Ledger(), hasRejects: run.HasRejects, rules: rules(src, export.Table(), run.State, encoder), unique: export.Table().UniqueID,
		},
	}
}

// snapshot returns the run's numbers so far.
func (p *pipeline) snapshot() ledger.Counters { return plus(p.base, p.counters.snapshot()) }

// halt stops the reading and remembers the first reason.
func (p *pipeline) halt(err error) {
	p.mu.Lock()
	if p.err == nil {
		p.err = err
	}
	p.mu.Unlock()
	p.stopOnce.Do(func() { close(p.stop) })
}

func (p *pipeline) firstError() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// flow runs until the reader is empty, soft is done, or something goes wrong. When
// soft is done, reading stops, and what was sent already is still recorded; when ctx is
// done, everything ends at once. What was recorded stays recorded in every case.
func (p *pipeline) flow(ctx, soft context.Context) error {
	release := context.AfterFunc(soft, func() {
		p.halt(fault.Wrap(fault.Interrupted, context.Cause(soft), "interrupted"))
	})
	defer release()

	// Reading ends on stop; sending and recording go on until they are done.
	reading, endReading := context.WithCancel(ctx)
	defer endReading()
	go func() {
		select {
		case <-p.stop:
			endReading()
		case <-reading.Done():
		}
	}()

	parcels := make(chan *parcel, pagesInFlight)
	batches := make(chan *batch, batchesAhead)
	slots := make(chan struct{}, pagesInFlight)

	var group errgroup.Group
	group.Go(func() error {
		defer close(parcels)
		defer close(batches)
		p.read(reading, slots, parcels, batches)
		return nil
	})
	for range p.senders {
		group.Go(func() error {
			for b := range batches {
				p.send(ctx, b)
			}
			return nil
		})
	}
	group.Go(func() error {
		p.record(ctx, slots, parcels)
		return nil
	})
	_ = group.Wait() // Its functions report through halt.
	return p.firstError()
}

// errEnough ends the reading ahead where no further page is wanted.
var errEnough = errors.New("no further page is wanted")

// fetch reads pages, one while the one before is sorted.
func (p *pipeline) fetch(ctx context.Context, slots chan<- struct{}, pages chan<- *parcel) {
	defer close(pages)
	for {
		select {
		case <-ctx.Done():
			return
		case slots <- struct{}{}:
		}
		failpoint.At("between_pages")
		page, err := p.reader.next(ctx)
		if err != nil && !errors.Is(context.Cause(ctx), errEnough) {
			p.halt(err)
		}
		if err != nil || page == nil {
			return
		}
		next := &parcel{page: page}
		if r, ok := p.reader.(missingRows); ok {
			next.missing = r.missing()
		}
		select {
		case pages <- next:
		case <-ctx.Done():
			return
		}
	}
}

// read fills the pipeline.
func (p *pipeline) read(ctx context.Context, slots chan<- struct{}, parcels chan<- *parcel, batches chan<- *batch) {
	pages := make(chan *parcel)
	reading, stop := context.WithCancelCause(ctx)
	go p.fetch(reading, slots, pages)
	defer func() {
		stop(errEnough)
		for range pages {
			// It waits for the end.
		}
	}()
	for next := range pages {
		err := postgres.Retry(ctx, recordTimeout, p.again, func(ctx context.Context) (err error) {
			next.sorted, err = p.sorter.sort(ctx, next.page)
			return err
		})
		if err != nil {
			p.halt(err)
			return
		}
		next.sorted.rejected = append(next.sorted.rejected, next.missing...)
		if p.limit > 0 {
			p.limited = next.sorted.truncate(next.page, p.limit-p.fresh)
			p.fresh += len(next.sorted.events) + len(next.sorted.rejected)
		}
		next.watermark = p.reader.place(next.page)
		for rest := next.sorted.events; len(rest) > 0; {
			n := p.sender.Cut(rest)
			next.batches = append(next.batches, &batch{parcel: next, events: rest[:n]})
			rest = rest[n:]
		}
		next.done.Add(len(next.batches))
		parcels <- next
		for _, b := range next.batches {
			batches <- b
		}
		if p.limited {
			return
		}
	}
}

// send delivers one batch. A batch that was not begun before the stop is left
// to the next run.
func (p *pipeline) send(ctx context.Context, b *batch) {
	defer b.parcel.done.Done()
	select {
	case <-p.stop:
		b.err = fault.New(fault.Interrupted, "not sent")
		return
	default:
	}
	b.delivery, b.err = p.sender.Send(ctx, p.stop, b.events)
	for _, accepted := range b.delivery.Accepted {
		p.counters.sent.Add(int64(accepted.To - accepted.From))
	}
	p.counters.batches.Add(int64(len(b.delivery.Accepted)))
	p.counters.retries.Add(int64(b.delivery.Retries))
	if b.err != nil {
		p.halt(b.err)
	}
	p.tell()
}

func (p *pipeline) tell() {
	if p.progress != nil {
		p.progress(p.snapshot())
	}
}
