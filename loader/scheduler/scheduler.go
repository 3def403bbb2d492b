// Package scheduler runs sources on their schedules and accounts for every slot.
//
// Each slot becomes a row of loader_slots with exactly one end. Who inserts the
// row has the slot, so any number of replicas may run side by side without a leader;
// a slot whose holder died is taken over by the next who looks. The next slots are
// computed from the last that is recorded, by the database's clock, so neither a
// restart nor a clock that jumps loses or repeats one.
package scheduler

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/pipeline"
)

// Scheduler runs sources. Make it with New.
type Scheduler struct {
	loader  *loader.Loader
	sources []*config.Source
	log     *slog.Logger
	watch   Watcher
	holder  string
	// permits are for the runs under way: each takes memory for a few pages.
	permits chan struct{}
	// verified are the sources that are verified by a schedule; verifying is for the one under way.
	verified  []*config.Source
	verifying chan struct{}
	// behind is how long after its slot a verification begins, so that a run of the same slot goes first.
	behind time.Duration
	// retry is the wait after a run that failed, doubled up to retryMost.
	retry, retryMost time.Duration
}

// Watcher is told what happens. Its methods must be quick and safe for concurrent
// use.
type Watcher interface {
	// Progress is told how far a run is.
	Progress(src *config.Source, p loader.Progress)
	// Timed is told how long a step of a page took.
	Timed(src *config.Source, step pipeline.Step, took time.Duration)
	// Ended is told how one attempt at a run ended; retry is when it is tried again, the
	// zero time if it is not.
	Ended(src *config.Source, summary loader.Summary, err error, retry time.Time)
	// Slots is told that n slots ended.
	Slots(src *config.Source, status ledger.SlotStatus, n int)
}

// New returns a scheduler for those of the sources that have a schedule, or one to be verified. It does not connect.
func New(l *loader.Loader, sources []*config.Source, log *slog.Logger, watch Watcher) *Scheduler {
	s := &Scheduler{
		loader: l, log: log, watch: watch, holder: ledger.Holder(), permits: make(chan struct{}, loader.RunsAtOnce), verifying: make(chan struct{}, 1), behind: 2 * time.Second,
		retry: 10 * time.Second, retryMost: 10 * time.Minute,
	}
	for _, src := range sources {
		if src.Verify.Schedule != nil {
			s.verified = append(s.verified, src)
		}
		if src.Schedule == nil {
			log.Info("a source without a schedule is not run", "source", src.Nickname)
			continue
		}
		s.sources = append(s.sources, src)
	}
	return s
}

// Run runs the sources, and verifies those that have a schedule for that, until ctx is done; then runs under way
// end as [loader.Loader.Run] says, and their slots are left to whoever looks next.
// Databases that are away are waited for.
func (s *Scheduler) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, src := range s.sources {
		wg.Go(func() { s.worker(src).loop(ctx) })
	}
	for _, src := range s.verified {
		wg.Go(func() { (&verifier{Scheduler: s, src: src, log: s.log.With("source", src.Nickname)}).loop(ctx) })
	}
	wg.Wait()
}

// Result is what Once did for one source.
type Result struct {
	Source *config.Source
	// Summary is nil if nothing was due.
	Summary *loader.Summary
	// Next is the next slot by the warehouse's clock, zero if that is not known.
	Next time.Time
	Err  error
}

// Once runs what is due, the sources side by side, and returns when that is done, with
// a result for each source. A source whose slots were never counted
// is due for its last slot, if that is within catch_up. Nothing is tried again: whoever
// calls comes back.
func (s *Scheduler) Once(ctx context.Context) []Result {
	results := make([]Result, len(s.sources))
	var wg sync.WaitGroup
	for i, src := range s.sources {
		wg.Go(func() {
			w := s.worker(src)
			w.once = true
			summary, err := w.onceThrough(ctx)
			results[i] = Result{Source: src, Summary: summary, Err: err}
			if !w.now.IsZero() {
				results[i].Next = src.Schedule.Next(w.now)
			}
		})
	}
	wg.Wait()
	return results
}

func (s *Scheduler) worker(src *config.Source) *worker {
	return &worker{Scheduler: s, src: src, log: s.log.With("source", src.Nickname)}
}
