package scheduler

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/pipeline"
)

const (
	// busyFor is how long a job waits for the lease: that of a loader that died runs
	// out within ledger.LeaseTTL, and one that is about to end is worth the wait.
	busyFor = ledger.LeaseTTL + 5*time.Second
	// endTimeout bounds the tries to write how slots ended. After that they are
	// taken over like those of a loader that died.
	endTimeout = time.Minute
)

var (
	errDeadline  = errors.New("run_deadline passed")
	errSlotsLost = errors.New("its slots were taken over by another loader")
)

// job runs a source for one or more slots, again if need be, until it succeeds or
// the next slot comes.
type job struct {
	*worker
	book  *ledger.Slots
	slots []time.Time
	// punctual is true if the last slot is on time.
	punctual bool
	began    time.Time

	// done is closed when the slots have ended or were left to others.
	done chan struct{}
	// way is received from while the job waits to try again: the next slot asks for the place.
	way chan struct{}
	// summary and err are what the last attempt did; read them when done is closed.
	summary *loader.Summary
	err     error

	mu    sync.Mutex
	runID *int64
}

func newJob(w *worker, book *ledger.Slots, slots []time.Time, now time.Time) *job {
	slices.SortFunc(slots, time.Time.Compare)
	j := &job{worker: w, book: book, slots: slots, began: time.Now(), done: make(chan struct{}), way: make(chan struct{})}
	j.punctual = now.Sub(j.last()) <= onTime
	return j
}

// giveWay ends the job if it only waits to try again.
func (j *job) giveWay() bool {
	select {
	case j.way <- struct{}{}:
		return true
	case <-j.done:
		return true
	default:
		return false
	}
}

// describe says what stands in the way of the next slot.
func (j *job) describe() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.runID == nil {
		return fmt.Sprintf("the run of %s was about to begin", j.slot())
	}
	return fmt.Sprintf("run %d of %s was still running", *j.runID, j.slot())
}

func (j *job) last() time.Time { return j.slots[len(j.slots)-1] }

// slot is the last one, as people read it.
func (j *job) slot() string { return j.last().In(j.src.Location).Format(time.RFC3339) }

// do runs until the slots have an end, or ctx is done.
func (j *job) do(ctx context.Context) {
	defer close(j.done)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go keep(ctx, func(ctx context.Context) (bool, error) { return j.book.Renew(ctx, j.slots) }, func() { cancel(errSlotsLost) })

	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval, waits.MaxInterval = j.retry, j.retryMost
	for tries := 1; ; tries++ {
		summary, err := j.attempt(ctx)
		wait := j.wait(ctx, err, waits)
		j.tell(summary, err, wait)
		if wait > 0 && j.pause(ctx, wait) {
			continue
		}
		if err != nil && ctx.Err() != nil {
			j.release(ctx)
		} else {
			j.end(ctx, err, tries)
		}
		return
	}
}

// attempt is one run, when there is a place for it.
func (j *job) attempt(ctx context.Context) (loader.Summary, error) {
	select {
	case j.permits <- struct{}{}:
		defer func() { <-j.permits }()
	case <-ctx.Done():
		return loader.Summary{Source: j.src.Nickname, Schema: j.src.Schema}, fault.Wrap(fault.Interrupted, context.Cause(ctx), "interrupted")
	}
	if j.src.RunDeadline > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, j.src.RunDeadline, fmt.Errorf("%w after %s", errDeadline, j.src.RunDeadline))
		defer cancel()
	}
	summary, err := j.loader.Run(ctx, j.src, loader.RunOptions{
		Kind: ledger.Scheduled, SlotAt: new(j.last()),
		Opened: func(id int64) {
			j.mu.Lock()
			defer j.mu.Unlock()
			j.runID = &id
		},
		Progress: func(p loader.Progress) { j.watch.Progress(j.src, p) },
		Timed:    func(step pipeline.Step, took time.Duration) { j.watch.Timed(j.src, step, took) },
	})
	j.summary, j.err = &summary, err
	return summary, err
}

// wait is how long to wait before a run is tried again for the same slots, 0 = it is not.
func (j *job) wait(ctx context.Context, err error, waits backoff.BackOff) time.Duration {
	busy := fault.Is(err, fault.Busy)
	switch {
	case err == nil, ctx.Err() != nil, j.once, errors.Is(err, errDeadline), busy && time.Since(j.began) >= busyFor:
		return 0
	case busy:
		return 5 * time.Second
	}
	return waits.NextBackOff()
}

// tell logs how an attempt ended, and tells the watcher.
func (j *job) tell(summary loader.Summary, err error, wait time.Duration) {
	var retry time.Time
	if wait > 0 {
		retry = time.Now().Add(wait)
	}
	j.watch.Ended(j.src, summary, err, retry)
	log := j.log.With("slot", j.slot())
	if summary.RunID > 0 {
		log = log.With("run", summary.RunID)
	}
	attrs := []any{"rows_read", summary.RowsRead, "sent", summary.Sent, "already_delivered", summary.AlreadyDelivered,
		"rejected", summary.Rejected, "rejected_before", summary.RejectedBefore, "seconds", math.Round(summary.Seconds*1000) / 1000}
	switch {
	case err == nil:
		log.Info("run succeeded", attrs...)
		return
	case fault.Is(err, fault.Busy):
		log.Info("another loader holds this source", "error", err)
		return
	case fault.Is(err, fault.Interrupted):
		log.Warn("run interrupted; what it recorded is kept", append(attrs, "error", err)...)
		return
	}
	attrs = append(attrs, fault.Attrs(err)...)
	if wait > 0 {
		attrs = append(attrs, "retry_in", wait.Round(100*time.Millisecond))
	}
	log.Error("run failed", attrs...)
}

// pause waits before the next attempt; false if the next slot came first, or ctx is
// done.
func (j *job) pause(ctx context.Context, wait time.Duration) bool {
	select {
	case <-ctx.Done():
	case <-j.way:
		return false
	case <-time.After(wait):
	}
	return ctx.Err() == nil
}

// end writes the slots' end.
func (j *job) end(ctx context.Context, err error, tries int) {
	status, note := j.verdict(err, tries)
	earlier, early := j.slots[:len(j.slots)-1], status
	if status == ledger.SlotRan {
		early = ledger.SlotCaughtUp
		if !j.punctual {
			status = ledger.SlotCaughtUp
		}
	}
	err = write(ctx, func(ctx context.Context) error {
		return j.book.End(ctx,
			ledger.SlotsEnd{Slots: []time.Time{j.last()}, Status: status, RunID: j.runID, Note: note},
			ledger.SlotsEnd{Slots: earlier, Status: early, RunID: j.runID, Note: note})
	})
	if err != nil {
		j.log.Error("recording how slots ended; they will be taken over later", "error", err)
		return
	}
	j.watch.Slots(j.src, status, 1)
	if len(earlier) > 0 {
		j.watch.Slots(j.src, early, len(earlier))
	}
}

// verdict is how slots end after their last attempt. Slots that had a run are ran or
// caught_up; loader_runs says how that went.
func (j *job) verdict(err error, tries int) (ledger.SlotStatus, string) {
	if err == nil {
		return ledger.SlotRan, ""
	}
	note := err.Error()
	if tries > 1 {
		note += fmt.Sprintf("; tried %d times", tries)
	}
	switch {
	case j.runID != nil:
		return ledger.SlotRan, note
	case fault.Is(err, fault.Busy):
		return ledger.SlotSkippedOverlap, note
	}
	return ledger.SlotMissed, note
}

// release leaves the slots to whoever looks next, unless they are another's already.
func (j *job) release(ctx context.Context) {
	if errors.Is(context.Cause(ctx), errSlotsLost) {
		return
	}
	err := write(ctx, func(ctx context.Context) error {
		return j.book.Release(ctx, j.slots, j.runID, "interrupted")
	})
	if err != nil {
		j.log.Warn("releasing slots; they will be taken over later", "error", err)
	}
}
