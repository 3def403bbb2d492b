package loader

import (
	"context"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/human"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/loader/source"
)

// witnesses is how many events of the mirror are looked for in an export that may be another one.
const witnesses = 20

// exportLoaded returns which export it is, and whether the watermark is about it: one that was
// renamed, moved or upgraded is known by its rows.
func exportLoaded(ctx context.Context, book *ledger.Ledger, state ledger.State, export *source.Source) (now ledger.Export, same bool, err error) {
	id, err := export.Identity(ctx)
	now = ledger.Export{Place: ledger.Place{System: id.System, Database: id.Database}, Relation: id.Relation}
	if err != nil || !now.Differs(state.Export) {
		return now, err == nil, err
	}
	same, err = sameRows(ctx, book, state, export)
	return now, same, err
}

// confirmExport refuses an export that the watermark is not about: the rows of it that lie before
// the watermark would never be read.
func confirmExport(ctx context.Context, src *config.Source, book *ledger.Ledger, state ledger.State, export *source.Source) (ledger.Export, error) {
	now, same, err := exportLoaded(ctx, book, state, export)
	if err != nil || same {
		return now, err
	}
	return now, fault.New(fault.Precondition, "reading %s: what was loaded up to the watermark came from %s, and its rows are not in this one", now, state.Export).
		WithHint("Look at interactions.url and interactions.table. If it is another export on purpose: candu-loader run %s --new-export   "+
			"reads it from where the first run began, and passes over what the mirror has.", human.Quote(src.Nickname))
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

// knowExport is confirmExport for a run, which stores the identity.
func (s *session) knowExport() error {
	var now ledger.Export
	err := postgres.Retry(s.hard, openTimeout, s.again, func(ctx context.Context) (err error) {
		now, err = confirmExport(ctx, s.src, s.run.Ledger(), s.run.State, s.export)
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
	now, same, err := exportLoaded(ctx, book, state, export)
	switch {
	case err != nil:
		return err
	case same:
		l.log.Warn("it is no new export: the watermark is about this one, and stays", "source", src.Nickname, "export", now.String())
		return nil
	}
	return book.ResetExport(ctx, now)
}

// checkExport is confirmExport for check, which finds other trouble elsewhere.
func (l *Loader) checkExport(ctx context.Context, src *config.Source) error {
	book, state, err := l.migrated(ctx, src)
	if err != nil {
		return nil //nolint:nilerr // Said already.
	}
	export, err := l.source(ctx, src)
	if err != nil {
		return nil //nolint:nilerr // Said already.
	}
	defer export.Close()
	_, err = confirmExport(ctx, src, book, state, export)
	return err
}
