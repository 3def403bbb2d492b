package loader

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/human"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/pages"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/loader/source"
)

// witnesses is how many events of the mirror are looked for in an export that may be another one.
const witnesses = 20

// exportLoaded returns which export it is, and whether the watermark is about it: one that was
// renamed, moved or upgraded is known by its rows.
func exportLoaded(ctx context.Context, book *ledger.Ledger, state ledger.State, export *source.Source) (now ledger.Export, same bool, err error) {
	now, err = exportNow(ctx, export)
	if err != nil || !now.Differs(state.Export) {
		return now, err == nil, err
	}
	same, err = sameRows(ctx, book, state, export)
	return now, same, err
}

func exportNow(ctx context.Context, export *source.Source) (ledger.Export, error) {
	id, err := export.Identity(ctx)
	return ledger.Export{Place: ledger.Place{System: id.System, Database: id.Database}, Relation: id.Relation, Zone: export.Table().UsedZone()}, err
}

// confirmExport refuses an export that the watermark is not about: the rows of it that lie before
// the watermark would never be read.
func confirmExport(ctx context.Context, src *config.Source, book *ledger.Ledger, state ledger.State, export *source.Source) (ledger.Export, error) {
	now, same, err := exportLoaded(ctx, book, state, export)
	if err == nil {
		err = confirmZone(book.Schema(), state, now.Zone)
	}
	if err != nil || same {
		return now, err
	}
	return now, fault.New(fault.Precondition, "reading %s: what was loaded up to the watermark came from %s, and its rows are not in this one", now, state.Export).
		WithHint("Look at interactions.url and interactions.table. If it is another export on purpose: candu-loader run %s --new-export   "+
			"reads it from where the first run began, and passes over what the mirror has.", human.Quote(src.Nickname))
}

// confirmZone refuses another zone for times without one: with it each event would be sent again, under a
// new id.
func confirmZone(schema string, state ledger.State, zone string) error {
	loaded := state.Export.Zone
	if loaded == "" && state.WatermarkAt != nil {
		loaded = source.DefaultZone // Older versions knew no other.
	}
	if zone == "" || loaded == "" || zone == loaded {
		return nil
	}
	return fault.New(fault.Config, "interactions.timezone %q differs from the one that schema %q was loaded with, %q", zone, schema, loaded).
		WithHint("With another zone every event would be sent again under a new id. Write `interactions: {timezone: %s}` under the source.", loaded)
}

// lookback is how far before a watermark a run begins.
func lookback(src *config.Source, table *source.Table, watermark *time.Time) time.Duration {
	return src.Lookback + table.ClockChange(watermark)
}

// sameRows reports whether an export holds what was loaded: the row at the watermark, or, where
// the watermark is between rows, the newest events of the mirror, by id and time.
func sameRows(ctx context.Context, book *ledger.Ledger, state ledger.State, export *source.Source) (bool, error) {
	switch {
	case state.WatermarkAt == nil:
		return true, nil // Nothing of it would be passed over.
	case state.WatermarkID != nil:
		page, err := export.ByID(ctx, []string{*state.WatermarkID})
		return err == nil && len(page.Rows) == 1 && page.Rows[0].ExportedAt.Equal(*state.WatermarkAt), err
	}
	newest, err := book.Newest(ctx, witnesses)
	if err != nil {
		return false, err
	}
	if len(newest) == 0 {
		// Nothing was loaded, unless what was has all been rejected.
		return state.StartAt != nil && state.StartAt.Equal(*state.WatermarkAt), nil
	}
	ids := make([]string, 0, len(newest))
	for id := range newest {
		ids = append(ids, id)
	}
	page, err := export.ByID(ctx, ids)
	if err != nil {
		return false, err
	}
	same, other := 0, 0
	for i := range page.Rows {
		if page.Rows[i].OccurredAt.Equal(newest[page.Rows[i].ID]) {
			same++
		} else {
			other++ // Numbers begin at 1 in every table.
		}
	}
	return same > other, nil
}

// passedOver returns rows before the place where a run begins to read, which should all have been
// loaded, the newest first; none where the row at the watermark is still there. last is the newest row up
// to the watermark, nil if there is none.
func passedOver(ctx context.Context, src *config.Source, state ledger.State, export *source.Source) (rows []event.Interaction, last *event.Interaction, err error) {
	if state.WatermarkAt == nil {
		return nil, nil, nil
	}
	r := source.Range{ExportedFrom: state.StartAt, After: pages.Border(state), UpTo: pages.Watermark(state)}
	page, err := export.NewestKeys(ctx, r, 1)
	if err != nil || len(page.Rows) == 0 {
		return nil, nil, err
	}
	last = &page.Rows[0]
	if state.WatermarkID != nil && last.ID == *state.WatermarkID && last.ExportedAt.Equal(*state.WatermarkAt) {
		return nil, last, nil
	}
	if r.UpTo = pages.Start(state, src.Lookback); r.UpTo.IsZero() {
		return nil, last, nil
	}
	page, err = export.NewestKeys(ctx, r, witnesses)
	if err != nil {
		return nil, nil, err
	}
	return page.Rows, last, nil
}

// confirmPassedOver refuses an export of which nobody knows the rows that a run passes over, nor has it
// what was loaded: another table stands in its place, under its name. That the row at the watermark
// is gone says nothing by itself, for exports are pruned.
func confirmPassedOver(ctx context.Context, src *config.Source, book *ledger.Ledger, state ledger.State, export *source.Source, rows []event.Interaction) error {
	if len(rows) == 0 {
		return nil
	}
	fine, err := anyLoaded(ctx, book, state, rows)
	if err == nil && !fine {
		fine, err = sameRows(ctx, book, state, export)
	}
	if err != nil || fine {
		return err
	}
	return fault.New(fault.Precondition, "reading %s: what was loaded up to the watermark is not in it any more, and no row before it that is there now was loaded or rejected, "+
		"the newest is id %s: another table stands in its place, and no run would read those rows", src.Interactions.Table, human.Quote(rows[0].ID)).
		WithHint("If it was built anew, or is another export on purpose: candu-loader run %s --new-export   reads it from where the first run began, "+
			"and passes over what the mirror has. If it is the mirror that lost its rows, restore it first: they would be sent again.", human.Quote(src.Nickname))
}

// anyLoaded reports whether the mirror or loader_rejects has any of the rows.
func anyLoaded(ctx context.Context, book *ledger.Ledger, state ledger.State, rows []event.Interaction) (bool, error) {
	namespaces := append([]uuid.UUID{state.MessageNamespace}, state.Originals...)
	var ids, messages []string
	for i := range rows {
		ids = append(ids, rows[i].ID)
		messages = append(messages, event.MessageIDs(namespaces, &rows[i])...)
	}
	found, err := book.Delivered(ctx, messages)
	if err != nil || slices.ContainsFunc(messages, func(id string) bool { _, in := found[id]; return in }) {
		return err == nil, err
	}
	rejected, err := book.KnownRejects(ctx, ids)
	return len(rejected) > 0, err
}

// behind says that the newest row of an export lies before the watermark, "" if it does not: the rows
// at its end are gone. newest is nil if there is none, as where all that was loaded is pruned.
func behind(state ledger.State, newest *event.Interaction) string {
	mark := state.WatermarkAt
	if newest == nil || mark == nil || state.StartAt != nil && state.StartAt.Equal(*mark) || !newest.ExportedAt.Before(*mark) {
		return ""
	}
	return fmt.Sprintf("the newest row of the export, of %s, lies before the watermark %s: what was loaded since is gone from it", human.Exact(newest.ExportedAt), human.Exact(*mark))
}

// behindRemedy is what to do then.
func behindRemedy(src *config.Source) string {
	return fmt.Sprintf("if it was restored or built anew: candu-loader run %s --new-export reads it from where the first run began, and passes over what the mirror has",
		human.Quote(src.Nickname))
}

// reached returns what a run found that came to the end of the export. Of one that lost its end
// nothing is claimed.
func (s *session) reached(r *ledger.Reached) *ledger.Reached {
	if s.end.Counters.RowsRead > 0 || r == nil {
		return r
	}
	if why := behind(s.run.State, s.passedOver); why != "" {
		s.log.Warn(why, "remedy", behindRemedy(s.src))
		r.CompleteUntil, r.HeldBack = nil, why
	}
	return r
}

// knowExport is confirmExport for a run, which stores the identity.
func (s *session) knowExport() error {
	var now ledger.Export
	err := postgres.Retry(s.hard, openTimeout, s.again, func(ctx context.Context) (err error) {
		book, state := s.run.Ledger(), s.run.State
		if now, err = confirmExport(ctx, s.src, book, state, s.export); err != nil || s.kind != ledger.Manual && s.kind != ledger.Scheduled {
			return err
		}
		var rows []event.Interaction
		if rows, s.passedOver, err = passedOver(ctx, s.src, state, s.export); err == nil {
			err = confirmPassedOver(ctx, s.src, book, state, s.export, rows)
		}
		return err
	})
	if err != nil {
		return err
	}
	return postgres.Retry(s.hard, openTimeout, s.again, func(ctx context.Context) error { return s.run.SetExport(ctx, now) })
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
	now, err := exportNow(ctx, export)
	if err != nil {
		return err
	}
	switch same, err := sameRows(ctx, book, state, export); {
	case err != nil:
		return err
	case same:
		l.log.Warn("it is no new export: the watermark is about this one, and stays", "source", src.Nickname, "export", now.String())
		return nil
	}
	return book.ResetExport(ctx, now)
}

// checkExport is confirmExport for check, which finds other trouble elsewhere. gone says that the
// export lost its end, with the remedy.
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
	if _, err := confirmExport(ctx, src, book, state, export); err != nil {
		return "", "", err
	}
	rows, _, err := passedOver(ctx, src, state, export)
	if err == nil {
		err = confirmPassedOver(ctx, src, book, state, export, rows)
	}
	if err != nil {
		return "", "", err
	}
	newest, err := export.Newest(ctx, 1)
	if clock, _ := export.Clock(); err != nil || len(newest.Rows) == 0 || state.WatermarkAt != nil && state.WatermarkAt.After(clock) {
		return "", "", err // A watermark ahead of the clock is found elsewhere.
	}
	return behind(state, &newest.Rows[0]), behindRemedy(src), nil
}
