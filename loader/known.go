package loader

import (
	"context"
	"strings"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/lineage"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/loader/source"
)

// checkStarted refuses a start that was stored and that no row has reached, as older versions stored it.
func checkStarted(export *source.Source, state ledger.State) error {
	clock, _ := export.Clock()
	return state.CheckStart(clock)
}

// noteChanges warns of what changed, and refuses what no run can work with.
func (s *session) noteChanges(reads bool) error {
	if reads {
		if err := checkStarted(s.export, s.run.State); err != nil {
			return err
		}
	}
	if others := s.loader.config.SharesKey(s.src); len(others) > 0 {
		s.log.Warn("another source has the same write key: Segment takes the events of both for one source's", "other", strings.Join(others, ", "))
	}
	for _, change := range lineage.Changes(s.src, s.run.State) {
		s.log.Warn("the configuration was changed: "+change.Text, "remedy", change.Hint)
	}
	return nil
}

// startOf fills in what migrate --start-at stores.
func (l *Loader) startOf(ctx context.Context, src *config.Source, opts *ledger.MigrateOptions) error {
	if src.StartAt.Now {
		return fault.New(fault.Config, "setting the start of source %q: start_at is now, which is when the first run begins", src.Nickname).
			WithHint("Write beginning or a date.")
	}
	export, err := l.source(ctx, src)
	if err != nil {
		return err
	}
	defer export.Close()
	clock, _ := export.Clock()
	opts.StartAt = lineage.StartAt(src)
	return src.StartAt.Check(clock)
}

// noteConfig notes with which configuration the run goes, and warns if two take turns.
func (s *session) noteConfig() error {
	return postgres.Retry(s.hard, openTimeout, s.again, func(ctx context.Context) error {
		other, back, err := s.run.SetConfig(ctx, lineage.Hash(s.src), lineage.Mapping(s.src))
		if err == nil && back {
			s.log.Warn("the configuration of this source goes back and forth: do two machines have different ones?", "other_host", other)
		}
		return err
	})
}

// reached returns what a run found that came to the end of the export. Of one that lost its end
// nothing is claimed.
func (s *session) reached(r *ledger.Reached) *ledger.Reached {
	if s.end.Counters.RowsRead > 0 || r == nil {
		return r
	}
	if why := s.lineage().Behind(s.passedOver); why != "" {
		s.log.Warn(why, "remedy", s.lineage().BehindRemedy())
		r.CompleteUntil, r.HeldBack = nil, why
	}
	return r
}

// lineage is what a run asks whether it reads what the runs before it read.
func (s *session) lineage() lineage.Lineage {
	return lineage.Lineage{Source: s.src, Ledger: s.run.Ledger(), State: s.run.State, Export: s.export}
}

// knowExport refuses an export that the watermark is not about, and stores which one it is.
func (s *session) knowExport() error {
	var now ledger.Export
	err := postgres.Retry(s.hard, openTimeout, s.again, func(ctx context.Context) (err error) {
		if now, err = s.lineage().Confirm(ctx); err != nil || s.kind != ledger.Manual && s.kind != ledger.Scheduled {
			return err
		}
		s.passedOver, err = s.lineage().ConfirmPassedOver(ctx)
		return err
	})
	if err != nil {
		return err
	}
	err = postgres.Retry(s.hard, openTimeout, s.again, func(ctx context.Context) error { return s.run.SetExport(ctx, now) })
	if err != nil {
		return err
	}
	// After it is stored: of two that begin at once, one at least sees the other.
	return postgres.Retry(s.hard, openTimeout, s.again, func(ctx context.Context) error { return s.loader.confirmAlone(ctx, s.src, now) })
}

// confirmAlone refuses an export that another source with the same write key reads too, however its URL is written: Segment
// would get each row twice, under two ids. Of one that never ran nothing is known.
func (l *Loader) confirmAlone(ctx context.Context, src *config.Source, now ledger.Export) error {
	for _, other := range l.config.OthersOfKey(src) {
		book, err := l.ledger(ctx, other)
		if err != nil {
			return err
		}
		state, err := book.State(ctx)
		if fault.Is(err, fault.Retryable) {
			return err
		}
		if err != nil {
			l.log.Debug("what another source with the same write key reads is not known", "source", other.Nickname, "error", err)
			continue
		}
		if now.System == "" || now.Place != state.Export.Place || now.Relation != state.Export.Relation {
			continue
		}
		e := fault.New(fault.Precondition, "sources %q and %q have the same write key, and read the same export, %s: Segment would get each row twice", src.Nickname, other.Nickname, now)
		e.Err = lineage.ErrShared
		return e.WithHint("Take one of them out of the config, or give it a write key or a table of its own.")
	}
	return nil
}

// newExport has the next run begin with the export as it is configured now, if it is another one.
func (l *Loader) newExport(ctx context.Context, src *config.Source) error {
	export, err := l.source(ctx, src)
	if err != nil {
		return err
	}
	defer export.Close()
	book, state, err := l.migrated(ctx, src)
	if err == nil {
		err = book.Confirm(ctx)
	}
	if err != nil {
		return err
	}
	// Even if it has the same name: another table may stand there now.
	now, err := lineage.ExportNow(ctx, export)
	if err != nil {
		return err
	}
	switch same, err := (lineage.Lineage{Source: src, Ledger: book, State: state, Export: export}).SameRows(ctx); {
	case err != nil:
		return err
	case same:
		l.log.Warn("it is no new export: the watermark is about this one, and stays", "source", src.Nickname, "export", now.String())
		return nil
	}
	return book.ResetExport(ctx, now)
}

// checkExport refuses for check what a run would refuse; other trouble is found elsewhere. gone says
// that the export lost its end, with the remedy.
func (l *Loader) checkExport(ctx context.Context, src *config.Source) (gone, remedy string, err error) {
	book, state, err := l.migrated(ctx, src)
	if err != nil {
		return "", "", nil //nolint:nilerr // Said already.
	}
	export, err := l.source(ctx, src)
	if err != nil {
		return "", "", nil //nolint:nilerr // Said already.
	}
	defer export.Close()
	known := lineage.Lineage{Source: src, Ledger: book, State: state, Export: export}
	now, err := known.Confirm(ctx)
	if err == nil {
		err = l.confirmAlone(ctx, src, now)
	}
	if err != nil {
		return "", "", err
	}
	if _, err := known.ConfirmPassedOver(ctx); err != nil {
		return "", "", err
	}
	newest, err := export.Newest(ctx, 1)
	if clock, _ := export.Clock(); err != nil || len(newest.Rows) == 0 || state.WatermarkAt != nil && state.WatermarkAt.After(clock) {
		return "", "", err // A watermark ahead of the clock is found elsewhere.
	}
	return known.Behind(&newest.Rows[0]), known.BehindRemedy(), nil
}
