package proof

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/source"
)

// candidate is an id of which a day's fingerprints differ: of a row that is exported on that day, or that the
// mirror alone has there.
type candidate struct {
	id       string
	exported bool
}

// wideRows is how many rows are read whole at once: they may be nearly as large as events may be.
const wideRows = 500

// decide reads rows whole, on both sides, and decides of each.
func (v *verifier) decide(ctx context.Context, day string, list []candidate) error {
	ids := make([]string, len(list))
	for i, c := range list {
		ids[i] = c.id
	}
	elsewhere, err := v.Ledger.Elsewhere(ctx, ids)
	if err != nil {
		return err
	}
	for some := range slices.Chunk(list, wideRows) {
		rows, err := v.read(ctx, some, elsewhere)
		if err != nil {
			return err
		}
		for _, c := range some {
			switch row := rows[c.id]; {
			case c.exported && row.in == nil: // It went while we looked.
			case c.exported:
				v.report.Rows++
				class, columns := v.classify(row, row.copies)
				v.report.add(class, c.id, columns)
			case row.in == nil:
				v.report.Gone.add(c.id, nil)
			case !row.settled:
				v.beyond(row.in.ExportedAt)
			default:
				v.moved(day, row)
			}
		}
	}
	return nil
}

// whole is all there is of one id.
type whole struct {
	in *event.Interaction
	// settled says that the row is among those that are compared, but for its occurred_at.
	settled, rejected bool
	copies            []copied
}

// copied is what the mirror holds of a row under one messageId.
type copied struct {
	id   string
	held ledger.Held
}

// at is when it says the row occurred, zero if it does not.
func (c copied) at() time.Time {
	for _, table := range []ledger.MirrorTable{ledger.Screens, ledger.Tracks, ledger.Interactions} {
		if columns, there := c.held[table]; there {
			return moment(columns["timestamp"])
		}
	}
	return time.Time{}
}

// read reads all that there is of some ids.
func (v *verifier) read(ctx context.Context, some []candidate, elsewhere map[string][]string) (map[string]whole, error) {
	ids, extra := make([]string, len(some)), []string{}
	for i, c := range some {
		ids[i] = c.id
	}
	page, err := v.Export.ByID(ctx, ids)
	if err != nil {
		return nil, err
	}
	rows := map[string]whole{}
	under := map[string][]string{}
	var messages []string
	for i := range page.Rows {
		in := &page.Rows[i]
		rows[in.ID] = whole{in: in}
		under[in.ID] = event.MessageIDs(v.namespaces(), in)
		messages = append(messages, under[in.ID]...)
	}
	for _, c := range some {
		under[c.id] = append(under[c.id], elsewhere[c.id]...)
		messages = append(messages, elsewhere[c.id]...)
		if _, there := rows[c.id]; there && !c.exported {
			extra = append(extra, c.id)
		}
	}
	settled, err := v.Export.Settled(ctx, v.Range, extra)
	if err != nil {
		return nil, err
	}
	rejected, err := v.Ledger.KnownRejects(ctx, ids)
	if err != nil {
		return nil, err
	}
	held, err := v.Ledger.Held(ctx, messages)
	if err != nil {
		return nil, err
	}
	for id, row := range rows {
		row.settled = settled[id]
		_, row.rejected = rejected[id]
		for _, message := range slices.Compact(slices.Sorted(slices.Values(under[id]))) {
			if found, there := held[message]; there {
				row.copies = append(row.copies, copied{message, found})
			}
		}
		rows[id] = row
	}
	return rows, nil
}

// namespaces are those that the messageIds of the mirror may have.
func (v *verifier) namespaces() []uuid.UUID {
	return append([]uuid.UUID{v.State.MessageNamespace}, v.State.Originals...)
}

// classify decides what a row of the export is, by what the mirror has of it. Nothing else decides.
func (v *verifier) classify(row whole, copies []copied) (Class, []string) {
	copies = joined(copies)
	switch {
	case len(copies) == 0 && row.rejected:
		return Rejected, nil
	case len(copies) == 0:
		return Missing, nil
	case len(copies) > 1 && v.sentAgain(row.in.ID, copies):
		return SentAgain, nil
	case len(copies) > 1:
		return Doubled, nil
	}
	convert := v.Rules.Convert
	if row.in.Nameless() || v.State.Forgotten.Has(row.in) {
		convert = v.Rules.ConvertErased // Whom it names does not matter, but what else it is.
	}
	made, unfit := convert(row.in)
	columns, halved := v.differing(row.in, &made, unfit, copies[0])
	switch {
	case len(columns) > 0:
		// One that was delivered and is unfit now differs in what makes it so, unless that was erased on both sides.
		return Changed, columns
	case halved:
		return Missing, nil
	case row.rejected:
		return Doubled, nil
	case v.State.Forgotten.Has(row.in):
		return Forgotten, nil
	}
	return Mirrored, nil
}

// joined makes one copy of an interaction's two rows that stand under different messageIds.
func joined(copies []copied) []copied {
	if len(copies) != 2 {
		return copies
	}
	for i, c := range copies {
		other := copies[1-i]
		details, there := other.held[ledger.Interactions]
		if track, is := c.held[ledger.Tracks]; is && there && len(c.held) == 1 && len(other.held) == 1 {
			return []copied{{c.id, ledger.Held{ledger.Tracks: track, ledger.Interactions: details}}}
		}
	}
	return copies
}

// sentAgain reports whether the copies of a row are those of one that was sent once more after its time had
// changed: each has the messageId of its own time.
func (v *verifier) sentAgain(id string, copies []copied) bool {
	times := map[time.Time]bool{}
	for _, c := range copies {
		at := c.at()
		if times[at] || !slices.Contains(event.MessageIDs(v.namespaces(), &event.Interaction{ID: id, OccurredAt: at}), c.id) {
			return false
		}
		times[at] = true
	}
	return true
}

// moved decides of a row that the mirror has on a day that is not the export's. On its own day it was, or
// will be, counted by what the mirror has there; the first other day that has it puts that right.
func (v *verifier) moved(day string, row whole) {
	own := source.DayOf(row.in.OccurredAt)
	var here []copied
	first := ""
	for _, c := range row.copies {
		at := c.at()
		switch on := source.DayOf(at); {
		case on == own && v.inRange(row.in.OccurredAt):
			here = append(here, c)
		case v.inRange(at) && (first == "" || on < first):
			first = on
		}
	}
	if first != day {
		return
	}
	class, columns := v.classify(row, row.copies)
	if !v.inRange(row.in.OccurredAt) {
		v.report.Rows++
		v.report.add(class, row.in.ID, columns)
		return
	}
	counted, _ := v.classify(row, here)
	switch {
	case counted == Mirrored:
		v.report.Mirrored--
	case v.walked[own]:
		return // It was looked at whole there.
	default:
		v.report.Rejected-- // The day's fingerprints agree, and the mirror does not have it.
	}
	v.report.add(class, row.in.ID, columns)
}

// beyond counts a row of the mirror that is not among the rows that are compared, by the reason.
func (v *verifier) beyond(exported time.Time) {
	v.report.Beyond++
	switch start, since := v.State.StartAt, v.State.NamespaceSince; {
	case start != nil && exported.Before(*start):
		v.report.BeforeStart++
	case since != nil && !exported.After(*since):
		v.report.BeforeNamespace++
	}
}

// inRange reports whether occurred_at, zero for NULL, lies in the range.
func (v *verifier) inRange(at time.Time) bool {
	if at.IsZero() {
		return v.Range.From == nil && v.Range.To == nil
	}
	return (v.Range.From == nil || !at.Before(*v.Range.From)) && (v.Range.To == nil || at.Before(*v.Range.To))
}
