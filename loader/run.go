package loader

import (
	"cmp"
	"context"
	"time"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/lineage"
	"github.com/candu-loader/candu-loader/loader/pages"
	"github.com/candu-loader/candu-loader/loader/pipeline"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/loader/source"
	"github.com/candu-loader/candu-loader/loader/status"
)

// RunOptions says how to run.
type RunOptions struct {
	// Kind is ledger.Manual or ledger.Scheduled; "" means manual.
	Kind ledger.RunKind
	// SlotAt is the slot of the schedule, nil for a run by hand.
	SlotAt *time.Time
	// First makes the schema where there is none, which else is an error.
	First bool
	// NewExport begins with the export that is configured, if the watermark is about another one.
	NewExport bool
	// Limit ends the run after that many rows which were new; 0 = no limit.
	Limit int
	// MaxRejected counts instead of the source's; nil = the source's.
	MaxRejected *config.MaxRejected
	// Progress is told how far the run is, often; nil = nobody asks. It must be
	// quick and safe for concurrent use.
	Progress func(Progress)
	// Opened is told the run's number when it begins; nil = nobody asks.
	Opened func(id int64)
	// Timed is told how long each step of a page took; nil = nobody asks. It must be
	// safe for concurrent use.
	Timed func(step pipeline.Step, took time.Duration)
}

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
	// RowsLeft are those of RowsRead of which nothing was recorded: the run ended before, and the next one
	// reads them again.
	RowsLeft int64 `json:"rows_left"`
	// Rejects are the rows that the run rejected, by reason.
	Rejects []event.Count `json:"rejects"`
	Seconds float64       `json:"seconds"`
	// EventsPerSecond counts what Segment accepted.
	EventsPerSecond float64    `json:"events_per_second"`
	WatermarkAt     *time.Time `json:"watermark_at"`
	// LagSeconds is the lag as the run ended, see [status.Lag].
	LagSeconds *float64 `json:"lag_seconds"`
	// CompleteUntil is set if the run came to the end of the export, and it is known.
	CompleteUntil *time.Time `json:"complete_until"`
}

// close fills in how the run ended.
func (s *Summary) close(of *session, started time.Time) {
	run, end := of.run, of.end
	s.RunID, s.Status, s.Counters = run.ID, end.Status, end.Counters
	if end.Status != ledger.RunSucceeded {
		s.RowsLeft = max(0, of.left)
		s.RowsRead += s.RowsLeft
	}
	s.WatermarkAt = of.watermark
	s.Seconds = time.Since(started).Seconds()
	s.EventsPerSecond = float64(end.Counters.Sent) / s.Seconds
	s.LagSeconds = status.Lag(run.State.CaughtUpAt, run.Now())
	if end.Reached != nil {
		s.LagSeconds, s.CompleteUntil = status.Lag(&end.Reached.At, time.Now()), end.Reached.CompleteUntil
	}
}

// Run loads what came since the watermark. It upgrades a schema of an older version first; where
// there is none, that is an error, unless it is the first run.
//
// However it ends, what was recorded stays, and the next run goes on from there:
// rows that Segment accepted without being recorded are sent again with the same
// messageIds. When ctx is done, reading stops, what is in flight is finished and
// recorded within 25 s, and the error is of kind [fault.Interrupted].
func (l *Loader) Run(ctx context.Context, src *config.Source, opts RunOptions) (Summary, error) {
	if opts.First {
		if err := l.makeSchema(ctx, src); err != nil {
			return Summary{Source: src.Nickname, Schema: src.Schema, Kind: cmp.Or(opts.Kind, ledger.Manual), Status: ledger.RunFailed}, err
		}
	}
	if opts.NewExport {
		if err := l.newExport(ctx, src); err != nil {
			return Summary{Source: src.Nickname, Schema: src.Schema, Kind: cmp.Or(opts.Kind, ledger.Manual), Status: ledger.RunFailed}, err
		}
	}
	begin := ledger.RunOptions{Kind: cmp.Or(opts.Kind, ledger.Manual), SlotAt: opts.SlotAt, Begin: &ledger.Beginning{}}
	return l.inSession(ctx, src, begin, func(s *session) error {
		if opts.Opened != nil {
			opts.Opened(s.run.ID)
		}
		if s.run.ClockLost > 0 {
			s.log.Warn("the export's clock was put back: so was the watermark, for rows that come now lie below it",
				"by", s.run.ClockLost.Round(time.Second), "watermark", s.run.State.WatermarkAt.UTC())
			if since := s.run.State.NamespaceSince; since != nil && since.Equal(*s.run.State.WatermarkAt) {
				s.log.Warn("this schema is a copy: from the watermark on, a row is taken for the original's only if the mirror, or loader_rejects, has it from there")
			}
		}
		if err := s.awaitBackfill(); err != nil {
			return err
		}
		from, err := pages.NewIncremental(s.hard, s.incremental(opts.Progress != nil))
		if err != nil {
			return err
		}
		limited, err := s.flow(from, src.Integrations, func(in *pipeline.IntakeConfig, c *pipeline.Config) {
			in.Limit, in.Timed, c.Timed = opts.Limit, opts.Timed, opts.Timed
			c.Unrecorded, c.Careful = s.ahead(), false
			in.Brake = s.brake(opts.MaxRejected, runAnyway(src))
			if opts.Progress != nil {
				c.Progress = func(done ledger.Counters) { opts.Progress(Progress{done, from.Expected()}) }
			}
		})
		if err == nil && !limited {
			s.end.Reached = s.reached(from.Reached())
		}
		return err
	})
}

func (s *session) incremental(estimate bool) pages.Config {
	return pages.Config{
		Export: s.export, Answers: s.run.Answers(), State: s.run.State, Lookback: lineage.Lookback(s.src, s.export.Table(), s.run.State.WatermarkAt),
		Measure: s.run.Measure, Estimate: estimate, Again: s.again, Log: s.log,
	}
}

// makeSchema makes the schema of a source whose export can be read.
func (l *Loader) makeSchema(ctx context.Context, src *config.Source) error {
	export, err := l.source(ctx, src)
	if err != nil {
		return err
	}
	_, err = beginning(src, export)
	export.Close()
	if err != nil {
		return err
	}
	return postgres.Retry(ctx, migrateTimeout, nil, func(ctx context.Context) error {
		_, err := l.Migrate(ctx, src, ledger.MigrateOptions{Create: true})
		return err
	})
}

// beginning is what a run of the source's new rows begins with.
func beginning(src *config.Source, export *source.Source) (*ledger.Beginning, error) {
	clock, at := export.Clock()
	if err := src.StartAt.Check(clock); err != nil {
		return nil, err
	}
	b := &ledger.Beginning{StartNow: src.StartAt.Now, ExportClock: clock, At: at}
	b.Lookback = func(watermark *time.Time) time.Duration { return lineage.Lookback(src, export.Table(), watermark) }
	switch {
	case src.StartAt.Now:
		b.StartAt = &clock
	case !src.StartAt.At.IsZero():
		b.StartAt = &src.StartAt.At
	}
	return b, nil
}
