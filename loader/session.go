package loader

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/failpoint"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/human"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/pipeline"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/loader/segment"
	"github.com/candu-loader/candu-loader/loader/source"
)

const (
	// grace is how long a run that was interrupted may take to finish and record what is in
	// flight. Container platforms kill 30 s after the signal; this leaves a margin.
	grace = 25 * time.Second
	// deliveryMemory is for how long Segment remembers messageIds
	// (https://segment.com/docs/guides/duplicate-data/).
	deliveryMemory = 24 * time.Hour
	// openTimeout bounds one try to begin a run, migrateTimeout one to migrate, the wait for
	// another loader's migration included.
	openTimeout    = time.Minute
	migrateTimeout = 10 * time.Minute
)

// session is the life of a run of any kind: it opens the export, begins the run and holds its
// lease while the work is done, and writes how it ended.
type session struct {
	loader *Loader
	src    *config.Source
	kind   ledger.RunKind
	export *source.Source
	run    *ledger.Run
	log    *slog.Logger
	// When soft is done, the work is to stop reading and to record what is in flight; when
	// hard is done, it is to end at once.
	hard, soft context.Context //nolint:containedctx // They are the session's life.
	// end is how the run stands. The work keeps it.
	end ledger.End
	// left are rows that were read, and of which nothing was recorded.
	left int64
	// passedOver is the newest row up to the watermark as a run of new rows began, nil if there is none.
	passedOver *event.Interaction
	// watermark is where the source stands, nil if nowhere.
	watermark *time.Time
	// rejects are the rows that were recorded as rejected.
	rejects event.Tally
	// allowed is how many those may be, nil = any number.
	allowed *config.MaxRejected
	// unrecorded is what the pipeline could not record, past is true once it recorded what
	// an earlier run could not.
	unrecorded *ledger.Watermark
	past       bool
}

// inSession does the work of a run, and returns what became of it.
func (l *Loader) inSession(ctx context.Context, src *config.Source, opts ledger.RunOptions, work func(*session) error) (Summary, error) {
	return l.inSessionAfter(ctx, src, opts, 0, work)
}

// inSessionAfter is inSession that waits so long for its leases.
func (l *Loader) inSessionAfter(ctx context.Context, src *config.Source, opts ledger.RunOptions, patience time.Duration, work func(*session) error) (Summary, error) {
	started := time.Now()
	summary := Summary{Source: src.Nickname, Schema: src.Schema, Kind: opts.Kind, Status: ledger.RunFailed, Rejects: []event.Count{}}
	// The export first: without it nothing is written.
	export, err := l.source(ctx, src)
	if err != nil {
		return summary, err
	}
	defer export.Close()
	if opts.Begin != nil {
		if opts.Begin, err = beginning(src, export); err != nil {
			return summary, err
		}
	}
	run, err := l.awaitRun(ctx, src, opts, patience)
	if err != nil {
		return summary, err
	}
	hard, cancel := graceful(ctx)
	defer cancel()
	s := &session{loader: l, src: src, kind: opts.Kind, export: export, run: run, log: l.log.With("source", src.Nickname, "run", run.ID), hard: hard, soft: ctx}
	s.warnDead()
	err = s.live(func(s *session) error {
		if err := s.noteChanges(opts.Begin != nil); err != nil {
			return err
		}
		if err := s.noteConfig(); err != nil {
			return err
		}
		if err := s.knowExport(); err != nil {
			return err
		}
		return work(s)
	})
	s.warnRejected()
	summary.close(s, started)
	summary.Rejects = s.rejects.Counts()
	return summary, err
}

// within is the life of another run within the session, for a part of the work that needs another
// lease.
func (s *session) within(run *ledger.Run, work func(*session) error) error {
	inner := &session{loader: s.loader, src: s.src, kind: s.kind, export: s.export, run: run, log: s.log, hard: s.hard, soft: s.soft}
	return inner.live(work)
}

// live holds the lease while the work is done, and writes how it ended.
func (s *session) live(work func(*session) error) error {
	s.watermark = s.run.State.WatermarkAt
	hard := s.hard
	err := whileHeld(hard, s.run, func(held context.Context) error {
		s.hard = held
		return work(s)
	})
	s.hard = hard
	failpoint.At("before_end")
	switch {
	case err == nil:
		s.end.Status = ledger.RunSucceeded
	case fault.Is(err, fault.Interrupted):
		s.end.Status, s.end.Err = ledger.RunInterrupted, strings.ToValidUTF8(err.Error(), "\ufffd")
	default:
		s.end.Status, s.end.Err = ledger.RunFailed, strings.ToValidUTF8(err.Error(), "\ufffd")
	}
	// Even if the time is up: a short last try.
	last, cancel := context.WithTimeout(context.WithoutCancel(hard), 2*postgres.ConnectTimeout)
	defer cancel()
	s.noteUnrecorded(last)
	var watermark *time.Time
	finish := postgres.Retry(last, postgres.ConnectTimeout, nil, func(ctx context.Context) (err error) {
		watermark, err = s.run.Finish(ctx, s.end)
		return err
	})
	if finish == nil {
		s.watermark = watermark
	} else if s.end.Status == ledger.RunSucceeded {
		s.end.Status = ledger.RunFailed
	}
	if fault.Is(err, fault.Busy) && fault.Is(finish, fault.Busy) {
		return err // The lease is gone; that it can't write how it ended says the same.
	}
	return errors.Join(err, finish)
}

// flow moves pages through Segment into the ledger, and adds to the run's counters. change sets
// what differs from a run of new rows.
func (s *session) flow(pages pipeline.Pages, integrations map[string]any, change func(*pipeline.IntakeConfig, *pipeline.Config)) (limited bool, err error) {
	encoder := segment.NewEncoder(integrations)
	in := pipeline.IntakeConfig{
		Pages: pages, Rules: rules(s.src, s.export.Table(), s.run.State, encoder), Answers: s.run.Answers(),
		Originals: s.run.State.Originals, HasRejects: s.run.HasRejects, Unique: s.export.Table().UniqueID, Again: s.again,
	}
	c := pipeline.Config{
		Sender: s.loader.gateway.Sender(s.src.WriteKey, encoder), Senders: s.loader.gateway.Concurrency(),
		Run: s.run, Base: s.end.Counters, Version: Version, Log: s.log,
		Unrecorded: s.run.State.Unrecorded, Careful: s.run.State.Unrecorded != nil,
	}
	change(&in, &c)
	c.Intake = pipeline.NewIntake(in)
	var answered func()
	c.Ready, answered = s.question()
	defer answered()
	p := pipeline.New(c)
	err = p.Flow(s.hard, s.soft)
	s.left += c.Intake.Read() - (p.Counters().RowsRead - s.end.Counters.RowsRead)
	s.end.Counters = p.Counters()
	s.rejects.Plus(p.Rejects())
	if mark := p.Recorded(); mark != nil {
		s.watermark = &mark.At
	}
	s.unrecorded, s.past = p.NotRecorded(), p.Past()
	return c.Intake.Limited(), err
}

func (s *session) again(err error, wait time.Duration) {
	s.log.Warn("retrying: the warehouse did not answer", "error", err, "wait", wait)
}

// warnRejected tells of the rows that were rejected: a line for each reason.
func (s *session) warnRejected() {
	for _, count := range s.rejects.Counts() {
		if count.Reason == event.Forgotten {
			s.log.Info("rows of people who were forgotten were not sent", "rows", count.Rows)
			continue
		}
		s.log.Warn("rows were rejected", "reason", string(count.Reason), "rows", count.Rows, "example", count.Examples[0],
			"remedy", "candu-loader rejects list "+human.Quote(s.src.Nickname)+" --reason "+string(count.Reason))
	}
	s.warnTooMany()
}

// warnDead tells of runs that died without finishing. What they sent and did not
// record goes out again, which Segment drops only for about a day.
func (s *session) warnDead() {
	if s.run.Dead == 0 {
		return
	}
	age := s.run.Now().Sub(s.run.DeadSince)
	s.log.Warn("the previous run died without finishing and was marked interrupted", "runs", s.run.Dead,
		"last_seen", s.run.DeadSince.UTC(), "age", age.Round(time.Second))
	if age > deliveryMemory {
		s.log.Warn("what it did not record is sent again after more than 24 h: Segment may pass duplicates on to streaming destinations; warehouses drop them",
			"last_seen", s.run.DeadSince.UTC())
	}
}

// openRun opens the ledger and begins a run, after a migration if the schema is of an older version.
// One that is not there it does not make.
func (l *Loader) openRun(ctx context.Context, src *config.Source, opts ledger.RunOptions) (*ledger.Run, error) {
	book, err := l.ledger(ctx, src)
	if err != nil {
		return nil, err
	}
	opts.Holder, opts.Version = cmp.Or(opts.Holder, ledger.Holder()), Version
	var run *ledger.Run
	open := func(ctx context.Context) error {
		run, err = book.OpenRun(ctx, opts)
		return err
	}
	err = postgres.Retry(ctx, openTimeout, nil, open)
	if errors.Is(err, ledger.ErrNotMigrated) {
		err = postgres.Retry(ctx, migrateTimeout, nil, func(ctx context.Context) error {
			_, err := l.Migrate(ctx, src, ledger.MigrateOptions{})
			return err
		})
		if err != nil {
			return nil, err
		}
		err = postgres.Retry(ctx, openTimeout, nil, open)
	}
	return run, err
}

// whileHeld runs work and renews the lease meanwhile. If the lease is lost, work
// is cancelled and the loss is the error.
func whileHeld(ctx context.Context, run *ledger.Run, work func(ctx context.Context) error) error {
	group, ctx := errgroup.WithContext(ctx)
	keeping, stop := context.WithCancel(ctx)
	group.Go(func() error { return run.Keep(keeping) })
	group.Go(func() error {
		defer stop()
		return work(ctx)
	})
	return group.Wait()
}

// graceful returns a context that outlives ctx by grace.
func graceful(ctx context.Context) (context.Context, context.CancelFunc) {
	hard, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })
	return hard, func() {
		stop()
		cancel()
	}
}
