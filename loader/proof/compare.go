package proof

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/ledger"
)

// differing names the columns in which the mirror has something else than the event that a row makes; made is that
// event, unless the row is unfit for one. halved says that an interaction stands in one of its two tables.
func (v *verifier) differing(in *event.Interaction, made *event.Event, unfit *event.Reject, c copied) (columns []string, halved bool) {
	screen, isScreen := c.held[ledger.Screens]
	track, isTrack := c.held[ledger.Tracks]
	details, isDetails := c.held[ledger.Interactions]
	kind := v.Export.Table().KindOf(in, v.Prints)
	if isScreen && (isTrack || isDetails) || isScreen != (kind == "view") || kind == "" {
		return []string{"kind"}, false
	}
	different := map[string]bool{}
	for table, row := range map[ledger.MirrorTable]map[string]any{ledger.Screens: screen, ledger.Tracks: track, ledger.Interactions: details} {
		for column, want := range v.wanted(table, in, made, unfit, c.id) {
			if row != nil && !same(row[column], want) {
				different[column] = true
			}
		}
	}
	if isTrack && isDetails {
		for column := range track {
			if track[column] != details[column] {
				different[column] = true
			}
		}
	}
	if v.Prints.Quick {
		maps.DeleteFunc(different, func(column string, _ bool) bool { return column != "timestamp" })
	}
	return slices.Sorted(maps.Keys(different)), isTrack != isDetails
}

// wanted is what a table should have of a row, by column; nil = NULL.
func (v *verifier) wanted(table ledger.MirrorTable, in *event.Interaction, made *event.Event, unfit *event.Reject, messageID string) map[string]any {
	tutorial, portal := orNull(in.TutorialID), orNull(in.PortalID)
	if unfit == nil {
		tutorial = strconv.FormatInt(made.TutorialID, 10)
		if portal = nil; made.HasPortal {
			portal = strconv.FormatInt(made.PortalID, 10)
		}
	}
	want := map[string]any{
		"id": nil, "user_id": orNull(in.UserID), "anonymous_id": orNull(in.AnonymousID), "loader_interaction_id": in.ID,
		"timestamp": in.OccurredAt, "original_timestamp": in.OccurredAt, "context_integration_name": ledger.Integration,
	}
	if v.State.Forgotten.Has(in) {
		want["user_id"], want["anonymous_id"] = nil, nil
	}
	if ids := event.MessageIDs(v.namespaces(), in); slices.Contains(ids, messageID) {
		want["id"] = messageID // A copy's mirror has rows under the ids of its original.
	} else if len(ids) > 0 {
		want["id"] = ids[0]
	}
	if table == ledger.Screens {
		want["name"] = event.ViewName
	} else {
		want["event"], want["event_text"] = string(ledger.Interactions), event.InteractionName
	}
	if table != ledger.Tracks {
		want["tutorial_id"], want["portal_id"] = tutorial, portal
		want["segment_id"], want["version_id"] = orNull(in.SegmentID), orNull(in.VersionID)
	}
	if table == ledger.Interactions {
		want["event_name"] = orNull(in.EventName)
	}
	return want
}

// orNull is a text as the mirror has it: nil for a blank one.
func orNull(text string) any {
	if event.Present(text) == "" {
		return nil
	}
	return text
}

// same reports whether the mirror's value is the wanted one.
func same(got, want any) bool {
	switch want := want.(type) {
	case time.Time:
		at := moment(got)
		return !at.IsZero() && at.Equal(want.Truncate(time.Microsecond))
	case string:
		if number, ok := got.(json.Number); ok {
			return number.String() == want
		}
	}
	return got == want
}

// moment is a time as Postgres writes it into JSON, zero for anything else.
func moment(value any) time.Time {
	text, _ := value.(string)
	at, _ := time.Parse(time.RFC3339Nano, text)
	return at.UTC()
}
