package loader

import (
	"context"
	"time"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/human"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/pages"
	"github.com/candu-loader/candu-loader/loader/pipeline"
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
	// MaxRejected counts instead of the source's; nil = the source's.
	MaxRejected *config.MaxRejected
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
	b := &backfill{opts: opts}
	kind := ledger.Backfill
	if opts.Repair {
		kind = ledger.Repair
	}
	b.summary.Summary = Summary{Source: src.Nickname, Schema: src.Schema, Kind: kind, Status: ledger.RunFailed}
	// A schema that was never migrated has nothing to fill.
	if _, _, err := l.migrated(ctx, src); err != nil {
		return b.summary, err
	}
	var err error
	b.summary.Summary, err = l.inSession(ctx, src, ledger.RunOptions{Kind: kind, From: opts.From, To: opts.To}, b.do)
	return b.summary, err
}

// settledRange is a range up to the watermark, without what a copy leaves to the original. What was exported before start_at no run loads,
// but a backfill does.
func settledRange(from, to *time.Time, byExported bool, state ledger.State) source.Range {
	return source.Range{ByExported: byExported, From: from, To: to, After: pages.Border(state), UpTo: pages.Watermark(state)}
}

// backfill is one backfill.
type backfill struct {
	opts     BackfillOptions
	expected int64
	summary  BackfillSummary
}

func (b *backfill) do(s *session) error {
	all := settledRange(b.opts.From, b.opts.To, b.opts.ByExported, s.run.State)
	var err error
	if b.summary.Pending, err = s.export.Beyond(s.hard, all); err != nil {
		return err
	}
	if all.UpTo.IsZero() {
		return nil
	}
	if b.opts.Progress != nil {
		b.expected = s.export.RangeEstimate(s.hard, all)
	}
	if b.opts.Repair {
		// It holds the run's lease: no run reads these rows meanwhile.
		_, err := b.send(s, all)
		return err
	}
	border := all.UpTo.At.Add(-s.src.Lookback)
	if err := b.near(s, all, &border); err != nil {
		return err
	}
	far := all
	far.ExportedBefore = &border
	b.summary.MissingIndex, err = b.send(s, far)
	return err
}

// near sends the rows that a run would read again, under the run's lease. If a run
// holds it, they are its business, and border moves to where that run began.
func (b *backfill) near(s *session, all source.Range, border *time.Time) error {
	near := all
	near.ExportedFrom = new(*border)
	begin := ledger.RunOptions{Kind: ledger.Backfill, Lease: ledger.LeaseRun, From: b.opts.From, To: b.opts.To}
	held := false
	err := s.within(begin, func(inner *session) error {
		held = true
		_, err := b.send(inner, near)
		// The inner run's row counts its own rows; the backfill's counts them all.
		s.end.Counters = s.end.Counters.Plus(inner.end.Counters)
		s.rejects.Plus(inner.rejects)
		return err
	})
	if held || !fault.Is(err, fault.Busy) {
		return err
	}
	began, err := b.beganAt(s)
	if err != nil {
		return err
	}
	if began.Before(*border) {
		*border = began
	}
	near.ExportedFrom, near.UpTo = border, source.Cursor{}
	b.summary.Left, err = s.export.Beyond(s.hard, near)
	b.summary.Left -= b.summary.Pending
	return err
}

// beganAt returns where the run that is under way began to read.
func (b *backfill) beganAt(s *session) (time.Time, error) {
	running, err := s.run.Ledger().Running(s.hard)
	if err != nil {
		return time.Time{}, err
	}
	began := time.Now()
	for _, r := range running {
		if r.Kind == ledger.Backfill {
			continue
		}
		if r.WatermarkBefore == nil {
			return time.Time{}, nil // From the beginning.
		}
		if at := r.WatermarkBefore.Add(-s.src.Lookback); at.Before(began) {
			began = at
		}
	}
	return began, nil
}

// send sends a range. missingIndex would make it quick to read.
func (b *backfill) send(s *session, r source.Range) (missingIndex string, err error) {
	reader, missingIndex, err := s.export.Range(s.hard, r)
	if err != nil {
		return "", err
	}
	integrations := s.src.Integrations
	if b.opts.Integrations != nil {
		integrations = b.opts.Integrations
	}
	_, err = s.flow(pages.Ranges{RangeReader: reader}, integrations, func(in *pipeline.IntakeConfig, c *pipeline.Config) {
		in.Resend = b.opts.Resend
		in.Brake = brake(s.src, b.opts.MaxRejected, b.anyway(s.src))
		if b.opts.Progress != nil {
			c.Progress = func(done ledger.Counters) { b.opts.Progress(Progress{done, b.expected}) }
		}
	})
	return missingIndex, err
}

// anyway is the command that lets the rejects of this backfill pass.
func (b *backfill) anyway(src *config.Source) string {
	command := "candu-loader backfill " + human.Quote(src.Nickname)
	if b.opts.From != nil {
		command += " --from " + b.opts.From.Format(time.RFC3339)
	}
	if b.opts.To != nil {
		command += " --to " + b.opts.To.Format(time.RFC3339)
	}
	if b.opts.ByExported {
		command += " --by exported_at"
	}
	return command + " --max-rejected 100%"
}
