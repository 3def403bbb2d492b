// Package lineage knows whether what a source reads now is what its runs read before: the same
// export, by the same configuration.
package lineage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/human"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/pages"
	"github.com/candu-loader/candu-loader/loader/source"
)

// witnesses is how many events of the mirror are looked for in an export that may be another one.
const witnesses = 20

// Lineage is what is asked: an export as it is now, and what was loaded from it before.
type Lineage struct {
	Source *config.Source
	Ledger *ledger.Ledger
	State  ledger.State
	Export *source.Source
}

// ExportNow returns which export it is.
func ExportNow(ctx context.Context, export *source.Source) (ledger.Export, error) {
	id, err := export.Identity(ctx)
	return ledger.Export{Place: ledger.Place{System: id.System, Database: id.Database}, Relation: id.Relation, Zone: export.Table().UsedZone()}, err
}

// Confirm refuses an export that the watermark is not about: the rows of it that lie before the
// watermark would never be read. One that was renamed, moved or upgraded is known by its rows. It
// returns which export it is.
func (l Lineage) Confirm(ctx context.Context) (ledger.Export, error) {
	now, err := ExportNow(ctx, l.Export)
	if err == nil {
		err = ConfirmZone(l.Ledger.Schema(), l.State, now.Zone)
	}
	if err == nil && (now.Zone != "" || l.State.Export.Zone != "") {
		err = l.confirmTimes(ctx)
	}
	if err != nil || !now.Differs(l.State.Export) {
		return now, err
	}
	if same, err := l.SameRows(ctx); err != nil || same {
		return now, err
	}
	return now, fault.New(fault.Precondition, "reading %s: what was loaded up to the watermark came from %s, and its rows are not in this one", now, l.State.Export).
		WithHint("Look at interactions.url and interactions.table. If it is another export on purpose: candu-loader run %s --new-export   "+
			"reads it from where the first run began, and passes over what the mirror has.", human.Quote(l.Source.Nickname))
}

// ConfirmZone refuses another zone for times without one: with it each event would be sent again, under a
// new id.
func ConfirmZone(schema string, state ledger.State, zone string) error {
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

// ErrShared is the cause of an error about an export that another source with the same write key reads too.
var ErrShared = errors.New("another source reads it too")

// ErrShifted is the cause of an error about times that are others than those that were loaded, by whole quarters of an hour.
var ErrShifted = errors.New("times are shifted")

// confirmTimes refuses an export without a zone, now or before, in which occurred_at of what was loaded is shifted as from
// zone to zone: ALTER COLUMN ... TYPE converts by the zone of its session. Each event would be sent again.
func (l Lineage) confirmTimes(ctx context.Context) error {
	newest, page, err := l.newest(ctx)
	if err != nil || len(newest) == 0 {
		return err
	}
	same, shifted, example := 0, 0, ""
	for i := range page.Rows {
		row := &page.Rows[i]
		by := row.OccurredAt.Sub(newest[row.ID])
		switch {
		case by == 0:
			same++
		case by%(15*time.Minute) == 0 && by.Abs() <= 26*time.Hour:
			shifted++
			example = fmt.Sprintf("that of id %s was %s and is %s", human.Quote(row.ID), human.Exact(newest[row.ID]), human.Exact(row.OccurredAt))
		}
	}
	if shifted <= same {
		return nil
	}
	e := fault.New(fault.Precondition, "reading %s: occurred_at of %d of the newest %s is another time than the one that was loaded, as from zone to zone, and each event would be sent again: %s",
		l.Source.Interactions.Table, shifted, human.Count(int64(len(page.Rows)), "row"), example)
	e.Err = ErrShifted
	return e.WithHint("A change of the column's type converts by the zone of the session that makes it. Convert it back by the same zone:  %s", l.Export.Table().ShiftRemedy())
}

// Lookback is how far before a watermark a run begins.
func Lookback(src *config.Source, table *source.Table, watermark *time.Time) time.Duration {
	return src.Lookback + table.ClockChange(watermark)
}

// newest returns when the newest events of the mirror occurred, by the ids of their rows, and those rows as the
// export has them now.
func (l Lineage) newest(ctx context.Context) (occurred map[string]time.Time, page *source.Page, err error) {
	occurred, err = l.Ledger.Newest(ctx, witnesses)
	if err != nil || len(occurred) == 0 {
		return nil, nil, err
	}
	page, err = l.Export.ByID(ctx, slices.Collect(maps.Keys(occurred)))
	return occurred, page, err
}

// SameRows reports whether an export holds what was loaded: the row at the watermark, or, where
// the watermark is between rows, the newest events of the mirror, by id and time.
func (l Lineage) SameRows(ctx context.Context) (bool, error) {
	state := l.State
	switch {
	case state.WatermarkAt == nil:
		return true, nil // Nothing of it would be passed over.
	case state.WatermarkID != nil:
		page, err := l.Export.ByID(ctx, []string{*state.WatermarkID})
		return err == nil && len(page.Rows) == 1 && page.Rows[0].ExportedAt.Equal(*state.WatermarkAt), err
	}
	newest, page, err := l.newest(ctx)
	if err != nil {
		return false, err
	}
	if len(newest) == 0 {
		// Nothing was loaded, unless what was has all been rejected.
		return state.StartAt != nil && state.StartAt.Equal(*state.WatermarkAt), nil
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

// ConfirmPassedOver refuses an export of which nobody knows the rows that a run passes over, nor has it
// what was loaded: another table stands in its place, under its name. That the row at the watermark
// is gone says nothing by itself, for exports are pruned. It returns the newest row up to the watermark,
// nil if there is none.
func (l Lineage) ConfirmPassedOver(ctx context.Context) (last *event.Interaction, err error) {
	rows, last, err := l.passedOver(ctx)
	if err != nil || len(rows) == 0 {
		return last, err
	}
	fine, err := l.anyLoaded(ctx, rows)
	if err == nil && !fine {
		fine, err = l.SameRows(ctx)
	}
	if err != nil || fine {
		return last, err
	}
	return nil, fault.New(fault.Precondition, "reading %s: what was loaded up to the watermark is not in it any more, and no row before it that is there now was loaded or rejected, "+
		"the newest is id %s: another table stands in its place, and no run would read those rows", l.Source.Interactions.Table, human.Quote(rows[0].ID)).
		WithHint("If it was built anew, or is another export on purpose: candu-loader run %s --new-export   reads it from where the first run began, "+
			"and passes over what the mirror has. If it is the mirror that lost its rows, restore it first: they would be sent again.", human.Quote(l.Source.Nickname))
}

// passedOver returns rows before the place where a run begins to read, which should all have been
// loaded, the newest first; none where the row at the watermark is still there. last is the newest row up
// to the watermark, nil if there is none.
func (l Lineage) passedOver(ctx context.Context) (rows []event.Interaction, last *event.Interaction, err error) {
	state := l.State
	if state.WatermarkAt == nil {
		return nil, nil, nil
	}
	r := source.Range{ExportedFrom: state.StartAt, After: pages.Border(state), UpTo: pages.Watermark(state)}
	page, err := l.Export.NewestKeys(ctx, r, 1)
	if err != nil || len(page.Rows) == 0 {
		return nil, nil, err
	}
	last = &page.Rows[0]
	if state.WatermarkID != nil && last.ID == *state.WatermarkID && last.ExportedAt.Equal(*state.WatermarkAt) {
		return nil, last, nil
	}
	if r.UpTo = pages.Start(state, Lookback(l.Source, l.Export.Table(), state.WatermarkAt)); r.UpTo.IsZero() {
		return nil, last, nil
	}
	page, err = l.Export.NewestKeys(ctx, r, witnesses)
	if err != nil {
		return nil, nil, err
	}
	return page.Rows, last, nil
}

// anyLoaded reports whether the mirror or loader_rejects has any of the rows.
func (l Lineage) anyLoaded(ctx context.Context, rows []event.Interaction) (bool, error) {
	namespaces := append([]uuid.UUID{l.State.MessageNamespace}, l.State.Originals...)
	var ids, messages []string
	for i := range rows {
		ids = append(ids, rows[i].ID)
		messages = append(messages, event.MessageIDs(namespaces, &rows[i])...)
	}
	found, err := l.Ledger.Delivered(ctx, messages)
	if err != nil || slices.ContainsFunc(messages, func(id string) bool { _, in := found[id]; return in }) {
		return err == nil, err
	}
	rejected, err := l.Ledger.KnownRejects(ctx, ids)
	return len(rejected) > 0, err
}

// Behind says that the newest row of an export lies before the watermark, "" if it does not: the rows
// at its end are gone. newest is nil if there is none, as where all that was loaded is pruned.
func (l Lineage) Behind(newest *event.Interaction) string {
	state := l.State
	mark := state.WatermarkAt
	if newest == nil || mark == nil || state.StartAt != nil && state.StartAt.Equal(*mark) || !newest.ExportedAt.Before(*mark) {
		return ""
	}
	return fmt.Sprintf("the newest row of the export, of %s, lies before the watermark %s: what was loaded since is gone from it", human.Exact(newest.ExportedAt), human.Exact(*mark))
}

// BehindRemedy is what to do then.
func (l Lineage) BehindRemedy() string {
	return fmt.Sprintf("if it was restored or built anew: candu-loader run %s --new-export reads it from where the first run began, and passes over what the mirror has",
		human.Quote(l.Source.Nickname))
}
