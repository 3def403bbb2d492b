package loader

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/human"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/lineage"
	"github.com/candu-loader/candu-loader/loader/pages"
	"github.com/candu-loader/candu-loader/loader/pipeline"
	"github.com/candu-loader/candu-loader/loader/source"
)

// BackfillOptions says what to send.
type BackfillOptions struct {
	// From is inclusive, To exclusive; they bound occurred_at, or exported_at with
	// ByExported. A nil To is now, by the export's clock.
	From, To   *time.Time
	ByExported bool
	// Repair makes it a run of kind repair, which takes the run's lease for all of
	// it, for rows that verify found missing.
	Repair bool
	// Resend sends rows that are in the mirror too, with the same messageIds; the
	// mirror stays as it is. Not those that another schema sent, of which this one is a copy.
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
	// MissingIndex is the statement that would make the range quick to read, "" if
	// there is such an index.
	MissingIndex string `json:"missing_index,omitempty"`
}

// Backfill sends the rows of a range that are not in the mirror. It does not move
// the watermark, and leaves rows that the watermark has not reached to the next run.
//
// It may run beside the scheduled run: what lies further back than the place where that began to read, no
// run will read again, and is sent at once; for the rest it waits until the run has ended, and takes its
// lease. A row that is exported again meanwhile may be sent by both, with the same messageId.
//
// Backfill, repair and retry take turns. One that waits longer than five minutes gives up with
// [fault.Busy]; a backfill that is under way lets the others go first, once a minute, and then goes on.
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
	begin := ledger.RunOptions{Kind: kind, From: opts.From, To: opts.To}
	for patience := l.turns.patience; ; patience = forever {
		b.yielded = false
		turn, err := l.inSessionAfter(ctx, src, begin, patience, b.do)
		b.summary.add(turn)
		if err != nil || !b.yielded {
			return b.summary, err
		}
		l.log.Info("letting another go first", "source", src.Nickname)
		if err := l.letGo(ctx, src); err != nil {
			return b.summary, err
		}
	}
}

// add adds a turn to those before.
func (s *BackfillSummary) add(turn Summary) {
	before := s.Summary
	s.Summary = turn
	s.Counters, s.Seconds = before.Plus(turn.Counters), before.Seconds+turn.Seconds
	rejects := event.TallyOf(before.Rejects)
	rejects.Plus(event.TallyOf(turn.Rejects))
	s.Rejects = rejects.Counts()
	if s.Seconds > 0 {
		s.EventsPerSecond = float64(s.Sent) / s.Seconds
	}
}

// letGo waits until whoever waits for the lease has it, or waits no more.
func (l *Loader) letGo(ctx context.Context, src *config.Source) error {
	return l.await(ctx, src, l.turns.patience, func() error {
		book, err := l.ledger(ctx, src)
		if err != nil {
			return err
		}
		holder, err := book.Wanted(ctx)
		if err == nil && holder != "" {
			err = fault.New(fault.Busy, "schema %q: the backfill lease is for %s now", src.Schema, holder)
		}
		return err
	})
}

// settledRange is a range up to the watermark, without what a copy leaves to the original. What was exported before start_at no run loads,
// but a backfill does.
func settledRange(from, to *time.Time, byExported bool, state ledger.State) source.Range {
	return source.Range{ByExported: byExported, From: from, To: to, After: pages.Border(state), UpTo: pages.Watermark(state)}
}

// backfill is one backfill, over all its turns.
type backfill struct {
	opts     BackfillOptions
	expected int64
	summary  BackfillSummary
	// border is up to where it sends beside runs, nil before that is decided; reader is how far it
	// is with that.
	border  *time.Time
	reader  *source.RangeReader
	yielded bool
}

func (b *backfill) do(s *session) error {
	if b.opts.To == nil {
		now, _ := s.export.Clock()
		b.opts.To = &now
	}
	all := settledRange(b.opts.From, b.opts.To, b.opts.ByExported, s.run.State)
	var err error
	if b.summary.Pending, err = s.export.Beyond(s.hard, all); err != nil {
		return err
	}
	if all.UpTo.IsZero() {
		return nil
	}
	if b.opts.Progress != nil && b.expected == 0 {
		b.expected = s.export.RangeEstimate(s.hard, all)
	}
	if b.opts.Repair {
		// It holds both leases: nobody else sends these rows meanwhile.
		_, err := b.send(s, all)
		return err
	}
	border, err := s.run.Border(s.hard, lineage.Lookback(s.src, s.export.Table(), s.run.State.WatermarkAt))
	if err != nil {
		return err
	}
	if b.border == nil || border == nil || border.Before(*b.border) {
		b.border = border
	}
	if b.border != nil {
		far := all
		far.ExportedBefore = b.border
		if b.summary.MissingIndex, err = b.send(s, far); err != nil || b.yielded {
			return err
		}
	}
	return b.near(s)
}

// near sends the rows that a run might read again, under the run's lease. It waits for the run that is
// under way: rows may have come to light behind it.
func (b *backfill) near(s *session) error {
	begin := ledger.RunOptions{Kind: ledger.Backfill, Lease: ledger.LeaseRun, From: b.opts.From, To: b.opts.To}
	run, err := s.loader.awaitRun(s.soft, s.src, begin, s.loader.turns.patience)
	if err != nil {
		if known, ok := errors.AsType[*fault.Error](err); ok && known.Kind == fault.Busy && b.border != nil {
			known.Hint += fmt.Sprintf(" What was exported before %s is done, the rest of the range is not: run the backfill again.", human.Exact(*b.border))
		}
		return err
	}
	return s.within(run, func(inner *session) error {
		// Where the watermark is now that no run moves it.
		state, err := run.Ledger().State(inner.hard)
		if err != nil {
			return err
		}
		near := settledRange(b.opts.From, b.opts.To, b.opts.ByExported, state)
		near.ExportedFrom, b.reader = b.border, nil
		if b.summary.Pending, err = s.export.Beyond(inner.hard, near); err != nil {
			return err
		}
		_, err = b.send(inner, near)
		// The inner run's row counts its own rows; the backfill's counts them all.
		s.end.Counters = s.end.Counters.Plus(inner.end.Counters)
		s.rejects.Plus(inner.rejects)
		return err
	})
}

// send sends a range. missingIndex would make it quick to read.
func (b *backfill) send(s *session, r source.Range) (missingIndex string, err error) {
	reader, missingIndex, err := s.export.Range(s.hard, r)
	if err != nil {
		return "", err
	}
	reader.GoOn(b.reader)
	b.reader = reader
	from := &yielding{Pages: pages.Ranges{RangeReader: reader}, every: s.loader.turns.look, looked: time.Now(), wanted: func(ctx context.Context) bool {
		holder, err := s.run.Ledger().Wanted(ctx)
		return err == nil && holder != "" && r.ExportedBefore != nil
	}}
	integrations := s.src.Integrations
	if b.opts.Integrations != nil {
		integrations = b.opts.Integrations
	}
	_, err = s.flow(from, integrations, func(in *pipeline.IntakeConfig, c *pipeline.Config) {
		in.Resend = b.opts.Resend
		in.Brake = s.brake(b.opts.MaxRejected, b.anyway(s.src))
		if b.opts.Progress != nil {
			c.Progress = func(done ledger.Counters) { b.opts.Progress(Progress{done, b.expected}) }
		}
	})
	b.yielded = from.yielded
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
