package segment

import (
	"encoding/json"
	"math"
	"time"

	analytics "github.com/segmentio/analytics-go/v3"

	"github.com/candu-loader/candu-loader/loader/event"
)

// Library returns what analytics-go says of itself in every batch.
func Library() event.Library { return event.Library{Name: "analytics-go", Version: analytics.Version} }

// Encoder turns the events of one source into what is sent. It is safe for concurrent use.
type Encoder struct {
	integrations analytics.Integrations
	// frame is how many bytes the JSON of an event of a kind has beside its texts, at most.
	frame map[event.Kind]int
}

// NewEncoder returns an encoder that puts integrations into every event; nil leaves them out.
func NewEncoder(integrations map[string]any) *Encoder {
	e := &Encoder{integrations: integrations, frame: map[event.Kind]int{}}
	row := &event.Interaction{}
	for _, text := range texts(row) {
		*text = "x" // What is empty is left out.
	}
	for _, kind := range []event.Kind{event.View, event.Interacted} {
		// What can't be encoded, integrations that are no JSON, fails when it is sent.
		text, _ := e.JSON(&event.Event{
			Kind: kind, MessageID: "xxxxxxxx-xxxx-8xxx-xxxx-xxxxxxxxxxxx", At: time.UnixMicro(1).UTC(),
			TutorialID: math.MinInt64, PortalID: math.MinInt64, HasPortal: true, Row: row,
		})
		e.frame[kind] = len(text)
	}
	return e
}

// texts returns the columns whose text goes into an event.
func texts(row *event.Interaction) [5]*string {
	return [...]*string{&row.UserID, &row.AnonymousID, &row.SegmentID, &row.VersionID, &row.EventName}
}

// message returns the analytics-go value that carries the event. Its type is the one that
// Enqueue would set, so that it is what goes over the wire.
func (e *Encoder) message(ev *event.Event) analytics.Message {
	row := ev.Row
	properties := analytics.Properties{"tutorialId": ev.TutorialID}
	if ev.HasPortal {
		properties["portalId"] = ev.PortalID
	}
	if segment := event.Present(row.SegmentID); segment != "" {
		properties["segmentId"] = segment
	}
	if version := event.Present(row.VersionID); version != "" {
		properties["versionId"] = version
	}
	if ev.Kind == event.View {
		return analytics.Screen{
			Type: "screen", MessageId: ev.MessageID, UserId: event.Present(row.UserID), AnonymousId: event.Present(row.AnonymousID),
			Name: event.ViewName, Timestamp: ev.At, Properties: properties, Integrations: e.integrations,
		}
	}
	properties["eventName"] = row.EventName
	return analytics.Track{
		Type: "track", MessageId: ev.MessageID, UserId: event.Present(row.UserID), AnonymousId: event.Present(row.AnonymousID),
		Event: event.InteractionName, Timestamp: ev.At, Properties: properties, Integrations: e.integrations,
	}
}

// JSON returns the event as it is sent.
func (e *Encoder) JSON(ev *event.Event) ([]byte, error) { return json.Marshal(e.message(ev)) }

// Size returns how many bytes the event's JSON has: exactly where it may be more than
// [event.MaxBytes], else at most.
func (e *Encoder) Size(ev *event.Event) int {
	if most := e.most(ev); most <= event.MaxBytes {
		return most
	}
	text, _ := e.JSON(ev) // An error is met again when it is sent.
	return len(text)
}

// most bounds the length of the event's JSON without making it: to encode each event once more
// only to cut batches would take a third of the CPU time of the whole loader again.
func (e *Encoder) most(ev *event.Event) int {
	n := e.frame[ev.Kind]
	for _, text := range texts(ev.Row) {
		n += len(*text)
		for i := range len(*text) {
			switch c := (*text)[i]; {
			case c < ' ' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&':
				n += len(`\u003c`) - 1
			case c == 0xE2: // The first of the three bytes of U+2028 and U+2029.
				n += len(`\u2028`) - 3
			}
		}
	}
	return n
}
