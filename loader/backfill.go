package loader

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/source"
)

// BackfillOptions says what to send.
type BackfillOptions struct {
	// From is inclusive, To exclusive; they bound occurred_at, or exported_at with
	// ByExported. A nil To is now.
	From, To   *time.Time
	ByExported bool
	// Repair makes it a run of kind repair, which takes the run's lease for all of
	// it, for rows that verify found missing.
	Repair bool
	// Resend sends rows that are in the mirror too, with the same messageIds; the
	// mirror stays as it is.
	Resend bool
	// Integrations replaces the source's, for this backfill alone; nil keeps them.
	Integrations map[string]any
	// Progress is told how far it is, often; nil = nobody asks.
	Progress func(Progress)
}

// BackfillSummary says what a backfill did.
type BackfillSummary struct {
	Summary
	// Pending is how many rows of the range the watermark has not reached: they are
	// the next run's business.
	Pending int64 `json:"pending"`
	// Left is how many rows were left to a run that is under way.
	Left int64 `json:"left_to_run"`
	// MissingIndex is the statement that would make the range quick to read, "" if
	// there is such an index.
	MissingIndex string `json:"missing_index,omitempty"`
}

// Backfill sends the rows of a range that are not in the mirror. It does not move
// the watermark, and leaves rows that the watermark has not reached to the next run.
//
// It may run beside the scheduled run, and no row is sent twice: what lies further back than
// lookback no run will read again, and for the rest it takes the run's lease for a
// moment, or leaves it to the run that holds it.
func (l *Loader) Backfill(ctx context.Context, src *config.Source, opts BackfillOptions) (BackfillSummary, error) {
	started := time.Now()
	summary := BackfillSummary{Summary: Summary{Source: src.Nickname, Schema: src.Schema, Kind: ledger.Backfill, Status: ledger.RunFailed}}
	export, err := l.Source(ctx, src)
	if err != nil {
		return summary, err
	}
	defer export.Close()
	book, err := l.Ledger(ctx, src)
	if err != nil {
		return summary, err
	}
	// A schema that was never migrated has nothing to fill.
	if _, err := book.State(ctx); err != nil {
		return summary, err
	}
	if opts.Repair {
		summary.Kind = ledger.Repair
	}
	run, err := l.openRun(ctx, src, ledger.RunOptions{Kind: summary.Kind, From: opts.From, To: opts.To, Version: Version})
	if err != nil {
		return summary, err
	}
	job := &backfillJob{loader: l, src: src, opts: opts, export: export, log: l.log.With("source", src.Nickname, "run", run.ID)}
	warnDead(job.log, run)
	hard, cancel := graceful(ctx)
	defer cancel()
	err = whileHeld(hard, run, func(hard context.Context) error { return job.do(hard, ctx, run, &summary) })
	end := ledger.End{Status: status(err), Counters: job.counters, WatermarkAfter: run.State.WatermarkAt, Err: text(err)}
	err = errors.Join(err, l.finish(hard, run, end, err))
	summary.close(run, end, started)
	return summary, err
}

// backfillJob is one backfill.
type backfillJob struct {
	loader   *Loader
	src      *config.Source
	opts     BackfillOptions
	export   *source.Source
	log      *slog.Logger
	counters ledger.Counters
	expected atomic.Int64
}

func (j *backfillJob) rangeUpTo(state ledger.State) source.Range {
	// What was exported before start_at no run loads, but a backfill does.
	r := source.Range{ByExported: j.opts.ByExported, From: j.opts.From, To: j.opts.To}
	if state.WatermarkAt != nil {
		r.UpTo = startCursor(ledger.State{WatermarkAt: state.WatermarkAt, WatermarkID: state.WatermarkID}, 0)
		if state.WatermarkID == nil {
			r.UpTo = source.At(*state.WatermarkAt)
		}
	}
	return r
}

func (j *backfillJob) do(hard, soft context.Context, run *ledger.Run, summary *BackfillSummary) error {
	all := j.rangeUpTo(run.State)
	var err error
	if summary.Pending, err = j.export.Beyond(hard, all); err != nil {
		return err
	}
	if all.UpTo.IsZero() {
		return nil
	}
	if j.opts.Progress != nil {
		j.expected.Store(j.export.RangeEstimate(hard, all))
	}
	if j.opts.Repair {
		// It holds the run's lease: no run reads these rows meanwhile.
		reader, _, err := j.export.Range(hard, all)
		if err != nil {
			return err
		}
		return j.flow(hard, soft, run, reader)
	}
	border := all.UpTo.At.Add(-j.src.Lookback)
	near := all
	near.ExportedFrom = later(all.ExportedFrom, border)
	if err := j.near(hard, soft, run, near, summary, &border); err != nil {
		return err
	}
	far := all
	far.ExportedBefore = &border
	reader, missing, err := j.export.Range(hard, far)
	if err != nil {
		return err
	}
	if summary.MissingIndex = missing; missing != "" {
		j.log.Warn("no index serves the range, so the whole export is read", "remedy", missing)
	}
	return j.flow(hard, soft, run, reader)
}

// near sends the rows that a run would read again, under the run's lease. If a run
// holds it, they are its business, and border moves to where that run began.
func (j *backfillJob) near(hard, soft context.Context, run *ledger.Run, near source.Range, summary *BackfillSummary, border *time.Time) error {
	held, err := j.loader.openRun(hard, j.src, ledger.RunOptions{
		Kind: ledger.Backfill, Lease: ledger.LeaseRun, From: j.opts.From, To: j.opts.To, Version: Version,
	})
	if fault.Is(err, fault.Busy) {
		began, err := j.beganAt(hard, run)
		if err != nil {
			return err
		}
		if began.Before(*border) {
			*border = began
		}
		left := near
		left.ExportedFrom, left.UpTo = border, source.Cursor{}
		summary.Left, err = j.export.Beyond(hard, left)
		summary.Left -= summary.Pending
		return err
	}
	if err != nil {
		return err
	}
	before := j.counters
	err = whileHeld(hard, held, func(hard context.Context) error {
		reader, _, err := j.export.Range(hard, near)
		if err != nil {
			return err
		}
		return j.flow(hard, soft, held, reader)
	})
	// Its own row counts its own rows; the backfill's counts them all.
	end := ledger.End{Status: status(err), Counters: minus(j.counters, before), WatermarkAfter: held.State.WatermarkAt, Err: text(err)}
	return errors.Join(err, j.loader.finish(hard, held, end, err))
}

// beganAt returns where the run that is under way began to read.
func (j *backfillJob) beganAt(ctx context.Context, run *ledger.Run) (time.Time, error) {
	history, err := run.Ledger().History(ctx, 1)
	if err != nil {
		return time.Time{}, err
	}
	began := time.Now()
	for _, r := range history.Running {
		if r.Kind == ledger.Backfill {
			continue
		}
		if r.WatermarkBefore == nil {
			return time.Time{}, nil // From the beginning.
		}
		if at := r.WatermarkBefore.Add(-j.src.Lookback); at.Before(began) {
			began = at
		}
	}
	return began, nil
}

func (j *backfillJob) flow(hard, soft context.Context, run *ledger.Run, reader *source.RangeReader) error {
	integrations := j.src.Integrations
	if j.opts.Integrations != nil {
		integrations = j.opts.Integrations
	}
	before := j.counters
	flow := j.loader.newPipeline(j.src, run, j.export, j.log, integrations)
	flow.reader, flow.sorter.resend, flow.overlap = &rangePages{reader}, j.opts.Resend, !j.opts.Resend
	flow.base = before
	flow.progress = func(c ledger.Counters) {
		if j.opts.Progress != nil {
			j.opts.Progress(Progress{Counters: c, Expected: j.expected.Load()})
		}
	}
	err := flow.flow(hard, soft)
	j.counters = flow.snapshot()
	return err
}

// rangePages is a range as a reader. It moves no watermark.
type rangePages struct{ *source.RangeReader }

func (r *rangePages) next(ctx context.Context) (*source.Page, error) { return r.Page(ctx) }

func (r *rangePages) place(*source.Page) *ledger.Watermark { return nil }

// later returns the later of a moment that may be open and another one.
func later(a *time.Time, b time.Time) *time.Time {
	if a != nil && a.After(b) {
		return a
	}
	return &b
}

func plus(a, b ledger.Counters) ledger.Counters {
	return ledger.Counters{
		RowsRead: a.RowsRead + b.RowsRead, Sent: a.Sent + b.Sent, AlreadyDelivered: a.AlreadyDelivered + b.AlreadyDelivered,
		Rejected: a.Rejected + b.Rejected, Batches: a.Batches + b.Batches, Retries: a.Retries + b.Retries,
	}
}

func minus(a, b ledger.Counters) ledger.Counters {
	return plus(a, ledger.Counters{
		RowsRead: -b.RowsRead, Sent: -b.Sent, AlreadyDelivered: -b.AlreadyDelivered, Rejected: -b.Rejected, Batches: -b.Batches, Retries: -b.Retries,
	})
}
