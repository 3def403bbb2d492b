// Package pipeline moves pages of the export through Segment into the ledger. It knows
// neither where the pages come from nor what the run is for.
package pipeline

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/segment"
)

const (
	// pagesInFlight bounds the pages that are read and not encoded for the ledger yet. With the
	// group that is recorded they bound the memory, and what a crash sends again, whatever the
	// backlog.
	pagesInFlight = 3
	// pagesInGroup is how many pages are recorded in one transaction at most: where Segment is
	// quick, recording is what takes the time, and a page costs Postgres less; with four the collector
	// works harder for its memory than that saves.
	pagesInGroup = 3
	// batchesAhead is how many batches may wait for a sender, so that the next page is
	// read meanwhile.
	batchesAhead = 64
	// askTimeout and recordTimeout bound one try to ask the warehouse, and to record a group.
	askTimeout    = time.Minute
	recordTimeout = time.Minute
)

// Step is a step whose time is told: a page is read, a group of pages is recorded.
type Step string

// The steps.
const (
	StepRead   Step = "read"
	StepRecord Step = "record"
)

// Config says what a pipeline is made of.
type Config struct {
	Intake *Intake
	Sender *segment.Sender
	// Ready is asked before each batch; its error ends the run with the batch unsent. nil = nobody is
	// asked. It must be safe for concurrent use.
	Ready func() error
	// Senders is how many batches are in flight.
	Senders int
	Run     *ledger.Run
	// Base is what an earlier part of the same run counted.
	Base ledger.Counters
	// Version of the program that sends the events.
	Version string
	// Unrecorded is the end of pages that a run before sent and could not record: until it is
	// recorded past it, this one has one page in flight, and tries to record each before it sends
	// it. nil = there is none. Careful does so to the end, whatever there is.
	Unrecorded *ledger.Watermark
	Careful    bool
	// Progress is told after each batch and each page; nil = nobody asks. It must be quick and
	// safe for concurrent use.
	Progress func(ledger.Counters)
	Timed    func(step Step, took time.Duration)
	Log      *slog.Logger
}

// Pipeline moves pages from an intake through Segment into the ledger. Reading, sending and
// recording overlap; pages are recorded in the order in which they were read.
type Pipeline struct {
	Config

	trial trial
	// gap is true once a page was not delivered whole.
	gap bool
	// recorded is the watermark that was recorded last; nil = none was.
	recorded *ledger.Watermark
	// rejects are the rows that were recorded as rejected.
	rejects event.Tally
	// wanted is done when no further page is wanted: a signal, or a failure. Its cause is the
	// first reason that halt was given.
	wanted context.Context //nolint:containedctx // It is the pipeline's life.
	halt   context.CancelCauseFunc

	mu       sync.Mutex
	counters ledger.Counters
}

// New returns a pipeline, which runs once.
func New(config Config) *Pipeline {
	p := &Pipeline{Config: config, counters: config.Base}
	p.trial.careful.Store(config.Careful || config.Unrecorded != nil)
	p.trial.always.Store(config.Careful)
	p.wanted, p.halt = context.WithCancelCause(context.Background())
	return p
}

// parcel is one page on its way.
type parcel struct {
	*Classified

	batches []*batch
	// sent is done when every batch was sent, or given up.
	sent sync.WaitGroup
	// alone is true if no page is read before this one is recorded.
	alone bool
	// recorded is closed when the page, and all before it, are recorded.
	recorded chan struct{}
}

// batch is a piece of a parcel's events, and what became of it.
type batch struct {
	segment.Batch

	parcel *parcel
	err    error
	// told is what the run's numbers have of it.
	told ledger.Counters
}

// Recorded returns the watermark that was recorded last, nil if none was. Call it after Flow.
func (p *Pipeline) Recorded() *ledger.Watermark { return p.recorded }

// Rejects returns the rows that were recorded as rejected. Call it after Flow.
func (p *Pipeline) Rejects() event.Tally { return p.rejects }

// Counters returns the run's numbers so far, those of Base included.
func (p *Pipeline) Counters() ledger.Counters {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counters
}

func (p *Pipeline) count(add ledger.Counters) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counters = p.counters.Plus(add)
}

// Flow runs until the intake has ended, soft is done, or something goes wrong. When
// soft is done, reading stops, what is in flight is still recorded, and the error is of kind
// [fault.Interrupted]; when ctx is done, everything ends at once. What was recorded stays
// recorded in every case.
func (p *Pipeline) Flow(ctx, soft context.Context) error {
	release := context.AfterFunc(soft, func() {
		p.halt(fault.Wrap(fault.Interrupted, context.Cause(soft), "interrupted"))
	})
	defer release()

	// Reading ends on halt; sending and recording go on until they are done.
	reading, endReading := context.WithCancel(ctx)
	defer endReading()
	defer context.AfterFunc(p.wanted, endReading)()

	parcels, sent := make(chan *parcel, pagesInFlight), make(chan *parcel)
	batches := make(chan *batch, batchesAhead)
	places := make(chan struct{}, pagesInFlight)

	var stages sync.WaitGroup
	stages.Go(func() {
		defer close(parcels)
		defer close(batches)
		p.read(reading, places, parcels, batches)
	})
	for range p.Senders {
		stages.Go(func() {
			for b := range batches {
				p.send(ctx, b)
			}
		})
	}
	stages.Go(func() { p.inOrder(ctx, parcels, sent) })
	stages.Go(func() { p.record(ctx, sent, places) })
	stages.Wait()
	return cmp.Or(context.Cause(p.wanted), p.Intake.Stopped())
}

// read fills the pipeline.
func (p *Pipeline) read(ctx context.Context, places chan<- struct{}, parcels chan<- *parcel, batches chan<- *batch) {
	var before *parcel
	for {
		select {
		case <-ctx.Done():
			return
		case places <- struct{}{}:
		}
		page, err := p.Intake.Next(ctx)
		if err == nil && page != nil {
			err = p.try(ctx, page, before)
		}
		if err != nil {
			p.halt(err)
		}
		if err != nil || page == nil {
			return
		}
		next := &parcel{Classified: page, alone: p.trial.careful.Load(), recorded: make(chan struct{})}
		for rest := page.Events; len(rest) > 0; {
			n := p.Sender.Cut(rest)
			next.batches = append(next.batches, &batch{parcel: next, Batch: segment.Batch{Events: rest[:n]}})
			rest = rest[n:]
		}
		next.sent.Add(len(next.batches))
		parcels <- next
		for _, b := range next.batches {
			batches <- b
		}
		before = next
		if next.alone && !next.settled(ctx) {
			return
		}
	}
}

// send delivers one batch. A batch that was not begun before the stop is left
// to the next run.
func (p *Pipeline) send(ctx context.Context, b *batch) {
	defer b.parcel.sent.Done()
	if p.wanted.Err() != nil {
		b.err = fault.New(fault.Interrupted, "not sent")
		return
	}
	if p.Ready != nil {
		b.err = p.Ready()
	}
	if b.err == nil {
		b.err = p.Sender.Send(ctx, p.wanted.Done(), &b.Batch)
	}
	if b.err != nil {
		p.halt(b.err)
	}
	p.account(b)
	p.tell()
}

// account adds to the run's numbers what became of a batch since it was accounted for last.
func (p *Pipeline) account(b *batch) {
	now := ledger.Counters{Batches: int64(len(b.Accepted)), Retries: int64(b.Retries)}
	p.count(ledger.Counters{Batches: now.Batches - b.told.Batches, Retries: now.Retries - b.told.Retries})
	b.told = now
}

func (p *Pipeline) tell() {
	if p.Progress != nil {
		p.Progress(p.Counters())
	}
}

// timed tells, when the function that it returns is called, how long it took.
func timed(tell func(Step, time.Duration), step Step) func() {
	if tell == nil {
		return func() {}
	}
	began := time.Now()
	return func() { tell(step, time.Since(began)) }
}
