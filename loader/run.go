package loader

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/loader/source"
)

// RunOptions says how to run.
type RunOptions struct {
	// Kind is ledger.Manual or ledger.Scheduled; "" means manual.
	Kind ledger.RunKind
	// SlotAt is the slot of the schedule, nil for a run by hand.
	SlotAt *time.Time
	// Limit ends the run after that many rows which were new; 0 = no limit.
	Limit int
	// Progress is told how far the run is, often; nil = nobody asks. It must be
	// quick and safe for concurrent use.
	Progress func(Progress)
	// Opened is told the run's number when it begins; nil = nobody asks.
	Opened func(id int64)
	// Timed is told how long each step of a page took; nil = nobody asks. It must be
	// safe for concurrent use.
	Timed func(step PageStep, took time.Duration)
}

// PageStep is a step of a page whose time is told.
type PageStep string

// The steps of a page.
const (
	PageRead   PageStep = "read"
	PageRecord PageStep = "record"
)

// Progress says how far a run is.
type Progress struct {
	ledger.Counters
	// Expected is about how many rows there are to read, 0 if it is not known.
	Expected int64
}

// Summary says what a run did.
type Summary struct {
	Source string           `json:"source"`
	Schema string           `json:"schema"`
	RunID  int64            `json:"run_id"`
	Kind   ledger.RunKind   `json:"kind"`
	Status ledger.RunStatus `json:"status"`
	ledger.Counters
	Seconds float64 `json:"seconds"`
	// EventsPerSecond counts what Segment accepted.
	EventsPerSecond float64    `json:"events_per_second"`
	WatermarkAt     *time.Time `json:"watermark_at"`
	// LagSeconds is the time between the watermark and the end of the run, nil
	// without a watermark.
	LagSeconds *float64 `json:"lag_seconds"`
	// CompleteUntil is set if the run came to the end of the export.
	CompleteUntil *time.Time `json:"complete_until"`
}

// close fills in how the run ended.
func (s *Summary) close(run *ledger.Run, end ledger.End, started time.Time) {
	s.RunID, s.Status, s.Counters = run.ID, end.Status, end.Counters
	s.WatermarkAt, s.CompleteUntil = end.WatermarkAfter, end.CompleteUntil
	s.Seconds = time.Since(started).Seconds()
	s.EventsPerSecond = float64(end.Counters.Sent) / s.Seconds
	if s.WatermarkAt != nil {
		lag := max(0, time.Since(*s.WatermarkAt).Seconds())
		s.LagSeconds = &lag
	}
}

// Run loads what came since the watermark. It migrates the schema first where
// that is needed.
//
// However it ends, what was recorded stays, and the next run goes on from there:
// rows that Segment accepted without being recorded are sent again with the same
// messageIds. When ctx is done, reading stops, what is in flight is finished and
// recorded within 25 s, and the error is of kind [fault.Interrupted].
func (l *Loader) Run(ctx context.Context, src *config.Source, opts RunOptions) (Summary, error) {
	if opts.Kind == "" {
		opts.Kind = ledger.Manual
	}
	started := time.Now()
	summary := Summary{Source: src.Nickname, Schema: src.Schema, Kind: opts.Kind, Status: ledger.RunFailed}
	// The export first: without it nothing is written.
	export, err := l.Source(ctx, src)
	if err != nil {
		return summary, err
	}
	defer export.Close()
	run, err := l.openRun(ctx, src, ledger.RunOptions{Kind: opts.Kind, SlotAt: opts.SlotAt, Version: Version})
	if err != nil {
		return summary, err
	}
	if opts.Opened != nil {
		opts.Opened(run.ID)
	}
	log := l.log.With("source", src.Nickname, "run", run.ID)
	warnDead(log, run)

	hard, cancel := graceful(ctx)
	defer cancel()
	job := &runJob{loader: l, src: src, opts: opts, export: export, run: run, log: log,
		mark: newWatermark(run.State.WatermarkAt, run.State.WatermarkID)}
	err = whileHeld(hard, run, func(hard context.Context) error { return job.do(hard, ctx) })
	end := ledger.End{
		Status: status(err), Counters: job.counters, WatermarkAfter: job.mark.after(), Err: text(err),
	}
	if err == nil && !job.limited {
		end.CompleteUntil = job.mark.completeUntil()
	}
	err = errors.Join(err, l.finish(hard, run, end, err))

	summary.close(run, end, started)
	return summary, err
}

// runJob is one run from the watermark on.
type runJob struct {
	loader *Loader
	src    *config.Source
	opts   RunOptions
	export *source.Source
	run    *ledger.Run
	log    *slog.Logger
	mark   *watermark
	skim   *skim // nil = every row is read in full.

	counters ledger.Counters
	cursor   source.Cursor
	expected atomic.Int64
	done     bool
	// limited is true if the run ended because of opts.Limit.
	limited bool
	warned  map[string]bool
}

func (j *runJob) do(hard, soft context.Context) error {
	if err := j.begin(hard); err != nil {
		return err
	}
	flow := j.loader.newPipeline(j.src, j.run, j.export, j.log, j.src.Integrations)
	if state := j.run.State; state.WatermarkAt != nil {
		j.skim = &skim{source: j.export, ledger: j.run.Ledger(), namespace: state.MessageNamespace, until: *state.WatermarkAt, again: flow.again}
	}
	flow.reader, flow.limit, flow.progress, flow.timed = j, j.opts.Limit, j.progress, j.opts.Timed
	err := flow.flow(hard, soft)
	j.counters = flow.snapshot()
	j.limited = flow.limited
	return err
}

// begin decides where to read from, and looks for what must not be passed over.
func (j *runJob) begin(ctx context.Context) error {
	state := j.run.State
	first, err := j.decideStart(ctx, &state)
	if err != nil {
		return err
	}
	if first {
		err := postgres.Retry(ctx, recordTimeout, nil, func(ctx context.Context) error { return j.run.Start(ctx, *state.StartAt) })
		if err != nil {
			return err
		}
	}
	return j.look(ctx)
}

// decideStart sets the cursor. first is true if this is the source's first run and it
// does not begin at the beginning: then its start is to be stored.
func (j *runJob) decideStart(ctx context.Context, state *ledger.State) (first bool, err error) {
	if state.WatermarkAt == nil && state.StartAt == nil && j.src.StartAt.Mode != config.StartBeginning {
		at := j.src.StartAt.At
		if j.src.StartAt.Mode == config.StartNow {
			point, err := j.export.SafePoint(ctx)
			if err != nil {
				return false, err
			}
			at = point.Clock
		}
		state.StartAt, state.WatermarkAt = &at, &at
		j.mark = newWatermark(&at, nil)
		first = true
	}
	j.cursor = startCursor(*state, j.src.Lookback)
	j.mark.onward = j.cursor.ID != nil
	return first, nil
}

// look looks for what must not be passed over.
func (j *runJob) look(ctx context.Context) error {
	if err := j.export.CheckUnique(ctx, j.cursor); err != nil {
		return err
	}
	unreadable, err := j.export.Unreadable(ctx)
	if err != nil {
		return err
	}
	if unreadable > 0 {
		j.log.Warn("rows without exported_at are never read", "rows", unreadable, "remedy", "set exported_at in the export")
	}
	j.log.Debug("run begins", "from", j.cursor.String())
	return nil
}

// startCursor is the watermark less lookback, but nothing before the place where the
// first run began.
func startCursor(state ledger.State, lookback time.Duration) source.Cursor {
	switch {
	case state.WatermarkAt == nil:
		return source.Cursor{}
	case lookback == 0 && state.WatermarkID != nil:
		return source.After(*state.WatermarkAt, *state.WatermarkID)
	}
	at := state.WatermarkAt.Add(-lookback)
	if state.StartAt != nil && at.Before(*state.StartAt) {
		at = *state.StartAt
	}
	return source.At(at)
}

// next implements reader.
func (j *runJob) next(ctx context.Context) (*source.Page, error) {
	if j.done {
		return nil, nil
	}
	defer timed(j.opts.Timed, PageRead)()
	page, err := j.skim.next(ctx, j.cursor)
	if err == nil && page == nil {
		page, err = j.page(ctx)
	}
	if err != nil {
		return nil, err
	}
	j.cursor, j.done = page.Next, page.Last
	if !page.Last && j.expected.Load() == 0 && j.opts.Progress != nil {
		j.expected.Store(j.export.Estimate(ctx, j.cursor) + int64(page.Read()))
	}
	return page, nil
}

// page reads a page in full, after the safe point.
func (j *runJob) page(ctx context.Context) (*source.Page, error) {
	point, err := j.export.SafePoint(ctx)
	if err != nil {
		return nil, err
	}
	j.warnPoint(point)
	page, err := j.export.Page(ctx, j.cursor)
	if err != nil {
		return nil, err
	}
	page.Settled = point
	return page, nil
}

// place implements reader.
func (j *runJob) place(page *source.Page) *ledger.Watermark {
	if page.Passed > 0 {
		return nil // It lies before the watermark.
	}
	var mark *ledger.Watermark
	if len(page.Rows) > 0 {
		mark = j.mark.advance(page.Settled, page.Next)
	}
	if page.Last {
		j.mark.reachedEnd(page.Settled, j.src.Lookback)
	}
	return mark
}

// warnPoint says once per run what holds the watermark back.
func (j *runJob) warnPoint(point source.SafePoint) {
	once := func(text string, args ...any) {
		if j.warned == nil {
			j.warned = map[string]bool{}
		}
		if !j.warned[text] {
			j.warned[text] = true
			j.log.Warn(text, args...)
		}
	}
	if point.Prepared > 0 {
		once("the watermark stays where it is while a prepared transaction is open in the export's database", "prepared_transactions", point.Prepared,
			"remedy", "select * from pg_prepared_xacts; then COMMIT PREPARED or ROLLBACK PREPARED")
	}
	if !point.Visible && j.src.Lookback == 0 {
		once("late commits can't be seen and lookback is 0: rows that commit late may be missed", "reason", point.Reason,
			"remedy", "GRANT pg_read_all_stats to the loader's role, or set lookback")
	}
}

// timed tells, when the function that it returns is called, how long it took.
func timed(tell func(PageStep, time.Duration), step PageStep) func() {
	if tell == nil {
		return func() {}
	}
	began := time.Now()
	return func() { tell(step, time.Since(began)) }
}

func (j *runJob) progress(c ledger.Counters) {
	if j.opts.Progress != nil {
		j.opts.Progress(Progress{Counters: c, Expected: j.expected.Load()})
	}
}
